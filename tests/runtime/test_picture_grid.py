import io
from itertools import chain

import numpy as np
import pytest

from latentwire.runtime.errors import InputFileError
from latentwire.runtime.files import PictureOptions, picture_from

pyvips = pytest.importorskip("pyvips", reason="the reference: pip install 'pyvips[binary]' (extra dev)")
pytest.importorskip("tifffile", reason="writes TIFF: extra dev")
pytest.importorskip("pillow_heif", reason="writes HEIC: extra formats")
pytest.importorskip("pillow_jxl", reason="writes JPEG XL: extra formats")

from picture_grid import Case, png_cases  # noqa: E402  # what they import is looked for above
from picture_grid_formats import format_cases  # noqa: E402

WHITE = PictureOptions("white", 8)


def reference(data: bytes) -> np.ndarray:
    """What libvips shows: upright, relative colorimetric sRGB of 8 bits, on white.

    Profiles of curves and a matrix go by way of XYZ: its single step makes tables first, ten levels off in the dark. Of
    those that are tables, that single step is what every program built on LittleCMS does.
    """
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    alpha = None
    if image.hasalpha():
        alpha = image[image.bands - 1].numpy()[..., None] / {"uchar": 255, "ushort": 65535}[image.format]
        image = image[: image.bands - 1]
    if not image.get_typeof("icc-profile-data"):
        image = image.colourspace("srgb")
    elif b"A2B0" in image.get("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="relative", depth=8)
    else:
        image = image.icc_import(embedded=True, intent="relative", pcs="xyz")
        image = image.icc_export(output_profile="srgb", intent="relative", depth=8)
    pixels = image.cast("uchar").numpy()
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if alpha is None else pixels * alpha + 255 * (1 - alpha)


def difference(case: Case, found: np.ndarray) -> float:
    """In levels of 8 bits, the largest; 999 where not even the size is right."""
    wanted = np.rint(reference(case.data) if case.wanted is None else case.wanted)
    if found.shape[:2] != wanted.shape[:2]:
        return 999
    return float(np.abs(found.astype(np.float64) - wanted).max())


def test_every_picture_is_shown_as_it_should_look_or_refused_by_name() -> None:
    read, refused, wrong = 0, {}, []
    for case in chain(png_cases(), format_cases()):
        try:
            found = picture_from(io.BytesIO(case.data), case.name, WHITE)
        except InputFileError as fault:
            refused[case.name] = str(fault)
            if case.read:
                wrong.append(f"not read: {fault}")
            continue
        read += 1
        off = difference(case, found) if case.read else 999
        if off > 1:
            wrong.append(f"{case.name}: {off} levels off")
    assert not wrong, "\n".join(wrong)
    assert read >= 300 and len(refused) >= 80
    assert all(name in said and "found " in said for name, said in refused.items())
