"""ONNX Runtime: com.microsoft.GroupQueryAttention on a head-major cache, past and present in one buffer."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

import measure
from measure import Cannot, Job, Result, Variant

TYPES = {"f32": (TensorProto.FLOAT, np.float32), "f16": (TensorProto.FLOAT16, np.float16)}


def model(job: Job, element: int) -> bytes:
    cell = job.cell
    past = [1, cell.kv_heads, cell.kv_len, cell.head_dim]
    rows = {"query": cell.q_heads, "key": cell.kv_heads, "value": cell.kv_heads}
    inputs = [helper.make_tensor_value_info(name, element, [1, cell.q_len, heads * cell.head_dim])
              for name, heads in rows.items()]
    inputs += [helper.make_tensor_value_info(name, element, past) for name in ("past_key", "past_value")]
    inputs += [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [1]),
               helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, [])]
    outputs = [helper.make_tensor_value_info("output", element, [1, cell.q_len, cell.q_heads * cell.head_dim])]
    outputs += [helper.make_tensor_value_info(name, element, past) for name in ("present_key", "present_value")]
    node = helper.make_node("GroupQueryAttention", [i.name for i in inputs], [o.name for o in outputs],
                            domain="com.microsoft", num_heads=cell.q_heads, kv_num_heads=cell.kv_heads)
    graph = helper.make_graph([node], "cell", inputs, outputs)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def group_query_attention(job: Job) -> Variant:
    cell = job.cell
    if cell.type not in TYPES:
        raise Cannot(f"GroupQueryAttention has no {cell.type} kernel on CPUs")
    element, dtype = TYPES[cell.type]
    options = ort.SessionOptions()
    options.intra_op_num_threads = cell.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model(job, element), options, providers=["CPUExecutionProvider"])

    def value(array: np.ndarray) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))

    step = slice(cell.kv_len - cell.q_len, cell.kv_len)  # the tokens of this step; the operator appends them itself
    fixed = {"query": job.q.reshape(1, cell.q_len, -1), "key": job.k[step].reshape(1, cell.q_len, -1),
             "value": job.v[step].reshape(1, cell.q_len, -1)}
    fixed = {name: value(rows.astype(dtype)) for name, rows in fixed.items()}
    fixed["seqlens_k"] = value(np.array([cell.kv_len - 1], np.int32))
    fixed["total_sequence_length"] = value(np.array(cell.kv_len, np.int32))
    output = value(np.zeros((1, cell.q_len, cell.q_heads * cell.head_dim), dtype))
    keys, values = job.head_major(job.k).astype(dtype), job.head_major(job.v).astype(dtype)

    bindings = []
    for _ in range(job.caches):
        binding = session.io_binding()
        for name, tensor in fixed.items():
            binding.bind_ortvalue_input(name, tensor)
        for name, cache in (("key", value(keys.copy())), ("value", value(values.copy()))):
            binding.bind_ortvalue_input(f"past_{name}", cache)
            binding.bind_ortvalue_output(f"present_{name}", cache)
        binding.bind_ortvalue_output("output", output)
        bindings.append(binding)
    return Variant(lambda i: session.run_with_iobinding(bindings[i]), lambda _: output.numpy())


def measure_cell(job: Job) -> list[Result]:
    result = Result("GroupQueryAttention", "head_major", as_called=True)
    return [measure.run(job, result, lambda: group_query_attention(job))]


if __name__ == "__main__":
    measure.main(lambda: ort.__version__, measure_cell)
