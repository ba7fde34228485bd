"""What exporters and tools leave behind: notes in a model, names of axes, lines on the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import onnx

from latentwire.runtime.contract import Axis


def clean(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes (source paths among them); a node's doc string keeps the torch module it came from."""
    for node in model.graph.node:
        scopes = [entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"]
        del node.metadata_props[:]
        node.doc_string = module_scope(scopes[0]) if scopes else ""
    del model.metadata_props[:]
    for entry in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del entry.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""


def module_scope(scopes: str) -> str:
    """The innermost torch module of the exporter's note "['', 'encoder', 'encoder.0', 'linear']": here encoder.0."""
    modules = [part.strip(" '\"") for part in scopes.strip("[]").split(",")][:-1]
    return modules[-1] if modules else ""


def module_of(node: onnx.NodeProto) -> str:
    """The torch module that a node came from ("encoder.residual.0"), or the node's own name."""
    return str(node.doc_string or node.name)


def name_axes(output: onnx.ValueInfoProto, dims: Sequence[Axis]) -> None:
    """Declare an output's dimensions as the family names them."""
    shape = output.type.tensor_type.shape
    del shape.dim[:]
    for dim in dims:
        entry = shape.dim.add()
        if isinstance(dim, str):
            entry.dim_param = dim
        elif isinstance(dim, int):
            entry.dim_value = dim


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and its own deprecation warnings off the user's terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
