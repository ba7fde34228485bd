"""Halves that are ONNX files or models. Torch is not needed for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.adopt.arrange import Arrangement
from latentwire.export.adopt.half import Choice, Role
from latentwire.export.errors import HalfError
from latentwire.export.measure import session
from latentwire.runtime.contract import Array


class OnnxHalf:
    """An ONNX model of one input, float32 [N, ...]."""

    def __init__(self, role: Role, model: onnx.ModelProto) -> None:
        self.role, self.model = role, model
        self.input = one_input(model, role)
        try:
            self.session = session(model)
        except Exception as error:  # ONNX Runtime has a class of its own for each status
            raise HalfError(role, f"ONNX Runtime cannot load the {role}: {first_line(error)}") from error

    def outputs(self, values: Array, seed: int = 0) -> Any:
        """One array, or arrays by name where the model has several outputs; see `Half`."""
        del seed  # a graph's random nodes draw from ONNX Runtime's own
        names = [output.name for output in self.session.get_outputs()]
        try:
            results: Sequence[Any] = self.session.run(None, {self.input.name: np.ascontiguousarray(values)})
        except Exception as error:  # ONNX Runtime has a class of its own for each status
            raise HalfError(
                self.role,
                f"the {self.role} takes {self.input.name!r} {axes_text(self.input)}, found {list(values.shape)}: "
                f"{first_line(error)}{self._advice(values)}",
            ) from error
        return results[0] if len(names) == 1 else dict(zip(names, results, strict=True))

    def _advice(self, values: Array) -> str:
        first = self.input.type.tensor_type.shape.dim[:1]
        if first and first[0].dim_value and first[0].dim_value != len(values):
            return "; export it again with a first axis of any length"
        return ""

    def taking(self, choice: Choice) -> onnx.ModelProto:
        """The model with one output; see `Half`."""
        if choice.is_plain:
            return self.model
        model = _copy(self.model)
        name = self._name(choice)
        kept = onnx.ValueInfoProto()
        kept.CopyFrom(next(output for output in model.graph.output if output.name == name))
        if choice.shape is not None:
            shaped = f"{name}_as_items"
            model.graph.node.append(_reshape(model, name, shaped, choice.shape))
            kept.CopyFrom(helper.make_tensor_value_info(shaped, TensorProto.FLOAT, [None, *choice.shape]))
        del model.graph.output[:]
        model.graph.output.append(kept)
        return model

    def remade(self, made: onnx.ModelProto) -> OnnxHalf:
        """See `Half`."""
        return OnnxHalf(self.role, made)

    def arranged(self, arrangement: Arrangement, shape: tuple[int, ...]) -> onnx.ModelProto:
        """See `Half`."""
        model, name = _copy(self.model), self.input.name
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
        outputs = [output.name for output in self.model.graph.output]
        if choice.choose is not None:
            raise HalfError(self.role, f"latent= of an ONNX model is the name of an output: {', '.join(outputs)}")
        return str(choice.path[0]) if choice.path else outputs[0]


def load(part: onnx.ModelProto | str | Path, role: Role) -> onnx.ModelProto:
    """A model from a file or as it is.

    Raises:
        HalfError: there is no such file, or it is no ONNX model.
    """
    if isinstance(part, onnx.ModelProto):
        return part
    try:
        model = onnx.load(part)
    except FileNotFoundError as error:
        raise HalfError(role, f"{part}: expected the {role} as an ONNX file, found nothing") from error
    except Exception as error:  # protobuf's DecodeError, a missing file of external data
        raise HalfError(role, f"{part}: expected the {role} as an ONNX file, found {first_line(error)}") from error
    if not model.graph.node:
        raise HalfError(role, f"{part}: expected the {role} as an ONNX file, found one without any operator")
    return model


def one_input(model: onnx.ModelProto, role: Role) -> onnx.ValueInfoProto:
    """The model's only input, float32.

    Raises:
        HalfError: there are several, or it is of another dtype.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(f"{value.name!r} {axes_text(value)}" for value in inputs) or "none"
        raise HalfError(role, f"expected the {role} to have one input, found {names}; export it with the others fixed")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        found = TensorProto.DataType.Name(kind).lower()
        raise HalfError(role, f"expected the {role} to take float32, found {found} as {inputs[0].name!r}")
    return inputs[0]


def axes_text(value: onnx.ValueInfoProto) -> str:
    """A declared shape as text: [batch, 784]."""
    dims = value.type.tensor_type.shape.dim
    return f"[{', '.join(str(dim.dim_value) if dim.dim_value else dim.dim_param or '?' for dim in dims)}]"


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def _reshape(model: onnx.ModelProto, source: str, name: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    """A node that makes [N, ...] of a tensor; its constant goes into the model."""
    target = numpy_helper.from_array(np.array([-1, *shape], np.int64), f"{name}_shape")
    model.graph.initializer.append(target)
    return helper.make_node("Reshape", [source, target.name], [name])


def first_line(error: Exception) -> str:
    """The first line of what another library says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
