"""Errors of the train layer: all are the caller's to mend, none comes from a peer's bytes.

    latentwire.runtime.errors.LocalError
      TrainingError
        SettingsError (ValueError)        a setting outside its range, or settings in contradiction   exit code 2
        RunError (ValueError)             a run folder that is missing, unfinished, damaged or of another kind
        DivergedError (ArithmeticError)   the loss is no longer a finite number

Bad items and bad files of items are runtime's InputError and its subclasses, exit code 3: the same faults occur there.
"""

from latentwire.runtime.errors import LocalError


class TrainingError(LocalError):
    """Something in a training run that the caller can mend."""


class SettingsError(TrainingError, ValueError):
    """A setting outside its range, or settings that contradict each other."""

    exit_code = 2


class RunError(TrainingError, ValueError):
    """A run folder that is missing, unfinished, damaged or of another kind."""


class DivergedError(TrainingError, ArithmeticError):
    """The loss is no longer a finite number."""
