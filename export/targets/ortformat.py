"""ORT-format files, and the operators that a reduced build of ONNX Runtime needs for them: by ONNX Runtime's own tool.

Style "Fixed": whatever can be fused is fused in the file. Style "Runtime" notes the fusions for the device to make, and
is not for us: unless the app asks for them int8 is computed in floats (photo's encoder takes 1.7 times as long, and now
and then sends another symbol), and if it does, ONNX Runtime 1.32 refuses the notes of photo's int8 transform.

They are converted for another processor than this one: without NCHWc, the transformer whose blocks have the width of
this machine's registers. The platform's other difference, whether QDQ of int8 activations is fused as it stands, does
not touch our activations, which are uint8.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort
from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

from latentwire.export.errors import ExportError
from latentwire.export.notes import quiet

PLATFORM = "arm"
CONFIG = "required_operators_and_types.config"
LEVEL_VARIABLE = "ORT_CONVERT_ONNX_MODELS_TO_ORT_OPTIMIZATION_LEVEL"
"""The tool reads its level from the environment; unset it is "all"."""


def to_ort(models: Mapping[str, bytes], folder: Path) -> None:
    """Write ``<name>.ort`` for each model and `CONFIG` beside them.

    Args:
        models: ONNX files' bytes by name without suffix.
        folder: where to; it exists.

    Raises:
        ExportError: ONNX Runtime cannot convert one.
    """
    if LEVEL_VARIABLE in os.environ:
        raise ExportError(f"expected no {LEVEL_VARIABLE} in the environment, found one: unset it, files depend on it")
    with tempfile.TemporaryDirectory() as temporary, quiet():
        source, target = Path(temporary, "onnx"), Path(temporary, "ort")
        source.mkdir()
        for name, data in models.items():
            (source / f"{name}.onnx").write_bytes(data)
        try:
            convert_onnx_models_to_ort(
                source,
                target,
                [OptimizationStyle.Fixed],
                target_platform=PLATFORM,
                enable_type_reduction=True,
            )
        except Exception as fault:  # pybind's exceptions have no common base below Exception
            raise ExportError(f"expected ONNX Runtime to convert {', '.join(models)}, found: {fault}") from fault
        for name in models:
            (folder / f"{name}.ort").write_bytes((target / f"{name}.ort").read_bytes())
        config = (target / CONFIG).read_text(encoding="utf-8")
        (folder / CONFIG).write_text(without_folders(config, list(models)), encoding="utf-8")


def without_folders(config: str, names: list[str]) -> str:
    """The config with its comments naming the files that are here, not the temporary ones that it was made from."""
    rules = re.sub(r"^#.*\n", "", config, flags=re.MULTILINE)
    head = [
        f"# ONNX Runtime {ort.__version__}, operators and types of:",
        *(f"# - {name}.ort" for name in sorted(names)),
    ]
    return "\n".join([*head, rules])


def session_like(model: bytes) -> ort.InferenceSession:
    """A CPU session of an ONNX file that computes what the converted file computes."""
    return open_session(model, disabled=["NchwcTransformer"])


def open_session(model: bytes, disabled: list[str] | None = None) -> ort.InferenceSession:
    """A CPU session of one thread that says nothing on stderr."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
