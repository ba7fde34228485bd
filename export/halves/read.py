"""An ONNX half from where it lies: a file, with its weights in it or beside it, or a model in memory."""

from __future__ import annotations

from pathlib import Path

import onnx

from latentwire.export.assemble import nested_graphs
from latentwire.export.errors import HalfError
from latentwire.export.graph import duplicate


def read_half(source: onnx.ModelProto | str | Path, role: str) -> onnx.ModelProto:
    """The model itself, all of its weights in it.

    Args:
        source: a file, whose weights may lie in files beside it, or a model in memory; that one is not changed.
        role: "encoder" or "decoder", for messages.

    Raises:
        HalfError: there is no such file, it holds no ONNX model, or its weights are missing.
    """
    model = duplicate(source) if isinstance(source, onnx.ModelProto) else _loaded(Path(source), role)
    outside = [
        tensor.name for graph in nested_graphs(model.graph) for tensor in graph.initializer if is_outside(tensor)
    ]
    if outside:
        raise HalfError(
            role,
            f"expected the {role}'s weights in the model, found {outside[0]!r} and {len(outside) - 1} more in another "
            "file: give the path of its .onnx file, or load it with onnx.load",
        )
    return model


def is_outside(tensor: onnx.TensorProto) -> bool:
    """Whether its values lie in another file."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _loaded(path: Path, role: str) -> onnx.ModelProto:
    if not path.is_file():
        raise HalfError(role, f"expected an ONNX file as the {role}, found none at {path}")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf has a class of its own
        raise HalfError(role, f"expected an ONNX file as the {role}, found something else in {path}") from error
    if not model.graph.node:
        raise HalfError(role, f"expected an ONNX model as the {role}, found no node in {path}")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise HalfError(
            role, f"expected the {role}'s weights beside {path}, where it says that they are: {_first(error)}"
        ) from error
    return model


def _first(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
