"""Errors of what is brought: the factory, the weights, the recipe."""

from __future__ import annotations

from latentwire.export.errors import ExportError
from latentwire.runtime.errors import SettingError


class FactoryError(ExportError):
    """A factory that is not there, fails, or makes no model; the message says which."""

    exit_code = 2


class WeightsError(ExportError):
    """A file of weights that cannot be read without running code of it, or that is of another model."""

    exit_code = 2


class RecipeError(SettingError):
    """A recipe that cannot be read, or has keys or values that no option has."""
