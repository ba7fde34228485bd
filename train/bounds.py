"""What a setting may hold, said once, in the annotation of its field.

    @dataclass(frozen=True)
    class Settings(bounds.Checked):
        epochs: bounds.Count = 10
        knots: Annotated[int, partial(bounds.require_at_least, 2)] = 8
        schedule: Literal["constant", "cosine"] = "constant"

`Checked` refuses everything else when such settings are made.
"""

import dataclasses
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from latentwire.train.errors import SettingsError


def require_at_least(minimum: float, **values: float) -> None:
    """Raises SettingsError for each value below `minimum` (nan included)."""
    for name, value in values.items():
        if not value >= minimum:
            raise SettingsError(f"{name} must be at least {minimum}, found {value}")


def require_above_zero(**values: float) -> None:
    """Raises SettingsError for a value that is not a finite number above zero."""
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise SettingsError(f"{name} must be above 0, found {value}")


def require_fraction(**values: float) -> None:
    """Raises SettingsError for a value outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise SettingsError(f"{name} must be at least 0 and below 1, found {value}")


def require_choice(choices: Any, **values: str) -> None:
    """Raises SettingsError for a value that is not one of the literals of the `Literal` type `choices`."""
    for name, value in values.items():
        if value not in get_args(choices):
            raise SettingsError(f"{name} must be one of {', '.join(get_args(choices))}, found {value!r}")


def require_widths(**values: tuple[int, ...]) -> None:
    """Raises SettingsError for a layer of fewer than one unit."""
    for name, widths in values.items():
        if any(width < 1 for width in widths):
            raise SettingsError(f"{name} must be widths of at least 1, found {','.join(map(str, widths))}")


Count = Annotated[int, partial(require_at_least, 1)]
Natural = Annotated[int, partial(require_at_least, 0)]
NotNegative = Annotated[float, partial(require_at_least, 0)]
Positive = Annotated[float, require_above_zero]
Fraction = Annotated[float, require_fraction]
Widths = Annotated[tuple[int, ...], require_widths]


@dataclasses.dataclass(frozen=True)
class Checked:
    """Settings whose fields hold what their annotations allow.

    Raises:
        SettingsError: one does not; names the first.
    """

    def __post_init__(self) -> None:
        """Checks every field; a class with rules between its fields adds them behind this."""
        hints = get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            hint, value = hints[field.name], getattr(self, field.name)
            for require in getattr(hint, "__metadata__", ()):
                require(**{field.name: value})
            if get_origin(hint) is Literal:
                require_choice(hint, **{field.name: value})
