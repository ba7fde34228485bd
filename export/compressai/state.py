"""A CompressAI model's state dict, checked and read: no part of the package itself is needed.

Keys are those of CompressAI 1.2. What is read is what coding needs: transforms, medians, tables. The tables are those
that ``update()`` left in the state (``_quantized_cdf``, ``_cdf_length``, ``_offset``) and are taken over as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from latentwire.export.errors import ExportError
from latentwire.export.planes import Row

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Architecture:
    """One of CompressAI's.

    Attributes:
        name: in its zoo.
        hyper: hyper-latents are sent first.
        means: they say means too.
        magnitudes: the hyper-analysis sees magnitudes.
        variable: the rate is a gain that is given when encoding.
    """

    name: str
    hyper: bool = False
    means: bool = False
    magnitudes: bool = False
    variable: bool = False


ARCHITECTURES = {
    entry.name: entry
    for entry in (
        Architecture("bmshj2018-factorized"),
        Architecture("bmshj2018-factorized-relu"),
        Architecture("bmshj2018-hyperprior", hyper=True, magnitudes=True),
        Architecture("bmshj2018-hyperprior-vbr", hyper=True, magnitudes=True, variable=True),
        Architecture("mbt2018-mean", hyper=True, means=True),
        Architecture("mbt2018-mean-vbr", hyper=True, means=True, variable=True),
    )
}
CLASSES = {
    "FactorizedPrior": "bmshj2018-factorized",
    "FactorizedPriorReLU": "bmshj2018-factorized-relu",
    "ScaleHyperprior": "bmshj2018-hyperprior",
    "ScaleHyperpriorVbr": "bmshj2018-hyperprior-vbr",
    "MeanScaleHyperprior": "mbt2018-mean",
    "MeanScaleHyperpriorVbr": "mbt2018-mean-vbr",
}
"""Names of the package's classes."""


def architecture_named(name: str) -> Architecture:
    """The architecture of a name in the zoo; underscores do for hyphens.

    Raises:
        ExportError: there is none, or it predicts in a way that is not supported.
    """
    found = ARCHITECTURES.get(name.replace("_", "-"))
    if found is None:
        raise ExportError(
            f"expected an architecture of {', '.join(ARCHITECTURES)}, found {name!r}: choose one of these"
        )
    return found


class State:
    """A state dict's arrays.

    Raises:
        ExportError: a value is no array.
    """

    def __init__(self, entries: Mapping[str, Any], name: str) -> None:
        self.name = name
        nested = entries.get("state_dict", entries) if isinstance(entries, Mapping) else entries
        if not isinstance(nested, Mapping):
            raise ExportError(f"{name}: expected a state dict, found {type(entries).__name__}: give model.state_dict()")
        self.entries = {str(key).removeprefix("module."): value for key, value in nested.items()}

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def array(self, key: str) -> npt.NDArray[Any]:
        """One entry.

        Raises:
            ExportError: it is not there, or holds numbers that are not finite.
        """
        if key not in self.entries:
            raise ExportError(
                f"{self.name}: expected {key!r} in the state dict, found none: is it of this architecture?"
            )
        value = self.entries[key]
        array = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ExportError(f"{self.name}: expected finite numbers in {key!r}, found others: train it again")
        return array

    def floats(self, key: str) -> Floats:
        """One entry as float32."""
        return self.array(key).astype(np.float32)

    def rows(self, prefix: str) -> tuple[Row, ...]:
        """The tables of an entropy model.

        Raises:
            ExportError: there are none, or they are not tables of 16 bits.
        """
        cdf = self.array(f"{prefix}._quantized_cdf")
        if cdf.size == 0:
            raise ExportError(
                f"{self.name}: expected tables in {prefix!r}, found none: call update() on the model first"
            )
        lengths, offsets = (self.array(f"{prefix}.{key}").reshape(-1) for key in ("_cdf_length", "_offset"))
        if cdf.ndim != 2 or not len(cdf) == len(lengths) == len(offsets):
            raise ExportError(
                f"{self.name}: expected a length and an offset for each table of {prefix!r}, found others"
            )
        return tuple(
            Row(np.diff(row[:length]).astype(np.int64), int(offset))
            for row, length, offset in zip(cdf, lengths, offsets, strict=True)
        )

    def medians(self) -> Floats:
        """Of the entropy bottleneck, [C]."""
        return self.floats("entropy_bottleneck.quantiles")[:, 0, 1]


def non_negative(stored: Floats, minimum: float = 0.0) -> Floats:
    """What CompressAI's ``NonNegativeParametrizer`` makes of a stored parameter, in its own arithmetic."""
    pedestal = np.float32(float(2**-18) ** 2)
    bound = np.float32((minimum + float(2**-18) ** 2) ** 0.5)
    return np.square(np.maximum(stored, bound)) - pedestal


def normalization(state: State, prefix: str) -> tuple[Floats, Floats]:
    """(gamma [C, C], beta [C]) of a GDN layer."""
    beta = non_negative(state.floats(f"{prefix}.beta"), 1e-6)
    return non_negative(state.floats(f"{prefix}.gamma")), beta
