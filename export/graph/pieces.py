"""What the two integer pieces of every family take and give, by names that assemblies and runtime join them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx

from latentwire.export.graph.builder import FLOAT, INT32, INT64, UINT8, Dims, Value, build_model, value


def build_pack_piece(trace: Callable[..., Sequence[Value]], latents: Dims, dimensions: int) -> onnx.ModelProto:
    """``pack``: latents float32, quality uint8 [], size int64 [d] -> packet uint8 [n].

    Args:
        trace: called with the op builder and the three; returns the packet.
        latents: the latents' shape.
        dimensions: how many the size has, d.
    """
    inputs = [value("latents", FLOAT, latents), value("quality", UINT8, []), value("size", INT64, [dimensions])]
    return build_model(trace, inputs, [packet()], "pack")


def build_unpack_piece(
    trace: Callable[..., Sequence[Value]],
    latents: Dims,
    dimensions: int,
    symbols: Mapping[str, Dims],
    *,
    gives_quality: bool = False,
) -> onnx.ModelProto:
    """``unpack``: packet uint8 [n] -> latents float32, size int64 [d], symbols int32, status int64 [].

    Args:
        trace: called with the op builder and the packet; returns one value for each output, in that order.
        latents: the latents' shape.
        dimensions: how many the size has, d.
        symbols: name and shape of each output of symbols.
        gives_quality: quality uint8 [1] comes behind the latents, for a synthesis that asks for it.
    """
    outputs = [
        value("latents", FLOAT, latents),
        *([value("quality", UINT8, [1])] if gives_quality else []),
        value("size", INT64, [dimensions]),
        *(value(name, INT32, shape) for name, shape in symbols.items()),
        value("status", INT64, []),
    ]
    return build_model(trace, [packet()], outputs, "unpack")


def packet() -> Value:
    """A packet as input or output."""
    return value("packet", UINT8, ["packet_bytes"])
