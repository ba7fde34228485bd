"""The int8 variant of a transform. It does not touch the contract: any variant talks to any other.

It is static QDQ: uint8 activations, per-channel weights of 7 bits in int8. The eighth bit would be lost where it
matters: x86 processors without VNNI add two products of bytes in 16 bits and saturate. What int8 costs is measured in
rate and distortion on real data, and a layer that costs more than it is worth stays float: the quantized layers are
then fewer, and named.

Quantized are convolutions (depthwise ones too), transposed ones as convolutions (`rewrite`), and products with constant
weights. Products of two activations, as in attention, norms and activations stay float: they have no weights to make
smaller. LSTM, GRU, embeddings and Einsum have, and stay float too: the operators that would do it are not ONNX's own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from latentwire.export import qdq, refine, rewrite
from latentwire.export.candidates import Candidates
from latentwire.export.errors import QuantizationError
from latentwire.export.graph import IR_VERSION, duplicate
from latentwire.export.measure import session
from latentwire.export.notes import module_of, quiet
from latentwire.runtime.contract import Array

FLOAT = onnx.TensorProto.FLOAT

WEIGHTED = ("Conv", "ConvTranspose", "Einsum", "Gather", "Gemm", "GRU", "LSTM", "MatMul", "RNN")
"""Operators that are named if their weights stay float."""
ENOUGH = 0.5
"""Share of the allowed loss that may be used: the rest is for data that was not seen."""
TURNS = 30
"""Runs that a variant's time is the best of."""
SLOWER = 1.25
"""An int8 variant that takes this many times as long as fp32 is said to be slower."""

Measure = Callable[[onnx.ModelProto], float]
"""Loss of a quantized transform as a share of what is allowed; 1 is the limit."""


@dataclass(frozen=True)
class Quantized:
    """An int8 transform and what became of its layers."""

    model: onnx.ModelProto | None
    """None: there is nothing that int8 would be good for; ``note`` says why."""
    loss: float
    """Share of the allowed loss that was used."""
    float_layers: tuple[str, ...]
    """Torch modules with weights that stayed float."""
    layers: int = 0
    """How many were quantized."""
    note: str = ""
    """What is to be said of it: why there is none, what stayed float by its kind, that it is slower. Or empty."""


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Feeds {input: array} to the calibrator, one after the other."""

    def __init__(self, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)


class Quantizer:
    """Static QDQ of one float model by ONNX Runtime's quantizer, uint8 into its layers.

    What `refine` needs is observed once, for every choice of layers that stay float.

    Args:
        model: float; it is not changed.
        feeds: {input: array} for each calibration run.
        operators: what is quantized.
        float_outputs: operators whose outputs are not.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        feeds: Iterable[Mapping[str, npt.NDArray[Any]]],
        operators: Sequence[str],
        *,
        float_outputs: Sequence[str],
    ) -> None:
        self._model, self._feeds = model, list(feeds)
        self._operators, self._float_outputs = list(operators), list(float_outputs)
        plain = self.plain()
        self._observed = refine.observe(model, plain, self._feeds)
        self._ranges = refine.ranges_of(plain, self._observed)

    def quantized(self, keep_float: Sequence[str] = ()) -> onnx.ModelProto:
        """Ranges and weights as `refine` finds them; the nodes named in ``keep_float`` stay as they are."""
        model = self.plain(keep_float, self._ranges)
        refine.refine_weights(model, self._model, self._observed)
        return model

    def plain(self, keep_float: Sequence[str] = (), ranges: Mapping[str, Any] | None = None) -> onnx.ModelProto:
        """ONNX Runtime's own work: weights rounded, ranges by the smallest and largest value but for those given."""
        with tempfile.TemporaryDirectory() as folder, quiet():
            target = Path(folder) / "int8.onnx"
            quantize_static(
                duplicate(self._model),  # it moves the weights of the model it is given out to a file
                target,
                Feeds(self._feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=self._operators,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_exclude=list(keep_float),
                extra_options={
                    "OpTypesToExcludeOutputQuantization": self._float_outputs,
                    "TensorQuantOverrides": dict(ranges or {}),
                },
            )
            quantized = onnx.load(target)
        quantized.ir_version = IR_VERSION
        del quantized.metadata_props[:]
        return quantized


def fit_int8(model: onnx.ModelProto, calibration: Array, measure: Measure, role: str) -> Quantized:
    """Quantize as many layers as the allowed loss permits.

    All layers first. If that loses too much, what each layer alone does to the result says in which order they stay
    float, and as few of them do as is enough for half of the allowance: looked for by doubling, then halving.

    Args:
        model: float, with one input.
        calibration: samples of it [N, ...].
        measure: loss of a candidate.
        role: names the transform in messages.

    Returns:
        Without a model if there is no layer to quantize, or if the file would be no smaller.

    Raises:
        QuantizationError: no layer can be quantized within the limit; the message names the layers.
    """
    candidates = Candidates(model, calibration)
    if not candidates.layers:
        return Quantized(None, 0.0, unquantized(model, ()), 0, nothing(model, role))
    kept: tuple[str, ...] = ()
    found, loss = judged(candidates, kept, measure)
    if loss > ENOUGH:
        alone = candidates.order()
        kept, found, loss = fewest(candidates, sorted(candidates.names, key=lambda name: -alone[name]), measure)
        if loss > ENOUGH:
            raise QuantizationError(too_lossy(candidates, alone, role))
    floats = unquantized(model, set(candidates.names) - set(kept))
    layers = len(candidates.names) - len(kept)
    sizes = model.ByteSize(), found.ByteSize()
    if sizes[1] >= sizes[0]:
        why = (
            f"the {role} transform has no int8 variant: the layers that can be quantized are so small that it would "
            f"have {sizes[1]} bytes, and fp32 has {sizes[0]}"
        )
        return Quantized(None, 0.0, unquantized(model, ()), 0, why)
    return Quantized(found, loss, floats, layers, remarks(model, found, candidates.feeds[0], role))


def judged(candidates: Candidates, kept: Collection[str], measure: Measure) -> tuple[onnx.ModelProto, float]:
    """A candidate and its loss."""
    model = candidates.quantized(kept)
    return model, measure(model)


def fewest(
    candidates: Candidates, order: Sequence[str], measure: Measure
) -> tuple[tuple[str, ...], onnx.ModelProto, float]:
    """The fewest layers, the first ones of an order, that have to stay float: (they, the candidate, its loss).

    One layer is quantized at least, if that is enough or not.
    """
    most, at, tried = len(order) - 1, min(1, len(order) - 1), {}
    low = 0
    while True:
        tried[at] = judged(candidates, order[:at], measure)
        if tried[at][1] <= ENOUGH or at == most:
            break
        low, at = at, min(2 * at, most)
    high = at
    while tried[high][1] <= ENOUGH and high - low > 1:
        at = (low + high) // 2
        tried[at] = judged(candidates, order[:at], measure)
        low, high = (low, at) if tried[at][1] <= ENOUGH else (at, high)
    return tuple(order[:high]), *tried[high]


def unquantized(model: onnx.ModelProto, quantized: Collection[str]) -> tuple[str, ...]:
    """Modules with weights that stay float: those of `WEIGHTED` nodes that are not named."""
    constants = {entry.name for entry in model.graph.initializer if len(entry.dims) >= 2 and entry.data_type == FLOAT}
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED and node.name not in quantized]
    return tuple(dict.fromkeys(module_of(node) for node in nodes if constants.intersection(node.input)))


def kinds_of(model: onnx.ModelProto) -> list[str]:
    """Which operators with weights have no int8 form, in alphabetical order."""
    constants = {entry.name for entry in model.graph.initializer if len(entry.dims) >= 2 and entry.data_type == FLOAT}
    linear = {layer.node.name for layer in qdq.layers_of(rewrite.untransposed(model))}
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED and node.name not in linear]
    return sorted({node.op_type for node in nodes if constants.intersection(node.input)})


def nothing(model: onnx.ModelProto, role: str) -> str:
    """Why there is no int8 variant."""
    kinds = kinds_of(model)
    has = f"has no weights but those of {', '.join(kinds)}, which have no int8 form" if kinds else "has no weights"
    return f"the {role} transform has no int8 variant: it {has}"


def too_lossy(candidates: Candidates, alone: Mapping[str, float], role: str) -> str:
    """Why int8 cannot stay within its limit."""
    report = ", ".join(f"{module_of(layer.node)}: {alone[layer.node.name]:.2g}" for layer in candidates.layers)
    return (
        f"the {role} transform cannot be quantized to int8 within its limit; squared error of its result by each layer "
        f"alone, as a share of the result: {report}. Export without int8, or train with a wider network"
    )


def remarks(model: onnx.ModelProto, found: onnx.ModelProto, feed: Mapping[str, Array], role: str) -> str:
    """What is to be said of an int8 variant."""
    said = []
    kinds = kinds_of(model)
    if kinds:
        said.append(f"{', '.join(kinds)} in the {role} transform {'stay' if len(kinds) > 1 else 'stays'} float")
    ratio = time_ratio(model, found, feed)
    if ratio > SLOWER:
        said.append(
            f"the {role} transform in int8 takes {ratio:.1f} times as long as in fp32 on the processor that exported "
            "it: it is smaller, not faster"
        )
    return "; ".join(said)


def time_ratio(model: onnx.ModelProto, found: onnx.ModelProto, feed: Mapping[str, Array]) -> float:
    """How many times as long one item takes in int8, on one thread: the best of several runs, taken in turns."""
    one = {name: values[:1] for name, values in feed.items()}
    sessions = [session(entry) for entry in (model, found)]
    best = [np.inf, np.inf]
    begin = time.perf_counter()
    for turn in range(TURNS):
        for at, runner in enumerate(sessions):
            start = time.perf_counter()
            runner.run(None, one)
            best[at] = min(best[at], time.perf_counter() - start)
        if turn >= 3 and time.perf_counter() - begin > 1:
            break
    return float(best[1] / best[0])
