"""Parity of a codec of indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from latentwire.export import measure
from latentwire.export.errors import ExportError
from latentwire.export.factorized import ItemVerifier, Reference, TorchReference, unrounded
from latentwire.export.indices.halves import IndexDecoder, IndexEncoder, VectorDecoder
from latentwire.export.verify import FLOAT_LIMIT, Report

INDEX_LIMIT = 1e-3
"""Share of indices that may differ between torch and ONNX: an argmin goes either way between two as near."""


@dataclass(frozen=True)
class IndexReference(TorchReference):
    """An encoder and a decoder in torch with maps of indices between them."""

    def in_half(self) -> IndexReference:
        """See `Reference`: networks in half precision, indices and codebooks as they are."""
        encoder, decoder = self.encoder, self.decoder
        if not isinstance(encoder, IndexEncoder) or not isinstance(decoder, IndexDecoder | VectorDecoder):
            raise ExportError("expected halves of indices, found others")
        return IndexReference(self.family, encoder.in_half(), decoder.in_half())


class IndexVerifier(ItemVerifier):
    """The checks of one bundle of indices on items [N, ...]."""

    reference_type: ClassVar[type] = TorchReference

    def compare(self, report: Report, reference: Reference) -> None:
        """Indices, and the output that they give before it is rounded."""
        items, pieces = np.asarray(self.items), self.subject.pieces()
        wanted, found = reference.latents(items), measure.run_batched(pieces.analysis, "input", items)
        if wanted.shape != found.shape:
            raise ExportError(
                f"expected modules with indices {list(found.shape)} for these items, as the bundle has them, found "
                f"{list(wanted.shape)}: give the modules that this bundle was made from"
            )
        name = f"{reference.origin} against ONNX fp32"
        report.add(f"{name}: share of indices that differ", float((wanted != found).mean()), INDEX_LIMIT)
        low, high = self.subject.manifest.input.range
        source = self.packets()[0]
        for quality in (0, 255):
            restored = pieces.coder.restore(pieces.packet(source, quality))
            output = reference.output(restored["latents"], source.shape)
            gap = np.abs(unrounded(self.subject, restored) - output).max() / (high - low)
            report.add(f"{name}: largest output difference at quality {quality}, range scaled to 1", gap, FLOAT_LIMIT)
        alone = reference.output(reference.latents(items), items.shape)
        if self.subject.manifest.input.dtype != "float32":
            alone = np.rint(alone)
        report.networks_alone = measure.mse(items, alone, self.subject.manifest.input)
