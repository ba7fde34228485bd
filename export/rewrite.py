"""Transposed convolutions as convolutions: ONNX Runtime has integer kernels for the one, and none for the other.

A transposed convolution of stride s writes s values between each two inputs, and each of these s phases is a plain
convolution of its own. So one convolution makes the phases as channels, s^d times as many, and they are put side by
side: by DepthToSpace for squares, by Reshape and Transpose otherwise. The phases are counted from a place that makes
their kernels smallest; what then lies outside of the result is cut off. The sums are the same, up to their order.

An activation that follows is moved in front of the rearrangement, so that it follows the convolution.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from latentwire.export.graph import duplicate
from latentwire.runtime.contract import Array

ELEMENTWISE = frozenset(
    ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Softplus")
    + ("Softsign", "Tanh", "ThresholdedRelu")
)
"""Operators of one input that treat each value alike, wherever it stands."""


@dataclass(frozen=True)
class Axis:
    """How one spatial axis of a transposed convolution is made of phases.

    Output o = stride * q + r - cut gathers inputs q + first .. q + last; r is the phase.
    """

    stride: int
    kernel: int
    begin: int
    """Padding that the transposed convolution has at the beginning."""
    cut: int
    """Values in front of the result that are computed and cut off, less than the stride."""
    surplus: int
    """How many values longer the result is than stride * input."""

    @property
    def first(self) -> int:
        """Offset of the first input that any phase reads."""
        return -((self.kernel - 1 + self.cut - self.begin) // self.stride)

    @property
    def last(self) -> int:
        """Offset of the last."""
        return (self.stride - 1 + self.begin - self.cut) // self.stride

    @property
    def taps(self) -> int:
        """Length of the convolution's kernel."""
        return self.last - self.first + 1

    @property
    def more(self) -> int:
        """How many positions the convolution has more than inputs."""
        return -(-(self.surplus + self.cut) // self.stride)

    @property
    def pads(self) -> tuple[int, int]:
        """Padding of the convolution at both ends; negative if it would have to leave inputs out."""
        return -self.first, self.more + self.last

    @property
    def tail(self) -> int:
        """Values behind the result that are cut off."""
        return self.more * self.stride - self.surplus - self.cut

    def source(self, phase: int, tap: int) -> int | None:
        """Which weight of the transposed convolution a phase's tap is, if any."""
        at = phase - self.cut + self.begin - self.stride * (self.first + tap)
        return at if 0 <= at < self.kernel else None


def smallest(stride: int, kernel: int, begin: int, surplus: int) -> Axis | None:
    """The phases with the smallest kernel, of those the one that cuts least; None if none needs padding of 0 or more."""
    axes = [Axis(stride, kernel, begin, cut, surplus) for cut in range(stride)]
    fitting = [axis for axis in axes if min(axis.pads) >= 0 and axis.taps >= 1]
    return min(fitting, key=lambda axis: (axis.taps, axis.cut + axis.tail, axis.cut), default=None)


def untransposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose transposed convolutions are convolutions, as far as their weights and padding are known.

    Those of dilation other than 1, or whose size is asked for by ``output_shape``, stay as they are.
    """
    result = duplicate(model)
    graph = result.graph
    weights = {entry.name: entry for entry in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    pending = list(graph.node)
    readers = readers_of(graph)
    while pending:
        node = pending.pop(0)
        axes = axes_of(node, weights) if node.op_type == "ConvTranspose" else None
        if axes is None:
            nodes.append(node)
            continue
        followers = activations(node, readers, weights)
        nodes += replacement(graph, node, axes, numpy_helper.to_array(weights[node.input[1]]), followers, weights)
        pending = [other for other in pending if all(other is not gone for gone in followers)]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto | None]]:
    """Who reads each value; None stands for the graph's output."""
    readers: dict[str, list[onnx.NodeProto | None]] = {entry.name: [None] for entry in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def activations(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto | None]], constants: Container[str]
) -> list[onnx.NodeProto]:
    """The elementwise nodes behind a node, one after the other, that nothing stands beside."""
    found: list[onnx.NodeProto] = []
    last = node
    while True:
        following = readers.get(last.output[0], [])
        if len(following) != 1 or following[0] is None or not is_elementwise(following[0], last.output[0], constants):
            return found
        last = following[0]
        found.append(last)


def is_elementwise(node: onnx.NodeProto, value: str, constants: Container[str]) -> bool:
    """Whether a node treats each element of ``value`` alike."""
    if node.op_type == "Clip":
        return node.input[0] == value and all(not name or name in constants for name in node.input[1:])
    return node.op_type in ELEMENTWISE


def axes_of(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> list[Axis] | None:
    """How each spatial axis is made of phases; None where that is not known, or of no use."""
    have: dict[str, Any] = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if any(name and name not in weights for name in node.input[1:]) or "output_shape" in have:
        return None
    kernel = list(weights[node.input[1]].dims[2:])
    rank = len(kernel)
    strides, extra = have.get("strides", [1] * rank), have.get("output_padding", [0] * rank)
    if any(step != 1 for step in have.get("dilations", [1] * rank)):
        return None
    pads = margins(have, kernel, strides, extra)
    axes = []
    for at in range(rank):
        begin, end = pads[at], pads[rank + at]
        axis = smallest(strides[at], kernel[at], begin, kernel[at] - strides[at] - begin - end + extra[at])
        if axis is None:
            return None
        axes.append(axis)
    return axes


def margins(have: dict[str, Any], kernel: Sequence[int], strides: Sequence[int], extra: Sequence[int]) -> list[int]:
    """Padding at the beginning of each axis, then at the end, with ``auto_pad`` worked out."""
    rank, auto = len(kernel), have.get("auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", ""):
        return list(have.get("pads", [0] * 2 * rank))
    if auto == "VALID":
        return [0] * 2 * rank
    # The result is stride * input long. ONNX: the larger half is at the end for SAME_UPPER, at the beginning otherwise.
    totals = [max(0, size - step + more) for size, step, more in zip(kernel, strides, extra, strict=True)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if auto == "SAME_UPPER" else large + small


def replacement(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    axes: Sequence[Axis],
    weight: Array,
    followers: Sequence[onnx.NodeProto],
    weights: dict[str, onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """The nodes that take the place of a transposed convolution and of the activations behind it."""
    have: dict[str, Any] = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    groups, outputs = have.get("group", 1), weight.shape[1] * have.get("group", 1)
    phases = int(np.prod([axis.stride for axis in axes]))
    made = Maker(graph, node)
    names = [node.input[0], made.constant("weight", phase_weights(weight, axes, groups))]
    if len(node.input) > 2 and node.input[2]:
        names.append(made.constant("bias", np.repeat(numpy_helper.to_array(weights[node.input[2]]), phases)))
    last = (followers[-1] if followers else node).output[0]
    pads = [axis.pads[0] for axis in axes] + [axis.pads[1] for axis in axes]
    value = made.node("Conv", names, name=node.name, group=groups, kernel_shape=[a.taps for a in axes], pads=pads)
    for follower in followers:
        value = made.like(follower, value)
    value = rearranged(made, value, axes, outputs)
    ends = [axis.tail for axis in axes]
    if any(axis.cut for axis in axes) or any(ends):
        spatial = [at for at, axis in enumerate(axes) if axis.cut or axis.tail]
        value = made.node(
            "Slice",
            [
                value,
                made.numbers("starts", [axes[at].cut for at in spatial]),
                made.numbers("ends", [-ends[at] if ends[at] else np.iinfo(np.int64).max for at in spatial]),
                made.numbers("axes", [2 + at for at in spatial]),
            ],
        )
    made.nodes[-1].output[0] = last
    return made.nodes


def phase_weights(weight: Array, axes: Sequence[Axis], groups: int) -> Array:
    """Weights [C, M / groups, k...] of a transposed convolution as those of its phases, [M * phases, C / groups, taps...].

    Phases of one output are side by side, those of the last axis innermost.
    """
    strides, taps = [axis.stride for axis in axes], [axis.taps for axis in axes]
    rank, split = len(axes), weight.reshape(groups, -1, *weight.shape[1:])  # [G, C / G, M / G, k...]
    result = np.zeros((groups, weight.shape[1], *strides, split.shape[1], *taps), weight.dtype)
    for phase in np.ndindex(*strides):
        for tap in np.ndindex(*taps):
            sources = [axis.source(*pair) for axis, pair in zip(axes, zip(phase, tap, strict=True), strict=True)]
            if None not in sources:
                result[(slice(None), slice(None), *phase, slice(None), *tap)] = split[
                    (slice(None), slice(None), slice(None), *sources)
                ].transpose(0, 2, 1)
    return result.reshape(-1, split.shape[1], *result.shape[-rank:])


def rearranged(made: Maker, value: str, axes: Sequence[Axis], outputs: int) -> str:
    """Phases side by side: [N, M * phases, q...] to [N, M, stride * q...], every length but M free."""
    strides = [axis.stride for axis in axes]
    if strides == [1] * len(axes):
        return value
    if len(axes) == 2 and strides[0] == strides[1]:
        return made.node("DepthToSpace", [value], blocksize=strides[0], mode="CRD")
    if len(axes) == 1:
        cut = made.node("Reshape", [value, made.numbers("cut", [0, outputs, strides[0], -1])])
        turned = made.node("Transpose", [cut], perm=[0, 1, 3, 2])
        return made.node("Reshape", [turned, made.numbers("joined", [0, outputs, -1])])
    return by_shape(made, value, strides, outputs)


def by_shape(made: Maker, value: str, strides: Sequence[int], outputs: int) -> str:
    """`rearranged` for blocks that are not squares: lengths are read off the value."""
    rank = len(strides)
    size = made.node("Shape", [value], start=2)
    items = made.node("Shape", [value], end=1)
    shape = made.node("Concat", [items, made.numbers("phases", [outputs, *strides]), size], axis=0)
    perm = [0, 1, *(at for axis in range(rank) for at in (2 + rank + axis, 2 + axis))]
    turned = made.node("Transpose", [made.node("Reshape", [value, shape])], perm=perm)
    longer = made.node("Mul", [size, made.numbers("strides", strides)])
    joined = made.node("Concat", [items, made.numbers("outputs", [outputs]), longer], axis=0)
    return made.node("Reshape", [turned, joined])


class Maker:
    """Makes the nodes and constants that replace one node, their names after its output."""

    def __init__(self, graph: onnx.GraphProto, replaced: onnx.NodeProto) -> None:
        self.graph, self.stem, self.note = graph, replaced.output[0], replaced.doc_string
        self.nodes: list[onnx.NodeProto] = []

    def node(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        output = f"{self.stem}.{len(self.nodes)}"
        made = helper.make_node(kind, list(inputs), [output], name or output, self.note, **attributes)
        self.nodes.append(made)
        return output

    def like(self, other: onnx.NodeProto, value: str) -> str:
        """Add a node that does to ``value`` what another one does to its input."""
        made = onnx.NodeProto()
        made.CopyFrom(other)
        made.input[0], made.output[0] = value, f"{self.stem}.{len(self.nodes)}"
        self.nodes.append(made)
        return str(made.output[0])

    def constant(self, name: str, array: Array) -> str:
        """Add a constant; returns its name."""
        full = f"{self.stem}.{name}"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), full))
        return full

    def numbers(self, name: str, numbers: Sequence[int]) -> str:
        """Add int64 numbers."""
        return self.constant(name, np.asarray(numbers, np.int64))


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove constants that nothing reads, and notes on values that are gone."""
    read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    made = {name for node in graph.node for name in node.output}
    constants = [entry for entry in graph.initializer if entry.name in read]
    known = [entry for entry in graph.value_info if entry.name in made]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]
    graph.value_info.extend(known)
