"""Where bytes begin and end in a graph: QuantizeLinear and DequantizeLinear around its linear layers.

What ONNX Runtime has integer kernels for decides. A product of matrices takes bytes and gives floats. A convolution
takes and gives bytes: if floats are asked of it, it multiplies floats, and all that was gained is lost with the
conversions. So bytes are made right behind each convolution and the ReLU that follows, and stay bytes through what
only moves them. Where a convolution's values are the result, as latents are, each channel has a step of its own:
the weights of its outputs are in units of it, and nothing is to be done for it but to give DequantizeLinear a vector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from latentwire.export.graph import IR_VERSION, duplicate
from latentwire.runtime.contract import Array

LEVELS = 255
ABSORBED = ("Relu", "Clip")
"""Activations that a range of bytes does as well."""
MOVING = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "MaxPool")
"""Operators that make no new values, and take bytes in every ONNX Runtime; Resize to the nearest does so too."""
LARGEST_BIAS = 1 << 30

Readers = dict[str, list[onnx.NodeProto | None]]


@dataclass(frozen=True)
class Steps:
    """Bytes that stand for floats: (byte - zero) * scale; arrays [C] where each channel has its own."""

    scale: Array
    zero: Array

    @classmethod
    def between(cls, low: Array | float, high: Array | float) -> Steps:
        """All levels between two ends; 0 is one of them."""
        low, high = np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)
        span = high - low
        scale = np.where(span > 0, span / LEVELS, 1.0).astype(np.float32)
        zero = np.clip(np.rint(-low / scale), 0, LEVELS).astype(np.uint8)
        return cls(np.asarray(scale), np.asarray(zero))


@dataclass(frozen=True)
class Whole:
    """A layer's weights as whole numbers int8, laid out as the layer has them, and the scale of each output [O]."""

    numbers: Array
    scale: Array


@dataclass(frozen=True)
class Layer:
    """A linear layer that can take bytes.

    Attributes:
        node: Conv, Gemm, or MatMul with constant weights.
        weight: as the node has them.
        bias: [O], or None.
        result: where a convolution's bytes are made: its own output, or that of the activation behind it.
        apart: whether each channel has its own step there: where it is the model's result. Elsewhere ONNX Runtime would
            look for activations between bytes to fuse, and fail at a vector of steps.
    """

    node: onnx.NodeProto
    weight: Array
    bias: Array | None
    result: str
    apart: bool

    @property
    def source(self) -> str:
        """The value that it reads."""
        return str(self.node.input[0])

    @property
    def convolves(self) -> bool:
        """Whether it gives bytes."""
        return str(self.node.op_type) == "Conv"

    @cached_property
    def axis(self) -> int:
        """Which axis of the weights its outputs are on."""
        return 0 if self.convolves or attribute(self.node, "transB", 0) else 1

    @property
    def rows(self) -> Array:
        """Weights as float64 [O, K]."""
        return self.as_rows(self.weight.astype(np.float64))

    def as_rows(self, weight: Array) -> Array:
        """Something laid out as the weights as [O, K]."""
        return weight.reshape(len(weight), -1) if self.axis == 0 else weight.T

    def as_weight(self, rows: Array) -> Array:
        """The inverse of `as_rows`."""
        return np.ascontiguousarray((rows if self.axis == 0 else rows.T).reshape(self.weight.shape))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """A node's attribute."""
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)


def readers_of(graph: onnx.GraphProto) -> Readers:
    """Who reads each value; None stands for the graph's output."""
    readers: Readers = {entry.name: [None] for entry in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """The layers that can take bytes."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    readers = readers_of(model.graph)
    linear = [node for node in model.graph.node if is_linear(node, constants)]
    layers = []
    for node in linear:
        weight, bias = (numpy_helper.to_array(constants[name]) if name else None for name in [*node.input[1:], ""][:2])
        assert weight is not None
        result = behind_activation(node, readers, constants) if node.op_type == "Conv" else ""
        apart = result == node.output[0] and through_moves(result, readers)[1] == [None]
        layers.append(Layer(node, weight, bias, result, apart))
    return layers


def is_linear(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a node multiplies a value with constant weights, and nothing else."""
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[0] in constants:
        return False
    if any(name and name not in constants for name in node.input[1:]):
        return False
    weight = constants[node.input[1]]
    if weight.data_type != onnx.TensorProto.FLOAT:
        return False
    if node.op_type == "MatMul":
        return len(weight.dims) == 2
    if node.op_type == "Gemm":
        plain = not attribute(node, "transA", 0) and attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1
        return plain and (len(node.input) < 3 or len(constants[node.input[2]].dims) == 1)
    return bool(attribute(node, "auto_pad", b"NOTSET") == b"NOTSET")


def behind_activation(node: onnx.NodeProto, readers: Readers, constants: Collection[str]) -> str:
    """A node's output, or that of an activation behind it that is `ABSORBED`."""
    following = readers.get(node.output[0], [])
    only = following[0] if len(following) == 1 else None
    if only is None or only.op_type not in ABSORBED or any(name and name not in constants for name in only.input[1:]):
        return str(node.output[0])
    return str(only.output[0])


def moves(node: onnx.NodeProto) -> bool:
    """Whether a node makes no new values, and takes bytes."""
    return node.op_type in MOVING or (node.op_type == "Resize" and attribute(node, "mode", b"nearest") == b"nearest")


def through_moves(name: str, readers: Readers) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto | None]]:
    """The nodes behind a value that only move it, one after the other, and who reads the last."""
    chain: list[onnx.NodeProto] = []
    while True:
        following = readers.get(name, [])
        only = following[0] if len(following) == 1 else None
        if only is None or not moves(only) or only.input[0] != name or len(only.output) > 1:
            return chain, following
        chain.append(only)
        name = only.output[0]


def end_of(layer: Layer, readers: Readers) -> str:
    """Up to which value a convolution's bytes stay bytes."""
    chain = [] if layer.apart else through_moves(layer.result, readers)[0]
    return str(chain[-1].output[0]) if chain else layer.result


class Inserter:
    """Makes a graph with bytes in it of a float one.

    Args:
        model: float; it is not changed.
        whole: weights by the names of the nodes that take bytes; the others stay as they are.
        steps: of each value that becomes bytes.
    """

    def __init__(self, model: onnx.ModelProto, whole: Mapping[str, Whole], steps: Mapping[str, Steps]) -> None:
        self._model, self._whole, self._steps = duplicate(model), whole, dict(steps)
        graph = self._model.graph
        self._layers = {layer.node.name: layer for layer in layers_of(self._model) if layer.node.name in whole}
        self._readers = readers_of(graph)
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._made: list[onnx.NodeProto] = []
        self._new: list[onnx.TensorProto] = []
        self._later: dict[str, onnx.NodeProto] = {}
        """What is put behind a node that is still to come, by its output."""
        self._bytes: dict[str, str] = {}
        """Names under which layers read a value that went through bytes."""

    def inserted(self) -> onnx.ModelProto:
        """The graph, checked."""
        graph = self._model.graph
        ends = {layer.result: layer for layer in self._layers.values() if layer.convolves}
        for node in list(graph.node):
            if node.name in self._layers:
                self._take_bytes(self._layers[node.name], node)
            self._made.append(node)
            if node.output[0] in ends:
                self._give_bytes(ends[node.output[0]], node)
            elif node.output[0] in self._later:
                self._made.append(self._later[node.output[0]])
        nodes = [*self._made]
        del graph.node[:], graph.value_info[:]
        graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        constants = [entry for entry in (*graph.initializer, *self._new) if entry.name in read]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        self._model.ir_version = IR_VERSION
        onnx.checker.check_model(self._model, full_check=True)
        return self._model

    def _take_bytes(self, layer: Layer, node: onnx.NodeProto) -> None:
        """Let a layer read bytes and whole weights."""
        whole = self._whole[node.name]
        node.input[0], scale = self._quantized(layer.source), self._steps[layer.source].scale.astype(np.float64)
        given = self._steps[layer.result] if layer.apart else None
        # In units of the result's own steps, so that its bytes are what is summed.
        unit = whole.scale.astype(np.float64) / (1 if given is None else given.scale)
        node.input[1] = self._dequantized(whole.numbers, unit, layer.axis, not layer.convolves)
        if layer.bias is not None or given is not None:
            bias = np.zeros(len(unit)) if layer.bias is None else layer.bias.astype(np.float64)
            shift = 0 if given is None else given.zero * given.scale.astype(np.float64)
            rounded = np.rint((bias + shift) / (scale * whole.scale)).astype(np.int32)
            del node.input[2:]
            node.input.append(self._dequantized(rounded, scale * unit, 0, False))

    def _quantized(self, name: str) -> str:
        """The name of a value behind a way through bytes, which is made once."""
        if name not in self._bytes:
            steps = [self._constant(array) for array in (self._steps[name].scale, self._steps[name].zero)]
            made = self._node("QuantizeLinear", [name, *steps])
            self._bytes[name] = self._node("DequantizeLinear", [made, *steps])
        return self._bytes[name]

    def _give_bytes(self, layer: Layer, node: onnx.NodeProto) -> None:
        """Make bytes of a convolution's result, and floats again behind what moves them."""
        name, steps = layer.result, self._steps[layer.result]
        chain = [] if layer.apart else through_moves(name, self._readers)[0]
        inside = Steps(np.array(1, np.float32), np.array(0, np.uint8)) if layer.apart else steps
        if node.op_type == "Relu" and not steps.zero.any():  # bytes from 0 on are what it makes
            self._made.pop()
            value = layer.node.output[0]
        else:
            value = node.output[0] = self._name(f"{name}_f")
        value = self._node("QuantizeLinear", [value, self._constant(inside.scale), self._constant(inside.zero)])
        last = name
        if chain:
            chain[0].input[0], last = value, str(chain[-1].output[0])
            value = chain[-1].output[0] = self._name(f"{last}_q")
        inputs = [value, self._constant(steps.scale), self._constant(steps.zero)]
        floats = helper.make_node("DequantizeLinear", inputs, [last], axis=1 if layer.apart else None)
        if not layer.apart:
            self._bytes[last], self._steps[last] = last, steps
        if chain:
            self._later[value] = floats
        else:
            self._made.append(floats)

    def _dequantized(self, numbers: Array, scale: Array, axis: int, zeros: bool) -> str:
        """Constants around 0 as floats; returns their name."""
        # ONNX Runtime makes no integer product of matrices of weights whose zero points it is not given.
        inputs = [numbers, scale.astype(np.float32), np.zeros(scale.shape, numbers.dtype)]
        return self._node(
            "DequantizeLinear", [self._constant(array) for array in inputs[: 3 if zeros else 2]], axis=axis
        )

    def _node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node; returns its output."""
        output = self._name(f"{kind[0].lower()}{len(self._made)}")
        self._made.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, array: Array) -> str:
        """A constant of these numbers, one for all that are the same."""
        key = (array.tobytes(), str(array.dtype), array.shape)
        if key not in self._constants:
            self._constants[key] = self._name(f"c{len(self._new)}")
            self._new.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def _name(self, wanted: str) -> str:
        """A name that is free."""
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        return wanted
