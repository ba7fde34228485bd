"""Weights in half the bytes where that changes none of them.

`latentwire weights` rounds large weights to float16: kept as float32, nearly half of their bytes would say nothing. A
``Cast`` makes float32 of them again. ONNX Runtime runs it once, when it loads the model (constant folding, from the
optimization level "basic" on), so that nothing is computed in half precision and every output stays as it was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SUFFIX = "/float16"
"""Behind a weight's name: what it is stored as."""
SMALLEST = 1024
"""Values from which on a weight is worth a node."""


def store_halves(model: onnx.ModelProto) -> None:
    """Store each large float32 initializer as float16, if float16 holds every value of it exactly."""
    graph, casts = model.graph, []
    for entry in graph.initializer:
        half = exact_half(entry)
        if half is not None:
            name = entry.name
            entry.CopyFrom(numpy_helper.from_array(half, name + SUFFIX))
            casts.append(helper.make_node("Cast", [entry.name], [name], name + SUFFIX, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]  # a node stands behind those whose outputs it reads
    del graph.node[:]
    graph.node.extend(nodes)


def widen_halves(model: onnx.ModelProto) -> None:
    """Undo `store_halves`, for what looks for a layer's weights among the initializers."""
    graph = model.graph
    casts = {node.input[0]: node for node in graph.node if node.op_type == "Cast" and node.input[0].endswith(SUFFIX)}
    for entry in graph.initializer:
        if entry.name in casts:
            wide = numpy_helper.to_array(entry).astype(np.float32)
            entry.CopyFrom(numpy_helper.from_array(wide, casts[entry.name].output[0]))
    kept = [node for node in graph.node if node.op_type != "Cast" or node.input[0] not in casts]
    del graph.node[:]
    graph.node.extend(kept)


def exact_half(entry: onnx.TensorProto) -> npt.NDArray[np.float16] | None:
    """The values of an initializer as float16, or None where it is small, of another type, or would lose anything."""
    if entry.data_type != TensorProto.FLOAT or np.prod(entry.dims) < SMALLEST:
        return None
    values = numpy_helper.to_array(entry)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None
