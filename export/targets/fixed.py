"""Static shapes: a transform for one size of input, with no shape arithmetic and no control flow left in it.

What stands before and behind the network of a picture codec (padding, choice between grey and colour) is replaced by
what one size needs: nothing at all where both sides are multiples of 64.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnxruntime.tools.onnx_model_utils import is_fixed_size_tensor, make_input_shape_fixed
from onnxscript import optimizer

from latentwire.export.assemble import join, nested_graphs
from latentwire.export.errors import ExportError
from latentwire.export.graph.builder import FLOAT, IR_VERSION, UINT8, Op, Value, build_model, duplicate, value, vector
from latentwire.export.image.tables import HYPER_PATCH

PICTURE = "picture"
"""The tensor between the network and what stands before or behind it."""
LARGEST_FOLDED = 1 << 14
"""Elements of a constant that may be computed ahead: shapes are, tables and pictures are not."""


def fixed_analysis(model: onnx.ModelProto, shape: Sequence[int], picture: bool) -> onnx.ModelProto:
    """The analysis piece for inputs of one shape.

    Args:
        model: the piece; it is not changed.
        shape: of its input.
        picture: whether the codec's family is of pictures uint8 [H, W, 3].

    Raises:
        ExportError: something dynamic is left.
    """
    if picture:
        network = part(model, [PICTURE, "quality"], ["latents"])
        model = join(build_static_prepare(*shape[:2]), network, ["input", "quality"], ["latents"])
    return fixed(model, {"input": shape})


def fixed_synthesis(
    model: onnx.ModelProto, latents: Sequence[int], shape: Sequence[int], picture: bool
) -> onnx.ModelProto:
    """The synthesis piece for outputs of one shape; that of a picture codec needs no ``size`` any more.

    Args:
        model: the piece; it is not changed.
        latents: shape of its latents.
        shape: of its output.
        picture: whether the codec's family is of pictures uint8 [H, W, 3].

    Raises:
        ExportError: something dynamic is left.
    """
    if picture:
        network = part(model, ["latents", "quality"], [PICTURE])
        model = join(network, build_static_finish(*shape[:2]), ["latents", "quality"], ["output"])
    return fixed(model, {"latents": latents} | ({"quality": [1]} if picture else {}))


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


def build_static_prepare(height: int, width: int) -> onnx.ModelProto:
    """Input uint8 [H, W, 3] -> picture uint8 [H', W', 3], its edges repeated to multiples of 64."""
    padded = [blocks(height), blocks(width), 3]

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        missing = [padded[0] - height, padded[1] - width]
        return [op.Pad(picture, vector(op, [0, 0, 0, *missing, 0]), mode="edge") if any(missing) else picture]

    inputs, outputs = [value("input", UINT8, [height, width, 3])], [value(PICTURE, UINT8, padded)]
    return build_model(trace, inputs, outputs, "prepare")


def build_static_finish(height: int, width: int) -> onnx.ModelProto:
    """Picture float32 [1, H', W', 3] in 0..255 -> output uint8 [H, W, 3]."""
    padded = [1, blocks(height), blocks(width), 3]

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        cut = op.Slice(picture, [0, 0], [height, width], [1, 2]) if padded != [1, height, width, 3] else picture
        return [op.Cast(op.Round(op.Squeeze(cut, [0])), to=UINT8)]

    inputs, outputs = [value(PICTURE, FLOAT, padded)], [value("output", UINT8, [height, width, 3])]
    return build_model(trace, inputs, outputs, "finish")


def blocks(length: int) -> int:
    """The next multiple of 64."""
    return -(-length // HYPER_PATCH) * HYPER_PATCH
