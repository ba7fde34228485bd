"""Errors of the train layer: all are the caller's to mend, none comes from a peer's bytes.

    latentwire.runtime.errors.LatentwireError
      TrainingError
        SettingsError (ValueError)        a setting outside its range, or settings that contradict each other
        DataError (ValueError)            items that cannot be trained on: dtype, shape, range, values
          DataFileError                   a file of items that is missing or not what it should be
        RunError (ValueError)             a run folder that is missing, unfinished, damaged or of another kind
        DivergedError (ArithmeticError)   the loss is no longer a finite number
"""

from pathlib import Path

from latentwire.runtime.errors import LatentwireError


class TrainingError(LatentwireError):
    """Something in the train layer that the caller can mend."""


class SettingsError(TrainingError, ValueError):
    """A setting outside its range, or settings that contradict each other."""

    exit_code = 2


class DataError(TrainingError, ValueError):
    """Items that cannot be trained on: their dtype, shape, range or values."""

    exit_code = 3


class DataFileError(DataError):
    """A file of items that is missing or not what it should be."""

    @classmethod
    def at(cls, path: Path, offset: int, expected: str, found: str) -> "DataFileError":
        """The error of a file whose first wrong byte is at `offset`."""
        return cls(f"{path}, offset {offset}: expected {expected}, found {found}")


class RunError(TrainingError, ValueError):
    """A run folder that is missing, unfinished, damaged or of another kind."""


class DivergedError(TrainingError, ArithmeticError):
    """The loss is no longer a finite number."""
