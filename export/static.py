"""Static shapes: a transform for one size of input, with no shape arithmetic and no control flow left in it.

What `--size` and `--batch` mean, and what of a codec's pieces they change, is its family's `StaticForm`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx
import onnx_ir as ir
from onnxruntime.tools.onnx_model_utils import is_fixed_size_tensor, make_input_shape_fixed
from onnxscript import optimizer

from latentwire.export.assemble import nested_graphs
from latentwire.export.errors import ExportError
from latentwire.export.graph import IR_VERSION, duplicate
from latentwire.export.verify import Items
from latentwire.runtime.bundle import Identity
from latentwire.runtime.contract import Array
from latentwire.runtime.errors import SettingError

LARGEST_FOLDED = 1 << 14
"""Elements of a constant that may be computed ahead: shapes are, tables and pictures are not."""


@dataclass(frozen=True)
class Shapes:
    """Lengths of the axes that vary.

    Attributes:
        size: height and width of pictures; None leaves them free.
        batch: items a packet, for families whose packets hold several; None leaves them free.
    """

    size: tuple[int, int] | None = None
    batch: int | None = None


class StaticForm(Protocol):
    """What one shape of input means for the codecs of a family."""

    @property
    def option(self) -> str:
        """What names the shape on the command line: `--batch N`."""

    @property
    def blocks(self) -> bool:
        """Whether depthwise convolutions of bytes in its assemblies can be made convolutions of blocks."""

    def fixes(self, shapes: Shapes) -> bool:
        """Whether the shapes say what this family needs."""

    def input_shape(self, shapes: Shapes, identity: Identity) -> tuple[int, ...] | None:
        """The encoder's input with every axis fixed; None where nothing is fixed.

        Raises:
            SettingError: a length that the codec's limits do not allow, or one that it has no axis for.
        """

    def analysis(self, model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
        """The analysis piece for inputs of one shape; the model is not changed.

        Raises:
            ExportError: something dynamic is left.
        """

    def synthesis(self, model: onnx.ModelProto, latents: Sequence[int], shape: Sequence[int]) -> onnx.ModelProto:
        """The synthesis piece for outputs of one shape and latents of another; the model is not changed.

        Raises:
            ExportError: something dynamic is left.
        """

    def inputs(self, items: Items, shape: Sequence[int]) -> list[Array]:
        """Items as inputs, of about that shape, one for each packet."""


def check_limits(shape: tuple[int, ...], identity: Identity) -> None:
    """Nothing, if a codec takes inputs of that shape.

    Raises:
        SettingError: it does not; names the limit.
    """
    size = tuple(shape[axis] for axis in identity.size_axes)
    if not identity.limits.allow(size):
        raise SettingError(
            f"expected lengths within the codec's limits {identity.limits.describe()}, found {list(size)}"
        )


def parse_size(text: str) -> tuple[int, int]:
    """Height and width as the command line writes them: `512x768`.

    Raises:
        SettingError: anything else.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if found is None:
        raise SettingError(f"expected a size as HEIGHTxWIDTH such as 512x768, found {text!r}")
    return int(found[1]), int(found[2])


def fixed(model: onnx.ModelProto, shapes: dict[str, Sequence[int]]) -> onnx.ModelProto:
    """A model whose inputs have those shapes, every tensor's shape inferred and recorded.

    Raises:
        ExportError: a tensor's shape still varies, or a node controls flow; names it.
    """
    result = duplicate(model)
    for name, shape in shapes.items():
        make_input_shape_fixed(result.graph, name, list(shape))
    for output in result.graph.output:
        output.type.tensor_type.ClearField("shape")  # symbolic; inferred again below
    del result.graph.value_info[:]
    folded = ir.from_proto(result)
    optimizer.optimize(folded, onnx_shape_inference=True, output_size_limit=LARGEST_FOLDED)
    result = ir.to_proto(folded)
    del result.graph.value_info[:]
    result = onnx.shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    result.ir_version = IR_VERSION
    check_static(result)
    onnx.checker.check_model(result, full_check=True)
    return result


def check_static(model: onnx.ModelProto) -> None:
    """Nothing, if every tensor has a shape of positive lengths and no node holds a graph of its own.

    Raises:
        ExportError: names what varies.
    """
    graph = model.graph
    if len(list(nested_graphs(graph))) > 1:
        raise ExportError("expected a model without control flow, found a node with a graph of its own")
    entries = {entry.name: entry for entry in (*graph.input, *graph.output, *graph.value_info)}
    made = [name for node in graph.node for name in node.output if name]
    varying = [name for name in (*entries, *made) if name not in entries or not is_fixed_size_tensor(entries[name])]
    if varying:
        raise ExportError(
            f"expected static shapes everywhere, found that of {varying[0]!r} to vary ({len(varying)} in all): "
            "this codec's transform computes shapes from its data and cannot go where static ones are needed"
        )


def part(model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """The nodes that lead from those tensors to these, as a model of their own.

    Raises:
        ExportError: the model has no such tensors.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    entries = {entry.name: entry for entry in (*graph.input, *graph.output, *graph.value_info)}
    missing = [name for name in (*inputs, *outputs) if name not in entries]
    if missing:
        raise ExportError(f"expected a tensor {missing[0]!r} in {graph.name}, found none: export the codec again")
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted & set(node.output) - set(inputs):
            kept.append(node)
            wanted |= {name for name in node.input if name not in inputs}
    result = onnx.helper.make_graph(
        kept[::-1],
        graph.name,
        [entries[name] for name in inputs],
        [entries[name] for name in outputs],
        [entry for entry in graph.initializer if entry.name in wanted],
    )
    return onnx.helper.make_model(result, opset_imports=list(model.opset_import), ir_version=IR_VERSION)
