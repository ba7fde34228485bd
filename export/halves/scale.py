"""Halves as transforms: the cast and scaling of items in front of an encoder and behind a decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import GraphBuilder

from latentwire.export.graph import IR_VERSION, Op, Value, value

Step = Callable[[Op, Value], Value]
Dims = Sequence[int | str]
SCOPE = "scaling"
"""In front of the names of what is added here."""


@dataclass(frozen=True)
class Ends:
    """dtype and shape of a transform's input and output.

    Attributes:
        source: of the input, such as ``(ir.DataType.UINT8, ["items", 784])``.
        result: of the output.
    """

    source: tuple[ir.DataType, Dims]
    result: tuple[ir.DataType, Dims]


def with_scaling(
    half: onnx.ModelProto, ends: Ends, before: Step | None = None, after: Step | None = None
) -> onnx.ModelProto:
    """A half between two steps of a codec.

    Args:
        half: as `prepared` returns it; its input and output keep their names. It is not changed.
        ends: what the whole takes and returns.
        before: appends nodes that make of the whole's input what the half takes, float32.
        after: the same with the half's output.

    Returns:
        The checked model.
    """
    model = ir.from_proto(half)
    graph = model.graph
    builder = GraphBuilder(graph)
    builder.push_module(SCOPE)
    inner, outer = graph.inputs[0], value(graph.inputs[0].name or "", *ends.source)
    readers = list(inner.uses())
    inner.name = f"{outer.name}/scaled"
    graph.inputs[0] = outer
    scaled = before(builder.op, outer) if before is not None else outer
    for node, index in readers:
        node.replace_input_with(index, scaled)
    last = graph.outputs[0]
    name = last.name
    if after is not None:
        scaled = after(builder.op, last)
        if scaled is not last:
            last.name = f"{name}/unscaled"
            graph.outputs[0] = last = scaled
    last.name, last.type, last.shape = name, ir.TensorType(ends.result[0]), ir.Shape(ends.result[1])
    graph.sort()
    common.NameFixPass()(model)
    result = ir.to_proto(model)
    result.ir_version, result.producer_name = IR_VERSION, "latentwire"
    for node in result.graph.node:
        del node.metadata_props[:]
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result
