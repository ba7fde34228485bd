"""What exporters write beside ONNX's own set and can be said in it: scikit-learn's scaler, TensorFlow's erfc."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

SCALER, ERFC = ("ai.onnx.ml", "Scaler"), ("", "Erfc")
"""The second is no operator of ONNX at all; tf2onnx writes it for Keras's gelu."""


def without_foreign(model: onnx.ModelProto) -> None:
    """Write each ``Scaler`` as (x - offset) * scale, float32 by its definition, and each ``Erfc`` as 1 - erf(x)."""
    nodes = [part for node in model.graph.node for part in (_written(model, node) or [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))  # Sub and Mul are the same since


def _written(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
    kind = (node.domain, node.op_type)
    if kind == ERFC:
        return _erfc(model, node)
    return _scaler(model, node) if kind == SCALER else None


def _erfc(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    stem, (result,) = node.name or node.output[0], node.output
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), np.float32), f"{stem}/one"))
    erf = helper.make_node("Erf", [node.input[0]], [f"{stem}/erf"], f"{stem}/erf")
    return [erf, helper.make_node("Sub", [f"{stem}/one", f"{stem}/erf"], [result], stem)]


def _scaler(model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
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
