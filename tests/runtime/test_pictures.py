import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from latentwire.runtime.errors import InputError, InputFileError, InputLimitError, SettingError
from latentwire.runtime.files import PictureOptions, PngRows, load_picture, picture_from, read_items, read_pictures
from latentwire.runtime.wire.packet import Limits

PLAIN, WHITE, DEEP = PictureOptions(), PictureOptions(background="white"), PictureOptions(depth=8)
SIZES = [(1, 1), (1, 4000), (4000, 1), (17, 33), (511, 513)]


def pixels(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, *channels)).astype(np.uint8)


def load(path: Path, options: PictureOptions = PLAIN) -> np.ndarray:
    found = load_picture(path, options)
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in (1, 3)
    with path.open("rb") as file:
        assert np.array_equal(picture_from(file, "stdin", options), found)
    return np.asarray(found)


def save(image: Image.Image, path: Path, **settings) -> Path:
    image.save(path, **settings)
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm", "webp"])
def test_lossless_files_of_any_size_come_as_they_are(tmp_path, size, suffix):
    colours = pixels(*size, 3)
    settings = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(load(save(Image.fromarray(colours), tmp_path / f"a.{suffix}", **settings)), colours)
    if suffix != "webp":
        grey = pixels(*size)
        assert np.array_equal(load(save(Image.fromarray(grey), tmp_path / f"b.{suffix}")), grey[..., None])


def test_arrays_and_plain_pnm_are_mapped(tmp_path):
    np.save(tmp_path / "a.npy", pixels(17, 33, 3))
    save(Image.fromarray(pixels(17, 33, 3)), tmp_path / "b.ppm")
    for name in ("a.npy", "b.ppm"):
        found = load_picture(tmp_path / name, PLAIN)
        assert isinstance(found, np.memmap) and np.array_equal(found, pixels(17, 33, 3))
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
        with pytest.raises(InputFileError, match="expected a whole picture"):
            load_picture(tmp_path / name, PLAIN)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_black_and_white_is_grey_and_a_palette_is_colour(tmp_path, mode):
    image = Image.fromarray(pixels(17, 33, 3)).convert(mode)
    found = load(save(image, tmp_path / "a.png"))
    wanted = np.asarray(image.convert("L" if mode == "1" else "RGB"))
    assert np.array_equal(found, wanted[..., None] if mode == "1" else wanted)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("CMYK", "found none of use: convert it to sRGB"),
        ("YCbCr", "found YCbCr that is not compressed as JPEG"),
        ("LAB", "found CIELab"),
        ("RGBX", "found channels beside the colours that are not simply alpha"),
    ],
)
def test_colours_that_are_not_certain_are_refused(tmp_path, mode, said):
    base = Image.fromarray(pixels(17, 33, 3))
    path = save(base.convert("RGB").convert("LAB") if mode == "LAB" else base.convert(mode), tmp_path / "a.tif")
    with pytest.raises(InputFileError, match=said):
        load(path)


def with_alpha(mode: str, alpha: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels(17, 33, 3)).convert(mode[:-1])
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    return image


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_opaque_alpha_is_dropped_and_any_other_refused_or_flattened(tmp_path, mode):
    alpha = np.full((17, 33), 255, np.uint8)
    opaque = with_alpha(mode, alpha)
    wanted = np.asarray(opaque.convert(mode[:-1])).reshape(17, 33, -1)
    assert np.array_equal(load(save(opaque, tmp_path / "opaque.png")), wanted)
    alpha[3, 5], alpha[4, 5] = 0, 128
    path = save(with_alpha(mode, alpha), tmp_path / "through.png")
    with pytest.raises(InputFileError, match=r"expected an opaque picture, found alpha: .* \(--background white\)"):
        load(path)
    flat = load(path, WHITE)
    assert flat.shape == wanted.shape
    assert (flat[3, 5] == 255).all() and np.array_equal(flat[5:], wanted[5:])
    half = (wanted[4, 5].astype(int) * 128 + 255 * 127) / 255
    assert np.abs(flat[4, 5] - half).max() <= 1
    blue = load(path, PictureOptions(background="#0000ff"))
    assert blue.shape == (17, 33, 3) and blue[3, 5].tolist() == [0, 0, 255]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_alpha_too(tmp_path, mode):
    image = Image.fromarray(np.repeat(pixels(17, 33, 1), 3, 2)).convert(mode)
    transparency = {"P": 0, "L": 7, "RGB": (7, 7, 7)}[mode]
    image.putpixel((0, 0), transparency)
    path = save(image, tmp_path / "a.png", transparency=transparency)
    with pytest.raises(InputFileError, match="alpha"):
        load(path)
    assert (load(path, WHITE)[0, 0] == 255).all()


def test_a_wrong_colour_is_an_error_even_where_it_is_not_needed(tmp_path):
    with pytest.raises(SettingError, match="expected a colour such as white"):
        load(save(Image.fromarray(pixels(3, 3, 3)), tmp_path / "a.png"), PictureOptions(background="whitish"))


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample: uint16 [H, W, C]."""
    height, width, channels = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["png 1", "png 3", "png 2", "png 4", "tif 1", "ppm 1", "ppm 3"])
def test_deep_samples_are_refused_unless_eight_bits_are_enough(tmp_path, kind):
    suffix, channels = kind.split()
    values = np.random.default_rng(0).integers(0, 1 << 16, (17, 33, int(channels))).astype(np.uint16)
    if channels in "24":
        values[..., -1] = 65535
    path = tmp_path / f"deep.{suffix}"
    if suffix == "png":
        path.write_bytes(png16(values))
    elif suffix == "tif":
        save(Image.fromarray(values[..., 0]), path)
    else:
        head = b"P%d 33 17 65535\n" % (5 if channels == "1" else 6)
        path.write_bytes(head + values.astype(">u2").tobytes())
    with pytest.raises(InputFileError, match=r"found samples of 16: ask for the upper 8 \(--depth 8\)"):
        load(path)
    found, wanted = load(path, DEEP), (values >> 8)[..., : 1 if channels in "12" else 3]
    # Of a .ppm in colour Pillow rounds instead.
    assert np.abs(found.astype(int) - wanted).max() <= (kind == "ppm 3")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_range_are_refused(tmp_path, mode):
    path = save(Image.new(mode, (4, 4)), tmp_path / "a.tif")
    found = {"I": "signed samples", "F": "floating-point samples"}[mode]
    for options in (PLAIN, DEEP):
        with pytest.raises(InputFileError, match=f"found {found}: convert it"):
            load(path, options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    image = Image.fromarray(pixels(17, 33, 3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(image, tmp_path / "a.png", exif=exif)
    with Image.open(path) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened))
    assert wanted.shape == ((17, 33, 3) if orientation < 5 else (33, 17, 3))
    assert np.array_equal(load(path), wanted)


def test_a_colour_profile_is_applied_unless_it_is_srgb_or_useless(tmp_path):
    colours = pixels(17, 33, 3)
    image = Image.fromarray(colours)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    assert np.array_equal(load(save(image, tmp_path / "s.png", icc_profile=srgb.tobytes())), colours)
    assert np.array_equal(load(save(image, tmp_path / "n.png", icc_profile=b"no profile")), colours)
    wide = wide_profile(srgb.tobytes())
    found = load(save(image, tmp_path / "w.png", icc_profile=wide))
    wanted = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(wide)), srgb, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
    )
    assert np.abs(found.astype(int) - np.asarray(wanted)).max() <= 1 and not np.array_equal(found, colours)
    grey = save(Image.fromarray(colours[..., 0]), tmp_path / "g.png", icc_profile=wide)
    assert np.array_equal(load(grey)[..., 0], colours[..., 0])


def wide_profile(srgb: bytes) -> bytes:
    """The profile sRGB under another name, with the red and green columns of its matrix swapped."""
    data = bytearray(srgb)
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be")).replace(b"sRGB", b"wide")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_animations_and_pages_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(pixels(9, 9, 3) // (place + 1)) for place in range(3)]
    path = save(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(InputFileError, match="expected one picture, found 3 frames or pages"):
        load(path)


def test_of_a_multi_picture_jpeg_the_first_is_taken(tmp_path):
    frames = [Image.fromarray(pixels(9, 9, 3) // (place + 1)) for place in range(2)]
    path = save(frames[0], tmp_path / "a.mpo", save_all=True, append_images=frames[1:])
    assert load(path).shape == (9, 9, 3)


def test_what_is_too_large_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch):
    path = tmp_path / "claim.png"
    packed = zlib.compress(bytes(10))
    header = struct.pack(">IIBBBBB", 20_000, 5000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    )
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("pixels were read"))
    with pytest.raises(InputLimitError, match=r"found \[5000, 20000\]: encode it as tiles"):
        load(path, PictureOptions(limits=Limits((65535, 65535, (1, 3)), area=3 << 24)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputFileError, match="decompression bomb"):
        load(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp", "ppm"])
def test_damaged_files_are_input_errors(tmp_path, suffix):
    path = save(Image.fromarray(pixels(40, 40, 3)), tmp_path / f"a.{suffix}")
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for attempt in range(60):
        hurt = bytearray(data[: rng.integers(1, len(data))] if attempt % 2 else data)
        for _ in range(4):
            hurt[rng.integers(len(hurt))] = rng.integers(256)
        path.write_bytes(hurt)
        try:
            load_picture(path, PLAIN)
        except InputError as fault:
            assert f"a.{suffix}" in str(fault)


def test_raw_values_are_no_picture(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(30))
    with pytest.raises(InputFileError, match="values without a size"):
        load_picture(tmp_path / "a.raw", PLAIN)
    with pytest.raises(InputFileError):
        load_picture(tmp_path / "none.png", PLAIN)


def test_a_folder_of_pictures_comes_in_colour_and_in_order(tmp_path):
    (tmp_path / "inner").mkdir()
    colours, grey = pixels(5, 6, 3), pixels(7, 8)
    save(Image.fromarray(colours), tmp_path / "inner" / "b.ppm")
    save(Image.fromarray(grey), tmp_path / "a.png")
    save(Image.fromarray(grey), tmp_path / "inner" / "c.gif")
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_pictures(tmp_path)
    wanted = [np.repeat(grey[..., None], 3, 2), colours, np.repeat(grey[..., None], 3, 2)]
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))
    assert all(type(picture) is np.ndarray and picture.flags.writeable for picture in found)
    assert np.array_equal(read_pictures(tmp_path / "a.png")[0], wanted[0])
    (tmp_path / "deep.png").write_bytes(png16(np.full((4, 4, 1), 1000, np.uint16)))
    with pytest.raises(InputFileError, match=r"deep\.png: expected samples of 8 bits, found samples of 16"):
        read_pictures(tmp_path)
    assert (read_pictures(tmp_path, DEEP)[1] == 3).all()


@pytest.mark.parametrize("shape", [(), (4, 4, 2), (4, 4, 4), (2, 4, 4, 3), (0, 4, 3)])
def test_an_array_that_is_no_picture_is_named(tmp_path, shape):
    np.save(tmp_path / "a.npy", pixels(1, 1)[0, 0] if shape == () else np.zeros(shape, np.uint8))
    with pytest.raises(InputFileError, match=r"a\.npy, offset 0: expected a picture uint8 \[H, W\]"):
        read_pictures(tmp_path / "a.npy")


def test_one_deep_colour_that_is_transparent_is_alpha(tmp_path):
    values = np.full((4, 4, 1), 1000, np.uint16)
    values[0, 0] = 1001
    content = png16(values)
    mark = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 1000)
    mark += struct.pack(">I", zlib.crc32(mark[4:]))
    (tmp_path / "a.png").write_bytes(content[:33] + mark + content[33:])
    with pytest.raises(InputFileError, match="expected an opaque picture, found alpha"):
        load(tmp_path / "a.png", DEEP)
    found = load(tmp_path / "a.png", PictureOptions("white", 8))
    assert found[0, 0, 0] == 4 and (found.ravel()[1:] == 255).all()
    with pytest.raises(InputFileError, match="expected samples of 8 bits, or opaque grey of 16"):
        read_items(tmp_path / "a.png")


def test_what_is_called_srgb_is_judged_by_what_it_does(tmp_path):
    """A profile of linear samples whose name says sRGB is applied, and one of sRGB that is called otherwise is not."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colours = pixels(17, 33, 3)
    for at in range(132, 132 + 12 * int.from_bytes(srgb[128:132], "big"), 12):
        if srgb[at : at + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            start = int.from_bytes(srgb[at + 4 : at + 8], "big")
            srgb[start : start + 16] = b"curv\0\0\0\0\0\0\0\1\1\0\0\0"
    path = save(Image.fromarray(colours), tmp_path / "a.png", icc_profile=bytes(srgb))
    assert b"sRGB".decode().encode("utf-16-be") in srgb
    light = colours / 255
    wanted = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(load(path) - wanted).max() <= 1


def test_targa_files_are_not_taken_for_idx(tmp_path):
    for number, (image, settings) in enumerate(
        [(pixels(5, 6, 3), {}), (pixels(5, 6), {}), (pixels(5, 6), {"compression": "tga_rle"})]
    ):
        path = save(Image.fromarray(image), tmp_path / f"{number}.tga", **settings)
        assert np.array_equal(load(path), image.reshape(5, 6, -1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", [1, 7, 5000])
def test_png_written_by_rows_is_read_by_pillow(size, channels, step):
    if step == 1 and size[0] > 1000:
        return
    y, x = np.mgrid[: size[0], : size[1]]
    picture = (pixels(*size, channels) // 32 + ((x + y) // 4 % 200)[..., None]).astype(np.uint8)
    sink = io.BytesIO()
    rows = PngRows(sink, picture.shape)
    for start in range(0, len(picture), step):
        rows.write(picture[start : start + step])
    rows.close()
    with Image.open(sink) as image:
        image.verify()
    with Image.open(sink) as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(image).reshape(picture.shape), picture)


def test_png_is_about_as_small_as_pillows():
    y, x = np.mgrid[:300, :400]
    waves = 120 + 60 * np.sin(x / 37) + 50 * np.sin(y / 23)
    picture = np.clip(waves[..., None] + np.random.default_rng(0).normal(0, 2, (300, 400, 3)), 0, 255).astype(np.uint8)
    mine, theirs = io.BytesIO(), io.BytesIO()
    rows = PngRows(mine, picture.shape)
    rows.write(picture)
    rows.close()
    Image.fromarray(picture).save(theirs, "PNG")
    assert len(mine.getvalue()) < 1.05 * len(theirs.getvalue())
