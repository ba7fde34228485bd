"""The int8 variant of a transform. It does not touch the contract: any variant talks to any other.

It is static QDQ: uint8 activations, per-channel weights of 7 bits in int8. The eighth bit would be lost where it
matters: x86 processors without VNNI add two products of bytes in 16 bits and saturate. What int8 costs is measured in
rate and distortion on real data, and a layer that costs more than it is worth stays float: the quantized layers are
then fewer, and named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from latentwire.export import refine
from latentwire.export.errors import QuantizationError
from latentwire.export.graph import IR_VERSION, duplicate
from latentwire.export.notes import module_of, quiet

LINEAR_OPS = ("Gemm", "MatMul", "Conv")
BATCH = 256

Measure = Callable[[onnx.ModelProto], float]
"""Loss of a quantized transform as a share of what is allowed; 1 is the limit."""


@dataclass(frozen=True)
class Quantized:
    """An int8 transform and what became of its layers."""

    model: onnx.ModelProto
    loss: float
    """Share of the allowed loss that was used."""
    float_layers: tuple[str, ...]
    """Torch modules that stayed float."""


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Feeds {input: array} to the calibrator, one after the other."""

    def __init__(self, feeds: Iterable[Mapping[str, npt.NDArray[Any]]]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
        """The next feed, or None at the end."""
        return next(self.feeds, None)


class Quantizer:
    """Static QDQ of one float model, uint8 into its layers.

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


def linear_quantizer(model: onnx.ModelProto, calibration: npt.NDArray[Any]) -> Quantizer:
    """Of every linear layer of a model with one input, on samples [N, ...].

    Outputs of linear layers stay float (they are added to each other or rounded to symbols); the next layer's input
    is quantized where it is used.
    """
    name = model.graph.input[0].name
    feeds = ({name: calibration[at : at + BATCH]} for at in range(0, len(calibration), BATCH))
    return Quantizer(model, feeds, LINEAR_OPS, float_outputs=LINEAR_OPS)


def fit_int8(model: onnx.ModelProto, calibration: npt.NDArray[Any], measure: Measure, role: str) -> Quantized:
    """Quantize as many layers as the allowed loss permits.

    All layers first. If that loses too much, each layer alone is measured and the most expensive ones stay float, one
    after the other, until half of the allowance is left.

    Raises:
        QuantizationError: no layer can be quantized within the limit; the message names the layers and their loss.
    """
    layers = [node for node in model.graph.node if node.op_type in LINEAR_OPS]
    quantizer = linear_quantizer(model, calibration)
    everything = quantizer.quantized()
    loss = measure(everything)
    if loss <= 0.5:
        return Quantized(everything, loss, ())
    names = [node.name for node in layers]
    alone = {node.name: measure(quantizer.quantized([name for name in names if name != node.name])) for node in layers}
    kept: list[str] = []
    for name in sorted(names, key=lambda name: -alone[name])[:-1]:
        kept.append(name)
        candidate = quantizer.quantized(kept)
        loss = measure(candidate)
        if loss <= 0.5:
            modules = tuple(module_of(node) for node in layers if node.name in kept)
            return Quantized(candidate, loss, modules)
    report = ", ".join(f"{module_of(node)}: {100 * alone[node.name]:.0f} %" for node in layers)
    raise QuantizationError(
        f"the {role} transform cannot be quantized to int8 within its limit; share of the allowed loss that each layer "
        f"alone uses: {report}. Export without int8, or train with a wider network"
    )
