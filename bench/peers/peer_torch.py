"""PyTorch: scaled_dot_product_attention as users call it (enable_gqa), and with the group folded into rows by hand."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

import measure
from measure import Job, Result, Variant

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def caches(job: Job, layout: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Copies of K and V, shaped [1][head][token][dim] whatever their order in memory."""
    def copies(tokens: np.ndarray) -> list[torch.Tensor]:
        base = torch.from_numpy(tokens).to(TYPES[job.cell.type]).unsqueeze(0)
        if layout == "head_major":
            base = base.transpose(1, 2).contiguous()
            return [base.clone() for _ in range(job.caches)]
        return [base.clone().transpose(1, 2) for _ in range(job.caches)]
    return list(zip(copies(job.k), copies(job.v)))


def query(job: Job) -> torch.Tensor:
    return torch.from_numpy(job.q).to(TYPES[job.cell.type]).unsqueeze(0).transpose(1, 2)


def output(returned: torch.Tensor) -> np.ndarray:
    """[1][head][query][dim] as float32 [query][head][dim]."""
    return returned[0].transpose(0, 1).float().numpy()


def enable_gqa(job: Job, layout: str) -> Variant:
    q, kv, causal = query(job), caches(job, layout), job.cell.kind == "prefill"
    return Variant(lambda i: F.scaled_dot_product_attention(q, *kv[i], is_causal=causal, enable_gqa=True), output)


def folded(job: Job, layout: str) -> Variant:
    """The heads of a group become rows of one head, [1][kv_heads][group * q_len][dim]; a mask is repeated for each."""
    cell = job.cell
    q, kv = query(job), caches(job, layout)
    rows = q.reshape(1, cell.kv_heads, cell.group * cell.q_len, cell.head_dim).contiguous()
    mask = None
    if cell.kind == "prefill":
        visible = torch.ones(cell.q_len, cell.kv_len, dtype=torch.bool).tril().repeat(cell.group, 1)
        mask = torch.zeros(visible.shape, dtype=q.dtype).masked_fill_(~visible, float("-inf"))

    def unfold(returned: torch.Tensor) -> np.ndarray:
        return output(returned.reshape(1, cell.q_heads, cell.q_len, cell.head_dim))
    return Variant(lambda i: F.scaled_dot_product_attention(rows, *kv[i], attn_mask=mask), unfold)


def measure_cell(job: Job) -> list[Result]:
    torch.set_num_threads(job.cell.threads)
    layouts = ["head_major"] if job.quick else ["head_major", "token_major"]
    results = []
    with torch.inference_mode():
        for layout in layouts:
            ways: list[tuple[str, bool, Callable[[Job, str], Variant]]] = [
                ("enable_gqa", True, enable_gqa), ("group folded by hand", False, folded)]
            for name, as_called, way in ways:
                result = Result(name, layout, as_called)
                results.append(measure.run(job, result, lambda: way(job, layout)))
    return results


if __name__ == "__main__":
    measure.main(lambda: torch.__version__, measure_cell)
