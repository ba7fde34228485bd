"""What was put, item by item, and which of it is left out or changed because a value is out of the contract's range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentwire.runtime.contract import Array, OutOfRange
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import InputRangeError, InputShapeError
from latentwire.runtime.families import RuntimeFamily
from latentwire.runtime.files import conform


@dataclass(frozen=True)
class Screened:
    """What was put.

    Args:
        values: one an item that was put; None where it is left out.
        clipped: places of those whose values were changed.
        faults: of those left out that somebody has to hear of.
    """

    values: list[Array | None]
    clipped: frozenset[int] = frozenset()
    faults: tuple[InputRangeError, ...] = ()


@dataclass(frozen=True)
class Screen:
    """Looks at values before they are gathered.

    Args:
        encoder: that will encode them.
        family: of the codec.
        policy: see `ItemContract.within`.
    """

    encoder: Encoder
    family: RuntimeFamily
    policy: OutOfRange

    def look(self, items: Array, first: int = 0, *, apart: bool = False) -> Screened:
        """The items of what was put.

        Args:
            items: as `Encoder.encode` takes them.
            first: place of the first one in its file, for messages.
            apart: with the policy `error`, leave out the items that are out of range and name them in `faults`, instead
                of refusing all.

        Raises:
            InputError: not what the contract says.
            SettingError: more than one packet can hold.
        """
        shaped, several = self._shaped(items), self.encoder.batches
        if shaped is None:
            return Screened(list(self.family.values(items, self.encoder)))
        leaves_out = apart and self.policy == "error"
        kept, strays = self.encoder.contract.within(
            shaped, "skip" if leaves_out else self.policy, first=first, several=several
        )
        gone = {place - first for place in strays.skipped}
        values = iter(self.family.values(items if kept is shaped else kept, self.encoder) if len(kept) else ())
        count = len(shaped) if several else 1
        return Screened(
            [None if place in gone else next(values) for place in range(count)],
            frozenset(place - first for place in strays.clipped),
            tuple(self._fault(shaped, place - first, first) for place in strays.skipped) if leaves_out else (),
        )

    def _shaped(self, items: Array) -> Array | None:
        """The items in the contract's dtype and shape; None where they are not, which the family will say."""
        contract = self.encoder.contract
        if not isinstance(items, np.ndarray) or items.dtype != contract.numpy_dtype:
            return None
        if not self.encoder.batches:
            completed = contract.completed(items)
            return completed if contract.fits(completed.shape) else None
        try:
            shaped = conform(items, contract, "items")
        except InputShapeError:
            return None
        return shaped if contract.fits(shaped.shape) else None

    def _fault(self, shaped: Array, place: int, first: int) -> InputRangeError:
        several = self.encoder.batches
        one = shaped[place : place + 1] if several else shaped
        try:
            self.encoder.contract.within(one, "error", first=first + place, several=several)
        except InputRangeError as fault:
            return fault
        raise AssertionError("an item in range was left out")
