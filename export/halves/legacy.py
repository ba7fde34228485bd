"""Operators that scikit-learn's exporter uses and ONNX's own set can say as well."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

SCALER = ("ai.onnx.ml", "Scaler")


def without_foreign(model: onnx.ModelProto) -> None:
    """Write each ``Scaler`` as the subtraction and the product that it is, (x - offset) * scale.

    Its result is float32 whatever it is given, by its definition in ONNX.
    """
    nodes = [part for node in model.graph.node for part in (_written(model, node) or [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))  # Sub and Mul are the same since


def _written(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    if (node.domain, node.op_type) != SCALER:
        return None
    numbers = {entry.name: np.asarray(entry.floats, np.float32) for entry in node.attribute}
    stem, (result,) = node.name or node.output[0], node.output
    for name in ("offset", "scale"):
        model.graph.initializer.append(numpy_helper.from_array(numbers[name], f"{stem}/{name}"))
    floats, centred = f"{stem}/float", f"{stem}/centred"
    return [
        helper.make_node("Cast", [node.input[0]], [floats], floats, to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", [floats, f"{stem}/offset"], [centred], centred),
        helper.make_node("Mul", [centred, f"{stem}/scale"], [result], stem),
    ]
