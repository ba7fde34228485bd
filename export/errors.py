"""Errors of the export stage. They are local faults: the model, the data or the settings at hand are to blame."""

from __future__ import annotations

from latentwire.runtime.errors import LocalError


class ExportError(LocalError, RuntimeError):
    """A model cannot become a codec; the message names the module and the reason."""


class QuantizationError(ExportError):
    """A variant loses more rate or distortion than its limit, whatever is left in float."""


class ParityError(ExportError):
    """A written bundle does not do what the torch modules or its other variants do."""

    exit_code = 6


class HalfError(ExportError):
    """An encoder or decoder is not what a codec can be made of; the message names the half, the layer and the shape.

    Attributes:
        half: "encoder", "decoder", or "model" where it is about both.
    """

    def __init__(self, half: str, message: str) -> None:
        super().__init__(message)
        self.half = half


class HalvesNotFoundError(HalfError):
    """A model in which no encoder and decoder are recognised."""


class OutputChoiceError(HalfError):
    """A half returns several tensors (or none), and which of them is meant has to be said."""


class SamplingError(HalfError):
    """An encoder that returns other latents each time, since it draws them at random."""


class SwappedHalvesError(HalfError):
    """The decoder was given as the encoder, and the other way round."""
