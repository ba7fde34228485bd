"""What this machine has, and what a codec would do on it: versions, providers, and where each model runs."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latentwire.runtime.bundle import Bundle
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.session import PROVIDERS, Asked, Placement, available, known_provider


@dataclass(frozen=True)
class Diagnosis:
    """A machine, and a codec on it where one was named.

    Attributes:
        codec_id: of the codec; None without one.
        onnxruntime: its version.
        python: the interpreter's version.
        machine: processor architecture and operating system.
        available: short names of the providers that this ONNX Runtime was built with.
        absent: the known ones that it was not, and the wheel that brings each.
        encoder: models that make a packet, and where each runs; none without a codec.
        decoder: models that read one.
    """

    codec_id: str | None
    onnxruntime: str
    python: str
    machine: str
    available: tuple[str, ...]
    absent: dict[str, str]
    encoder: tuple[Placement, ...] = ()
    decoder: tuple[Placement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def render(self) -> str:
        """For a person."""
        lines = [
            *([] if self.codec_id is None else [f"codec {self.codec_id[:16]}..."]),
            f"onnxruntime {self.onnxruntime}, Python {self.python}, {self.machine}",
            f"providers: {', '.join(self.available)}",
            *(f"  without {name}: it comes with {wheel}" for name, wheel in self.absent.items()),
        ]
        if self.codec_id is not None:
            for side, models in (("encoder", self.encoder), ("decoder", self.decoder)):
                lines += [side, *(f"  {described(model)}" for model in models)]
        return "\n".join(lines)


def described(placement: Placement) -> str:
    """A model and where it runs, in a line."""
    if placement.nodes is None:
        return f"{placement.model}: {', '.join(placement.providers)}"
    parts = ", ".join(f"{count} nodes on {name}" for name, count in placement.nodes.items())
    return f"{placement.model}: {parts}"


def diagnose(
    codec: str | Path | Bundle | None = None,
    *,
    variant: str | None = None,
    providers: Asked = None,
    profile: str = "device",
) -> Diagnosis:
    """Tell what this machine has; load both halves of a codec as they would be used and tell where they run.

    Args:
        codec: bundle (open, folder or zip) or the name of a ready codec; None for the machine alone.
        variant: of the transforms; each side's default if None.
        providers: as for an `Encoder`.
        profile: session options.

    Raises:
        BundleError: the codec cannot be loaded.
        ProviderError: a provider is not there, or does not run these models.
    """
    import onnxruntime as ort

    there = available()
    found = Diagnosis(
        codec_id=None,
        onnxruntime=ort.__version__,
        python=platform.python_version(),
        machine=f"{platform.machine()}, {platform.system()}",
        available=tuple(known_provider(name).name for name in there),
        absent={entry.name: entry.wheel for entry in PROVIDERS if entry.full_name not in there},
    )
    if codec is None:
        return found
    encoder, decoder = (
        half(codec, variant=variant, providers=providers, profile=profile) for half in (Encoder, Decoder)
    )
    return replace(found, codec_id=encoder.codec_id, encoder=encoder.placement, decoder=decoder.placement)
