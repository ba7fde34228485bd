"""Halves that are ONNX files or models. Torch is not needed for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.adopt.arrange import Arrangement
from latentwire.export.adopt.half import Choice, Role
from latentwire.export.errors import HalfError
from latentwire.export.halves import Network, prepared_outputs, read_half
from latentwire.runtime.contract import Array


class OnnxHalf:
    """An ONNX model of one input, prepared for any number of items, one by one for each of its outputs.

    Args:
        role: which half it is.
        models: float32 [N, ...] -> float32 [N, ...], by the name of the output.
    """

    def __init__(self, role: Role, models: Mapping[str, onnx.ModelProto]) -> None:
        self.role, self.models = role, dict(models)
        self.networks = {name: Network(model, role) for name, model in self.models.items()}

    @property
    def model(self) -> onnx.ModelProto:
        """Of the first output."""
        return next(iter(self.models.values()))

    def outputs(self, values: Array, seed: int = 0) -> Any:
        """One array, or arrays by name where the model has several outputs; see `Half`."""
        del seed  # what draws at random is refused when it is prepared
        results = {name: network(np.ascontiguousarray(values)) for name, network in self.networks.items()}
        return results if len(results) > 1 else next(iter(results.values()))

    def taking(self, choice: Choice) -> onnx.ModelProto:
        """The model with one output; see `Half`."""
        model = _copy(self.models[self._name(choice)])
        if choice.shape is not None:
            (kept,) = model.graph.output
            name, kept.name = kept.name, f"{kept.name}_as_items"
            model.graph.node.append(_reshape(model, name, kept.name, choice.shape))
            kept.CopyFrom(helper.make_tensor_value_info(kept.name, TensorProto.FLOAT, [None, *choice.shape]))
        return model

    def remade(self, made: onnx.ModelProto) -> OnnxHalf:
        """See `Half`."""
        return OnnxHalf(self.role, {made.graph.output[0].name: made})

    def arranged(self, arrangement: Arrangement, shape: tuple[int, ...]) -> onnx.ModelProto:
        """See `Half`."""
        model, name = _copy(self.model), self.model.graph.input[0].name
        moved, shaped = f"{name}_moved", f"{name}_arranged"
        for node in model.graph.node:
            node.input[:] = [shaped if used == name else used for used in node.input]
        nodes = [_reshape(model, moved if arrangement.order else name, shaped, arrangement.shape)]
        if arrangement.order:
            nodes.insert(0, helper.make_node("Transpose", [name], [moved], perm=arrangement.order))
        for at, node in enumerate(nodes):
            model.graph.node.insert(at, node)
        entry = next(value for value in model.graph.input if value.name == name)
        entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape]))
        return model

    def restored(self, arrangement: Arrangement, shape: tuple[int, ...]) -> onnx.ModelProto:
        """See `Half`."""
        model = _copy(self.model)
        source = model.graph.output[0].name
        name = f"{source}_restored"
        if arrangement.order:
            model.graph.node.append(helper.make_node("Transpose", [source], [name], perm=arrangement.inverse))
        else:
            model.graph.node.append(_reshape(model, source, name, shape))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape]))
        return model

    def _name(self, choice: Choice) -> str:
        if choice.choose is not None:
            raise HalfError(self.role, f"latent= of an ONNX model is the name of an output: {', '.join(self.models)}")
        names = list(self.models)
        step = choice.path[0] if choice.path else 0
        return names[step] if isinstance(step, int) else step


def load(part: onnx.ModelProto | str | Path, role: Role) -> OnnxHalf:
    """A half from a file or a model.

    Raises:
        HalfError: there is no such file, it is no ONNX model, or none that a codec can be made of.
    """
    return OnnxHalf(role, prepared_outputs(read_half(part, role), role))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def _reshape(model: onnx.ModelProto, source: str, name: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    """A node that makes [N, ...] of a tensor; its constant goes into the model."""
    target = numpy_helper.from_array(np.array([-1, *shape], np.int64), f"{name}_shape")
    model.graph.initializer.append(target)
    return helper.make_node("Reshape", [source, target.name], [name])
