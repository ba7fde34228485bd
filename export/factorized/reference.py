"""The networks that a codec is made of, where they came from: what an export asks of them, and a verification."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from latentwire.export.factorized.layout import Family
from latentwire.runtime.contract import Array

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = npt.NDArray[np.float32]


class Reference(ABC):
    """An encoder and a decoder, and how what goes through them is laid out."""

    family: Family
    origin: str
    """What they are, as checks name it: "torch", "the ONNX files"."""

    @abstractmethod
    def laid_out(self, family: Family) -> Self:
        """The same networks in another layout."""

    @abstractmethod
    def latents(self, items: Array) -> Floats:
        """Latents of items [N, ...], as the encoder lays them out."""

    @abstractmethod
    def output(self, latents: Array, shape: Sequence[int]) -> Floats:
        """Items of a shape [N, ...] from latents, in the contract's units, before they are rounded to whole numbers."""

    @abstractmethod
    def rows(self, latents: Array) -> Floats:
        """Latents as rows [P, C]."""

    @abstractmethod
    def own_error(self, items: Array, latents: Array) -> float:
        """Squared error of the decoder's output for unquantized latents, summed over the outputs of a position.

        In the units of the network, as `sensitivity` is.
        """

    @abstractmethod
    def sensitivity(self, latents: Array) -> npt.NDArray[np.float64]:
        """Squared change of the decoder's output for a unit change of one latent of each channel, [C]."""

    @abstractmethod
    def analysis(self, items: Array) -> onnx.ModelProto:
        """The analysis piece, input -> latents; ``items`` are two or more examples, of `whole` blocks."""

    @abstractmethod
    def synthesis(self, latents: Array) -> onnx.ModelProto:
        """The synthesis piece, latents -> output; ``latents`` are of two or more items."""

    @abstractmethod
    def in_half(self) -> Reference:
        """The same with networks in half precision between float32 inputs and outputs.

        Raises:
            ExportError: it cannot be had.
        """
