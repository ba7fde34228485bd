"""QDQ for Qualcomm's NPU: every operator of a static transform in whole numbers, by ONNX Runtime's settings for QNN.

The bundle's int8 transforms are not for it: they keep the outputs of linear layers in float and have a scale for each
column of a product's matrix. On the compiler and simulator of onnxruntime-qnn 2.7.0, part of such a graph stays on the
CPU and the rest computes something else. The float analysis transform, which it runs in half precision, came out
wrong there too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import version_converter
from onnxruntime.quantization import QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from latentwire.export.notes import quiet
from latentwire.export.quantize import Feeds
from latentwire.export.static import check_static
from latentwire.export.targets.chain import Chain
from latentwire.runtime.contract import Array

OPSET, IR_VERSION = 21, 10
"""The first in which QuantizeLinear has 16 bits; QNN's provider is newer than both."""
ACTIVATIONS: Mapping[str, QuantType] = {"uint16": QuantType.QUInt16, "uint8": QuantType.QUInt8}


def feeds_of(
    plain: Chain, calibration: Sequence[Array], qualities: Sequence[int], size_axes: Sequence[int]
) -> dict[str, list[dict[str, Array]]]:
    """What the two transforms see when inputs are sent at several qualities.

    Args:
        plain: the float pieces.
        calibration: inputs.
        qualities: each input is sent at all of these.
        size_axes: of the codec.
    """
    feeds: dict[str, list[dict[str, Array]]] = {"analysis": [], "synthesis": []}
    for items in calibration:
        for quality in qualities:
            seen = plain.unpacked(plain.packet(items, quality, size_axes))
            given = plain.given(items, quality, size_axes)
            feeds["analysis"].append({name: given[name] for name in plain.inputs("analysis")})
            feeds["synthesis"].append({name: seen[name] for name in plain.inputs("synthesis")})
    return feeds


def quantized(model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]], activations: str) -> onnx.ModelProto:
    """A static float transform with QuantizeLinear and DequantizeLinear around every operator.

    Args:
        model: static; it is not changed.
        feeds: inputs to find the ranges with.
        activations: a key of `ACTIVATIONS`; weights are uint8.

    Raises:
        ExportError: a shape is no longer static.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder) / "float.onnx", Path(folder) / "qdq.onnx"
        onnx.save(version_converter.convert_version(model, OPSET), source)
        settings = get_qnn_qdq_config(
            source, Feeds(feeds), activation_type=ACTIVATIONS[activations], weight_type=QuantType.QUInt8
        )
        quantize(source, target, settings)
        result = onnx.load(target)
    result.ir_version = IR_VERSION
    del result.metadata_props[:], result.graph.value_info[:]
    result = onnx.shape_inference.infer_shapes(result, strict_mode=True, data_prop=True)
    check_static(result)
    onnx.checker.check_model(result, full_check=True)
    return result
