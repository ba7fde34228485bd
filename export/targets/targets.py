"""What each target gets, and why: one table.

Two ways to use a codec, two sets of files:

- The **assemblies** do everything in one call on the CPU provider, as ORT-format files: see
  `latentwire.export.targets.ortformat`.
- The **pieces** are for accelerators: a transform there, the integer coder on the CPU. Accelerators know ONNX's own
  operators, not ONNX Runtime's fused ones, so transforms stay ONNX: ONNX Runtime gives the accelerator what it takes
  and fuses the rest for the CPU, on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentwire.runtime.errors import SettingError

BYTES_FIRST = ("int8", "fp32")
FLOATS = ("fp32",)
WEB_ENCODER = BYTES_FIRST
"""Variants of the encoder for onnxruntime-web's WebAssembly, the one that runs best there first."""


@dataclass(frozen=True)
class Target:
    """A place that a codec is packaged for.

    Attributes:
        name: as the command line says it.
        title: for people.
        encoder: variants of the encoder and its transform, the preferred one first.
        decoder: the same of the decoder.
        assemblies: whether it gets the two assemblies, for the CPU provider.
        pieces: variants of the analysis transform where it gets the pieces; None where it does not.
        static: whether its accelerator takes static shapes only.
        blocks: whether depthwise convolutions of bytes in its assemblies are made convolutions of blocks: see
            `latentwire.export.targets.depthwise`.
        accelerators: names of the operator lists that its report reads the pieces against.
    """

    name: str
    title: str
    encoder: tuple[str, ...] = BYTES_FIRST
    decoder: tuple[str, ...] = FLOATS
    assemblies: bool = True
    pieces: tuple[str, ...] | None = None
    static: bool = False
    blocks: bool = False
    accelerators: tuple[str, ...] = ()


TARGETS = (
    Target("android", "Android", pieces=BYTES_FIRST, accelerators=("nnapi", "xnnpack")),
    # Core ML takes no QuantizeLinear: its pieces are floats, which it runs in half precision by itself.
    Target("ios", "iOS", pieces=FLOATS, accelerators=("coreml-mlprogram", "coreml-neuralnetwork", "xnnpack")),
    # Quantized anew, from the float transforms: see `latentwire.export.targets.qnn`.
    Target("qnn", "Qualcomm NPU (QNN)", assemblies=False, pieces=FLOATS, static=True, accelerators=("qnn",)),
    Target("web", "Browser", encoder=WEB_ENCODER, blocks=True),
    Target("linux-arm64", "Linux on ARM64", accelerators=("xnnpack",)),
)


def target_named(name: str) -> Target:
    """The target of that name.

    Raises:
        SettingError: there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    there = ", ".join(target.name for target in TARGETS)
    raise SettingError(f"expected a target of {there}, found {name!r}")
