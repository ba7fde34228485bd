"""Parity of a codec of a static probability model: items [N, ...], several in a packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import torch
from torch import nn

from latentwire.export import measure
from latentwire.export.errors import ExportError
from latentwire.export.factorized.layout import Family
from latentwire.export.factorized.tables import CodecTables
from latentwire.export.factorized.transforms import Analysis, Synthesis
from latentwire.export.graph import duplicate
from latentwire.export.measure import Pieces, RatePoint
from latentwire.export.transforms import Half, freeze
from latentwire.export.verify import FLOAT_LIMIT, Report, Subject, Verifier
from latentwire.runtime.contract import Array

SYMBOL_LIMIT = 1e-5
RATE_LIMIT = 0.02
"""Another precision may raise the rate by this share at quality 128."""
MSE_LIMIT = 0.03
"""And the squared error by this share."""
TIE = 1e-3
"""A symbol may differ between torch and ONNX only where the latent is this close to a rounding boundary, in steps."""
PACKET_ITEMS = 64


@dataclass(frozen=True)
class Reference:
    """The torch modules that a bundle was made from."""

    analysis: Analysis
    synthesis: Synthesis

    @classmethod
    def of(cls, family: Family, encoder: nn.Module, decoder: nn.Module) -> Reference:
        """Of an encoder and a decoder, copies of which are frozen.

        Raises:
            ExportError: a parameter is not finite.
        """
        return cls(Analysis(family, freeze(encoder, "encoder")), Synthesis(family, freeze(decoder, "decoder")))

    def in_half(self) -> Reference:
        """The same transforms with their networks in half precision."""
        family = self.synthesis.family
        return Reference(Analysis(family, Half(self.analysis.encoder)), Synthesis(family, Half(self.synthesis.decoder)))

    def latents(self, items: Array) -> torch.Tensor:
        """Latents of ``items`` in torch."""
        with torch.no_grad():
            return torch.cat([self.analysis(torch.tensor(part)) for part in measure.batches(items)])

    def output(self, latents: Array) -> Array:
        """Items from latents in torch, before rounding to whole numbers, in the contract's units."""
        with torch.no_grad():
            parts = [self.synthesis.decoder(torch.tensor(part)) for part in measure.batches(latents)]
            return self.synthesis.family.scale(torch.cat(parts)).numpy()


class ItemVerifier(Verifier):
    """The checks of one bundle on items [N, ...]."""

    reference_type: ClassVar[type] = Reference
    compared: ClassVar[tuple[int, ...]] = (0, 128, 255)

    def check_items(self) -> None:
        """One array."""
        self.subject.manifest.input.validate(np.asarray(self.items))

    def packets(self) -> Sequence[Array]:
        """64 items each."""
        return list(measure.batches(np.asarray(self.items), PACKET_ITEMS))

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
        rows = reference.synthesis.family.rows
        wanted = rows(reference.latents(items)).numpy()
        found = rows(torch.tensor(measure.run_batched(pieces.analysis, "input", items))).numpy()
        if wanted.shape != found.shape:
            raise ExportError(
                f"expected torch modules with latents {list(found.shape)} for these items, as the bundle has them, "
                f"found {list(wanted.shape)}: give the modules that this bundle was made from"
            )
        differ = far = total = 0
        for quality in (0, 128, 255):
            other = tables.quantize(wanted, quality) != tables.quantize(found, quality)
            scaled = np.abs((wanted - tables.centre) * tables.gain[quality])
            distance = np.abs((scaled + tables.rounding[quality] + 0.5) % 1 - 0.5)
            differ, far, total = (
                differ + int(other.sum()),
                far + int((other & (distance > TIE)).sum()),
                total + other.size,
            )
        report.add("torch against ONNX fp32: share of symbols that differ", differ / total, SYMBOL_LIMIT)
        report.add("torch against ONNX fp32: symbols that differ away from a rounding tie", far, 0)
        latents = pieces.coder.restore(pieces.packet(self.packets()[0], 255))["latents"]
        low, high = self.subject.manifest.input.range
        gap = np.abs(unrounded(self.subject, latents) - reference.output(latents)).max() / (high - low)
        report.add("torch against ONNX fp32: largest output difference, range scaled to 1", gap, FLOAT_LIMIT)


def read_tables(subject: Subject) -> CodecTables:
    """The codec's tables from the initializers of its two integer pieces."""
    found: dict[str, Array] = {}
    for role in ("pack", "unpack"):
        for tensor in onnx.load_from_string(subject.bundle.read_model(role, "exact")).graph.initializer:
            found[tensor.name] = onnx.numpy_helper.to_array(tensor)
    frequency = found["frequency"].astype(np.uint16)
    return CodecTables(found["gain"], found["centre"], found["index"], frequency, found["rounding"], found["shift"])


def unrounded(subject: Subject, latents: Array) -> Array:
    """Output of the fp32 synthesis file before its last rounding, read off inside the graph."""
    model = duplicate(onnx.load_from_string(subject.bundle.read_model("synthesis", "fp32")))
    rounding = [node for node in model.graph.node if node.op_type == "Round"]
    if rounding:
        tap = onnx.helper.make_tensor_value_info(rounding[-1].input[0], onnx.TensorProto.FLOAT, None)
        model.graph.output.insert(0, tap)
    return measure.session(model).run(None, {"latents": latents})[0]  # type: ignore[no-any-return]
