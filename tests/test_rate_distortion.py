"""What the benchmarks compute with: known differences, known qualities, Pillow's codecs."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the benchmarks' extra is not installed")

from rate_distortion import (
    MEASURES,
    SHIFTED,
    Codec,
    Plot,
    Point,
    bd_rate,
    curve,
    decibels,
    difference,
    pillow,
    psnr,
    similarity,
)
from small_images import picture

BASE = [(0.1 * 2**k, 26.0 + 3 * k + 0.1 * k * k) for k in range(5)]


def test_a_curve_of_ten_per_cent_more_rate_is_ten_per_cent_worse():
    assert bd_rate(BASE, [(1.1 * rate, decibels) for rate, decibels in BASE]) == pytest.approx(10)
    assert bd_rate(BASE, BASE) == pytest.approx(0, abs=1e-9)


def test_curves_that_share_no_range_have_no_difference():
    with pytest.raises(ValueError, match="share"):
        bd_rate(BASE, [(rate, decibels + 100) for rate, decibels in BASE])


def test_quality_of_known_errors():
    image = picture(180, 180)
    assert psnr(image, image) == 100
    other = image.copy()
    other[...] = np.where(image < 250, image + 5, image - 5)
    assert psnr(other, image) == pytest.approx(10 * np.log10(255**2 / 25))
    assert similarity(image, image) == pytest.approx(1)
    assert 0.9 < similarity(other, image) < 1


def test_errors_that_cancel_in_the_cells_of_ms_ssim_show_one_pixel_further_on():
    image = picture(192, 192)
    error = 10 * np.resize([1, -1, -1, 1], 192)[:, None, None]  # rows 0 and 1 cancel, rows 1 and 2 do not
    other = np.clip(image.astype(int) + error, 0, 255).astype(np.uint8)
    on_grid, shifted = (decibels(similarity(*pair)) for pair in ((other, image), (other[SHIFTED], image[SHIFTED])))
    assert on_grid > shifted + 3


def test_pillows_codecs_trade_rate_for_quality():
    for codec in (pillow("JPEG", "JPEG", (10, 90)), pillow("WebP", "WEBP", (10, 90), method=4)):
        low, high = curve(codec, [picture(180, 200)])
        assert low.bpp < high.bpp
        assert low.psnr < high.psnr
        assert low.ms_ssim < high.ms_ssim


def test_a_codec_against_itself_with_twice_the_bytes():
    jpeg = pillow("JPEG", "JPEG", (20, 50, 80))
    double = Codec("double", jpeg.settings, lambda p, q: 2 * jpeg.encode(p, q), lambda d: jpeg.decode(d[: len(d) // 2]))
    curves = [curve(codec, [picture(180, 200)]) for codec in (jpeg, double)]
    for measured in MEASURES:
        assert difference(*curves, measured) == pytest.approx(100)
    assert Plot({"latentwire": curves[0], "double": curves[1]}, "two").png().startswith(b"\x89PNG")
    assert isinstance(curves[0][0], Point)
