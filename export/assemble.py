"""Join pieces into the two assemblies: encoder = analysis + pack, decoder = unpack + synthesis.

``onnx.compose`` is not used: it does not rename what the body of a Scan reads from the graph around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentwire.export.graph import IR_VERSION, duplicate


def with_size(analysis: onnx.ModelProto, size_axes: Sequence[int]) -> onnx.ModelProto:
    """The analysis piece with a second output ``size`` int64 [d]: the lengths of the input's varying axes."""
    model = duplicate(analysis)
    axes = numpy_helper.from_array(np.asarray(size_axes, np.int64), "size_axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node("Shape", ["input"], ["input_shape"], "input_shape"))
    model.graph.node.append(helper.make_node("Gather", ["input_shape", "size_axes"], ["size"], "size"))
    model.graph.output.append(helper.make_tensor_value_info("size", TensorProto.INT64, [len(size_axes)]))
    return model


def assemble_encoder(analysis: onnx.ModelProto, pack: onnx.ModelProto, size_axes: Sequence[int]) -> onnx.ModelProto:
    """input, quality -> packet."""
    return join(with_size(analysis, size_axes), pack, ["input", "quality"], ["packet"])


def assemble_decoder(unpack: onnx.ModelProto, synthesis: onnx.ModelProto) -> onnx.ModelProto:
    """Packet -> output, status."""
    return join(unpack, synthesis, ["packet"], ["output", "status"])


def join(
    first: onnx.ModelProto, second: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Feed outputs of ``first`` to the inputs of ``second`` that have the same name.

    Args:
        first: the earlier piece.
        second: the later piece, of the same opset.
        inputs: names of the assembly's inputs, in order; each is an input of one of the pieces.
        outputs: names of the assembly's outputs, in order.
    """
    links = {entry.name for entry in first.graph.output} & {entry.name for entry in second.graph.input}
    shared = {*links, *inputs, *outputs}
    earlier, later = (with_prefix(piece, role, shared) for piece, role in ((first, "first"), (second, "second")))
    entries = {e.name: e for graph in (earlier, later) for e in (*graph.input, *graph.output)}
    graph = helper.make_graph(
        [*earlier.node, *later.node],
        f"{earlier.name}+{later.name}",
        [entries[name] for name in inputs],
        [entries[name] for name in outputs],
        [*earlier.initializer, *later.initializer],
    )
    model = helper.make_model(
        graph, opset_imports=list(first.opset_import), ir_version=IR_VERSION, producer_name="latentwire"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def with_prefix(piece: onnx.ModelProto, prefix: str, keep: set[str]) -> onnx.GraphProto:
    """A copy of the piece's graph in which every tensor and node but those in ``keep`` is named ``prefix/...``."""
    graph = duplicate(piece).graph
    for nested in nested_graphs(graph):
        for node in nested.node:
            node.name = node.name and f"{prefix}/{node.name}"  # none stays none: two of one name are no model
            node.input[:] = [name if not name or name in keep else f"{prefix}/{name}" for name in node.input]
            node.output[:] = [name if not name or name in keep else f"{prefix}/{name}" for name in node.output]
        for entry in (*nested.input, *nested.output, *nested.value_info, *nested.initializer):
            entry.name = entry.name if entry.name in keep else f"{prefix}/{entry.name}"
    return graph


def nested_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and the bodies of its control-flow nodes, however deep."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nested_graphs(attribute.g)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove initializers that no node reads: exporters leave some, and ONNX Runtime warns of each that it loads."""
    graphs = list(nested_graphs(model.graph))
    read = {name for graph in graphs for node in graph.node for name in node.input}
    read |= {entry.name for graph in graphs for entry in graph.output}
    for graph in graphs:
        kept = [entry for entry in graph.initializer if entry.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
