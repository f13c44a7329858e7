"""ggml: ggml_flash_attn_ext through the shared libraries that llama-cpp-python ships, on a head-major cache and on a
token-major one as llama.cpp lays it (a permuted view). q and the answer are f32, as llama.cpp has them."""
from __future__ import annotations

import ctypes
import math
from ctypes import POINTER, Structure, byref, c_bool, c_float, c_int, c_int64, c_size_t, c_uint32, c_void_p
from importlib import metadata, util
from pathlib import Path

import numpy as np

import data
import measure
from measure import Job, Result, Variant

TYPES = {"f32": 0, "f16": 1, "bf16": 30}  # enum ggml_type
GRAPH_BYTES = 1 << 20  # room for a graph of one node and its tensors' headers
MASK_PADDING = 64  # rows of a mask are padded to a multiple of this


class InitParams(Structure):
    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class ThreadpoolParams(Structure):
    _fields_ = [("cpumask", c_bool * 512), ("n_threads", c_int), ("prio", c_int), ("poll", c_uint32),
                ("strict_cpu", c_bool), ("paused", c_bool)]


class ComputePlan(Structure):
    _fields_ = [("work_size", c_size_t), ("work_data", c_void_p), ("n_threads", c_int), ("threadpool", c_void_p),
                ("abort_callback", c_void_p), ("abort_callback_data", c_void_p), ("use_ref", c_bool)]


def declare(library: ctypes.CDLL, name: str, result: object, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype, function.argtypes = result, list(arguments)


class Ggml:
    def __init__(self) -> None:
        package = util.find_spec("llama_cpp")
        folder = Path(package.submodule_search_locations[0]) / "lib"
        self.base = ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.cpu = ctypes.CDLL(str(folder / "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        pointer = c_void_p
        declare(self.base, "ggml_init", pointer, InitParams)
        declare(self.base, "ggml_new_tensor_3d", pointer, pointer, c_int, c_int64, c_int64, c_int64)
        declare(self.base, "ggml_permute", pointer, pointer, pointer, c_int, c_int, c_int, c_int)
        declare(self.base, "ggml_get_data", pointer, pointer)
        declare(self.base, "ggml_flash_attn_ext", pointer, *[pointer] * 5, c_float, c_float, c_float)
        declare(self.base, "ggml_new_graph", pointer, pointer)
        declare(self.base, "ggml_build_forward_expand", None, pointer, pointer)
        declare(self.base, "ggml_threadpool_params_init", None, POINTER(ThreadpoolParams), c_int)
        declare(self.cpu, "ggml_cpu_init", None)
        declare(self.cpu, "ggml_threadpool_new", pointer, POINTER(ThreadpoolParams))
        declare(self.cpu, "ggml_graph_plan", ComputePlan, pointer, c_int, pointer)
        declare(self.cpu, "ggml_graph_compute", c_int, pointer, POINTER(ComputePlan))
        self.cpu.ggml_cpu_init()

    def context(self, data_bytes: int) -> int:
        return self.base.ggml_init(InitParams(data_bytes + GRAPH_BYTES, None, False))

    def tensor(self, context: int, kind: int, values: np.ndarray) -> int:
        """A tensor of three dimensions that holds a copy of `values`, last axis innermost."""
        made = self.base.ggml_new_tensor_3d(context, kind, *values.shape[::-1])
        dense = np.ascontiguousarray(values)
        ctypes.memmove(self.base.ggml_get_data(made), dense.ctypes.data, dense.nbytes)
        return made


def stored(values: np.ndarray, element: str) -> np.ndarray:
    if element == "bf16":
        return data.to_bf16_bits(values)
    return values.astype(np.float16) if element == "f16" else values


def causal_mask(job: Job) -> np.ndarray:
    rows = -(-job.cell.q_len // MASK_PADDING) * MASK_PADDING
    hidden = np.triu(np.ones((rows, job.cell.kv_len), bool), 1)
    return np.where(hidden, np.float16(-np.inf), np.float16(0))[None]


def flash_attention(ggml: Ggml, job: Job, layout: str) -> Variant:
    """One context and graph a cache; all share one thread pool, as in llama.cpp, and their own q and mask."""
    cell = job.cell
    base, scale = ggml.base, 1 / math.sqrt(cell.head_dim)
    k, v = (stored(t if layout == "token_major" else t.transpose(1, 0, 2), cell.type) for t in (job.k, job.v))
    shared = ggml.context(job.q.nbytes + 4 * cell.kv_len * (cell.q_len + MASK_PADDING))
    q = ggml.tensor(shared, TYPES["f32"], job.q.transpose(1, 0, 2))
    mask = ggml.tensor(shared, TYPES["f16"], causal_mask(job)) if cell.kind == "prefill" else None

    settings = ThreadpoolParams()
    base.ggml_threadpool_params_init(byref(settings), cell.threads)
    threads = ggml.cpu.ggml_threadpool_new(byref(settings))
    graphs, work = [], np.zeros(0, np.uint8)  # one scratch buffer serves all graphs
    for _ in range(job.caches):
        context = ggml.context(cell.cache_bytes + job.q.nbytes)
        tokens = [ggml.tensor(context, TYPES[cell.type], t) for t in (k, v)]
        if layout == "token_major":
            tokens = [base.ggml_permute(context, t, 0, 2, 1, 3) for t in tokens]
        attended = base.ggml_flash_attn_ext(context, q, *tokens, mask, scale, 0.0, 0.0)
        graph = base.ggml_new_graph(context)
        base.ggml_build_forward_expand(graph, attended)
        plan = ggml.cpu.ggml_graph_plan(graph, cell.threads, threads)
        work = work if work.size else np.zeros(plan.work_size, np.uint8)
        plan.work_data = work.ctypes.data
        graphs.append((graph, plan, base.ggml_get_data(attended), work))

    def call(i: int) -> int:
        graph, plan, out, _ = graphs[i]
        if ggml.cpu.ggml_graph_compute(graph, byref(plan)) != 0:
            raise RuntimeError("ggml_graph_compute failed")
        return out

    def output(out: int) -> np.ndarray:
        count = cell.q_len * cell.q_heads * cell.head_dim
        return np.ctypeslib.as_array(ctypes.cast(out, POINTER(c_float)), (count,))

    return Variant(call, output)


def measure_cell(job: Job) -> list[Result]:
    ggml = Ggml()
    return [measure.run(job, Result("flash_attn_ext", layout), lambda: flash_attention(ggml, job, layout))
            for layout in ("head_major", "token_major")]


if __name__ == "__main__":
    measure.main(lambda: f"llama-cpp-python {metadata.version('llama-cpp-python')}", measure_cell)
