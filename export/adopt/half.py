"""What the door asks of a half, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from latentwire.export.adopt.arrange import Arrangement
from latentwire.export.adopt.outputs import Path
from latentwire.runtime.contract import Array

if TYPE_CHECKING:
    import onnx
    from torch import nn

Role = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Choice:
    """Which tensor of a half's output is meant.

    Args:
        path: leads to it.
        choose: a function of the output to begin with, the user's own.
        shape: shape [...] of one item, where the tensor has to be brought into it.
        why: what was chosen, for the report; nothing where there was no choice.
    """

    path: Path = ()
    choose: Callable[[Any], Any] | None = None
    shape: tuple[int, ...] | None = None
    why: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the output is taken as it is."""
        return not self.path and self.choose is None and self.shape is None


class Half(Protocol):
    """An encoder or a decoder that can be run, and handed on as what the exporters take."""

    role: Role

    def outputs(self, values: Array, seed: int = 0) -> Any:
        """What it returns for float32 [N, ...], of whatever structure.

        Args:
            values: its input.
            seed: of torch's random numbers meanwhile.

        Raises:
            HalfError: it fails; names the layer and the shape.
        """

    def taking(self, choice: Choice) -> nn.Module | onnx.ModelProto:
        """The half with one tensor as its output."""

    def remade(self, made: Any) -> Half:
        """A half of this kind around what `taking` returned."""

    def arranged(self, arrangement: Arrangement, shape: tuple[int, ...]) -> nn.Module | onnx.ModelProto:
        """An encoder that takes items of shape [...] as they come."""

    def restored(self, arrangement: Arrangement, shape: tuple[int, ...]) -> nn.Module | onnx.ModelProto:
        """A decoder that returns items of shape [...] as they came."""
