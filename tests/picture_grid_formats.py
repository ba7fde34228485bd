"""The grid of `picture_grid` beyond PNG: TIFF as tifffile and libvips write it, what Pillow and its plugins write."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  # registers itself
import pyvips
import tifffile
from picture_grid import (
    GREYS,
    P3_TO_SRGB,
    PROFILES,
    Case,
    eight,
    iccp,
    light_of,
    on_white,
    png,
    samples,
    saved,
    shown,
    table_profile,
    turned,
)
from PIL import Image

pillow_heif.register_heif_opener()
CMYK = bytes(pyvips.Operation.call("profile_load", "cmyk"))
PLACES = {1: "top left", 2: "mirrored", 3: "upside down", 4: "flipped", 5: "transposed", 6: "right", 8: "left"}


def tiff(values: np.ndarray, photometric: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric=photometric, metadata=None, **settings)
    return buffer.getvalue()


def plain_tiff(values: np.ndarray, depth: int, photometric: int, *extra: tuple[int, int, int]) -> bytes:
    """[H, W] of 1 to 16 bits in one strip, without compression; more tags as (tag, type, value)."""
    bits = (values.reshape(len(values), -1)[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    strip = np.packbits(bits.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()
    height, width = values.shape[:2]
    tags = {256: (4, width), 257: (4, height), 258: (3, depth), 259: (3, 1), 262: (3, photometric), 273: (4, 8),
            277: (3, 1), 278: (4, height), 279: (4, len(strip))}  # fmt: skip
    tags |= {tag: (kind, value) for tag, kind, value in extra}
    at = 8 + len(strip) + len(strip) % 2
    entries = b"".join(struct.pack("<HHII", tag, *(tags[tag][0], 1, tags[tag][1])) for tag in sorted(tags))
    return (
        (b"II*\0" + struct.pack("<I", at) + strip).ljust(at, b"\0") + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


def tiff_cases() -> Iterator[Case]:
    for dtype in (np.uint8, np.uint16):
        depth = 8 * np.dtype(dtype).itemsize
        for order in "<>":
            yield from _tiff_colours(depth, dtype, order)
    for depth in (1, 2, 4, 12):
        grey = samples(depth, 1)[..., 0]
        look = eight(grey, depth)[..., None]
        yield Case(f"tiff grey {depth}", plain_tiff(grey, depth, 1), look)
        yield Case(f"tiff white is zero {depth}", plain_tiff(grey, depth, 0), 255 - look, read=depth < 12)
    for depth in (9, 10, 11, 13, 14, 15, 24, 32):
        yield Case(
            f"tiff grey {depth}", plain_tiff(samples(min(depth, 16), 1)[..., 0].astype(np.int64), depth, 1), read=False
        )
    yield Case("tiff thumbnail", plain_tiff(samples(8, 1)[..., 0], 8, 1, (254, 4, 1)), read=False)
    yield Case("tiff mask", plain_tiff(samples(1, 1)[..., 0], 1, 4), read=False)
    for dtype in ("int8", "int16", "int32", "uint32", "float16", "float32", "float64"):
        for channels in (1, 3):
            values = np.squeeze(samples(7, channels).astype(dtype))
            yield Case(f"tiff {dtype} x {channels}", tiff(values, "rgb" if channels == 3 else "minisblack"), read=False)
    yield from _tiff_others()
    yield from _tiff_of_vips()


def _tiff_colours(depth: int, dtype: type, order: str) -> Iterator[Case]:
    def case(name: str, values: np.ndarray, photometric: str, *, read: bool = True, **settings: object) -> Case:
        data = tiff(np.squeeze(values.astype(dtype)), photometric, byteorder=order, **settings)
        return Case(f"tiff {depth}{order} {name}", data, read=read)

    grey, colours, both, four = (samples(depth, channels) for channels in (1, 3, 2, 4))
    yield case("grey", grey, "minisblack")
    negative = tiff(grey[..., 0].astype(dtype), "miniswhite", byteorder=order)
    wanted = 255 - eight(grey, depth)
    # Of such samples of 16 bits in the other order of bytes Pillow has no reader.
    yield Case(f"tiff {depth}{order} white is zero", negative, wanted, read=(depth, order) != (16, ">"))
    yield case("rgb", colours, "rgb")
    yield case("rgb, zlib", colours, "rgb", compression="zlib")
    yield case("rgb, tiles", colours, "rgb", tile=(16, 16))
    yield case("planes", np.moveaxis(colours, 2, 0), "rgb", planarconfig="separate", read=depth == 8)
    for name, data in PROFILES.items():
        if "1.8" not in name:
            yield case(f"rgb icc {name}", colours, "rgb", iccprofile=data)
    yield case("grey icc", grey, "minisblack", iccprofile=GREYS["linear"])
    yield case("rgb icc of tables", colours, "rgb", iccprofile=table_profile(), read=depth == 8)
    yield case("grey alpha", both, "minisblack", extrasamples=["unassalpha"], planarconfig="contig", read=depth == 8)
    yield case("rgba", four, "rgb", extrasamples=["unassalpha"])
    yield case("rgba, zlib", four, "rgb", extrasamples=["unassalpha"], compression="zlib")
    yield case("rgba icc", four, "rgb", extrasamples=["unassalpha"], iccprofile=PROFILES["p3"])
    yield case("rgbx", four, "rgb", extrasamples=["unspecified"], read=False)
    yield case("rgb and two", samples(depth, 5), "rgb", extrasamples=["unassalpha", "unspecified"], read=False)
    top = (1 << depth) - 1
    alpha = four[..., 3:] / top
    flat = four.copy()
    flat[..., :3] = np.rint(four[..., :3] * alpha)
    data = tiff(flat.astype(dtype), "rgb", byteorder=order, extrasamples=["assocalpha"])
    yield Case(
        f"tiff {depth}{order} premultiplied",
        data,
        on_white(eight(flat[..., :3], depth) / np.maximum(alpha, 1e-9), alpha),
    )
    pale = np.rint(both[..., :1] * (both[..., 1:] / top))
    data = np.concatenate([pale, both[..., 1:]], -1).astype(dtype)
    file = tiff(data, "minisblack", byteorder=order, extrasamples=["assocalpha"], planarconfig="contig")
    wanted = eight(pale, depth) + 255 * (1 - both[..., 1:] / top)
    yield Case(f"tiff {depth}{order} grey premultiplied", file, wanted, read=depth == 8)
    yield case("cmyk", four, "separated", read=False)
    yield case("cmyk icc", four, "separated", iccprofile=CMYK, read=depth == 8)
    yield case("lab", colours, "cielab", read=False)
    yield case("icclab", colours, "icclab", read=False)


def _tiff_others() -> Iterator[Case]:
    ycc = Image.fromarray(samples(8, 3).astype(np.uint8)).convert("YCbCr")
    yield Case("tiff ycbcr, plain", saved(ycc, "TIFF"), read=False)
    indices = samples(8, 1)[..., 0].astype(np.uint8)
    palette = np.random.default_rng(5).integers(0, 65536, (3, 256)).astype(np.uint16)
    yield Case("tiff palette", tiff(indices, "palette", colormap=palette), palette.T[indices] / 257)
    small = tiff(indices, "palette", colormap=palette >> 8)
    yield Case("tiff palette of bytes", small, read=False)
    deep = np.random.default_rng(5).integers(0, 65536, (3, 65536)).astype(np.uint16)
    yield Case("tiff palette 16", tiff(samples(16, 1)[..., 0], "palette", colormap=deep), read=False)
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for _ in range(2):
            writer.write(indices, photometric="minisblack", metadata=None)
    yield Case("tiff pages", pages.getvalue(), read=False)


def _tiff_of_vips() -> Iterator[Case]:
    for depth in (8, 16):
        values = samples(depth, 3).astype(np.uint8 if depth == 8 else np.uint16)
        image = pyvips.Image.new_from_array(values).copy(interpretation="srgb" if depth == 8 else "rgb16")
        for settings in (
            {"compression": "lzw", "predictor": "horizontal"},
            {"compression": "deflate", "tile": True},
            {"bigtiff": True},
        ):
            yield Case(f"tiff of vips {depth} {settings}", image.tiffsave_buffer(**settings))
        for orientation in (3, 6):
            lying = image.copy()
            lying.set_type(pyvips.GValue.gint_type, "orientation", orientation)
            yield Case(f"tiff {depth} {PLACES[orientation]}", lying.tiffsave_buffer())
        coded = image.pngsave_buffer(interlace=True, filter="all")
        yield Case(f"png {depth} interlaced", coded)
        p3 = image.copy()
        p3.set_type(pyvips.GValue.blob_type, "icc-profile-data", PROFILES["p3"])
        yield Case(f"png {depth} interlaced icc", p3.pngsave_buffer(interlace=True, filter="all"))
    soft = pyvips.Image.new_from_array(np.asarray(smooth(3))).copy(interpretation="srgb")
    yield Case("tiff jpeg", soft.tiffsave_buffer(compression="jpeg", Q=95))
    ramp = pyvips.Image.new_from_array(samples(8, 1)).copy(interpretation="b-w")
    for bits in (1, 2, 4):
        yield Case(f"tiff of vips {bits}", ramp.tiffsave_buffer(bitdepth=bits))
        yield Case(f"tiff of vips {bits} white is zero", ramp.tiffsave_buffer(bitdepth=bits, miniswhite=True))


def smooth(channels: int) -> Image.Image:
    """What lossy formats hardly change, and two decoders alike: [48, 64]."""
    y, x = np.mgrid[:48, :64]
    planes = [x * 4, y * 5, 255 - x * 2 - y * 2, 100 + x * 2 + y][:channels]
    pixels = np.stack(planes, -1).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, "CMYK" if channels == 4 else None)


def jpeg_cases() -> Iterator[Case]:
    for subsampling in (0, 1, 2):
        yield Case(f"jpeg {subsampling}", saved(smooth(3), "JPEG", quality=95, subsampling=subsampling))
    yield Case("jpeg progressive", saved(smooth(3), "JPEG", progressive=True))
    yield Case("jpeg rgb", saved(smooth(3), "JPEG", keep_rgb=True, quality=95))
    yield Case("jpeg grey", saved(smooth(1), "JPEG"))
    for name, data in PROFILES.items():
        if "1.8" not in name:
            yield Case(f"jpeg icc {name}", saved(smooth(3), "JPEG", quality=95, icc_profile=data))
    for name, data in GREYS.items():
        if "1.8" not in name:
            yield Case(f"jpeg grey icc {name}", saved(smooth(1), "JPEG", quality=95, icc_profile=data))
    yield Case("jpeg icc of tables", saved(smooth(3), "JPEG", quality=95, icc_profile=table_profile()))
    cmyk = saved(smooth(4), "JPEG", quality=95, icc_profile=CMYK)
    yield Case("jpeg cmyk icc", cmyk)
    yield Case("jpeg cmyk", saved(smooth(4), "JPEG", quality=95), read=False)
    mark = cmyk.index(b"\xff\xee")
    yield Case(
        "jpeg cmyk unmarked",
        cmyk[:mark] + cmyk[mark + 2 + int.from_bytes(cmyk[mark + 2 : mark + 4], "big") :],
        read=False,
    )
    for orientation, place in PLACES.items():
        yield Case(f"jpeg {place}", saved(smooth(3), "JPEG", quality=95, subsampling=0, exif=turned(orientation)))


def webp_cases() -> Iterator[Case]:
    colours, four = samples(8, 3).astype(np.uint8), samples(8, 4).astype(np.uint8)
    yield Case("webp", saved(Image.fromarray(colours), "WEBP", lossless=True))
    yield Case("webp lossy", saved(smooth(3), "WEBP", quality=95))
    yield Case("webp alpha", saved(Image.fromarray(four), "WEBP", lossless=True, exact=True))
    yield Case("webp icc", saved(Image.fromarray(colours), "WEBP", lossless=True, icc_profile=PROFILES["p3"]))
    yield Case(
        "webp alpha icc", saved(Image.fromarray(four), "WEBP", lossless=True, exact=True, icc_profile=PROFILES["p3"])
    )
    yield Case("webp turned", saved(Image.fromarray(colours), "WEBP", lossless=True, exif=turned(6)))
    frames = [Image.fromarray(colours), Image.fromarray(255 - colours)]
    for form in ("WEBP", "GIF", "PNG", "AVIF"):
        yield Case(f"{form} frames", saved(frames[0], form, save_all=True, append_images=frames[1:]), read=False)
    palette = Image.fromarray(colours).quantize(16)
    yield Case("gif", saved(palette, "GIF"))
    yield Case("gif transparent", saved(palette, "GIF", transparency=3))
    yield Case("png turned", png(samples(8, 3), 8, (b"eXIf", turned(6).tobytes()[6:])))
    yield Case("png 16 turned icc", png(samples(16, 3), 16, iccp(PROFILES["p3"]), (b"eXIf", turned(8).tobytes()[6:])))


def box_cases() -> Iterator[Case]:
    """AVIF, HEIC, JPEG 2000, JPEG XL."""
    colours, four, grey = (samples(8, channels).astype(np.uint8) for channels in (3, 4, 1))
    image = Image.fromarray(colours)
    avif = saved(image, "AVIF", quality=100, subsampling="4:4:4")
    yield Case("avif", avif)
    yield Case("avif grey", saved(Image.fromarray(grey[..., 0]), "AVIF", quality=100))
    yield Case("avif alpha", saved(Image.fromarray(four), "AVIF", quality=100, subsampling="4:4:4"))
    yield Case("avif turned", saved(image, "AVIF", quality=100, subsampling="4:4:4", exif=turned(6)))
    at = avif.index(b"colrnclx") + 8
    told = {"p3": (12, 13), "linear": (1, 8), "pq": (9, 16), "hlg": (9, 18), "video": (1, 1), "unsaid": (2, 2)}
    with Image.open(io.BytesIO(avif)) as opened:
        base = np.asarray(opened) / 255
    coded = saved(image, "AVIF", quality=100, subsampling="4:4:4", icc_profile=PROFILES["p3"])
    yield Case("avif icc", coded, shown(light_of(base) @ P3_TO_SRGB.T))
    for name, points in told.items():
        wanted = {"p3": shown(light_of(base) @ P3_TO_SRGB.T), "linear": shown(base), "unsaid": base * 255}.get(name)
        data = avif[:at] + struct.pack(">HH", *points) + avif[at + 4 :]
        yield Case(f"avif {name}", data, wanted, read=wanted is not None)
    deep = pyvips.Image.new_from_array(samples(16, 3)).copy(interpretation="rgb16")
    for depth in (10, 12):
        data = deep.heifsave_buffer(compression="av1", bitdepth=depth, lossless=True)
        yield Case(f"avif {depth}", data, eight(samples(16, 3), 16))
        at = data.index(b"colrnclx") + 8
        yield Case(f"avif {depth} p3", data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :], read=False)
    exact = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    yield Case("heic", saved(image, "HEIF", **exact), colours)
    yield Case("heic turned", saved(image, "HEIF", **exact, exif=turned(6).tobytes()), np.rot90(colours, -1))
    p3 = shown(light_of(colours / 255) @ P3_TO_SRGB.T)
    yield Case("heic icc", saved(image, "HEIF", **exact, icc_profile=PROFILES["p3"]), p3)
    yield Case("jxl", saved(image, "JXL", lossless=True), colours)
    yield Case("jxl grey", saved(Image.fromarray(grey[..., 0]), "JXL", lossless=True), grey)
    # The plugin writes samples of 16 bits as linear, and says so in the profile.
    deep_grey = samples(16, 1)
    yield Case("jxl grey 16", saved(Image.fromarray(deep_grey[..., 0]), "JXL", lossless=True), shown(deep_grey / 65535))
    alpha = four[..., 3:] / 255
    yield Case("jxl alpha", saved(Image.fromarray(four), "JXL", lossless=True), on_white(four[..., :3], alpha))
    for suffix, settings in (("jp2", {}), ("j2k", {"no_jp2": True})):
        yield Case(suffix, saved(image, "JPEG2000", **settings), colours)
        yield Case(f"{suffix} grey", saved(Image.fromarray(grey[..., 0]), "JPEG2000", **settings), grey)
        yield Case(
            f"{suffix} alpha", saved(Image.fromarray(four), "JPEG2000", **settings), on_white(four[..., :3], alpha)
        )
        yield Case(
            f"{suffix} grey 16",
            saved(Image.fromarray(samples(16, 1)[..., 0]), "JPEG2000", **settings),
            eight(samples(16, 1), 16),
        )
    jp2 = saved(image, "JPEG2000")
    at = jp2.index(b"colr") - 4
    yield Case("jp2 icc", with_colours(jp2, b"\2\0\0" + PROFILES["p3"]), p3)
    for kind in (12, 14, 18, 20):
        yield Case(f"jp2 colours {kind}", jp2[: at + 11] + struct.pack(">I", kind) + jp2[at + 15 :], read=False)


def with_colours(data: bytes, content: bytes) -> bytes:
    """A JP2 file with another box of its colours."""
    at = data.index(b"colr") - 4
    (size,), header = struct.unpack(">I", data[at : at + 4]), data.index(b"jp2h") - 4
    (length,) = struct.unpack(">I", data[header : header + 4])
    box = struct.pack(">I4s", 8 + len(content), b"colr") + content
    whole = struct.pack(">I", length + len(box) - size)
    return data[:header] + whole + data[header + 4 : at] + box + data[at + size :]


def plain_cases() -> Iterator[Case]:
    """Formats that say nothing of their colours, and some that do."""
    colours, four, grey = (samples(8, channels).astype(np.uint8) for channels in (3, 4, 1))
    image, alpha = Image.fromarray(colours), four[..., 3:] / 255
    told = {"ICO": {"sizes": [image.size]}, "QOI": {"colorspace": "sRGB"}}
    for form in ("BMP", "TGA", "PCX", "SGI", "ICO", "QOI", "PPM", "DIB"):
        yield Case(form, saved(image, form, **told.get(form, {})), colours)
        if form not in ("ICO", "QOI"):
            yield Case(f"{form} grey", saved(Image.fromarray(grey[..., 0]), form), grey)
    for form in ("TGA", "ICO", "QOI", "SGI"):
        data = saved(Image.fromarray(four), form, **told.get(form, {}))
        yield Case(f"{form} alpha", data, on_white(four[..., :3], alpha))
    yield Case("QOI linear", saved(image, "QOI"), read=False)
    tga = saved(Image.fromarray(four), "TGA")
    yield Case("TGA of a fourth channel", tga[:17] + b"\x20" + tga[18:], read=False)
    for largest in (1, 15, 100, 255, 256, 1023, 4095, 16383, 65535):
        for channels in (1, 3):
            values = np.rint(samples(16, channels) * (largest / 65535)).astype(np.int64)
            head = b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, *values.shape[1::-1], largest)
            body = values.astype(">u2" if largest > 255 else "u1").tobytes()
            yield Case(f"pnm {channels} of {largest}", head + body, values * (255 / largest))
            head = head.replace(b"P5", b"P2").replace(b"P6", b"P3")
            yield Case(
                f"pnm text {channels} of {largest}",
                head + " ".join(map(str, values.ravel())).encode(),
                values * (255 / largest),
            )
    yield Case("pbm", saved(Image.fromarray(grey[..., 0] > 127), "PPM"), np.where(grey > 127, 255, 0))
    yield Case("pfm", saved(Image.new("F", (4, 4), 0.5), "PPM"), read=False)
    p3 = shown(light_of(colours / 255) @ P3_TO_SRGB.T)
    yield Case("BMP icc", bmp(colours, b"DEBM", profile_data=PROFILES["p3"]), p3)
    yield Case("BMP srgb", bmp(colours, b"BGRs"), colours)
    yield Case("BMP calibrated", bmp(colours, bytes(4), gamma=1 << 16), read=False)
    yield Case("BMP linked", bmp(colours, b"KNIL"), read=False)
    sgi = saved(Image.fromarray(colours), "SGI", bpc=2)
    yield Case("SGI 16", sgi, colours)


def bmp(pixels: np.ndarray, kind: bytes, *, gamma: int = 0, profile_data: bytes = b"") -> bytes:
    """24 bits with a BITMAPV5HEADER."""
    height, width = pixels.shape[:2]
    rows = b"".join(row[:, ::-1].tobytes().ljust(-(-3 * width // 4) * 4, b"\0") for row in pixels[::-1])
    head = struct.pack(
        "<IiiHHIIiiII16x4s36x3I", 124, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0, kind, *[gamma] * 3
    )
    head += struct.pack("<4I", 4, 124 + len(rows), len(profile_data), 0)
    whole = head + rows + profile_data
    return b"BM" + struct.pack("<IHHI", 14 + len(whole), 0, 0, 138) + whole


def format_cases() -> Iterator[Case]:
    """All of them."""
    for cases in (tiff_cases, jpeg_cases, webp_cases, box_cases, plain_cases):
        yield from cases()
