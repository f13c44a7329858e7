"""From the measured times to ratios, verdicts and the printed table. No imports beyond the standard library."""
from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from cells import Cell, Target, targets

OURS = "gqa"
# Largest error, relative to the largest expected value, that still counts as an answer; a peer that computes in 16 bits
# rounds its softmax weights to them. Ours is held to its own bound, elementwise.
TOLERANCE = {"f32": 1e-4, "f16": 5e-2, "bf16": 5e-2}
BUSY_BELOW = 0.95  # a process that got less CPU time than this share of its wall time was not alone on its processors
DESCRIPTIONS = {"fastest": "fastest of all", "as_called": "fastest as users call it",
                "ggml_token_major": "ggml, token-major"}


@dataclass
class Row:
    """One variant of one program over all rounds."""
    program: str
    version: str
    variant: str
    layout: str
    as_called: bool
    medians: dict[int, float] = field(default_factory=dict)  # of each round
    relative_error: float = 0.0
    share_of_bound: float = 0.0
    cpu_share: float = 1.0
    cannot: str = ""

    @property
    def label(self) -> str:
        return f"{self.program} {self.variant}"

    @property
    def time(self) -> float:
        """Median over rounds; 0 where nothing was measured."""
        return statistics.median(self.medians.values()) if self.medians else 0.0

    def is_right(self, cell: Cell) -> bool:
        return self.relative_error <= TOLERANCE[cell.type] and self.share_of_bound <= 1

    def counts(self, cell: Cell) -> bool:
        return not self.cannot and bool(self.medians) and self.is_right(cell)

    def add(self, round_number: int, measured: dict[str, Any]) -> None:
        if measured.get("cannot"):
            self.cannot = measured["cannot"]
            return
        self.medians[round_number] = measured["median"]
        self.relative_error = max(self.relative_error, measured["relative_error"])
        self.share_of_bound = max(self.share_of_bound, measured.get("share_of_bound", 0.0))
        self.cpu_share = min(self.cpu_share, measured["cpu_share"])


def was_busy(printed: dict[str, Any]) -> bool:
    return any(v.get("cpu_share", 1.0) < BUSY_BELOW for v in printed.get("variants", []))


@dataclass
class Spread:
    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int) -> str:
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f} - {self.high:.{digits}f})"


@dataclass
class CellResult:
    cell: Cell
    caches: int
    rows: list[Row] = field(default_factory=list)

    def row(self, program: str, version: str, measured: dict[str, Any]) -> Row:
        for row in self.rows:
            if (row.program, row.variant, row.layout) == (program, measured["variant"], measured["layout"]):
                return row
        self.rows.append(Row(program, version, measured["variant"], measured["layout"], measured["as_called"]))
        return self.rows[-1]

    def ours(self, layout: str) -> Row | None:
        found = [row for row in self.rows if row.program == OURS and row.layout == layout and row.counts(self.cell)]
        return found[0] if found else None

    def ours_is_right(self) -> bool:
        rows = [row for row in self.rows if row.program == OURS]
        return bool(rows) and all(row.counts(self.cell) for row in rows)

    def ratio(self, row: Row) -> Spread | None:
        """Time of a peer / time of ours on the same layout, of each round's pair."""
        ours = self.ours(row.layout)
        if row.program == OURS or ours is None or not row.counts(self.cell):
            return None
        pairs = [row.medians[r] / ours.medians[r] for r in row.medians if r in ours.medians]
        return Spread.of(pairs) if pairs else None

    def opponents(self, target: Target) -> list[Row]:
        def takes_part(row: Row) -> bool:
            if target.against == "ggml_token_major":
                return row.program == "ggml" and row.layout == "token_major"
            return row.as_called or target.against == "fastest"
        return [row for row in self.rows if takes_part(row) and self.ratio(row) is not None]


def verdict(result: CellResult, target: Target) -> str:
    wanted = f"target, {DESCRIPTIONS[target.against]}: at least {target.at_least:g}"
    opponents = result.opponents(target)
    if not opponents:
        return f"{wanted}: not measured"
    hardest = min(opponents, key=lambda row: result.ratio(row).middle)
    ratio = result.ratio(hardest)
    met = "met" if ratio.middle >= target.at_least else "NOT MET"
    ours = result.ours(hardest.layout)
    if min(hardest.cpu_share, ours.cpu_share) < BUSY_BELOW:
        met += " (flagged: the machine was busy)"
    return f"{wanted}: {ratio.text(2)} against {hardest.label}, {hardest.layout}: {met}"


def heading(result: CellResult) -> str:
    cell = result.cell
    threads = "1 thread" if cell.threads == 1 else f"{cell.threads} threads"
    caches = "hot, 1 cache" if result.caches == 1 else f"{result.caches} caches in rotation"
    return (f"{cell.name}: {cell.q_heads} query heads over {cell.kv_heads} KV heads x {cell.head_dim}, {cell.q_len} "
            f"{'query' if cell.q_len == 1 else 'queries'} on {cell.kv_len} tokens, {cell.type} cache of "
            f"{cell.cache_bytes / 2**20:g} MiB, {threads}, {caches}")


def table(result: CellResult) -> str:
    lines = [heading(result), f"  {'program':<36} {'layout':<12} {'ms (rounds)':<27} {'time / ours':<23} error"]
    for row in sorted(result.rows, key=lambda r: (r.program != OURS, r.time or float("inf"))):
        start = f"  {row.label:<36} {row.layout:<12} "
        if not row.counts(result.cell):
            wrong = f"WRONG OUTPUT: relative error {row.relative_error:.2g}" if row.medians else "not measured"
            lines.append(start + (f"cannot: {row.cannot}" if row.cannot else wrong))
            continue
        times = Spread.of([1e3 * t for t in row.medians.values()])
        ratio = result.ratio(row)
        remark = "  16-bit arithmetic" if row.relative_error > TOLERANCE["f32"] else ""
        remark += f"  busy machine: {row.cpu_share:.0%} of a processor" if row.cpu_share < BUSY_BELOW else ""
        compared = ratio.text(2) if ratio else ""
        lines.append(f"{start}{times.text(3):<27} {compared:<23} {row.relative_error:.1e}{remark}")
    lines += [f"  {verdict(result, target)}" for target in targets(result.cell)]
    return "\n".join(lines)


def as_json(result: CellResult) -> dict[str, Any]:
    rows = []
    for row in result.rows:
        ratio = result.ratio(row)
        rows.append({**row.__dict__, "right": row.is_right(result.cell), "ratio": ratio.__dict__ if ratio else None})
    return {"cell": result.cell.__dict__, "name": result.cell.name, "caches": result.caches, "rows": rows,
            "targets": [t.__dict__ for t in targets(result.cell)],
            "verdicts": [verdict(result, t) for t in targets(result.cell)]}
