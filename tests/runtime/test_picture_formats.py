import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentwire.runtime.errors import InputFileError, InputLimitError, MissingExtraError, ResourceError
from latentwire.runtime.files import PictureOptions, load_picture, read_items
from latentwire.runtime.files.images import pixels_from
from latentwire.runtime.wire.packet import Limits

PLAIN = PictureOptions()


def pixels(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, *channels)).astype(np.uint8)


def save(image: Image.Image, path: Path, **settings) -> Path:
    image.save(path, **settings)
    return path


def test_a_format_that_is_not_read_here_is_named(tmp_path):
    for form in ("EPS", "DDS"):
        path = save(Image.fromarray(pixels(5, 6, 3)), tmp_path / "a", format=form)
        with pytest.raises(InputFileError, match=f"found {form}, which is not read here: convert it to PNG"):
            load_picture(path, PLAIN)


def test_an_avif_of_which_only_a_part_is_the_picture_is_refused():
    """64 x 64 samples and a clean aperture (clap) of 32 x 32, which libvips shows and Pillow ignores."""
    with pytest.raises(InputFileError, match="a part of its samples"):
        load_picture(Path(__file__).parent / "pictures" / "cropped.avif", PLAIN)


FIRST_ZEROS = {"AVIF": "avif", "JPEG2000": "jp2", "ICO": "ico", "TGA": "tga"}


@pytest.mark.parametrize("form", FIRST_ZEROS)
def test_what_begins_with_two_zero_bytes_is_not_taken_for_idx(tmp_path, form):
    colours = pixels(16, 16, 3)
    settings = {"quality": 100, "subsampling": "4:4:4"} if form == "AVIF" else {}
    settings |= {"sizes": [(16, 16)]} if form == "ICO" else {}
    path = save(Image.fromarray(colours), tmp_path / f"a.{FIRST_ZEROS[form]}", format=form, **settings)
    assert path.read_bytes()[:2] == b"\0\0"
    assert np.abs(load_picture(path, PLAIN).astype(int) - colours).max() <= (10 if form == "AVIF" else 0)
    assert read_items(path).shape == (16, 16, 3)


PLUGINS = {"HEIC": ("pillow_heif", "HEIF", "pillow-heif"), "JPEG XL": ("pillow_jxl", "JXL", "pillow-jxl-plugin")}


@pytest.mark.parametrize("kind", PLUGINS)
def test_heic_and_jpeg_xl_are_read_with_their_plugin_which_is_named_where_it_is_missing(tmp_path, kind, monkeypatch):
    module, form, package = PLUGINS[kind]
    plugin = pytest.importorskip(module, reason="extra formats")
    if form == "HEIF":
        plugin.register_heif_opener()
    colours = pixels(16, 24, 3)
    exact = {"lossless": True} if form == "JXL" else {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    path = save(Image.fromarray(colours), tmp_path / "a", format=form, **exact)
    assert np.array_equal(load_picture(path, PLAIN), colours)
    for known in (Image.OPEN, sys.modules):
        monkeypatch.delitem(known, form if known is Image.OPEN else module)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError, match=rf"found {kind}, which needs {package}: pip install 'latentwire\[formats\]'"
    ):
        load_picture(path, PLAIN)


def test_a_plugin_is_imported_when_a_file_needs_it_and_not_before(tmp_path):
    pytest.importorskip("pillow_heif", reason="extra formats")
    save(Image.fromarray(pixels(5, 6, 3)), tmp_path / "a.png")
    said = (
        "import sys; from pathlib import Path; from latentwire.runtime.files import PictureOptions, load_picture\n"
        "load_picture(Path(sys.argv[1]), PictureOptions())\n"
        "assert not {'pillow_heif', 'pillow_jxl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", said, str(tmp_path / "a.png")], check=True)


def test_a_jpeg_xl_that_claims_too_much_is_refused_before_its_pixels_are_read(tmp_path, monkeypatch):
    plugin = pytest.importorskip("pillow_jxl", reason="extra formats")
    path = save(Image.fromarray(pixels(40, 50, 3)), tmp_path / "a.jxl", lossless=True)
    monkeypatch.setattr(plugin.JpegXLImagePlugin, "Decoder", lambda **_: pytest.fail("pixels were read"))
    with pytest.raises(InputLimitError, match=r"found \[40, 50\]: encode it as tiles"):
        load_picture(path, PictureOptions(limits=Limits((65535, 65535, (1, 3)), area=1999)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 999)
    with pytest.raises(InputFileError, match="decompression bomb"):
        load_picture(path, PLAIN)


@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_a_pnm_of_deep_samples_that_ends_early_is_refused(tmp_path, kind):
    path, whole = tmp_path / "a.pnm", kind + b"\n4 3\n1023\n" + bytes(24 if kind == b"P5" else 72)
    path.write_bytes(whole)
    assert not load_picture(path, PictureOptions(depth=8)).any()
    path.write_bytes(whole[:-5])
    with pytest.raises(InputFileError, match="found a picture that ends 5 bytes too early"):
        load_picture(path, PictureOptions(depth=8))


def test_a_machine_without_memory_is_not_the_files_fault(tmp_path, monkeypatch):
    path = save(Image.fromarray(pixels(5, 6, 3)), tmp_path / "a.png")

    def too_little(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", too_little)
    with pytest.raises(ResourceError, match=r"a\.png: expected memory for the picture"):
        load_picture(path, PLAIN)


def test_a_chunk_that_claims_gigabytes_asks_for_what_the_file_has(tmp_path):
    """Pillow asks for what is left of a chunk; Python would make room for all of it before it reads."""
    from latentwire.runtime.files.bounded import Bounded

    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    (tmp_path / "a.png").write_bytes(data)
    asked = []

    class Counting(io.FileIO):
        def read(self, count=-1):
            asked.append(count)
            return super().read(count)

    with Counting(tmp_path / "a.png") as opened:
        with contextlib.suppress(InputFileError):  # all pixels may be there before the lie is
            pixels_from(opened, "a.png", PictureOptions())
        assert 0 < max(asked) <= len(data)
        assert Bounded(opened).tell() == opened.tell()
