"""What a model takes and returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx

Axis = int | str | None

FLOATS = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.DOUBLE: "float64"}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model.

    Attributes:
        name: in the model.
        dtype: as NumPy calls it; "sequence" and the like for what is no tensor.
        shape: lengths, names of those that vary, None where nothing is said; None where even their number is open.
    """

    name: str
    dtype: str
    shape: tuple[Axis, ...] | None

    def describe(self) -> str:
        """For messages: "'x': float32 ['N', 784]"."""
        return f"{self.name!r}: {self.dtype} {'of any shape' if self.shape is None else list(self.shape)}"


def inputs_of(model: onnx.ModelProto) -> list[Tensor]:
    """What a model asks for; initializers that old models have among their inputs are none."""
    known = {entry.name for entry in model.graph.initializer}
    return _tensors(entry for entry in model.graph.input if entry.name not in known)


def outputs_of(model: onnx.ModelProto) -> list[Tensor]:
    """What it returns."""
    return _tensors(model.graph.output)


def _tensors(entries: Iterable[onnx.ValueInfoProto]) -> list[Tensor]:
    return [_tensor(entry) for entry in entries]


def _tensor(entry: onnx.ValueInfoProto) -> Tensor:
    kind = entry.type.WhichOneof("value")
    if kind != "tensor_type":
        return Tensor(entry.name, (kind or "nothing").removesuffix("_type"), None)
    dense = entry.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(dense.elem_type)).name if dense.elem_type else "nothing"
    shape = tuple(_axis(dim) for dim in dense.shape.dim) if dense.HasField("shape") else None
    return Tensor(entry.name, dtype, shape)


def _axis(dim: onnx.TensorShapeProto.Dimension) -> Axis:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
