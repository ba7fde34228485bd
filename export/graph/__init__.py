"""The parts of the codec that we author in ONNX operators, with onnxscript."""

from latentwire.export.graph.builder import (
    BOOL,
    FLOAT,
    INT32,
    INT64,
    IR_VERSION,
    OPSET,
    UINT8,
    Op,
    Value,
    build_model,
    count,
    duplicate,
    flat,
    little_endian,
    number,
    stamp,
    table,
    value,
    vector,
)
from latentwire.export.graph.coding import COST_UNITS, PRECISION, TOTAL, code_lengths
from latentwire.export.graph.escapes import MAX_MAGNITUDE
from latentwire.export.graph.integer import CHANNELS_FIRST, CHANNELS_LAST, EXACT, Layer
from latentwire.export.graph.pieces import build_pack_piece, build_unpack_piece
from latentwire.export.graph.rans import NARROW, WORD
from latentwire.export.graph.tap import COST, estimating, telling

__all__ = [
    "BOOL",
    "CHANNELS_FIRST",
    "CHANNELS_LAST",
    "COST",
    "COST_UNITS",
    "EXACT",
    "FLOAT",
    "INT32",
    "INT64",
    "IR_VERSION",
    "MAX_MAGNITUDE",
    "NARROW",
    "OPSET",
    "PRECISION",
    "TOTAL",
    "UINT8",
    "WORD",
    "Layer",
    "Op",
    "Value",
    "build_model",
    "build_pack_piece",
    "build_unpack_piece",
    "code_lengths",
    "count",
    "duplicate",
    "estimating",
    "flat",
    "little_endian",
    "number",
    "stamp",
    "table",
    "telling",
    "value",
    "vector",
]
