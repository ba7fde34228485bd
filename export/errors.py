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
