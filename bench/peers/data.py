"""Inputs of a cell and the float64 answer, written once and read by every program.

A folder holds q, k, v as little-endian float32, token-major ([token][head][dim]), each value already rounded to the
cell's type, so that every program sees the same numbers; out, the float64 answer [query][head][dim]; and bound, the
error that this library allows itself for each [query][head].
Usage: data.py JOB.json
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from cells import Cell


def round_to(values: np.ndarray, element: str) -> np.ndarray:
    """float32 values, each the nearest one (ties to even) of the type."""
    if element == "f16":
        return values.astype(np.float16).astype(np.float32)
    if element == "bf16":
        return from_bf16_bits(to_bf16_bits(values))
    return values


def to_bf16_bits(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16_bits(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    """softmax(q k / sqrt(head_dim)) v in float64, head by head."""
    q_len, q_heads, dim = q.shape
    kv_len, kv_heads, _ = k.shape
    out = np.empty(q.shape, np.float64)
    hidden = np.arange(kv_len)[None, :] > (np.arange(q_len) + kv_len - q_len)[:, None] if causal else None
    for head in range(q_heads):
        keys = k[:, head * kv_heads // q_heads].astype(np.float64)
        values = v[:, head * kv_heads // q_heads].astype(np.float64)
        scores = q[:, head].astype(np.float64) @ keys.T / np.sqrt(dim)
        if hidden is not None:
            scores[hidden] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        out[:, head] = scores @ values / scores.sum(axis=1, keepdims=True)
    return out


def error_bound(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    """2 u (1 + A) max|v| for each [query][head], u = 2^-24, A the largest scale * sum over d of |q_d k_d| it sees."""
    q_len, q_heads, dim = q.shape
    kv_len, kv_heads, _ = k.shape
    bound = np.empty((q_len, q_heads))
    for head in range(q_heads):
        kv_head = head * kv_heads // q_heads
        sums = np.abs(q[:, head]) @ np.abs(k[:, kv_head]).T / np.float32(np.sqrt(dim))
        largest_v = np.maximum.accumulate(np.abs(v[:, kv_head]).max(axis=1))
        largest_v = largest_v[kv_len - q_len:] if causal else largest_v[-1]
        bound[:, head] = 2.0**-23 * (1 + (np.tril(sums, kv_len - q_len) if causal else sums).max(axis=1)) * largest_v
    return bound


def write(cell: Cell, folder: Path) -> None:
    if (folder / "out.bin").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(2305_13245)
    kv_shape = (cell.kv_len, cell.kv_heads, cell.head_dim)
    shapes = {"q": (cell.q_len, cell.q_heads, cell.head_dim), "k": kv_shape, "v": kv_shape}
    inputs = {name: round_to(random.standard_normal(shape, np.float32), cell.type) for name, shape in shapes.items()}
    for name, values in inputs.items():
        values.tofile(folder / f"{name}.bin")
    causal = cell.kind == "prefill"
    error_bound(**inputs, causal=causal).tofile(folder / "bound.bin")
    out = attention(**inputs, causal=causal)
    out.tofile(folder / "out.tmp")
    (folder / "out.tmp").rename(folder / "out.bin")


def read(cell: Cell, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """q, k, v as float32 and the float64 answer."""
    kv_shape = (cell.kv_len, cell.kv_heads, cell.head_dim)
    q_shape = (cell.q_len, cell.q_heads, cell.head_dim)
    return (np.fromfile(folder / "q.bin", np.float32).reshape(q_shape),
            np.fromfile(folder / "k.bin", np.float32).reshape(kv_shape),
            np.fromfile(folder / "v.bin", np.float32).reshape(kv_shape),
            np.fromfile(folder / "out.bin", np.float64).reshape(q_shape))


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    write(Cell(**job["cell"]), Path(job["data"]))
