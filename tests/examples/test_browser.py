"""The browser's example, as it stands, in headless Chromium: a file is dropped, the packet and the picture compared."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from devtools import Chromium, served
from matrix.environments import JAVASCRIPT, browser
from PIL import Image

from latentwire.artifacts import locate
from latentwire.runtime import Decoder, Encoder

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The example's folder, filled as its README says, over HTTP."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE, site, ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    (site / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    (site / "encoder.onnx").symlink_to(locate("photo") / "encoder.int8.onnx")
    (site / "decoder.onnx").symlink_to(locate("photo") / "decoder.fp32.onnx")
    with served(site) as found:
        yield found


def picture() -> np.ndarray:
    """Slopes, an edge and noise: uint8 [120, 150, 3]."""
    y, x = np.mgrid[:120, :150]
    smooth = np.stack([x, y * 2, (x + y) * 0.9], axis=2) + 90 * ((x > y)[..., None])
    return np.clip(smooth + np.random.default_rng(1).normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def test_browser(address, tmp_path):
    program = browser(tmp_path)[-1]
    Image.fromarray(picture()).save(tmp_path / "picture.png")
    with Chromium(program) as chromium:
        page = chromium.open(address)
        page.wait("document.getElementById('said').textContent === 'Ready.'")
        page.drop("#said", tmp_path / "picture.png")
        page.wait("/packet/.test(document.getElementById('said').textContent)")
        said = page.evaluate("document.getElementById('said').textContent")
        packet = page.bytes("fetch(document.getElementById('packet').href).then((found) => found.bytes())")
        shown = page.bytes("document.getElementById('decoded').getContext('2d').getImageData(0, 0, 150, 120).data")
    assert packet == Encoder("photo", variant="int8").encode(picture(), 128)
    size, length, *_ = map(int, re.findall(r"\d+", said))
    assert (size, length) == (picture().nbytes, len(packet))
    decoded = Decoder("photo", variant="fp32").decode(packet).astype(int)
    found = np.frombuffer(shown, np.uint8).reshape(120, 150, 4)
    assert (found[..., 3] == 255).all()
    assert np.abs(found[..., :3] - decoded).max() <= 1
