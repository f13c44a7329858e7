"""OpenVINO: scaled dot product attention over a stateful KV cache, the form its CPU plugin fuses with the cache.

Decode: each cache is the state of one inference request. A call appends a token to it, so a state begins one token
short of kv_len, and where it comes round again the last token has been appended once more; the expected answer follows.
Prefill: the state is empty and the call brings all tokens.
"""
from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

import measure
from cells import Cell
from measure import Cannot, Job, Result, Variant

ELEMENTS = {"f32": "f32", "f16": "f16", "bf16": "bf16"}
FUSED = "ScaledDotProductAttention"


def cached_tokens(name: str, cell: Cell, beam: ov.Output) -> tuple[ov.Output, ov.Output, ov.Output]:
    """This step's tokens, the node that stores all of them, and all of them as [1][q_heads][token][dim]."""
    step = ops.parameter([-1, cell.kv_heads, -1, cell.head_dim], ov.Type.f32, name=name)
    empty = ops.constant(np.zeros((1, cell.kv_heads, 0, cell.head_dim), np.float32))
    shape = ov.PartialShape([-1, cell.kv_heads, -1, cell.head_dim])
    past = ops.read_value(empty, f"{name}_state", ov.Type.f32, shape)
    tokens = ops.concat([ops.gather(past, beam, ops.constant(np.int64(0))), step], axis=2)
    store = ops.assign(tokens, f"{name}_state")
    if cell.group == 1:
        return step, store, tokens
    # One KV head for each query head: the plugin knows this pattern as grouped heads and copies nothing.
    ones = ops.constant(np.ones((1, 1, cell.group, 1, 1), np.float32))
    repeated = ops.multiply(ops.unsqueeze(tokens, ops.constant(np.int64(2))), ones)
    joined = ops.constant(np.array([0, cell.q_heads, -1, cell.head_dim], np.int64))
    return step, store, ops.reshape(repeated, joined, special_zero=True)


def compile_cell(cell: Cell) -> ov.CompiledModel:
    q = ops.parameter([-1, cell.q_heads, -1, cell.head_dim], ov.Type.f32, name="q")
    beam = ops.parameter([-1], ov.Type.i32, name="beam")
    k, store_k, keys = cached_tokens("k", cell, beam)
    v, store_v, values = cached_tokens("v", cell, beam)
    attended = ops.scaled_dot_product_attention(q, keys, values, causal=cell.kind == "prefill")
    model = ov.Model([ops.result(attended)], [store_k, store_v], [q, k, v, beam], "cell")
    element = ELEMENTS[cell.type]
    # A 16-bit cache: f16 under f32 arithmetic; bf16 with bf16 arithmetic, the only way the plugin has.
    config = {"INFERENCE_NUM_THREADS": cell.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
              "INFERENCE_PRECISION_HINT": "bf16" if element == "bf16" else "f32", "KV_CACHE_PRECISION": element,
              "ENABLE_CPU_PINNING": False}
    if element == "bf16" and "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Cannot("a bf16 cache needs bf16 instructions")
    compiled = ov.Core().compile_model(model, "CPU", config)
    nodes = {node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()}
    if FUSED not in nodes:
        raise Cannot("the plugin did not fuse the attention with its cache")
    return compiled


def tensors(request: ov.InferRequest, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        request.set_tensor(name, ov.Tensor(array))


def output(request: ov.InferRequest) -> np.ndarray:
    return request.get_output_tensor(0).data[0].transpose(1, 0, 2)


def stateful_decode(job: Job) -> Variant:
    cell = job.cell
    compiled = compile_cell(cell)
    keys, values, q = job.head_major(job.k), job.head_major(job.v), job.head_major(job.q)
    beam, last = np.zeros(1, np.int32), slice(cell.kv_len - 1, None)
    requests, repeats = [], [0] * job.caches

    def call(i: int) -> ov.InferRequest:
        requests[i].infer()
        repeats[i] += 1
        return requests[i]

    for _ in range(job.caches):
        request = compiled.create_infer_request()
        for state in request.query_state():  # two tokens short: the first call moves it to memory with room to grow
            tokens = keys if state.name.startswith("k") else values
            state.state = ov.Tensor(np.ascontiguousarray(tokens[:, :, :-2]))
        before = slice(cell.kv_len - 2, cell.kv_len - 1)
        step = [np.ascontiguousarray(t[:, :, s]) for s in (before, last) for t in (keys, values)]
        tensors(request, q=q, k=step[0], v=step[1], beam=beam)
        request.infer()
        tensors(request, k=step[2], v=step[3])
        requests.append(request)

    weight, value = weight_of_last_token(job)

    def expected(i: int) -> np.ndarray:
        again = repeats[i] - 1
        return (job.expected + again * weight * value) / (1 + again * weight)
    return Variant(call, output, expected, max_calls=16 * job.caches)


def weight_of_last_token(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Its softmax weight and its value for each query head, [1][q_heads][1] and [1][q_heads][dim]."""
    cell = job.cell
    q = job.q[0].reshape(cell.kv_heads, cell.group, cell.head_dim).astype(np.float64)
    scores = np.einsum("hgd,thd->hgt", q, job.k.astype(np.float64), optimize=True) / np.sqrt(cell.head_dim)
    scores = np.exp(scores - scores.max(axis=2, keepdims=True))
    weight = scores[:, :, -1] / scores.sum(axis=2)
    value = np.repeat(job.v[-1].astype(np.float64), cell.group, axis=0)
    return weight.reshape(1, cell.q_heads, 1), value[None]


def stateful_prefill(job: Job) -> Variant:
    compiled = compile_cell(job.cell)
    keys, values, q = job.head_major(job.k), job.head_major(job.v), job.head_major(job.q)
    beam = np.zeros(1, np.int32)
    caches = [(keys.copy(), values.copy()) for _ in range(job.caches)]
    request = compiled.create_infer_request()

    def call(i: int) -> ov.InferRequest:
        tensors(request, q=q, k=caches[i][0], v=caches[i][1], beam=beam)
        request.infer()
        return request
    return Variant(call, output, after=lambda _: request.reset_state())


def measure_cell(job: Job) -> list[Result]:
    prepare = stateful_decode if job.cell.kind == "decode" else stateful_prefill
    return [measure.run(job, Result("stateful SDPA", "head_major"), lambda: prepare(job))]


if __name__ == "__main__":
    measure.main(ov.get_version, measure_cell)
