"""Execution providers of ONNX Runtime: the names they go by, what brings them, and which ones to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from latentwire.runtime.errors import ProviderError, SettingError

SUFFIX = "ExecutionProvider"


@dataclass(frozen=True)
class Provider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: ours, short.
        full_name: ONNX Runtime's.
        wheel: what brings it.
        variants: of a transform, the one that runs best there first; none where the codec's own default does. Export
            writes what a bundle holds of these into its manifest, which is what the runtime goes by.
        memory: ONNX Runtime's name of the memory that its inputs are bound in; none where that is the CPU's, or where
            its wheel cannot put arrays there.
    """

    name: str
    full_name: str
    wheel: str
    variants: tuple[str, ...] = ("fp32",)
    memory: str | None = None


HALF = ("fp16", "fp32")
BYTES = ("int8", "fp32")
CPU = Provider("cpu", "CPUExecutionProvider", "onnxruntime", ())
PROVIDERS = (
    CPU,
    Provider("cuda", "CUDAExecutionProvider", "onnxruntime-gpu", HALF, "cuda"),
    Provider("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu", HALF, "cuda"),
    Provider("directml", "DmlExecutionProvider", "onnxruntime-directml", HALF),
    Provider("coreml", "CoreMLExecutionProvider", "onnxruntime (macOS)", HALF),
    Provider("openvino", "OpenVINOExecutionProvider", "onnxruntime-openvino"),
    Provider("qnn", "QNNExecutionProvider", "onnxruntime-qnn", BYTES),
    Provider("nnapi", "NnapiExecutionProvider", "onnxruntime-android (Java, C)", BYTES),
    Provider("xnnpack", "XnnpackExecutionProvider", "a build of onnxruntime with XNNPACK", BYTES),
    Provider("migraphx", "MIGraphXExecutionProvider", "onnxruntime-migraphx", HALF),
    Provider("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu", HALF),
)
AUTO = "auto"
PREFERRED = ("cuda", "migraphx", "directml", "coreml", "openvino", "webgpu")
"""What `auto` tries, in this order. TensorRT is not there: it compiles for minutes; nor are those for phones."""

Options = Mapping[str, str]
Asked = str | Sequence[str | tuple[str, Options]] | None
"""One name, or names in order of preference, each alone or with its options; None is the CPU."""


@dataclass(frozen=True)
class Chosen:
    """A provider that this ONNX Runtime has, and what it is told."""

    full_name: str
    options: Options = field(default_factory=dict)

    @property
    def known(self) -> Provider:
        """What we know of it."""
        return known_provider(self.full_name)

    @property
    def memory(self) -> tuple[str, int] | None:
        """Name and device of the memory that inputs are bound in; none where that is the CPU's."""
        name = self.known.memory
        return None if name is None else (name, int(self.options.get("device_id", "0")))


ON_CPU = (Chosen(CPU.full_name),)


def known_provider(name: str) -> Provider:
    """The provider of a short name or of ONNX Runtime's own; unknown ones keep their name."""
    unknown = Provider(name, name, "no wheel known here")
    return next((entry for entry in PROVIDERS if name in (entry.name, entry.full_name)), unknown)


def provider_variants(held: Mapping[str, Sequence[str]], default: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The table of a manifest: the variant that runs best on each provider.

    Args:
        held: role -> the variants that the bundle has, for encoder and decoder.
        default: role -> the variant for the CPU, and for providers that run none of their own best ones.
    """
    return {
        entry.name: {
            role: next((name for name in entry.variants if name in held[role]), chosen)
            for role, chosen in default.items()
        }
        for entry in PROVIDERS
    }


def available() -> tuple[str, ...]:
    """Full names of the providers that the installed ONNX Runtime was built with."""
    import onnxruntime as ort

    return tuple(ort.get_available_providers())


def alternatives(asked: Asked) -> tuple[tuple[Chosen, ...], ...]:
    """Lists of providers to try, one after the other, until one works: one list, or several for `auto`.

    Args:
        asked: names, short ("cpu", "cuda") or ONNX Runtime's own, or "auto": every accelerator that is there, then the
            CPU.

    Raises:
        ProviderError: one is not in this installation of ONNX Runtime; says which are, and what brings it.
        SettingError: an empty list, or something else than names and options.
    """
    if asked is None:
        return (ON_CPU,)
    if asked == AUTO:
        found = available()
        names = (known_provider(name).full_name for name in PREFERRED)
        return (*((Chosen(name),) for name in names if name in found), ON_CPU)
    entries = [asked] if isinstance(asked, str) else list(asked)
    if not entries:
        raise SettingError("expected names of providers, found none: pass 'cpu' or None")
    return (tuple(_chosen(entry) for entry in entries),)


def parse_provider(text: str) -> tuple[str, dict[str, str]]:
    """A provider as the command line writes it: `NAME` or `NAME:KEY=VALUE,KEY=VALUE`.

    Raises:
        SettingError: an option without a value.
    """
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",")] if rest else []
    if any(not key or not middle for key, middle, _ in pairs):
        raise SettingError(f"expected a provider as NAME or NAME:KEY=VALUE,KEY=VALUE, found {text!r}")
    return name, {key: value for key, _, value in pairs}


def _chosen(entry: str | tuple[str, Options]) -> Chosen:
    if not isinstance(entry, str | tuple):
        raise SettingError(f"expected the name of a provider, or a pair of name and options, found {entry!r}")
    name, options = (entry, {}) if isinstance(entry, str) else entry
    known, found = known_provider(name), available()
    if known.full_name not in found:
        raise ProviderError(
            f"expected provider {known.full_name}, found only {', '.join(found)}: it comes with {known.wheel}"
        )
    return Chosen(known.full_name, dict(options))
