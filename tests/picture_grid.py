"""Some hundred picture files, depth by kind of colour by alpha by profile by gamma by format, and how each should look.

What a file should look like (8 bits of sRGB on white) is what libvips shows, unless `Case.wanted` says it: by a formula
of the format's specification where libvips ignores what the file says (gAMA, cHRM, cICP, code points of AVIF, the
largest sample of PNM) or rounds too coarsely (curves that are tables, two levels in the dark), or by the pixels that
the file was written from where libvips has no reader (BMP, Targa, QOI, JPEG 2000, HEIC, JPEG XL). What has
``read=False`` is to be refused: nothing else is right, or certain.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH = 20, 31


@dataclass(frozen=True)
class Case:
    """A file: its name, its bytes, the pixels that it should give (None: libvips tells), whether it is to be read."""

    name: str
    data: bytes
    wanted: NDArray[np.generic] | None = None
    read: bool = True


def samples(depth: int, channels: int) -> NDArray[np.uint16]:
    """[H, W, C] over the whole range: a ramp that is fine in the dark, and noise."""
    rng, top = np.random.default_rng(channels), (1 << depth) - 1
    ramp = np.linspace(0, 1, WIDTH)[None, :, None] ** 3 * np.ones((HEIGHT, 1, channels))
    noise = rng.random((HEIGHT, WIDTH, channels)) ** 2
    found = np.where(np.arange(HEIGHT)[:, None, None] % 2 == 0, ramp, noise)
    return np.rint(found * top).astype(np.uint16)


def eight(values: NDArray[np.generic], depth: int) -> NDArray[np.float64]:
    """Samples of a depth as such of 8 bits."""
    return values * (255 / ((1 << depth) - 1))


def on_white(colours: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha in [0, 1]."""
    return colours * alpha + 255 * (1 - alpha)


def shown(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light as sRGB in [0, 255] (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def light_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse, from [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))
P3_TO_SRGB = np.array([[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09828]])
# Lindbloom, "RGB/XYZ Matrices": ProPhoto to XYZ, and XYZ of D50 to sRGB by Bradford's adaptation.
PROPHOTO_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
) @ np.array([[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0, 0, 0.8252100]])

# --- profiles -------------------------------------------------------------------------------------------------------

XYZ_P3 = ((0.515102, 0.241182, -0.001050), (0.291965, 0.692236, 0.041885), (0.157153, 0.066582, 0.784378))
XYZ_SRGB = ((0.436066, 0.222488, 0.013916), (0.385147, 0.716873, 0.097076), (0.143066, 0.060608, 0.714096))


def profile(colours: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2."""
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), **tags}
    body, table, at = b"", struct.pack(">I", len(tags)), 132 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at, len(content))
        body, at = body + padded, at + len(padded)
    head = struct.pack(">I4sI4s4s4s12x4s", at, b"test", 0x02100000, b"mntr", colours, pcs, b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma_curve(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def table_curve(exponent: float) -> bytes:
    table = np.rint(65535 * np.linspace(0, 1, 1024) ** exponent).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(table)) + table.tobytes()


def srgb_curve() -> bytes:
    given = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0" + struct.pack(">HH5i", 3, 0, *(round(value * 65536) for value in given))


def rgb_profile(columns: tuple[tuple[float, float, float], ...], curve: bytes) -> bytes:
    tags = {name: xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return profile(b"RGB ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def table_profile() -> bytes:
    """RGB by a table of eight corners, whose grey is lighter than that of sRGB."""
    corners = [
        (round(652.80 * 100 * (r + g + b) / 3), 32768 + 12000 * (r - g), 32768 + 12000 * (g - b))
        for r in (0, 1) for g in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    body = struct.pack(">3B x 9i 2H", 3, 3, 2, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536, 2, 2)
    ends = struct.pack(">6H", 0, 65535, 0, 65535, 0, 65535)
    table = b"".join(struct.pack(">3H", *(min(65535, value) for value in corner)) for corner in corners)
    return profile(b"RGB ", {b"A2B0": b"mft2\0\0\0\0" + body + ends + table + ends}, b"Lab ")


PROFILES = {
    "p3": rgb_profile(XYZ_P3, srgb_curve()),
    "linear": rgb_profile(XYZ_SRGB, gamma_curve(1)),
    "p3 1.8": rgb_profile(XYZ_P3, table_curve(1.8)),
    "srgb": rgb_profile(XYZ_SRGB, srgb_curve()),
}
GREYS = {
    "linear": profile(b"GRAY", {b"kTRC": gamma_curve(1)}),
    "1.8": profile(b"GRAY", {b"kTRC": table_curve(1.8)}),
    "srgb": profile(b"GRAY", {b"kTRC": srgb_curve()}),
}

# --- PNG ------------------------------------------------------------------------------------------------------------

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: NDArray[np.uint16], depth: int, *extra: tuple[bytes, bytes], kind: int | None = None) -> bytes:
    """[H, W, C] samples of a depth as PNG, with more chunks in front of its pixels."""
    height, width, channels = values.shape
    head = struct.pack(">IIBBBBB", width, height, depth, KINDS[channels] if kind is None else kind, 0, 0, 0)
    rows = b"".join(b"\0" + row for row in packed(values, depth, ">u2"))
    chunks = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in chunks)


def packed(values: NDArray[np.uint16], depth: int, wide: str) -> Iterator[bytes]:
    """Rows of samples: 16 bits in an order of bytes, fewer as they lie, the first in the highest bits."""
    for row in values.reshape(len(values), -1):
        if depth == 16:
            yield row.astype(wide).tobytes()
        elif depth == 8:
            yield row.astype(np.uint8).tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            yield np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def gama(value: int) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", value)


def chrm(primaries: tuple[tuple[float, float], ...]) -> tuple[bytes, bytes]:
    red, green, blue, white = primaries
    return b"cHRM", struct.pack(">8I", *(round(100_000 * v) for pair in (white, red, green, blue) for v in pair))


def iccp(data: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"name\0\0" + zlib.compress(data)


SRGB_CHUNK = (b"sRGB", b"\0")


def png_cases() -> Iterator[Case]:
    for channels in (1, 2, 3, 4):
        for depth in (8, 16):
            yield from _png_colours(channels, depth)
    for depth in (1, 2, 4):
        grey = samples(depth, 1)
        yield Case(f"png grey {depth}", png(grey, depth))
        yield Case(f"png grey {depth} gamma", png(grey, depth, gama(100_000)), shown(eight(grey, depth) / 255))
        for key in (0, 1, (1 << depth) - 1):
            yield Case(f"png grey {depth} key {key}", png(grey, depth, (b"tRNS", struct.pack(">H", key))))
    for depth in (1, 2, 4, 8):
        entries = np.random.default_rng(depth).integers(0, 256, (1 << depth, 3)).astype(np.uint8)
        indices = samples(depth, 1)
        palette = (b"PLTE", entries.tobytes())
        yield Case(f"png palette {depth}", png(indices, depth, palette, kind=3))
        yield Case(f"png palette {depth} alpha", png(indices, depth, palette, (b"tRNS", b"\x80\0"), kind=3))
        yield Case(f"png palette {depth} icc", png(indices, depth, iccp(PROFILES["p3"]), palette, kind=3))
        linear = shown(entries / 255)[indices[..., 0]]
        yield Case(f"png palette {depth} gamma", png(indices, depth, gama(100_000), palette, kind=3), linear)
    for depth in (8, 16):
        grey, colours = samples(depth, 1), samples(depth, 3)
        one, three = grey[3, 4].astype(">u2").tobytes(), colours[3, 4].astype(">u2").tobytes()
        yield Case(f"png grey {depth} key", png(grey, depth, (b"tRNS", one)))
        yield Case(f"png rgb {depth} key", png(colours, depth, (b"tRNS", three)))
        near = colours.copy()
        near[5, 6] = colours[3, 4] ^ (1 if depth == 16 else 0)
        yield Case(f"png rgb {depth} key, near", png(near, depth, (b"tRNS", three)))
        yield Case(f"png rgb {depth} key, icc", png(colours, depth, iccp(PROFILES["p3"]), (b"tRNS", three)))
        yield Case(f"png rgb {depth} sbit", png(colours, depth, (b"sBIT", b"\5\6\5")))
        yield Case(f"png rgb {depth} icc of grey", png(colours, depth, iccp(GREYS["linear"])), eight(colours, depth))
        yield Case(f"png rgb {depth} icc damaged", png(colours, depth, iccp(b"none")), eight(colours, depth))
        yield Case(f"png rgb {depth} icc of tables", png(colours, depth, iccp(table_profile())), read=depth == 8)


def _png_colours(channels: int, depth: int) -> Iterator[Case]:
    values, title = samples(depth, channels), f"png {channels} x {depth}"
    count = channels - (channels % 2 == 0)
    base, alpha = values[..., :count] / ((1 << depth) - 1), values[..., count:] / ((1 << depth) - 1)
    alpha = alpha if alpha.size else np.ones((1, 1, 1))

    def case(name: str, light: NDArray[np.float64], *extra: tuple[bytes, bytes]) -> Case:
        return Case(f"{title} {name}", png(values, depth, *extra), on_white(shown(light), alpha))

    def plain(name: str, *extra: tuple[bytes, bytes], read: bool = True) -> Case:
        return Case(f"{title} {name}", png(values, depth, *extra), read=read)

    yield plain("plain")
    yield plain("srgb", SRGB_CHUNK)
    yield plain("srgb over gamma", gama(100_000), chrm(P3), SRGB_CHUNK)
    yield plain("gamma of srgb", gama(45455), chrm(SRGB))
    yield case("gamma 1", base, gama(100_000))
    yield case("gamma 1.8", base**1.8, gama(55556))
    yield case("gamma 2.6", base**2.6, gama(38462))
    yield plain("pq", (b"cICP", bytes((9, 16, 0, 1))), read=False)
    yield plain("narrow", (b"cICP", bytes((1, 13, 0, 0))), read=False)
    yield case("cicp linear", base, (b"cICP", bytes((1, 8, 0, 1))), SRGB_CHUNK)
    for name, data in (GREYS if count == 1 else PROFILES).items():
        for title_of, extra in ((f"icc {name}", ()), (f"icc {name} over gamma", (gama(100_000),))):
            light = base**1.8 if count == 1 else base**1.8 @ P3_TO_SRGB.T
            yield case(title_of, light, *extra, iccp(data)) if "1.8" in name else plain(title_of, *extra, iccp(data))
    if count == 3:
        wide = light_of(base) @ P3_TO_SRGB.T
        yield case("chrm p3", wide, chrm(P3))
        yield case("gamma 2.2, chrm p3", base ** (1 / 0.45455) @ P3_TO_SRGB.T, gama(45455), chrm(P3))
        yield case("gamma 1.8, chrm prophoto", base**1.8 @ PROPHOTO_TO_SRGB.T, gama(55556), chrm(PROPHOTO))
        yield case("cicp p3", wide, (b"cICP", bytes((12, 13, 0, 1))))
        yield case("cicp over icc", wide, (b"cICP", bytes((12, 13, 0, 1))), iccp(PROFILES["linear"]))


def saved(image: Image.Image, form: str, **settings: object) -> bytes:
    """As Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
