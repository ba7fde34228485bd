"""Transposed convolutions as convolutions: ONNX Runtime has integer kernels for the one, and none for the other.

A transposed convolution of stride s writes s values between each two inputs, and each of these s phases is a plain
convolution of its own. So one convolution makes the phases as channels, s^d times as many, and they are put side by
side, as DepthToSpace does for squares. The phases are counted from a place that makes their kernels smallest; what then
lies outside of the result is cut off. The sums are the same, up to their order. In floats it is the slower way, 1.2 to
1.9 times for pictures: ONNX Runtime's transposed convolution is good. It is for what becomes integers.

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

ELEMENTWISE = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Softplus"),
    *("Softsign", "Tanh", "ThresholdedRelu"),
)
"""Operators of one input that treat each value alike, wherever it stands."""


@dataclass(frozen=True)
class Form:
    """Of a transposed convolution."""

    groups: int
    outputs: int
    """M, its channels, of all groups."""


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
    """The phases with the smallest kernel, then the least margins; None if padding would be negative."""
    axes = [Axis(stride, kernel, begin, cut, surplus) for cut in range(stride)]
    fitting = [axis for axis in axes if min(axis.pads) >= 0 and axis.taps >= 1]
    return min(fitting, key=lambda axis: (axis.taps, axis.cut + axis.tail, axis.cut), default=None)


def untransposed(model: onnx.ModelProto, but: Container[str] = ()) -> onnx.ModelProto:
    """A copy whose transposed convolutions are convolutions of the same names.

    Those that are named in ``but``, have a dilation other than 1, weights that are no constants, a size that is asked
    for by ``output_shape``, or more padding than their kernel reaches, stay as they are.
    """
    result = duplicate(model)
    graph = result.graph
    weights = {entry.name: entry for entry in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    pending = list(graph.node)
    readers, lengths = readers_of(graph), lengths_of(model)
    while pending:
        node = pending.pop(0)
        axes = axes_of(node, weights) if node.op_type == "ConvTranspose" and node.name not in but else None
        if axes is None:
            nodes.append(node)
            continue
        followers = activations(node, readers, weights)
        nodes += replacement(graph, node, axes, lengths.get(node.input[0], [None] * len(axes)), followers, weights)
        pending = [other for other in pending if all(other is not gone for gone in followers)]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def lengths_of(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """The lengths behind the first two axes of each value, as far as they are known."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in (*inferred.input, *inferred.value_info)}
    return {
        name: [dim.dim_value if dim.HasField("dim_value") else None for dim in shape][2:]
        for name, shape in shapes.items()
    }


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
    lengths: Sequence[int | None],
    followers: Sequence[onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
) -> list[onnx.NodeProto]:
    """The nodes that take the place of a transposed convolution and of the activations behind it.

    Args:
        graph: gets the new constants.
        node: the transposed convolution.
        axes: its phases.
        lengths: of its input, as far as they are known.
        followers: the activations.
        constants: of the graph.
    """
    weight, bias = (numpy_helper.to_array(constants[name]) if name else None for name in [*node.input[1:], ""][:2])
    assert weight is not None
    groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
    phases = int(np.prod([axis.stride for axis in axes]))
    made = Maker(graph, node)
    names = [node.input[0], made.constant("weight", phase_weights(weight, axes, groups))]
    if bias is not None:
        names.append(made.constant("bias", phase_bias(bias, phases, groups)))
    pads = [axis.pads[0] for axis in axes] + [axis.pads[1] for axis in axes]
    value = made.node("Conv", names, name=node.name, group=groups, kernel_shape=[a.taps for a in axes], pads=pads)
    for follower in followers:
        value = made.like(follower, value)
    positions = [None if length is None else length + axis.more for length, axis in zip(lengths, axes, strict=True)]
    rearranged(made, value, axes, positions, Form(groups, groups * weight.shape[1]))
    made.nodes[-1].output[0] = (followers[-1] if followers else node).output[0]
    return made.nodes


def phase_weights(weight: Array, axes: Sequence[Axis], groups: int) -> Array:
    """Weights [C, M / groups, k...] of a transposed convolution as its phases' [phases * M, C / groups, taps...].

    Outputs are ordered by group, then by phase, that of the first axis outermost.
    """
    strides, taps = [axis.stride for axis in axes], [axis.taps for axis in axes]
    split = weight.reshape(groups, -1, *weight.shape[1:])  # [G, C / G, M / G, k...]
    result = np.zeros((groups, *strides, weight.shape[1], split.shape[1], *taps), weight.dtype)
    for phase in np.ndindex(*strides):
        for tap in np.ndindex(*taps):
            sources = [axis.source(*pair) for axis, pair in zip(axes, zip(phase, tap, strict=True), strict=True)]
            if None not in sources:
                part = split[(slice(None), slice(None), slice(None), *sources)]
                result[(slice(None), *phase, slice(None), slice(None), *tap)] = part.transpose(0, 2, 1)
    return result.reshape(-1, split.shape[1], *taps)


def phase_bias(bias: Array, phases: int, groups: int) -> Array:
    """A bias [M] for outputs ordered as `phase_weights` orders them."""
    return np.repeat(bias.reshape(groups, 1, -1), phases, axis=1).reshape(-1)


def rearranged(made: Maker, value: str, axes: Sequence[Axis], lengths: Sequence[int | None], form: Form) -> str:
    """Phases side by side and the margins cut off: [N, phases * M, q...] to [N, M, stride * q - margins...].

    Channels are last meanwhile: whole runs of channels are moved then, which is several times as fast as DepthToSpace,
    and ONNX Runtime's integer convolutions have them last anyway.
    """
    rank, strides = len(axes), [axis.stride for axis in axes]
    if max(strides) > 1:
        value = made.node("Transpose", [value], perm=[0, *range(2, 2 + rank), 1])
        value = interleaved(made, value, strides, lengths, form)
    margins = {at: axis for at, axis in enumerate(axes) if axis.cut or axis.tail}
    if margins:
        moved = 1 if max(strides) > 1 else 2
        starts, places = [axis.cut for axis in margins.values()], [moved + at for at in margins]
        ends = [-axis.tail if axis.tail else np.iinfo(np.int64).max for axis in margins.values()]
        given = zip(("starts", "ends", "axes"), (starts, ends, places), strict=True)
        value = made.node("Slice", [value, *(made.numbers(name, numbers) for name, numbers in given)])
    if max(strides) > 1:
        value = made.node("Transpose", [value], perm=[0, 1 + rank, *range(1, 1 + rank)])
    return value


def interleaved(made: Maker, value: str, strides: Sequence[int], lengths: Sequence[int | None], form: Form) -> str:
    """[N, q..., phases * M] to [N, stride * q..., M]."""
    rank, groups, outputs = len(strides), form.groups, form.outputs
    if groups == 1:  # the last axis' phases stand where they belong
        apart = [*strides[:-1], strides[-1] * outputs]
        perm = [0, *(at for axis in range(rank - 1) for at in (1 + axis, 1 + rank + axis)), rank, 2 * rank]
    else:
        apart = [groups, *strides, outputs // groups]
        perm = [0, *(at for axis in range(rank) for at in (1 + axis, 2 + rank + axis)), 1 + rank, 2 + 2 * rank]
    if perm != list(range(len(perm))):
        cut = made.node("Reshape", [value, made.numbers("cut", [*([0] * (1 + rank)), *apart])])
        turned = made.node("Transpose", [cut], perm=perm)
    else:
        turned = value
    free = [at for at, length in enumerate(lengths) if length is None]
    if len(free) <= 1:
        joined = [-1 if length is None else step * length for step, length in zip(strides, lengths, strict=True)]
        shape = made.numbers("joined", [0, *joined, outputs])
    else:
        size = made.node("Shape", [value], start=0, end=1 + rank)
        longer = made.node("Mul", [size, made.numbers("strides", [1, *strides])])
        shape = made.node("Concat", [longer, made.numbers("outputs", [outputs])], axis=0)
    return made.node("Reshape", [turned, shape])


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
