"""The contract of a codec's items: dtype, shape and range of what the encoder takes and the decoder returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from latentwire.runtime.errors import InputRangeError, InputShapeError, InputTypeError, ManifestError, SettingError
from latentwire.runtime.strictjson import Fields, Record

QUALITIES = 256
"""Quality is 0 .. 255: smaller packets at the one end, better items at the other."""
DTYPES = ("uint8", "uint16", "int16", "float32")
CASTABLE = ("bool", "float16", "float64", "int8", "int32", "int64", "uint32", "uint64", *DTYPES)
"""Dtypes of arrays that a contract may have changed to its own."""

ITEMS_AXIS = "items"
"""Name of a first axis along which items stand."""

OutOfRange = Literal["error", "clip", "skip"]
OUT_OF_RANGE: tuple[OutOfRange, ...] = ("error", "clip", "skip")
"""What becomes of an item with a value outside of the range, see `ItemContract.within`."""

Array = npt.NDArray[Any]
Axis = int | str | tuple[int, ...]


@dataclass(frozen=True)
class Strays:
    """Places, along the first axis, of the items that had values outside of the range.

    Args:
        clipped: those that were moved into it.
        skipped: those that were left out.
    """

    clipped: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class ItemContract(Record):
    """What every array of items must be.

    Args:
        dtype: one of `DTYPES`.
        shape: one entry an axis: a length, a name where the length varies, or a tuple of the lengths that it may have.
        range: smallest and largest value that may occur, both included.
        casts: other dtypes of arrays that are changed to this one where they arrive: float64 to float32, whole numbers
            to smaller ones that hold them.

    Raises:
        ValueError: no contract can be like that.
    """

    PLACE = "contract"

    dtype: str
    shape: tuple[Axis, ...]
    range: tuple[float, float]
    casts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"expected a dtype of {', '.join(DTYPES)}, found {self.dtype!r}")
        if not set(self.casts) <= set(CASTABLE) - {self.dtype}:
            raise ValueError(f"expected casts of other dtypes of {', '.join(CASTABLE)}, found {list(self.casts)}")
        if not self.shape or not all(_is_axis(axis) for axis in self.shape):
            raise ValueError(f"expected a shape of lengths from 1 and names, found {list(self.shape)}")
        low, high = self.range
        least, most = dtype_range(self.dtype)
        if not least <= low < high <= most:
            raise ValueError(f"expected a range within [{least}, {most}] of {self.dtype}, found [{low}, {high}]")

    @classmethod
    def of(cls, items: Array) -> ItemContract:
        """The contract of items like these [N, ...]: their dtype and shape, the dtype's full range.

        Raises:
            InputTypeError: no contract has that dtype.
            InputShapeError: there is no first axis, or one is empty.
        """
        if items.dtype.name not in DTYPES:
            raise InputTypeError(f"expected items of dtype {', '.join(DTYPES)}, found {items.dtype.name}: convert them")
        if items.ndim < 2 or 0 in items.shape:
            raise InputShapeError(f"expected items [N, ...], none of them empty, found shape {list(items.shape)}")
        return cls(items.dtype.name, (ITEMS_AXIS, *items.shape[1:]), dtype_range(items.dtype.name))

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype as NumPy has it."""
        return np.dtype(self.dtype)

    @property
    def item_bytes(self) -> int:
        """Bytes of one item as raw values, every axis without a single length counted as one."""
        lengths = [axis for axis in self.shape if isinstance(axis, int)]
        return int(np.prod(lengths, dtype=np.int64)) * self.numpy_dtype.itemsize

    @property
    def is_picture(self) -> bool:
        """Whether one item is a picture uint8 [H, W, C] of any size, C 1 or 3."""
        if self.dtype != "uint8" or len(self.shape) != 3 or not all(isinstance(axis, str) for axis in self.shape[:2]):
            return False
        if self.shape[0] == ITEMS_AXIS:
            return False
        channels = self.shape[2]
        return not isinstance(channels, str) and set(_lengths(channels)) <= {1, 3}

    def require_picture(self) -> None:
        """Nothing if one item is a picture.

        Raises:
            SettingError: it is not.
        """
        if not self.is_picture:
            raise SettingError(f"expected a codec of pictures, found one of {self.describe_shape()}")

    def cast(self, items: Array) -> Array:
        """The same values in the contract's dtype, if they are of one of `casts`; else the array as it is.

        Raises:
            InputTypeError: whole numbers are expected, and there are others.
            InputRangeError: the dtype does not hold a value.
        """
        if not isinstance(items, np.ndarray) or items.dtype.name not in self.casts:
            return items
        least, most = dtype_range(self.dtype)
        if items.size and self.dtype != "float32":
            if not (items >= least).all() or not (items <= most).all():
                raise InputRangeError(f"expected values of {self.dtype}, found {items.min():g} to {items.max():g}")
            if items.dtype.kind == "f" and (items != np.rint(items)).any():
                raise InputTypeError(f"expected whole numbers for {self.dtype}, found others among {items.dtype.name}")
        with np.errstate(over="ignore"):  # becomes infinite, which no range holds
            return items.astype(self.numpy_dtype)

    def completed(self, items: Array) -> Array:
        """The same values, cast, with the axis of length 1 that may be left out: of one item, or of a single channel.

        An array that lacks neither is returned as it is, for `validate` to say what is wrong with it. Where both could
        be missing, ``items`` as the name of the first axis decides: one item becomes a batch of one; else the last axis
        is added, so that any grey picture is one.

        Args:
            items: an array of the contract's shape, or without its first or its last axis.
        """
        items = self.cast(items)
        if not isinstance(items, np.ndarray) or items.ndim != len(self.shape) - 1:
            return items
        first, last = self.shape[0], self.shape[-1]
        is_one = isinstance(first, str) and _fits(items.shape, self.shape[1:])
        is_single = not isinstance(last, str) and 1 in _lengths(last) and _fits(items.shape, self.shape[:-1])
        if is_one and (first == ITEMS_AXIS or not is_single):
            return items[None]
        return items[..., None] if is_single else items

    def validate(self, items: Array) -> Array:
        """The items, if they are what the contract says.

        Args:
            items: an array of the contract's dtype and shape.

        Raises:
            InputTypeError: another dtype, or not an array.
            InputShapeError: another shape, or an empty axis.
            InputRangeError: a value outside the range or not a number; names the first one.
        """
        self._check_form(items)
        if not self._is_inside(items):
            raise self._outside(items, 0, several=self._holds_several)
        return items

    def _check_form(self, items: Array) -> None:
        """Dtype and shape are what the contract says."""
        if not isinstance(items, np.ndarray) or items.dtype != self.numpy_dtype:
            raise InputTypeError(f"expected an array of {self.dtype}, found {_kind(items)}: convert it before encoding")
        if not self.fits(items.shape):
            raise InputShapeError(
                f"expected shape {self.describe_shape()}, found {list(items.shape)}{self._advice(items.shape)}"
            )

    def within(
        self, items: Array, policy: OutOfRange, *, first: int = 0, several: bool | None = None
    ) -> tuple[Array, Strays]:
        """The items with every value inside of the range, and which of them had others.

        A value that is not a number is outside. Infinities can be clipped; what is not a number cannot, so under `clip`
        an item with such a value is left out.

        Args:
            items: an array of the contract's dtype and shape; never changed.
            policy: `error` refuses, `clip` moves values to the nearer end, `skip` leaves items out.
            first: place of the first item in its file, from which places are counted.
            several: whether items stand along the first axis, or the array is one item as a whole; if None what the
                contract looks like.

        Returns:
            The items, the same array where nothing is wrong; its first axis is 0 where all were left out.

        Raises:
            InputTypeError, InputShapeError: as `validate`.
            InputRangeError: a value is outside and the policy is `error`; names the first one and its item.
            SettingError: another policy.
        """
        if policy not in OUT_OF_RANGE:
            raise SettingError(f"expected a policy of {', '.join(OUT_OF_RANGE)}, found {policy!r}")
        several = self._holds_several if several is None else several
        self._check_form(items)
        if self._is_inside(items):
            return items, Strays()
        if policy == "error":
            raise self._outside(items, first, several=several)
        low, high = self.range
        per_item = items if several else items[None]
        inner = tuple(range(1, per_item.ndim))
        with np.errstate(invalid="ignore"):
            stray = ~((per_item >= low) & (per_item <= high)).all(axis=inner)
        gone = np.isnan(per_item).any(axis=inner) if policy == "clip" else stray
        strays = Strays(_places(stray & ~gone, first), _places(gone, first))
        kept = np.clip(per_item[~gone], self.numpy_dtype.type(low), self.numpy_dtype.type(high))
        return (kept if several or not len(kept) else kept[0]), strays

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of that shape has every axis as the contract wants it."""
        return _fits(shape, self.shape)

    def describe_shape(self) -> str:
        """The shape as text, names included: ``[items, 784]``, ``[height, width, 1 or 3]``."""
        axes = [axis if isinstance(axis, str) else " or ".join(map(str, _lengths(axis))) for axis in self.shape]
        return f"[{', '.join(axes)}]"

    def _advice(self, shape: tuple[int, ...]) -> str:
        """What to do about a shape that pictures often have."""
        if not self.is_picture:
            return ""
        if len(shape) == 3 and shape[2] in (2, 4):
            return f": the last channel looks like alpha; flatten it, or drop it with [:, :, :{shape[2] - 1}]"
        return ": a packet holds one picture; use encode_stream for several" if len(shape) == 4 else ""

    @property
    def _holds_several(self) -> bool:
        return isinstance(self.shape[0], str) and not self.is_picture

    def _is_inside(self, items: Array) -> bool:
        """Whether every value is in the range; not a number is not."""
        low, high = self.range
        if self.range == dtype_range(self.dtype) and self.dtype != "float32":
            return True
        # min and max return NaN where there is one, and no comparison with NaN holds.
        return bool(items.min() >= low and items.max() <= high)

    def _outside(self, items: Array, first: int, *, several: bool) -> InputRangeError:
        """The error of the first value that is not in the range."""
        low, high = self.range
        with np.errstate(invalid="ignore"):
            place = np.unravel_index(int(np.argmin((items >= low) & (items <= high))), items.shape)
        at = [int(index) for index in place]
        where = f"in item {first + at[0]} at {at[1:]}" if several else f"at index {at}"
        error = InputRangeError(f"expected values in [{low:g}, {high:g}], found {items[place]} {where}")
        error.place = {"item": first + at[0], "index": at[1:]} if several else {"index": at}
        return error

    def to_json(self) -> dict[str, Any]:
        """As it stands in manifests and metadata."""
        low, high = self.range
        bounds = [low, high] if self.dtype == "float32" else [int(low), int(high)]
        shape = [list(axis) if isinstance(axis, tuple) else axis for axis in self.shape]
        document = {"dtype": self.dtype, "shape": shape, "range": bounds}
        return document | {"casts": list(self.casts)} if self.casts else document

    @classmethod
    def take(cls, fields: Fields) -> ItemContract:
        """See `Record`."""
        dtype = fields.text("dtype", within=DTYPES)
        shape = fields.array("shape", _axis)
        bounds = fields.array("range", _number)
        if len(bounds) != 2:
            raise ManifestError(f"{fields.where}.range: expected two numbers, found {len(bounds)}")
        casts = fields.array("casts", _castable) if "casts" in fields else ()
        try:
            return cls(dtype, shape, (bounds[0], bounds[1]), casts)
        except ValueError as fault:
            raise ManifestError(f"{fields.where}: {fault}") from fault


def _kind(items: object) -> str:
    """What is there in place of an array of the right dtype; of another byte order its name would be the same."""
    if not isinstance(items, np.ndarray):
        return f"{type(items).__name__}, which is no array"
    return items.dtype.name if items.dtype.isnative else f"{items.dtype.name} of the other byte order"


def dtype_range(dtype: str) -> tuple[float, float]:
    """Smallest and largest finite value of a dtype."""
    limits = np.finfo(dtype) if dtype == "float32" else np.iinfo(dtype)
    kind = float if dtype == "float32" else int
    return kind(limits.min), kind(limits.max)


def _fits(shape: tuple[int, ...], axes: tuple[Axis, ...]) -> bool:
    return len(shape) == len(axes) and all(
        length > 0 if isinstance(axis, str) else length in _lengths(axis)
        for length, axis in zip(shape, axes, strict=True)
    )


def _places(which: Any, first: int) -> tuple[int, ...]:
    return tuple((np.flatnonzero(which) + first).tolist())


def _is_axis(axis: object) -> bool:
    if isinstance(axis, str):
        return axis.isidentifier()
    if isinstance(axis, tuple):
        return bool(axis) and all(isinstance(length, int) and _is_axis(length) for length in axis)
    return isinstance(axis, int) and not isinstance(axis, bool) and axis > 0


def _lengths(axis: int | tuple[int, ...]) -> tuple[int, ...]:
    return axis if isinstance(axis, tuple) else (axis,)


def _axis(value: object, where: str) -> Axis:
    axis = tuple(value) if isinstance(value, list) else value
    if not _is_axis(axis):
        raise ManifestError(f"{where}: expected a length from 1, a list of such or a name, found {value!r}")
    return axis  # type: ignore[return-value]  # _is_axis has just told


def _castable(value: object, where: str) -> str:
    if value not in CASTABLE:
        raise ManifestError(f"{where}: expected a dtype of {', '.join(CASTABLE)}, found {value!r}")
    return str(value)


def _number(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ManifestError(f"{where}: expected a number, found {value!r}")
    return value
