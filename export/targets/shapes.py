"""The shapes that a static model is made for: what `--size` and `--batch` say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latentwire.runtime.bundle.identity import Identity
from latentwire.runtime.errors import SettingError


@dataclass(frozen=True)
class Shapes:
    """Lengths of the axes that vary.

    Attributes:
        size: height and width of pictures; None leaves them free.
        batch: items a packet, for families whose packets hold several; None leaves them free.
    """

    size: tuple[int, int] | None = None
    batch: int | None = None

    def of_input(self, identity: Identity) -> tuple[int, ...] | None:
        """The encoder's input with every axis fixed; None where nothing is fixed for codecs of this kind.

        Pictures are colour: their third axis is 3.

        Raises:
            SettingError: a length that the codec's limits do not allow, or one that it has no axis for.
        """
        contract, fixed = identity.input, self.size if identity.input.is_picture else self.batch
        if contract.is_picture and self.batch not in (None, 1):
            raise SettingError(f"expected batch 1 for pictures, one of which is a packet, found {self.batch}")
        if not contract.is_picture and self.size is not None:
            height, width = self.size
            raise SettingError(f"expected --batch for items {contract.describe_shape()}, found --size {height}x{width}")
        if fixed is None:
            return None
        lengths = (*fixed, 3) if isinstance(fixed, tuple) else (fixed, *contract.shape[1:])
        shape = tuple(int(length) for length in lengths)  # type: ignore[arg-type]  # dense items have lengths only
        self._check(shape, identity)
        return shape

    def _check(self, shape: tuple[int, ...], identity: Identity) -> None:
        for axis, limit in zip(identity.size_axes, identity.limits.size, strict=True):
            allowed = limit if isinstance(limit, tuple) else range(1, limit + 1)
            if shape[axis] not in allowed:
                raise SettingError(f"expected a length within the codec's limit {limit}, found {shape[axis]}")
        area = identity.limits.area
        if area is not None and shape[0] * shape[1] * shape[2] > area:
            raise SettingError(f"expected at most {area} values a picture, found {shape[0]}x{shape[1]}x{shape[2]}")


def parse_size(text: str) -> tuple[int, int]:
    """Height and width as the command line writes them: `512x768`.

    Raises:
        SettingError: anything else.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    if found is None:
        raise SettingError(f"expected a size as HEIGHTxWIDTH such as 512x768, found {text!r}")
    return int(found[1]), int(found[2])
