"""A half in half precision between float32 input and output."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.assemble import nested_graphs
from latentwire.export.errors import HalfError
from latentwire.export.graph import duplicate
from latentwire.export.halves.run import Network, examples_for
from latentwire.export.halves.tensors import inputs_of

DTYPES = {"to", "dtype"}
"""Attributes that name a type: of Cast, of EyeLike and the windows."""
LARGEST = float(np.finfo(np.float16).max)


def in_half_precision(half: onnx.ModelProto, role: str) -> onnx.ModelProto:
    """The same with weights and arithmetic in float16.

    Args:
        half: as `prepared` returns it; it is not changed.
        role: for messages.

    Raises:
        HalfError: a weight is too large for float16, or the model cannot be run in it.
    """
    model = duplicate(half)
    graph = model.graph
    for nested in nested_graphs(graph):
        for tensor in nested.initializer:
            _narrow(tensor, role)
        for node in nested.node:
            _narrow_node(node, role)
        for entry in nested.value_info if nested is graph else (*nested.value_info, *nested.input, *nested.output):
            if entry.type.tensor_type.elem_type == TensorProto.FLOAT:
                entry.type.tensor_type.elem_type = TensorProto.FLOAT16
    _keep_demands(graph)
    _with_casts(graph)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker and shape inference have classes of their own
        raise HalfError(role, f"the {role} cannot be in half precision: {error}; export without fp16") from error
    found = Network(model, role)(examples_for(inputs_of(model)[0], 2))
    if not np.isfinite(found).all():
        raise HalfError(role, f"the {role} overflows in half precision: export without fp16")
    return model


def _narrow(tensor: TensorProto, role: str) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    finite = values[np.isfinite(values)]
    if np.abs(finite).max(initial=0) > LARGEST:
        raise HalfError(
            role,
            f"the {role}'s {tensor.name!r} holds values beyond those of float16, {LARGEST:g}: export without fp16",
        )
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _narrow_node(node: onnx.NodeProto, role: str) -> None:
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.TENSOR:
            _narrow(entry.t, role)
        elif entry.name in DTYPES and entry.i == TensorProto.FLOAT:
            entry.i = TensorProto.FLOAT16
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16))))


def _keep_demands(graph: onnx.GraphProto) -> None:
    """Inputs that ONNX wants in float32 whatever the others are, such as the scales of Resize, get a cast."""
    for nested in nested_graphs(graph):
        nodes = list(nested.node)
        del nested.node[:]
        for node in nodes:
            for at in _demands(node):
                name = f"{node.output[0]}/{node.input[at]}/float32"
                nested.node.append(helper.make_node("Cast", [node.input[at]], [name], name, to=TensorProto.FLOAT))
                node.input[at] = name
            nested.node.append(node)


def _demands(node: onnx.NodeProto) -> list[int]:
    schema = onnx.defs.get_schema(node.op_type, onnx.defs.onnx_opset_version(), "")
    return [
        at
        for at, (name, formal) in enumerate(zip(node.input, schema.inputs, strict=False))
        if name and formal.type_str == "tensor(float)"
    ]


def _with_casts(graph: onnx.GraphProto) -> None:
    source, result = graph.input[0].name, graph.output[0].name
    inside, outside = f"{source}/float16", f"{result}/float16"
    for node in (node for nested in nested_graphs(graph) for node in nested.node):
        node.input[:] = [{source: inside, result: outside}.get(name, name) for name in node.input]
        node.output[:] = [outside if name == result else name for name in node.output]
    graph.node.insert(0, helper.make_node("Cast", [source], [inside], inside, to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", [outside], [result], result, to=TensorProto.FLOAT))
