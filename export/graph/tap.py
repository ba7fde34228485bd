"""What a pack piece codes, told by the piece itself: for verification and measurements, never in a bundle.

Pack pieces name a few values inside them: what is sent of each stage, where that belongs, and what all of it ideally
costs. The functions here make outputs of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper
from onnx.utils import Extractor

from latentwire.export.graph.builder import duplicate

SENT = "sent/"
"""Prefix of the coded symbols of each stage, int32 or int64 [n]."""
CODED = "coded/"
"""Prefix of the masks of what is coded, bool."""
COST = "ideal_cost"
"""Ideal code length of all symbols in 1/256 bit, int64 []."""


def telling(pack: onnx.ModelProto) -> onnx.ModelProto:
    """The piece with two more outputs, int32: ``symbols`` and, where it has them, ``hyper_symbols``.

    They are what the unpack piece must find, in the same order: [P * C] for vectors, [1, h, w, C] for pictures. Where
    nothing is coded they are 0.
    """
    model = duplicate(pack)
    made = {name for node in model.graph.node for name in node.output}
    grids = [_grid(model.graph, stage) for stage in range(sum(name.startswith(SENT) for name in made))]
    hyper, groups = (grids[:1], grids[1:]) if len(grids) > 1 else ([], grids)
    rank = 4 if hyper else 1
    for name, parts in (("hyper_symbols", hyper), ("symbols", groups)):
        if parts:
            _append(model.graph, "Concat", parts, f"{name}/wide", axis=-1)
            _append(model.graph, "Cast", [f"{name}/wide"], name, to=TensorProto.INT32)
            axes = [f"{name}_{axis}" for axis in range(rank)]
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT32, axes))
    return model


def _grid(graph: onnx.GraphProto, stage: int) -> str:
    """Scatter what is sent of a stage to where it belongs; returns the name."""
    coded, name = f"{CODED}{stage}", f"grid/{stage}"
    values = _append(graph, "Cast", [f"{SENT}{stage}"], f"{name}/values", to=TensorProto.INT64)
    shape = _append(graph, "Shape", [coded], f"{name}/shape")
    zero = helper.make_tensor("value", TensorProto.INT64, [1], [0])
    zeros = _append(graph, "ConstantOfShape", [shape], f"{name}/zeros", value=zero)
    where = _append(graph, "NonZero", [coded], f"{name}/where")
    places = _append(graph, "Transpose", [where], f"{name}/places", perm=[1, 0])
    return _append(graph, "ScatterND", [zeros, places, values], name)


def _append(graph: onnx.GraphProto, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
    """Add a node that is named like its output; returns that."""
    graph.node.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
    return output


def estimating(pack: onnx.ModelProto) -> onnx.ModelProto:
    """The part of the piece in front of the entropy coder, with `COST` as its output."""
    whole = duplicate(pack)
    whole.graph.output.append(helper.make_tensor_value_info(COST, TensorProto.INT64, []))
    return Extractor(whole).extract_model([entry.name for entry in whole.graph.input], [COST])
