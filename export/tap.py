"""What a pack piece sends, read off inside it: for verification and for measurements."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from latentwire.export import measure
from latentwire.export.graph import COST, COST_UNITS, telling
from latentwire.runtime.contract import Array


@dataclass(frozen=True)
class Sent:
    """One packet and what is in it.

    Attributes:
        packet: uint8 [n].
        symbols: int32, by the names that the unpack piece gives them: ``symbols`` [P * C] of a static model, [1, h, w,
            L] of pictures, whose ``hyper_symbols`` are [1, h / 4, w / 4, Z].
        ideal_bits: their ideal code length, where the piece names it.
    """

    packet: Array
    symbols: dict[str, Array]
    ideal_bits: float | None

    def lost(self, found: dict[str, Array]) -> int:
        """How many symbols an unpack piece read otherwise than they were sent; one more if it refused the packet."""
        wrong = sum(differences(found[name].ravel(), sent.ravel()) for name, sent in self.symbols.items())
        return wrong + int(found["status"] != 0)


class Tap:
    """A pack piece that also tells what it codes."""

    def __init__(self, model: bytes, size_axes: tuple[int, ...]) -> None:
        """Takes the bytes of the piece's ONNX file, and the axes of the input whose lengths a packet carries."""
        told = telling(onnx.load_from_string(model))
        self._names = [entry.name for entry in told.graph.output if entry.name.endswith("symbols")]
        self._tells_cost = any(COST in node.output for node in told.graph.node)
        if self._tells_cost:
            told.graph.output.append(onnx.helper.make_tensor_value_info(COST, onnx.TensorProto.INT64, []))
        self._session, self._size_axes = measure.session(told), size_axes

    def send(self, latents: Array, shape: tuple[int, ...], quality: int) -> Sent:
        """Latents float32 of an input of ``shape``."""
        feed = measure.pack_feed(latents, shape, quality, self._size_axes)
        names = ["packet", *self._names, *([COST] if self._tells_cost else [])]
        found = dict(zip(names, self._session.run(names, feed), strict=True))
        bits = float(found[COST]) / COST_UNITS if self._tells_cost else None
        return Sent(found["packet"], {name: found[name] for name in self._names}, bits)


def differences(found: Array, wanted: Array) -> int:
    """How many elements differ; all of them where the shapes do."""
    return int((found != wanted).sum()) if found.shape == wanted.shape else max(wanted.size, 1)
