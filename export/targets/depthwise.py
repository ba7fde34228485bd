"""Depthwise convolutions of bytes for WebAssembly, as convolutions of blocks: the same sums, so the same bytes.

ONNX Runtime's WebAssembly multiplies matrices of bytes with SIMD, but convolves bytes depthwise one by one: in photo's
int8 encoder 1/40 of the products took more than a quarter of the time. So 4x4 positions of a channel become 16 channels
of one: a 5x5 kernel then is a convolution of 2x2 blocks with 16 inputs and 16 outputs a group, which is a product of
matrices. Most of its weights are zeros, 64 products a value in place of 25, and it takes a third of the time. On
processors that ONNX Runtime convolves bytes with SIMD for, it takes longer: it is for browsers only.

It works on QDQ: ONNX Runtime fuses what comes out as it fuses what went in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from latentwire.export.assemble import drop_unused, nested_graphs, with_prefix
from latentwire.export.errors import ExportError
from latentwire.export.graph import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    UINT8,
    Op,
    Value,
    build_model,
    duplicate,
    table,
    value,
    vector,
)
from latentwire.runtime.contract import Array

BLOCK = 4
"""Side of a block."""
PLACES = BLOCK * BLOCK
KERNEL = 5
"""Side of the kernels: the largest whose window around a block fits into 2x2 blocks; smaller ones would not gain."""
REACH = KERNEL // 2

Quantized = tuple[Array, Array, Array]
"""What a DequantizeLinear reads: whole numbers, their scale, their zero point."""


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution 5x5 of bytes [1, C, H, W] to bytes of the same shape.

    Attributes:
        node: the convolution.
        quantizer: the node that makes bytes of its output.
        source: name of the bytes that it reads.
        before: their scale and zero point.
        after: scale and zero point of the bytes that it makes.
        weight: int8 [C, 1, 5, 5] and what belongs to it.
        bias: int32 [C] and what belongs to it.
    """

    node: onnx.NodeProto
    quantizer: onnx.NodeProto
    source: str
    before: tuple[Array, Array]
    after: tuple[Array, Array]
    weight: Quantized
    bias: Quantized

    @property
    def result(self) -> str:
        """Name of the bytes that are made."""
        return str(self.quantizer.output[0])

    @property
    def channels(self) -> int:
        """C."""
        return len(self.weight[0])


def in_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its depthwise convolutions 5x5 of bytes as convolutions of blocks, or a copy if it has none.

    Args:
        model: in QDQ form, of one picture at a time; it is not changed.

    Raises:
        ExportError: such a convolution is not of the form that our quantizer writes.
    """
    result = duplicate(model)
    graph = result.graph
    found = Finder(graph).all()
    replaced = {id(entry.node): entry for entry in found}
    gone = {id(entry.quantizer) for entry in found}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if id(node) in replaced:
            entry = replaced[id(node)]
            part = with_prefix(build_blocks(entry), entry.result, {entry.source, entry.result})
            nodes += part.node
            graph.initializer.extend(part.initializer)
        elif id(node) not in gone:
            nodes.append(node)
    replace(graph, nodes)
    drop_unread(graph)
    drop_unused(result)
    onnx.checker.check_model(result, full_check=True)
    return result


class Finder:
    """Looks for depthwise convolutions in a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = graph.node
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.constants = {entry.name: entry for entry in graph.initializer}

    def all(self) -> list[Depthwise]:
        """Those of bytes that are 5x5 and keep the size."""
        found = [self.read(node) for node in self.nodes if is_candidate(node) and self.is_quantized(node)]
        return [entry for entry in found if entry.weight[0].shape[1] == 1 and entry.before[1].dtype == np.uint8]

    def is_quantized(self, node: onnx.NodeProto) -> bool:
        """Whether a node stands between a DequantizeLinear and a QuantizeLinear."""
        around = self.makers.get(node.input[0]), *self.readers[node.output[0]]
        return [entry and entry.op_type for entry in around] == ["DequantizeLinear", "QuantizeLinear"]

    def read(self, node: onnx.NodeProto) -> Depthwise:
        """A convolution's numbers.

        Raises:
            ExportError: some are no constants, or not of the form that our quantizer writes.
        """
        before, (after,) = self.makers[node.input[0]], self.readers[node.output[0]]
        operands = [self.numbers(self.makers[name]) for name in node.input[1:] if name in self.makers]
        if [len(operand) for operand in operands] != [3, 3] or operands[0][2].any():
            raise ExportError(f"expected weights around 0 and a bias, quantized, of {node.name}, found others")
        (scale, zero), (scale_after, zero_after) = self.numbers(before)[-2:], self.numbers(after)[-2:]
        weight, bias = ((array, scale, zero) for array, scale, zero in operands)
        return Depthwise(node, after, before.input[0], (scale, zero), (scale_after, zero_after), weight, bias)

    def numbers(self, node: onnx.NodeProto) -> list[Array]:
        """The constants that a node reads."""
        return [onnx.numpy_helper.to_array(self.constants[name]) for name in node.input if name in self.constants]


def is_candidate(node: onnx.NodeProto) -> bool:
    """Whether it is a convolution in groups, 5x5, one output for each position."""
    have = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    shape = [have.get("kernel_shape"), have.get("pads"), have.get("strides", [1, 1]), have.get("dilations", [1, 1])]
    return node.op_type == "Conv" and have.get("group", 1) > 1 and shape == [[KERNEL] * 2, [REACH] * 4, [1, 1], [1, 1]]


def build_blocks(found: Depthwise) -> onnx.ModelProto:
    """The convolution of blocks that takes its place, from bytes to bytes."""
    channels = found.channels

    def trace(op: Op, picture: Value) -> Sequence[Value]:
        scale, zero = constants(op, found.before, "before")
        size = op.Shape(picture, start=2, end=4)
        blocks = op.Div(op.Add(size, BLOCK - 1), BLOCK)
        missing = op.Add(op.Sub(op.Mul(blocks, BLOCK), size), REACH)
        pads = op.Concat(vector(op, [0, REACH, REACH, 0, 0]), missing, vector(op, [0]), axis=0)
        padded = op.Pad(op.Transpose(picture, perm=CHANNELS_LAST), pads, zero)
        gathered = op.Transpose(gather(op, padded, op.Add(blocks, 1), channels), perm=CHANNELS_FIRST)
        sums = op.Conv(
            op.DequantizeLinear(gathered, scale, zero),
            op.DequantizeLinear(*constants(op, spread(found.weight), "weight"), axis=0),
            op.DequantizeLinear(*constants(op, [repeated(array) for array in found.bias], "bias"), axis=0),
            group=channels,
            kernel_shape=[2, 2],
        )
        convolved = op.QuantizeLinear(sums, *constants(op, found.after, "after"))
        whole = scatter(op, op.Transpose(convolved, perm=CHANNELS_LAST), blocks, channels)
        return [op.Transpose(op.Slice(whole, [0, 0], size, [1, 2]), perm=CHANNELS_FIRST)]

    shape: list[int | str] = [1, channels, "height", "width"]
    inputs, outputs = [value(found.source, UINT8, shape)], [value(found.result, UINT8, shape)]
    return build_model(trace, inputs, outputs, "blocks")


def constants(op: Op, arrays: Sequence[Array], name: str) -> list[Value]:
    """Named constants."""
    return [table(op, array, f"{name}.{part}") for part, array in enumerate(arrays)]


def gather(op: Op, picture: Value, blocks: Value, channels: int) -> Value:
    """[1, 4 h, 4 w, C] to [1, h, w, 16 C], the places of a channel side by side; ``blocks`` is (h, w), int64 [2].

    In two steps, of which the first moves long runs: ONNX Runtime does both quicker than one of single bytes.
    """
    lines = op.Reshape(picture, lengths(op, row(op, blocks), [BLOCK], column(op, blocks), [BLOCK, channels]))
    cut = op.Reshape(op.Transpose(lines, perm=[0, 2, 1, 3, 4]), [0, 0, PLACES, channels])
    return op.Reshape(op.Transpose(cut, perm=[0, 1, 3, 2]), lengths(op, [1], blocks, [PLACES * channels]))  # type: ignore[no-any-return]


def scatter(op: Op, picture: Value, blocks: Value, channels: int) -> Value:
    """The inverse of `gather`: [1, h, w, 16 C] to [1, 4 h, 4 w, C]."""
    cut = op.Transpose(op.Reshape(picture, lengths(op, blocks, [channels, PLACES])), perm=[0, 1, 3, 2])
    lines = op.Transpose(op.Reshape(cut, [0, 0, BLOCK, BLOCK, channels]), perm=[0, 2, 1, 3, 4])
    return op.Reshape(lines, lengths(op, [1], op.Mul(blocks, BLOCK), [channels]))  # type: ignore[no-any-return]


def lengths(op: Op, *parts: Value | list[int]) -> Value:
    """A shape of parts that are known, and of int64 vectors."""
    return op.Concat(*(vector(op, part) if isinstance(part, list) else part for part in parts), axis=0)  # type: ignore[no-any-return]


def row(op: Op, pair: Value) -> Value:
    """The first of two numbers, int64 [1]."""
    return op.Slice(pair, [0], [1])  # type: ignore[no-any-return]


def column(op: Op, pair: Value) -> Value:
    """The second of two numbers, int64 [1]."""
    return op.Slice(pair, [1], [2])  # type: ignore[no-any-return]


def spread(weight: Quantized) -> list[Array]:
    """Weights [C, 1, 5, 5] as those of 2x2 blocks, [16 C, 16, 2, 2], and what belongs to them."""
    kernels, scale, zero = weight
    windows = np.zeros((len(kernels), BLOCK, BLOCK, 2 * BLOCK, 2 * BLOCK), kernels.dtype)
    for y, x in np.ndindex(BLOCK, BLOCK):
        windows[:, y, x, y : y + KERNEL, x : x + KERNEL] = kernels[:, 0]
    split = windows.reshape(-1, 2, BLOCK, 2, BLOCK).transpose(0, 2, 4, 1, 3)
    return [split.reshape(-1, PLACES, 2, 2), repeated(scale), repeated(zero)]


def repeated(array: Array) -> Array:
    """Numbers [C] of channels, for each place: [16 C]."""
    return np.repeat(array, PLACES)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove DequantizeLinear nodes that nothing reads any more."""
    read = {name for nested in nested_graphs(graph) for node in nested.node for name in node.input}
    replace(graph, [node for node in graph.node if node.op_type != "DequantizeLinear" or node.output[0] in read])


def replace(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Let the graph hold these nodes, some of which it holds."""
    kept = [*nodes]
    del graph.node[:]
    graph.node.extend(kept)
