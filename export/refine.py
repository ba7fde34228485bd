"""What makes int8 lose less: ranges that cut off rare values, and weights that make up for each other's rounding.

Both look at what the float layers are given on calibration data. A range by the smallest and largest value spends most
of its 256 levels on a few outliers; a narrower one with the least squared error has finer steps. A weight's rounding
error can be made up for by the weights that are rounded after it, as far as their inputs are correlated (Frantar et al.
2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from latentwire.export.graph import duplicate
from latentwire.runtime.contract import Array

LINEAR = ("Conv", "Gemm", "MatMul")
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Parts of a range that are tried."""
LEVELS = 255
LARGEST = 64
"""Magnitude of a 7-bit weight, as ONNX Runtime's quantizer reduces the range."""
ELEMENTS = 1 << 22
"""Elements of a layer's input patches that are looked at in one run, at most."""
TOTAL = 1 << 24
"""The same, in all runs together."""
RANGED = 1 << 22
"""Elements of a value whose range is looked for, in all runs together."""
LEAST = 1 << 14
"""Of either, in one run, at least."""
MOMENTS = 1 << 26
"""Elements of all moments together: 512 MiB."""
WIDEST = 4096
"""Inputs of one output that moments are kept of, at most: they are a matrix, 128 MiB then. Wider layers are rounded."""
DAMPING = 0.01
"""Share of the mean square of the inputs that is added to each: keeps rarely used ones from being given anything."""


@dataclass
class Observed:
    """What float layers are given on calibration data.

    Attributes:
        errors: squared error of each quantized tensor for each of `SHARES`.
        moments: for each linear node of up to `WIDEST` inputs sum of x x^T over its input patches x, float64
            [groups, K, K].
    """

    errors: dict[str, Array] = field(default_factory=dict)
    moments: dict[str, Array] = field(default_factory=dict)


def observe(model: onnx.ModelProto, quantized: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> Observed:
    """Run a float model and note what its quantized twin has to represent."""
    return watch(model, quantizers(quantized), feeds)


def watch(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, int]], feeds: Sequence[Mapping[str, Array]]
) -> Observed:
    """Run a float model and note what bytes of some values lose, and what its linear layers are given.

    Args:
        model: float.
        ranges: scale and zero point of the values that become bytes.
        feeds: {input: array} for each run.
    """
    weights = {entry.name: tuple(entry.dims) for entry in model.graph.initializer}
    linear = [node for node in model.graph.node if node.op_type in LINEAR and node.input[1] in weights]
    layers = narrowest(linear, weights)
    names = [*ranges, *(node.input[0] for node in layers)]
    found = Observed()
    elements, ranged = (max(total // max(1, len(feeds)), LEAST) for total in (TOTAL, RANGED))
    for values in runs(model, names, feeds):
        for name, (scale, zero) in ranges.items():
            errors = range_errors(thinned_values(values[name], ranged), scale, zero)
            found.errors[name] = found.errors.get(name, 0) + errors
        for node in layers:
            shape = weights[node.input[1]]
            seen = patches(values[node.input[0]], node, shape, min(elements, ELEMENTS)).astype(np.float64)
            # One product a group: NumPy hands those to BLAS, not a stack of transposed ones.
            found.moments[node.name] = found.moments.get(node.name, 0) + np.stack([rows.T @ rows for rows in seen])
    return found


def narrowest(linear: Sequence[onnx.NodeProto], weights: Mapping[str, Sequence[int]]) -> list[onnx.NodeProto]:
    """The layers whose moments are kept, in the graph's order: narrow ones first, as long as there is room."""
    kept, room = set(), MOMENTS
    for node in sorted(linear, key=lambda node: inputs_of_one(node, weights[node.input[1]])):
        width, groups = inputs_of_one(node, weights[node.input[1]]), groups_of(node)
        room -= groups * width * width
        if width > WIDEST or room < 0:
            break
        kept.add(node.name)
    return [node for node in linear if node.name in kept]


def runs(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Mapping[str, Array]]
) -> Iterator[dict[str, Array]]:
    """The float values of those names, inputs among them, for each run of a model."""
    told = with_outputs(model, set(names))
    outputs = [entry.name for entry in told.graph.output if entry.name in set(names)]
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for feed in feeds:
        yield dict(feed) | dict(zip(outputs, session.run(outputs, dict(feed)) if outputs else [], strict=True))


def extremes(
    model: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Mapping[str, Array]]
) -> dict[str, tuple[Array, Array]]:
    """Smallest and largest value of each channel (axis 1) of the values of those names, float32 [C] each."""
    found: dict[str, tuple[Array, Array]] = {}
    for values in runs(model, names, feeds):
        for name in names:
            value = values[name].astype(np.float32)
            axes = tuple(axis for axis in range(value.ndim) if axis != 1)
            low, high = value.min(axes), value.max(axes)
            if name in found and found[name][0].shape == low.shape:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            elif name in found:  # axis 1 is no channel, its length is free
                low, high = min(low.min(), found[name][0].min()), max(high.max(), found[name][1].max())
            found[name] = np.atleast_1d(low), np.atleast_1d(high)
    return found


def quantizers(quantized: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point of every activation that is quantized, by the name that it has in the float model."""
    constants = {entry.name: entry for entry in quantized.graph.initializer}
    return {
        node.input[0]: tuple(numpy_helper.to_array(constants[name]).item() for name in node.input[1:3])
        for node in quantized.graph.node
        if node.op_type == "QuantizeLinear"
    }


def groups_of(node: onnx.NodeProto) -> int:
    """A convolution's groups; 1 for other layers."""
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)


def with_outputs(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """The model with those float values among its outputs, as far as they are not its inputs."""
    told = duplicate(model)
    there = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    more = sorted(names - there)
    told.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
    return told


def range_errors(values: Array, scale: float, zero: int) -> Array:
    """Squared error of float values for each of `SHARES` of the range that a scale and zero point make, [shares]."""
    errors = []
    for share in SHARES:
        step = scale * share
        levels = np.clip(np.rint(values / step) + zero, 0, LEVELS) - zero
        errors.append(float(np.square(levels * step - values, dtype=np.float64).sum()))
    return np.array(errors)


def ranges_of(quantized: onnx.ModelProto, found: Observed) -> dict[str, list[dict[str, Array]]]:
    """The quantizer's ``TensorQuantOverrides``: the best range of each tensor that is not the whole."""
    chosen = {}
    for name, (scale, zero) in quantizers(quantized).items():
        share = SHARES[int(np.argmin(found.errors[name]))]
        if share < 1:
            ends = (scale * share * -zero, scale * share * (LEVELS - zero))
            chosen[name] = [dict(zip(("rmin", "rmax"), (np.float32(end) for end in ends), strict=True))]
    return chosen  # type: ignore[return-value]


def inputs_of_one(node: onnx.NodeProto, shape: Sequence[int]) -> int:
    """How many values are summed to one output, for a weight's shape."""
    if node.op_type == "Conv":
        return int(np.prod(shape[1:]))
    return shape[1] if transposed(node) else shape[-2]


def patches(value: Array, node: onnx.NodeProto, shape: Sequence[int], elements: int = ELEMENTS) -> Array:
    """What the weights of a linear layer are multiplied with: [groups, n, K] of an input and a weight's shape.

    Every so-manieth patch if all would have more than that many elements: they are chosen before they are copied,
    since a kernel multiplies the size of what it is moved over.
    """
    if node.op_type != "Conv":
        rows = value.reshape(-1, value.shape[-1])
        return rows[None, :: -(-rows.size // elements)]
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    rank = len(shape) - 2
    margins = attributes.get("pads", [0] * 2 * rank)
    padded = np.pad(value, [(0, 0), (0, 0), *zip(margins[:rank], margins[rank:], strict=True)])
    dilations = attributes.get("dilations", [1] * rank)
    reach = [(size - 1) * apart + 1 for size, apart in zip(shape[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    strides = attributes.get("strides", [1] * rank)
    kept: list[Any] = [..., *(slice(None, None, step) for step in (*strides, *dilations))]
    windows = np.moveaxis(windows[tuple(kept)], 1, 1 + rank)  # [N, positions..., C, kernel...]
    places = windows.shape[: 1 + rank]
    count, width = int(np.prod(places)), int(np.prod(windows.shape[1 + rank :]))
    chosen = np.arange(0, count, max(1, -(-count * width // elements)))
    rows = windows[np.unravel_index(chosen, places)]  # [n, C, kernel...]
    return np.moveaxis(rows.reshape(len(rows), groups_of(node), inputs_of_one(node, shape)), 0, 1)


def thinned_values(values: Array, elements: int) -> Array:
    """Every so-manieth of some values, flat, so that there are no more than that many."""
    return values.reshape(-1)[:: max(1, -(-values.size // elements))]


def refine_weights(quantized: onnx.ModelProto, model: onnx.ModelProto, found: Observed) -> None:
    """Round the weights of a quantized model's linear layers again, from those of the float model."""
    floats = {entry.name: entry for entry in model.graph.initializer}
    names = {node.name: node.input[1] for node in model.graph.node if node.name in found.moments}
    for node, stored, scale in quantized_weights(quantized):
        if node.name in names:
            kernel = node.op_type == "Conv" or transposed(node)
            exact, rounded = (as_rows(numpy_helper.to_array(w), kernel) for w in (floats[names[node.name]], stored))
            better = rounded_rows(exact, rounded, np.broadcast_to(scale, len(exact)), found.moments[node.name])
            restored = (better if kernel else better.T).reshape(stored.dims).astype(np.int8)
            stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(restored), stored.name))


def quantized_weights(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto, Array]]:
    """Each linear node whose weights are dequantized for it: (node, the stored weights, their scale [out] or [])."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        source = makers.get(node.input[1]) if node.op_type in LINEAR else None
        if source is not None and source.op_type == "DequantizeLinear" and source.input[0] in constants:
            yield node, constants[source.input[0]], numpy_helper.to_array(constants[source.input[1]])


def transposed(node: onnx.NodeProto) -> bool:
    """Whether a layer's weights are [out, in]."""
    return any(entry.name == "transB" and entry.i for entry in node.attribute)


def as_rows(weight: Array, kernel: bool) -> Array:
    """Weights as float64 [out, K]."""
    return (weight.reshape(len(weight), -1) if kernel else weight.T).astype(np.float64)


def rounded_rows(exact: Array, rounded: Array, scale: Array, moments: Array) -> Array:
    """Whole numbers [out, K] for weights [out, K] in units of ``scale`` [out]; each output's better one of two.

    Args:
        exact: the float weights.
        rounded: their plain roundings.
        scale: of one unit.
        moments: [groups, K, K]; outputs belong to groups in order.
    """
    result = rounded.copy()
    for rows, moment in zip(np.array_split(np.arange(len(exact)), len(moments)), moments, strict=True):
        unit = scale[rows, None].astype(np.float64)
        again = compensated(exact[rows] / unit, moment)
        loss, plain = (squared(exact[rows] / unit - choice, moment) for choice in (again, rounded[rows]))
        result[rows] = np.where((loss < plain)[:, None], again, rounded[rows])
    return result


def squared(errors: Array, moment: Array) -> Array:
    """Squared error of outputs, [out], for errors of weights [out, K]."""
    return ((errors @ moment) * errors).sum(1)  # type: ignore[no-any-return]


def compensated(weights: Array, moment: Array) -> Array:
    """Round weights [out, K] one input after the other, the strongest first; the rest makes up for each error."""
    order = np.argsort(-np.diag(moment), kind="stable")
    damped = moment + DAMPING * max(np.diag(moment).mean(), 1e-12) * np.eye(len(moment))
    # The rows of this factor are the regressions of each input on those after it.
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest, result = weights[:, order].copy(), np.empty_like(weights)
    for at, column in enumerate(order):
        result[:, column] = np.clip(np.rint(rest[:, at]), -LARGEST, LARGEST)
        error = (rest[:, at] - result[:, column]) / factor[at, at]
        rest[:, at:] -= error[:, None] * factor[at, at:]
    return result
