"""The ready codecs as they are shipped: their golden packets, and what they are for, on photographs."""

import os
from pathlib import Path

import onnxruntime as ort
import pytest
from rate_distortion import Codec, Picture, Point, curve, difference, pillow

from latentwire.artifacts import names
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.files import read_pictures
from latentwire.runtime.selftest import selftest

CODECS = ["mnist", "photo", "photo-ms-ssim"]
QUALITIES = (0, 64, 128, 192, 255)


@pytest.mark.parametrize("name", CODECS)
def test_golden_packets_come_out_the_same(name: str) -> None:
    assert names() == CODECS
    report = selftest(name)
    assert report.checks and report.passed, report.checks


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu")
@pytest.mark.parametrize("name", CODECS)
def test_golden_packets_come_out_the_same_on_cuda(name: str) -> None:
    report = selftest(name, providers="cuda")
    assert report.checks and report.passed, report.checks


@pytest.fixture(scope="module")
def photographs() -> list[Picture]:
    """Every sixth of the 24 Kodak pictures."""
    data = os.environ.get("LATENTWIRE_DATA")
    if not data:
        pytest.skip("LATENTWIRE_DATA names no folder that holds kodak/")
    return read_pictures(Path(data, "kodak"))[::6]


def curve_of(name: str, photographs: list[Picture]) -> list[Point]:
    encoder, decoder = Encoder(name), Decoder(name)
    return curve(Codec(name, QUALITIES, encoder.encode, decoder.decode), photographs)


@pytest.mark.slow
def test_each_photo_codec_is_the_better_one_by_what_it_was_trained_for(photographs: list[Picture]) -> None:
    jpeg = curve(pillow("JPEG", "JPEG", (10, 30, 50, 70, 90, 95)), photographs)
    photo, structure = (curve_of(name, photographs) for name in ("photo", "photo-ms-ssim"))
    assert difference(jpeg, photo, "psnr") == pytest.approx(-47.0, abs=1)
    assert difference(photo, structure, "psnr") == pytest.approx(6.5, abs=1)
    assert difference(photo, structure, "ms_ssim_db") == pytest.approx(-26.4, abs=1)
    assert difference(photo, structure, "shifted_db") == pytest.approx(-24.9, abs=1)
