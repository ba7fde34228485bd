"""Parity of a codec of a static probability model: items [N, ...], several in a packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.errors import ExportError
from latentwire.export.factorized.reference import Reference
from latentwire.export.factorized.tables import CodecTables
from latentwire.export.graph import duplicate
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.storage import widen_halves
from latentwire.export.verify import FLOAT_LIMIT, Report, Subject, Verifier
from latentwire.runtime.contract import Array

SYMBOL_LIMIT = 1e-5
FEW_TIES = 8
"""So many symbols may differ at rounding ties, however few there are: one alone could be above the share."""
RATE_LIMIT = 0.02
"""Another precision may raise the rate by this share at quality 128."""
MSE_LIMIT = 0.03
"""And the squared error by this share."""
TIE = 1e-3
"""A symbol may differ between torch and ONNX only where the latent is this close to a rounding boundary, in steps."""
PACKET_ITEMS = 64


class ItemVerifier(Verifier):
    """The checks of one bundle on items [N, ...]."""

    reference_type: ClassVar[type] = Reference
    compared: ClassVar[tuple[int, ...]] = (0, 128, 255)

    def check_items(self) -> None:
        """One array."""
        self.subject.manifest.input.validate(np.asarray(self.items))

    def packets(self) -> Sequence[Array]:
        """64 items each, or fewer large ones."""
        items = np.asarray(self.items)
        return list(measure.batches(items, measure.together(items.shape[1:], PACKET_ITEMS)))

    def samples(self) -> Sequence[Array]:
        """The first packet."""
        return self.packets()[:1]

    def curve(self, pieces: Pieces, qualities: tuple[int, ...]) -> list[RatePoint]:
        """In packets of 512 items."""
        items = np.asarray(self.items)
        return measure.rate_points(pieces, list(measure.batches(items)), qualities, self.subject.manifest.input)

    def judge(self, report: Report, name: str, base: list[RatePoint], found: list[RatePoint]) -> None:
        """Rate and squared error at the middle quality."""
        before, after = (next(p for p in points if p.quality == 128) for points in (base, found))
        report.add(f"{name}: rate increase at quality 128", after.bits / before.bits - 1, RATE_LIMIT)
        report.add(f"{name}: MSE increase at quality 128", after.mse / max(before.mse, 1e-12) - 1, MSE_LIMIT)

    def compare(self, report: Report, reference: Reference) -> None:
        """Symbols (rounding ties apart), and the output before it is rounded."""
        items, pieces, tables = np.asarray(self.items), self.subject.pieces(), read_tables(self.subject)
        before, after = reference.latents(items), measure.run_batched(pieces.analysis, "input", items)
        if before.shape != after.shape:
            raise ExportError(
                f"expected modules with latents {list(after.shape)} for these items, as the bundle has them, "
                f"found {list(before.shape)}: give the modules that this bundle was made from"
            )
        wanted, found = reference.rows(before), reference.rows(after)
        differ = far = total = 0
        for quality in (0, 128, 255):
            other = tables.quantize(wanted, quality) != tables.quantize(found, quality)
            scaled = np.abs((wanted - tables.centre) * tables.gain[quality])
            distance = np.abs((scaled + tables.rounding[quality] + 0.5) % 1 - 0.5)
            differ += int(other.sum())
            far += int((other & (distance > TIE)).sum())
            total += other.size
        name = f"{reference.origin} against ONNX fp32"
        report.add(f"{name}: share of symbols that differ", differ / total, max(SYMBOL_LIMIT, FEW_TIES / total))
        report.add(f"{name}: symbols that differ away from a rounding tie", far, 0)
        first = self.packets()[0]
        restored = pieces.coder.restore(pieces.packet(first, 255))
        low, high = self.subject.manifest.input.range
        output = reference.output(restored["latents"], first.shape)
        found = unrounded(self.subject, restored)[tuple(map(slice, output.shape))]
        gap = np.abs(found - output).max() / (high - low)
        report.add(f"{name}: largest output difference, range scaled to 1", gap, FLOAT_LIMIT)
        alone = reference.output(before, items.shape)
        if self.subject.manifest.input.dtype != "float32":
            alone = np.rint(alone)
        report.networks_alone = measure.mse(items, alone, self.subject.manifest.input)


def read_tables(subject: Subject) -> CodecTables:
    """The codec's tables from the initializers of its two integer pieces."""
    found: dict[str, Array] = {}
    for role in ("pack", "unpack"):
        model = onnx.load_from_string(subject.read_model(role, "exact"))
        widen_halves(model)  # gains such as 1 are
        for tensor in model.graph.initializer:
            found[tensor.name] = onnx.numpy_helper.to_array(tensor)
    frequency = found["frequency"].astype(np.uint16)
    return CodecTables(found["gain"], found["centre"], found["index"], frequency, found["rounding"], found["shift"])


def unrounded(subject: Subject, known: Mapping[str, Array]) -> Array:
    """Output of the fp32 synthesis file before its last rounding, and before it is cut, read off inside the graph."""
    model = duplicate(onnx.load_from_string(subject.read_model("synthesis", "fp32")))
    rounding = [node for node in model.graph.node if node.op_type == "Round"]
    if rounding:
        tap = onnx.helper.make_tensor_value_info(rounding[-1].input[0], onnx.TensorProto.FLOAT, None)
        model.graph.output.insert(0, tap)
    return measure.run_known(measure.session(model), known)
