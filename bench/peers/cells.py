"""What is compared: the cells (one attention problem each), their rotation over caches, and their targets."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
ELEMENT_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


@dataclass(frozen=True)
class Cell:
    kind: str  # decode: one query against kv_len keys; prefill: kv_len queries, causal
    type: str  # of the cache: f32, f16 or bf16
    kv_heads: int
    kv_len: int
    threads: int = 1
    q_heads: int = 32
    head_dim: int = 128

    @property
    def name(self) -> str:
        threads = f"-t{self.threads}" if self.threads > 1 else ""
        return f"{self.kind}-{self.type}-kv{self.kv_heads}-{self.kv_len}{threads}"

    @property
    def q_len(self) -> int:
        return 1 if self.kind == "decode" else self.kv_len

    @property
    def group(self) -> int:
        return self.q_heads // self.kv_heads

    @property
    def cache_bytes(self) -> int:
        return 2 * self.kv_heads * self.kv_len * self.head_dim * ELEMENT_BYTES[self.type]

    @property
    def data_name(self) -> str:
        """Cells that differ in threads alone share their data."""
        return f"{self.kind}-{self.type}-q{self.q_heads}-kv{self.kv_heads}-d{self.head_dim}-{self.kv_len}"


def all_cells(quick: bool, threads: int) -> list[Cell]:
    """The catalogue; `threads` is the larger thread count, measured beside one thread unless quick."""
    if quick:
        return [Cell("decode", "f32", 32, 4096), Cell("decode", "f32", 8, 4096), Cell("decode", "f32", 1, 4096),
                Cell("decode", "f16", 32, 4096), Cell("decode", "bf16", 8, 4096), Cell("prefill", "f32", 8, 512)]
    cells = [Cell("decode", t, kv, 4096) for t in ("f32", "f16", "bf16") for kv in (32, 8, 1)]
    if threads > 1:
        cells += [Cell("decode", "f32", kv, 4096, threads) for kv in (32, 8, 1)]
    cells += [Cell("prefill", t, 8, n) for t in ("f32", "f16", "bf16") for n in (512, 2048)]
    return cells + [Cell("prefill", "f32", 32, 2048)]


def last_level_cache_bytes() -> int:
    """The largest cache that Linux lists for the first processor; 0 where it lists none."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        sizes.append(int(text[:-1]) * {"K": 1 << 10, "M": MIB}[text[-1]])
    return max(sizes, default=0)


def rotation_bytes() -> int:
    """Bytes of caches a cold cell walks through before it meets the first one again."""
    return max(512 * MIB, 4 * last_level_cache_bytes())


def caches_in_rotation(cell: Cell, hot: bool) -> int:
    return 1 if hot else -(-rotation_bytes() // cell.cache_bytes)


@dataclass(frozen=True)
class Target:
    against: str  # fastest: of all peers; as_called: of those a user calls as they are; ggml_token_major
    at_least: float  # time of that peer / time of ours


def targets(cell: Cell) -> list[Target]:
    never_slower = Target("fastest", 0.95)
    if cell.kind == "prefill":
        return [Target("fastest", 1.2)]
    if cell.kv_heads == cell.q_heads:
        return [Target("ggml_token_major", 3.0), never_slower]
    if cell.kv_heads == 1:
        return [Target("as_called", 5.0), Target("fastest", 1.3)]
    return [Target("as_called", 2.5), Target("fastest", 1.5)]
