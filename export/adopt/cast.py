"""Dtypes that no contract has, cast to one that has them: on request only, and never beyond what it can hold."""

from __future__ import annotations

import numpy as np

from latentwire.runtime.contract import DTYPES, Array
from latentwire.runtime.errors import InputRangeError, InputTypeError, SettingError

Cast = bool | str | None

WHOLE = ("uint8", "int16", "uint16")
"""Integers of a contract, the smallest first."""
EXACT = 1 << 24
"""Whole numbers up to here are float32 without loss."""


def cast_items(items: Array, cast: Cast) -> tuple[Array, tuple[str, ...]]:
    """Items of a contract's dtype, and a note of what was cast.

    Args:
        items: of any dtype, in native byte order.
        cast: None or False refuses what is none of a contract's; True chooses the dtype; a name says it.

    Raises:
        InputTypeError: a cast is needed and was not asked for, or there are no numbers.
        InputRangeError: the dtype does not hold the values.
        SettingError: no such dtype.
    """
    if isinstance(cast, str) and cast not in DTYPES:
        raise SettingError(f"expected cast= to be True or one of {', '.join(DTYPES)}, found {cast!r}")
    if items.dtype.kind not in "biuf":
        raise InputTypeError(f"expected items of numbers, found dtype {items.dtype}")
    source = items.dtype.name
    if source in DTYPES and (not isinstance(cast, str) or cast == source):
        return items, ()
    if not cast:
        wanted = suitable(items)
        raise InputTypeError(
            f"expected items of dtype {', '.join(DTYPES)}, found {source}: say cast=True to have them cast to "
            f"{wanted}; the device hands over what the contract says, so its arrays have to be of that dtype too"
        )
    target = cast if isinstance(cast, str) else suitable(items)
    return _cast(items, target), (f"data: {source} cast to {target}",)


def suitable(items: Array) -> str:
    """The dtype of a contract that holds these values: float32 for floats, the smallest of integers for integers."""
    if items.dtype.kind == "f" or not items.size:
        return "float32"
    low, high = int(items.min()), int(items.max())
    for name in WHOLE:
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return name
    return "float32"


def _cast(items: Array, target: str) -> Array:
    if target == "float32":
        if items.dtype.kind != "f" and items.size and max(abs(int(items.min())), abs(int(items.max()))) > EXACT:
            raise InputRangeError(
                f"expected whole numbers up to {EXACT} for float32, found {items.min()}..{items.max()}: scale them"
            )
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            result = items.astype(np.float32)
        if not np.isfinite(result[np.isfinite(items)]).all():
            raise InputRangeError(f"expected values of float32, found {items.min():g}..{items.max():g}: scale them")
        return result
    limits = np.iinfo(target)
    with np.errstate(invalid="ignore"):
        wrong = ~((items == np.rint(items)) & (items >= limits.min) & (items <= limits.max))
    if wrong.any():
        place = [int(index) for index in np.argwhere(wrong)[0]]
        raise InputRangeError(
            f"expected whole numbers from {limits.min} to {limits.max} for {target}, "
            f"found {items[tuple(place)]} at {place}"
        )
    return items.astype(target)
