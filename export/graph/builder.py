"""Small helpers around onnxscript's ``GraphBuilder``: typed values, named tables, finished and checked models.

Every graph part of the codec is a plain function ``part(op, value, ...) -> value`` that appends nodes through the
onnxscript op builder ``op``. Python integers among the arguments become constants of the other operand's type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnxscript import GraphBuilder

from latentwire.runtime.bundle import METADATA_KEY

OPSET = 20
"""BitwiseAnd needs 18; 20 is read by every ONNX Runtime since 1.17."""
IR_VERSION = 9

FLOAT = ir.DataType.FLOAT
INT32 = ir.DataType.INT32
INT64 = ir.DataType.INT64
UINT8 = ir.DataType.UINT8
BOOL = ir.DataType.BOOL

Op = Any
"""onnxscript's OpBuilder: attribute access makes nodes, so it has no useful static type."""
Value = ir.Value
Dims = Sequence[int | str]


def value(name: str, dtype: ir.DataType, dims: Dims) -> Value:
    """A named graph input or output; strings in ``dims`` are symbolic dimensions."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(dims))


def table(op: Op, array: npt.NDArray[Any], name: str) -> Value:
    """Store ``array`` once as a named initializer of the model."""
    return op.initializer(ir.tensor(array, name=name), name)  # type: ignore[no-any-return]


def vector(op: Op, numbers: Sequence[int]) -> Value:
    """An int64 constant of rank 1."""
    return op.Constant(value=ir.tensor(np.asarray(numbers, np.int64)))  # type: ignore[no-any-return]


def number(op: Op, integer: int) -> Value:
    """An int64 constant scalar."""
    return op.Constant(value=ir.tensor(np.asarray(integer, np.int64)))  # type: ignore[no-any-return]


def flat(op: Op, tensor: Value) -> Value:
    """``tensor`` reshaped to rank 1."""
    return op.Reshape(tensor, [-1])  # type: ignore[no-any-return]


def count(op: Op, mask: Value) -> Value:
    """Number of true elements of a boolean tensor, int64 scalar."""
    return op.ReduceSum(op.Cast(mask, to=INT64), keepdims=0)  # type: ignore[no-any-return]


def little_endian(op: Op, values: Value, width: int) -> Value:
    """Split int64 ``values`` [n] into bytes int64 [n, width], lowest byte first.

    All lowest bytes first and transposed then: rows of two or four take ONNX Runtime three times as long.
    """
    weights = op.Unsqueeze(vector(op, [256**i for i in range(width)]), [1])
    return op.Transpose(op.BitwiseAnd(op.Div(values, weights), 255), perm=[1, 0])  # type: ignore[no-any-return]


def from_little_endian(op: Op, data: Value) -> Value:
    """Join bytes int64 [n, width] with a static width of 4 or 2 into int64 [n]; the inverse of `little_endian`."""
    width = data.shape[-1] if data.shape is not None else None
    if not isinstance(width, int):
        raise ValueError(f"from_little_endian needs a static last dimension, found shape {data.shape}")
    weights = vector(op, [256**i for i in range(width)])
    return op.ReduceSum(op.Mul(data, weights), [1], keepdims=0)  # type: ignore[no-any-return]


def loop_body(
    op: Op, name: str, step: Callable[..., Sequence[Value]], inputs: Sequence[Value], outputs: Sequence[Value]
) -> ir.Graph:
    """Trace ``step(op, *inputs)`` into a Scan body, its tensors named ``name/...`` and so apart from all others."""
    body: ir.Graph = op.builder.subgraph(step, inputs, outputs)
    for tensor in (*body.inputs, *(result for node in body for result in node.outputs)):
        tensor.name = f"{name}/{tensor.name}"
    return body


def build_model(
    trace: Callable[..., Sequence[Value]], inputs: Sequence[Value], outputs: Sequence[Value], name: str
) -> onnx.ModelProto:
    """Trace ``trace(op, *inputs)`` into a checked model.

    Args:
        trace: called once with the op builder and ``inputs``; returns one value for each of ``outputs``.
        inputs: typed graph inputs.
        outputs: name, dtype and shape of each graph output.
        name: the graph's name.

    Returns:
        The model, passed through ``onnx.checker`` with full shape inference.
    """
    graph = ir.Graph(list(inputs), [], nodes=[], opset_imports={"": OPSET}, name=name)
    builder = GraphBuilder(graph)
    for traced, declared in zip(trace(builder.op, *inputs), outputs, strict=True):
        result = builder.op.Identity(traced) if traced in graph.inputs else traced
        result.name, result.type, result.shape = declared.name, declared.type, declared.shape
        graph.outputs.append(result)
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION, producer_name="latentwire"))
    for node in model.graph.node:
        strip_build_notes(node)
    onnx.checker.check_model(model, full_check=True)
    return model


def strip_build_notes(node: onnx.NodeProto) -> None:
    """Drop the builder's per-node notes: they would double the size of a small graph."""
    del node.metadata_props[:]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            strip_build_notes(inner)


def duplicate(model: onnx.ModelProto) -> onnx.ModelProto:
    """A deep copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def stamp(model: onnx.ModelProto, facts: Mapping[str, Any]) -> onnx.ModelProto:
    """Write ``facts`` as the model's only metadata entry, JSON under the key ``latentwire``."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return model
