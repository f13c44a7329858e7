"""Draws results.json as SVG: for each cell, the time of every peer over ours. Usage: plot.py results.json out.svg"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402: the backend comes first
from matplotlib.ticker import FixedLocator, NullLocator  # noqa: E402

STYLES = {  # program, variant, layout: colour and marker
    ("onnxruntime", "GroupQueryAttention", "head_major"): ("#d55e00", "o"),
    ("torch", "enable_gqa", "head_major"): ("#0072b2", "o"),
    ("torch", "enable_gqa", "token_major"): ("#0072b2", "s"),
    ("torch", "group folded by hand", "head_major"): ("#56b4e9", "o"),
    ("torch", "group folded by hand", "token_major"): ("#56b4e9", "s"),
    ("openvino", "stateful SDPA", "head_major"): ("#009e73", "o"),
    ("ggml", "flash_attn_ext", "head_major"): ("#444444", "o"),
    ("ggml", "flash_attn_ext", "token_major"): ("#444444", "s"),
}


def draw(results: dict[str, Any], path: Path) -> None:
    cells = [cell for cell in results["cells"] if any(row["ratio"] for row in cell["rows"])]
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.62 * max(1, len(cells))))
    labelled: set[tuple[str, str, str]] = set()
    for y, cell in enumerate(cells):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#f4f4f4", zorder=0)
        rows = [row for row in cell["rows"] if row["ratio"]]
        for i, row in enumerate(sorted(rows, key=lambda r: (r["program"], r["variant"], r["layout"]))):
            key = (row["program"], row["variant"], row["layout"])
            colour, marker = STYLES[key]
            ratio = row["ratio"]
            height = y + 0.7 * ((i + 0.5) / len(rows) - 0.5)
            axes.plot([ratio["low"], ratio["high"]], [height, height], color=colour, linewidth=1.5, zorder=2)
            axes.plot([ratio["middle"]], [height], marker, color=colour, markersize=6, zorder=3,
                      label=None if key in labelled else f"{key[0]}, {key[1]}, {key[2].replace('_', '-')}")
            labelled.add(key)
    axes.axvline(1, color="#cc0000", linewidth=1.5, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", which="both", color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(cells)), [cell_label(cell) for cell in cells])
    axes.set_ylim(max(1, len(cells)) - 0.5, -0.5)
    axes.set_xlabel("time / time of gqa on the same layout (the red line); bars from lowest to highest round")
    axes.set_title(f"Peers against gqa, {results['machine']['processor']}", fontsize=11)
    if labelled:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, frameon=False)
    figure.savefig(path, bbox_inches="tight")


def cell_label(cell: dict[str, Any]) -> str:
    shape = cell["cell"]
    kind = {shape["q_heads"]: "MHA", 1: "MQA"}.get(shape["kv_heads"], f"GQA-{shape['kv_heads']}")
    threads = f", {shape['threads']} threads" if shape["threads"] > 1 else ""
    return f"{shape['kind']} {shape['kv_len']}, {kind}, {shape['type']}{threads}"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
