"""What somebody says of codebooks: how large they are, or what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latentwire.export.errors import ExportError

MAX_SIZE = 1 << 16
MAX_PLANES = 256
"""As many as there are qualities."""


@dataclass(frozen=True)
class Codebooks:
    """Codebooks of one plane or several.

    Attributes:
        sizes: K of each plane; a single one may stand for all planes that an encoder turns out to have.
        vectors: float32 [R, K, D], planes with fewer codewords filled up with zeros; None where only sizes are known.
        counted: whether ``sizes`` has one entry for each plane for certain.
    """

    sizes: tuple[int, ...]
    vectors: torch.Tensor | None
    counted: bool

    def for_planes(self, planes: int) -> tuple[int, ...]:
        """K of each of so many planes.

        Raises:
            ExportError: there are as many codebooks as are given, and that is another number.
        """
        if len(self.sizes) == planes:
            return self.sizes
        if self.counted:
            raise ExportError(
                f"expected indices of {len(self.sizes)} planes, one a codebook, found {planes}: give as many codebooks"
            )
        return self.sizes * planes


def codebooks_of(given: Any) -> Codebooks:
    """Of an int, an array or `nn.Embedding` [K, D], an array [R, K, D], or a sequence of ints or arrays of the planes.

    Raises:
        ExportError: it is none of these, or of a size that no codec has.
    """
    if isinstance(given, bool | str | bytes) or given is None:
        raise ExportError(f"expected a codebook as its size K or its vectors [K, D], found {given!r}")
    if isinstance(given, int | np.integer):
        return checked(Codebooks((int(given),), None, False))
    if isinstance(given, Sequence | torch.nn.ModuleList | torch.nn.ParameterList):
        parts = [codebooks_of(part) for part in given]
        alike = len({part.vectors is None for part in parts}) == 1
        if not alike or any(len(part.sizes) != 1 for part in parts):
            raise ExportError("expected one codebook a plane, all as sizes or all as vectors [K, D], found others")
        sizes = tuple(part.sizes[0] for part in parts)
        vectors = [part.vectors[0] for part in parts if part.vectors is not None]
        return checked(Codebooks(sizes, filled(vectors) if vectors else None, True))
    vectors_of = np.asarray(as_numpy(given))
    if vectors_of.ndim not in (2, 3) or vectors_of.dtype.kind != "f" or not np.isfinite(vectors_of).all():
        raise ExportError(
            "expected a codebook's vectors as finite floats [K, D], or [planes, K, D] of several, found "
            f"{vectors_of.dtype} {list(vectors_of.shape)}"
        )
    stacked = torch.tensor(vectors_of.astype(np.float32)).reshape(-1, *vectors_of.shape[-2:])
    return checked(Codebooks((stacked.shape[1],) * len(stacked), stacked, True))


def as_numpy(given: Any) -> Any:
    """Of an array, a tensor, or a module that has one as its ``weight`` or ``embedding``."""
    for name in ("weight", "embedding", "embed", "codebook"):
        inner = getattr(given, name, None)
        if isinstance(inner, torch.Tensor):
            given = inner
            break
    return given.detach().cpu().numpy() if isinstance(given, torch.Tensor) else given


def filled(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """[R, K, D] of vectors [K, D] each, with zeros where a plane has fewer codewords.

    Raises:
        ExportError: their D differ.
    """
    if len({part.shape[1] for part in vectors}) > 1:
        raise ExportError(f"expected vectors of one length in all planes, found {[part.shape[1] for part in vectors]}")
    most = max(len(part) for part in vectors)
    return torch.stack([torch.nn.functional.pad(part, (0, 0, 0, most - len(part))) for part in vectors])


def checked(found: Codebooks) -> Codebooks:
    """The same, if a codec can have it."""
    if not all(2 <= size <= MAX_SIZE for size in found.sizes) or len(found.sizes) > MAX_PLANES:
        shown = sorted(set(found.sizes))
        raise ExportError(
            f"expected 1 to {MAX_PLANES} codebooks of 2 to {MAX_SIZE} codewords, found {len(found.sizes)} of {shown}"
        )
    return found
