"""The page of `latentwire serve --demo`, in headless Chromium against the real command; it finds no host but this."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from devtools import Chromium, Page
from matrix.environments import JAVASCRIPT, browser
from PIL import Image
from services import Running, in_process

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve.commands import serve
from latentwire.runtime.serve.demo import ASSETS, page_routes

DIST = JAVASCRIPT / "node_modules/onnxruntime-web/dist"
OPTIONS = ("--demo", "--page-assets", str(DIST))
FLAGS = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--use-fake-device-for-media-stream")
QUALITY = 128


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = browser(tmp_path_factory.mktemp("tools"))[-1]
    with Chromium(program, FLAGS) as found:
        yield found


@pytest.fixture(scope="module")
def running(chromium: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with in_process(tmp_path_factory.mktemp("service"), *OPTIONS, codecs=("photo",)) as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium: Chromium, running: Running) -> Page:
    return opened(chromium, running)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Slopes, edges and noise: uint8 [192, 256, 3]."""
    y, x = np.mgrid[:192, :256]
    waves = 40 * np.sin(x[..., None] / [9, 13, 17]) * np.cos(y[..., None] / [15, 11, 9])
    edges = 60 * ((x // 32 + y // 48) % 2)[..., None]
    noise = np.random.default_rng(7).normal(0, 5, (192, 256, 3))
    return np.clip(70 + waves + edges + x[..., None] / 4 + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def dropped(page: Page, photograph: np.ndarray, tmp_path: Path) -> Page:
    """The page with the photograph decoded, at the default quality, and compared with JPEG."""
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    set_quality(page, QUALITY)
    drop(page, tmp_path / "photograph.png")
    return page


def opened(chromium: Chromium, running: Running) -> Page:
    page = chromium.open(f"{running.url}/")
    page.wait("document.getElementById('status').textContent === 'Ready.'")
    return page


def set_quality(page: Page, quality: int) -> None:
    """Nothing is encoded by this."""
    page.evaluate(f"document.getElementById('quality').value = {quality}; 0")


def drop(page: Page, file: Path) -> None:
    settles(page, lambda: page.drop("#frame", file))


def settles(page: Page, act: Callable[[], object]) -> None:
    """Do something, until all figures that come of it are there."""
    page.evaluate("for (const id of ['total', 'rival']) document.getElementById(id).textContent = ''; 0")
    act()
    page.wait("['total', 'rival'].every((id) => document.getElementById(id).textContent !== '')")
    page.wait("document.getElementById('status').textContent === ''")


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById({name!r}).textContent"))


def figure(page: Page, name: str) -> int:
    return int(text(page, name).replace("\u202f", ""))


def pixels(page: Page, name: str) -> np.ndarray:
    """What a canvas shows, without its alpha, which is full."""
    canvas = f"document.getElementById({name!r})"
    width, height = page.evaluate(f"[{canvas}.width, {canvas}.height]")
    data = page.bytes(f"{canvas}.getContext('2d').getImageData(0, 0, {width}, {height}).data")
    found = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    assert (found[..., 3] == 255).all()
    return found[..., :3]


def faults(page: Page) -> list[str]:
    """What the browser has to say against the page; reading canvases back, as is done here, is only warned of."""
    entries = [event["entry"] for event in page.events("Log.entryAdded")]
    return [entry["text"] for entry in entries if entry["level"] == "error"]


def psnr(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(wanted.astype(float) - found).mean()))


def test_a_dropped_picture_is_encoded_here_and_decoded_by_the_server(dropped: Page, photograph: np.ndarray):
    packet = Encoder("photo").encode(photograph, QUALITY)
    assert figure(dropped, "bytes") == len(packet)
    assert np.array_equal(pixels(dropped, "original"), photograph)
    difference = pixels(dropped, "decoded").astype(int) - Decoder("photo").decode(packet)
    assert np.abs(difference).max() <= 1
    stages = [float(text(dropped, stage)) for stage in ("encode", "send", "answer", "draw")]
    assert all(spent >= 0 for spent in stages)
    assert abs(figure(dropped, "total") - sum(stages)) < 3


def test_jpeg_of_the_same_error_is_what_pillow_makes_of_it(dropped: Page, photograph: np.ndarray):
    """Both are libjpeg-turbo, with their own settings."""
    ratio, low, high, decibels = map(float, re.findall(r"[\d.]*\d", text(dropped, "verdict")))
    assert ratio == pytest.approx(figure(dropped, "rival") / figure(dropped, "bytes"), abs=0.01)
    decoded = Decoder("photo").decode(Encoder("photo").encode(photograph, QUALITY))
    assert decibels == pytest.approx(psnr(photograph, decoded), abs=0.06)
    rivals = []
    for quality in (int(low), int(high)):
        buffer = io.BytesIO()
        Image.fromarray(photograph).save(buffer, "JPEG", quality=quality)
        rivals.append((buffer.tell(), psnr(photograph, np.asarray(Image.open(buffer)))))
    assert rivals[0][1] - 0.3 < decibels < rivals[1][1] + 0.3
    assert rivals[0][0] * 0.9 < figure(dropped, "rival") < rivals[1][0] * 1.1


def test_the_knob_encodes_again(dropped: Page, photograph: np.ndarray):
    before, error = figure(dropped, "bytes"), psnr(photograph, pixels(dropped, "decoded"))
    settles(dropped, lambda: dropped.press("#quality", "End"))
    assert text(dropped, "level") == "255"
    assert figure(dropped, "bytes") == len(Encoder("photo").encode(photograph, 255)) > 2 * before
    assert psnr(photograph, pixels(dropped, "decoded")) > error + 1


def test_the_divider_follows_hand_and_keys(dropped: Page):
    def cut() -> str:
        return str(dropped.evaluate("getComputedStyle(document.getElementById('decoded')).clipPath"))

    dropped.drag("#frame", 0.5, 0.25)
    assert cut() == "inset(0px 0px 0px 25%)"
    dropped.press("#divider", "ArrowRight", times=10)
    assert cut() == "inset(0px 0px 0px 26%)"
    dropped.press("#divider", "Home")
    assert cut() in ("inset(0px)", "inset(0px 0px 0px 0%)")


def test_every_control_is_reached_with_the_tab_key(page: Page):
    found = page.evaluate("[...document.querySelectorAll('a, button, input')].filter((e) => e.tabIndex < 0).length")
    assert found == 0


def test_large_pictures_are_scaled_to_the_bound_that_the_page_states(page: Page, tmp_path: Path):
    Image.new("RGB", (2100, 60), (90, 120, 40)).save(tmp_path / "large.png")
    drop(page, tmp_path / "large.png")
    assert pixels(page, "decoded").shape == (29, int(text(page, "bound")), 3)
    assert np.abs(pixels(page, "decoded").astype(int) - [90, 120, 40]).max() < 12


def test_a_file_that_is_no_picture_is_said_to_be_none(page: Page, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no picture")
    page.drop("#frame", tmp_path / "notes.txt")
    page.wait("document.getElementById('status').textContent.startsWith('“notes.txt” is not a picture')")


def test_the_camera(page: Page, running: Running):
    page.browser.call("Browser.setPermission", permission={"name": "camera"}, setting="denied", origin=running.url)
    page.evaluate("document.getElementById('camera').click()")
    page.wait("document.getElementById('status').textContent.includes('does not let this page use the camera')")
    page.browser.call("Browser.setPermission", permission={"name": "camera"}, setting="granted", origin=running.url)
    page.evaluate("document.getElementById('camera').click()")
    page.wait("document.getElementById('video').videoWidth > 0 && !document.getElementById('take').hidden")
    page.wait("document.getElementById('video').currentTime > 0.2")
    settles(page, lambda: page.evaluate("document.getElementById('take').click()"))
    assert psnr(pixels(page, "original"), pixels(page, "decoded")) > 30
    assert page.evaluate("document.getElementById('video').hidden")


def test_nothing_is_asked_of_another_host_and_nothing_violates_the_policy(page: Page, running: Running):
    asked = [event["request"]["url"] for event in page.events("Network.requestWillBeSent")]
    assert asked and all(url.startswith((running.url, "blob:")) for url in asked)
    assert faults(page) == []
    assert page.events("Runtime.exceptionThrown") == []
    inline = "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.bad = 1'}))"
    assert page.evaluate(f"{inline}, window.bad") is None
    assert ["Content Security Policy" in fault for fault in faults(page)] == [True]  # it would have been seen


def test_a_server_that_is_gone_is_said_to_be_and_tried_again(
    chromium: Chromium, photograph: np.ndarray, tmp_path: Path
):
    Image.fromarray(photograph[:64, :64]).save(tmp_path / "small.png")
    with in_process(tmp_path / "service", *OPTIONS, codecs=("photo",)) as running:
        page = opened(chromium, running)
        drop(page, tmp_path / "small.png")
    page.press("#quality", "End")
    page.wait("document.getElementById('status').textContent.startsWith('The server does not answer')")
    again = "document.getElementById('again')"
    assert page.evaluate(f"{again}.checkVisibility()")
    port = running.url.rpartition(":")[2]
    with in_process(tmp_path / "service", *OPTIONS, "--port", port, codecs=("photo",)):
        settles(page, lambda: page.evaluate(f"{again}.click()"))
    assert not page.evaluate(f"{again}.checkVisibility()")


def test_files_have_types_and_policy_and_no_others_are_served(running: Running):
    kinds = {
        "/": "text/html",
        "/page/page.css": "text/css",
        "/page/device.mjs": "text/javascript",
        "/page/encoder.onnx": "application/octet-stream",
        "/page/onnxruntime/ort.wasm.min.mjs": "text/javascript",
        "/page/onnxruntime/ort-wasm-simd-threaded.wasm": "application/wasm",
    }
    for path, kind in kinds.items():
        answer = running.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
    known = running.client.get("/page/page.mjs").headers["ETag"]
    assert running.client.get("/page/page.mjs", headers={"If-None-Match": known}).status_code == 304
    for path in ("/page/", "/page/index.html", "/page/..%2Fdemo.py", "/page/onnxruntime/ort.all.min.mjs", "/nothing"):
        assert running.client.get(path).status_code == 404
    assert running.client.get("/v1/packets").status_code == 405


def test_what_the_page_needs_is_asked_for_by_name(tmp_path: Path):
    with pytest.raises(SettingError, match="make page"):
        page_routes(["photo"], tmp_path)
    for name in ASSETS:
        (tmp_path / name).touch()
    with pytest.raises(
        SettingError, match="a codec of pictures with its encoder, found mnist: serve one such as photo"
    ):
        page_routes(["mnist"], tmp_path)
    command = ["photo", "--sink", str(tmp_path), "--demo", "--host", "0.0.0.0"]
    found = CliRunner().invoke(serve, command).exception
    assert isinstance(found, SettingError)
    assert "loopback" in str(found)
