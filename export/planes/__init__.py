"""Codecs of pictures with a probability model of their own: a protocol, and pack and unpack for whatever follows it."""

from latentwire.export.planes.book import CERTAIN, TOTAL, Book, Row
from latentwire.export.planes.family import PlanesFamily
from latentwire.export.planes.identity import codec_id, cost_of
from latentwire.export.planes.pack import SYMBOL_LIMIT, build_pack, folded_channels
from latentwire.export.planes.pictures import BLOCK, analysis_piece, synthesis_piece
from latentwire.export.planes.protocol import Known, Plane, PlaneModel, Prediction, everywhere, round_to_symbols
from latentwire.export.planes.unpack import build_unpack
from latentwire.export.planes.verify import PlaneVerifier

__all__ = [
    "BLOCK",
    "CERTAIN",
    "SYMBOL_LIMIT",
    "TOTAL",
    "Book",
    "Known",
    "Plane",
    "PlaneModel",
    "PlaneVerifier",
    "PlanesFamily",
    "Prediction",
    "Row",
    "analysis_piece",
    "build_pack",
    "build_unpack",
    "codec_id",
    "cost_of",
    "everywhere",
    "folded_channels",
    "round_to_symbols",
    "synthesis_piece",
]
