"""Settings as frozen dataclasses, and their strict way to JSON and back.

A run folder stores every setting, so that `--resume` and a later reader know exactly what was trained. Reading is
strict: an unknown or a missing key is an error, because a setting that is silently ignored is a wrong experiment.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

from latentwire.train.errors import SettingsError

Settings = TypeVar("Settings", bound="DataclassInstance")
Schedule = Literal["constant", "cosine"]
Arithmetic = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast and from which seed.

    Attributes:
        epochs: passes over the training items.
        batch: items in one step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size at its peak.
        schedule: `constant`, or `cosine` from the peak down to `final_rate` of it at the end.
        final_rate: what is left of the learning rate at the end of the cosine schedule, a fraction of the peak.
        warmup: steps over which the learning rate rises linearly from zero; 0 for none.
        basis_rate: learning rate of layers that start from the data's principal components, relative to the others.
        objective_rate: learning rate of what the objective itself learns (prior, step sizes), relative to the
            network's.
        adam_epsilon: Adam's epsilon (PyTorch's default is 1e-8, Keras's 1e-7).
        clip: largest norm of one player's gradient; 0 for no limit.
        average: decay of the moving average of the weights, which is what the run hands on; 0 for the last weights.
        seed: seed of every random choice: weights, order of the items, noise.
        threads: threads that torch may use; results are reproducible for one and the same number.
        minutes: time box, 0 for none: the schedule then runs over the time, whichever of time and epochs ends first.
        checkpoint_steps: steps from one checkpoint to the next; there is one at the end of each epoch in any case.
        arithmetic: of matrix products and convolutions in training. `bfloat16` is several times as fast for
            convolutions on a processor that has it (AVX512-BF16, AMX); weights, losses and validation stay float32.
    """

    epochs: int = 10
    batch: int = 256
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    final_rate: float = 0.02
    warmup: int = 0
    basis_rate: float = 1.0
    objective_rate: float = 1.0
    adam_epsilon: float = 1e-8
    clip: float = 0.0
    average: float = 0.0
    seed: int = 0
    threads: int = 1
    minutes: float = 0.0
    checkpoint_steps: int = 500
    arithmetic: Arithmetic = "float32"

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        require_at_least(
            1, epochs=self.epochs, batch=self.batch, threads=self.threads, checkpoint_steps=self.checkpoint_steps
        )
        require_at_least(0, warmup=self.warmup, clip=self.clip, seed=self.seed, minutes=self.minutes)
        require_above_zero(learning_rate=self.learning_rate, adam_epsilon=self.adam_epsilon)
        require_above_zero(basis_rate=self.basis_rate, objective_rate=self.objective_rate)
        require_fraction(average=self.average, final_rate=self.final_rate)
        require_choice(Schedule, schedule=self.schedule)
        require_choice(Arithmetic, arithmetic=self.arithmetic)


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


def to_json(settings: Any) -> dict[str, Any]:
    """The settings as a JSON object: tuples become lists, all else is already JSON."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def from_json(kind: type[Settings], document: object, where: str) -> Settings:
    """Settings of the class `kind` out of a JSON object.

    Raises SettingsError naming `where` for anything but an object with exactly the fields of `kind`, each of its type.
    """
    if not isinstance(document, Mapping):
        raise SettingsError(f"{where} must be a JSON object, found {type(document).__name__}")
    types_by_name = get_type_hints(kind)
    hints = {field.name: types_by_name[field.name] for field in dataclasses.fields(kind)}
    wrong = sorted(hints.keys() ^ document.keys())
    if wrong:
        raise SettingsError(f"{where} must have the keys {', '.join(hints)}; missing or unknown: {', '.join(wrong)}")
    return kind(**{name: _typed(hint, document[name], f"{where}.{name}") for name, hint in hints.items()})


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint` asks for: int, float, str, a Literal, a tuple or one of these or None."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return (
            None if value is None else _typed(next(part for part in parts if part is not types.NoneType), value, where)
        )
    if origin is Literal and value in parts:
        return value
    if origin is tuple and isinstance(value, list):
        hints = [parts[0]] * len(value) if parts[-1] is Ellipsis else list(parts)
        if len(hints) == len(value):
            return tuple(_typed(part, item, where) for part, item in zip(hints, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise SettingsError(f"{where} must be {getattr(hint, '__name__', hint)}, found {value!r}")
