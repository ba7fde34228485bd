"""What colours the numbers of a file mean, where LittleCMS cannot be asked: gamma, code points, samples of 16 bits.

A space is a curve from samples to linear light and a matrix to the linear light of sRGB. Everything goes by its samples
in full: a picture of 16 bits becomes one of 8 at the very end, since 8 bits of linear light are too few in the dark.

- Primaries are adapted from their white to that of sRGB as profiles do it: linear Bradford, by way of D50
  (ICC.1:2022, annex E). Colours that sRGB does not have are clipped.
- Code points are those of ITU-T H.273, which PNG's cICP and the colour boxes of AVIF and HEIC use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwire.runtime.contract import Array

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]
"""Samples in [0, 1] to linear light in [0, 1]."""

XY = tuple[float, float]
Primaries = tuple[XY, XY, XY, XY]
"""Red, green, blue and white, as x and y."""

D65: XY = (0.3127, 0.3290)
SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
"""ITU-T H.273, table 2."""
UNSPECIFIED = 2
HIGH_DYNAMIC_RANGE = (16, 18)
"""PQ and HLG: ITU-T H.273, table 3."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_STRIP = 1 << 20
"""About as many samples are converted at once: light takes 4 bytes for each."""


def srgb_to_linear(values: Floats) -> Floats:
    """IEC 61966-2-1."""
    found: Floats = np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)
    return found


def linear_to_srgb(values: Floats) -> Floats:
    """The inverse of `srgb_to_linear`."""
    found: Floats = np.where(values <= 0.0031308, values * 12.92, 1.055 * np.maximum(values, 0) ** (1 / 2.4) - 0.055)
    return found


def power(exponent: float) -> Curve:
    """Linear light is the sample to this power."""
    return lambda values: np.asarray(values**exponent, np.float64)


@dataclass(frozen=True)
class Space:
    """What samples mean.

    Attributes:
        curves: one for grey, three for red, green and blue.
        matrix: float64 [3, 3] from linear light to that of sRGB; None where the primaries are its own, and for grey.
    """

    curves: tuple[Curve, ...]
    matrix: Floats | None = None

    def to_srgb(self, samples: Array) -> Array:
        """uint8 or uint16 [H, W, 1 or 3] as uint8 of the same shape, in sRGB."""
        tables = self._tables(np.iinfo(samples.dtype).max, samples.shape[2])
        mixed = self.matrix is not None and samples.shape[2] == 3
        convert = self._mixed(tables) if mixed else _each([encoded(table) for table in tables])
        found = np.empty(samples.shape, np.uint8)
        step = max(1, _STRIP // max(1, samples.shape[1] * samples.shape[2]))
        for top in range(0, len(samples), step):
            found[top : top + step] = convert(samples[top : top + step])
        return found

    def is_srgb(self) -> bool:
        """Whether no sample of 8 bits changes by more than a step of rounding."""
        levels = np.arange(0, 256, 15).astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
        channels = grid if len(self.curves) == 3 or self.matrix is not None else grid[..., :1]
        return bool(np.abs(self.to_srgb(channels).astype(np.int16) - channels).max() <= 1)

    def _tables(self, largest: int, channels: int) -> list[Floats]:
        """Linear light of every value that a sample can have, a table for each channel."""
        values = np.arange(largest + 1) / largest
        curves = self.curves if channels == len(self.curves) else self.curves[:1] * channels
        return [np.clip(curve(values), 0, 1) for curve in curves]

    def _mixed(self, tables: list[Floats]) -> Callable[[Array], Array]:
        """Through the matrix; 16 bits of linear light are finer than 8 of sRGB, 20 times where it is darkest."""
        shades = encoded(np.arange(1 << 16) / 65535)
        lights, matrix = [table.astype(np.float32) for table in tables], np.asarray(self.matrix, np.float32)

        def convert(samples: Array) -> Array:
            light = np.stack([table[samples[..., at]] for at, table in enumerate(lights)], -1) @ matrix.T
            found: Array = shades[np.rint(np.clip(light, 0, 1) * 65535).astype(np.uint16)]
            return found

        return convert


def _each(tables: list[Array]) -> Callable[[Array], Array]:
    """Channels by themselves."""
    return lambda samples: np.stack([table[samples[..., at]] for at, table in enumerate(tables)], -1)


def encoded(light: Floats) -> Array:
    """Linear light in [0, 1] as samples of sRGB, uint8."""
    return np.rint(linear_to_srgb(light) * 255).astype(np.uint8)


def matrix_from(primaries: Primaries) -> Floats | None:
    """From the linear light of these primaries to that of sRGB, float64 [3, 3]; None if they are its own.

    Raises:
        ValueError: they span no triangle, or white is not in it.
    """
    if np.abs(np.array(primaries) - np.array(SRGB)).max() < 0.0015:  # as exact as those who round write them
        return None
    return np.linalg.inv(to_d50(SRGB)) @ to_d50(primaries)


def to_d50(primaries: Primaries) -> Floats:
    """From the linear light of these primaries to XYZ with the white D50, float64 [3, 3].

    Raises:
        ValueError: see `matrix_from`.
    """
    try:
        if min(y for _, y in primaries) <= 0:
            raise ValueError("a primary without light")
        *columns, white = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries]
        mixed = np.stack(columns, 1)
        mixed = mixed * np.linalg.solve(mixed, white)
        seen, wanted = _BRADFORD @ white, _BRADFORD @ _D50
        adapted = np.linalg.inv(_BRADFORD) @ np.diag(wanted / seen) @ _BRADFORD
    except np.linalg.LinAlgError as fault:
        raise ValueError(str(fault)) from fault
    found: Floats = adapted @ mixed
    if not np.isfinite(found).all() or abs(np.linalg.det(found)) < 1e-6:
        raise ValueError("primaries that span nothing")
    return found


def by_gamma(gamma: float | None, primaries: Primaries | None) -> Space | None:
    """The space of PNG's gAMA and cHRM (PNG, third edition, 11.3.2); None where they say sRGB.

    0.45455 with the primaries of sRGB is what the specification has writers of sRGB say to readers that know no better.

    Raises:
        ValueError: see `matrix_from`; a gamma that is not positive.
    """
    if gamma is not None and gamma <= 0:
        raise ValueError(f"a gamma of {gamma}")
    matrix = None if primaries is None else matrix_from(primaries)
    if matrix is None and (gamma is None or abs(gamma - 0.45455) < 0.0002):
        return None
    return Space((srgb_to_linear if gamma is None else power(1 / gamma),), matrix)


def by_code_points(primaries: int, transfer: int) -> Space | None:
    """The space of code points; None for sRGB, and for what is not specified.

    Raises:
        ValueError: code points that have no certain look in sRGB.
    """
    if transfer in HIGH_DYNAMIC_RANGE:
        raise ValueError("high dynamic range (PQ or HLG)")
    curves: dict[int, Curve] = {
        UNSPECIFIED: srgb_to_linear,
        4: power(2.2),
        5: power(2.8),
        8: power(1),
        13: srgb_to_linear,
    }
    colours = PRIMARIES.get(1 if primaries == UNSPECIFIED else primaries)
    if transfer not in curves or colours is None:
        raise ValueError(f"code points {primaries} and {transfer}")
    matrix = matrix_from(colours)
    return None if matrix is None and transfer in (UNSPECIFIED, 13) else Space((curves[transfer],), matrix)


def by_profile(profile: bytes) -> Space | None:
    """The space of an ICC profile made of curves and a matrix, or of a curve for grey; None for other profiles.

    Raises:
        ValueError: the profile is damaged.
    """
    try:
        tags = profile_tags(profile)
        if tags.keys() & {b"A2B0", b"A2B1", b"D2B0", b"D2B1"} or profile[20:24] != b"XYZ ":
            return None
        if profile[16:20] == b"GRAY":
            return Space((_curve(tags[b"kTRC"]),))
        if profile[16:20] != b"RGB ":
            return None
        columns = [np.array(struct.unpack(">3i", tags[name][8:20])) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix: Floats = np.asarray(np.linalg.inv(to_d50(SRGB)) @ np.stack(columns, 1), np.float64)
        return Space((_curve(tags[b"rTRC"]), _curve(tags[b"gTRC"]), _curve(tags[b"bTRC"])), matrix)
    except (struct.error, KeyError, IndexError) as fault:
        raise ValueError(f"a profile without {fault}") from fault


def profile_tags(profile: bytes) -> dict[bytes, bytes]:
    """The tags of an ICC profile by their signatures (ICC.1:2022, 7.3).

    Raises:
        struct.error: it ends before its table of tags does.
    """
    (count,) = struct.unpack(">I", profile[128:132])
    entries = [struct.unpack(">4sII", profile[132 + 12 * at : 144 + 12 * at]) for at in range(min(count, 200))]
    return {name: profile[start : start + size] for name, start, size in entries}


def high_dynamic_range(profile: bytes) -> bool:
    """Whether a profile says that its curve is PQ or HLG (the tag cicp)."""
    try:
        tag = profile_tags(profile).get(b"cicp", b"")
    except struct.error:
        return False
    return len(tag) >= 12 and tag[9] in HIGH_DYNAMIC_RANGE


def _curve(tag: bytes) -> Curve:
    """A curve of ICC.1:2022: 10.6 curveType, 10.18 parametricCurveType."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack(">I", tag[8:12])
        if count == 0:
            return power(1)
        values = np.frombuffer(tag[12 : 12 + 2 * count], ">u2")
        if len(values) != count:
            raise struct.error("a whole curve")
        if count == 1:
            return power(float(values[0]) / 256)
        table = values / 65535
        return lambda samples: np.interp(samples * (len(table) - 1), np.arange(len(table)), table)
    (kind,) = struct.unpack(">H", tag[8:10])
    if tag[:4] != b"para" or kind > 4:
        raise struct.error("a curve of a known kind")
    size = (1, 3, 4, 5, 7)[kind]
    given = [value / 65536 for value in struct.unpack(f">{size}i", tag[12 : 12 + 4 * size])]
    return _parametric(kind, given)


def _parametric(kind: int, given: list[float]) -> Curve:
    """Y = (a X + b) ** g + e where X >= d, c X + f below."""
    g, a, b, c, d, e, f = (given + [0.0] * 7)[:7]
    if kind == 0:
        a, b, c, d, e, f = 1, 0, 0, 0, 0, 0
    elif kind == 1:
        c, d, e, f = 0, -b / a if a else 0, 0, 0
    elif kind == 2:
        c, d, e, f = 0, -b / a if a else 0, c, c
    elif kind == 3:
        e, f = 0, 0
    return lambda values: np.where(values >= d, np.maximum(a * values + b, 0) ** g + e, c * values + f)
