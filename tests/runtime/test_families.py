"""Families as the runtime's commands see them: which one a codec is of, and what is one's own."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from plain_codecs import PICTURES as PICTURE_CODEC
from plain_codecs import WINDOWS, register

from latentwire.runtime import Decoder, Encoder, frame
from latentwire.runtime.cli import main
from latentwire.runtime.errors import MissingExtraError, SettingError
from latentwire.runtime.families import ITEMS, PICTURES, Decoding, Encoding, Reading, check_form, family_for
from latentwire.runtime.families import refuse_others as refuse

WAVES = """
import numpy as np

from latentwire.runtime.families import Items


class Waves(Items):
    kind = "waves"
    formats = (*Items.formats, "csv")

    def sink_form(self, wanted):
        return "csv"

    def write(self, sink, items, form):
        if form != "csv":
            return super().write(sink, items, form)
        np.savetxt(sink, items.reshape(len(items), -1), "%d", ",")


FAMILY = Waves()
"""
GROUP = "latentwire.families.runtime"


@pytest.fixture
def waves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of another distribution, installed here."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(
        register(tmp_path / "site", "wave_family", {GROUP: {"wave": "wave_family:FAMILY"}}, WAVES)
    )


@pytest.fixture
def signal() -> np.ndarray:
    """Windows, the dtype's extremes among them: int16 [70, 8, 2]."""
    found = np.random.default_rng(3).integers(-32768, 32768, (70, 8, 2)).astype(np.int16)
    found[0, 0] = -32768, 32767
    return found


def run(*arguments: object, stdin: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def test_ready_codecs_are_of_the_families_that_are_registered():
    assert family_for(Encoder("mnist").identity) is ITEMS
    assert family_for(Decoder("photo").identity) is PICTURES


def test_where_nobody_registered_the_family_its_contract_decides():
    assert family_for(WINDOWS) is ITEMS
    assert family_for(dataclasses.replace(PICTURE_CODEC, family="sketch")) is PICTURES


def test_a_family_of_another_distribution_is_found_by_its_name(waves):
    assert (family_for(WINDOWS).kind, family_for(PICTURE_CODEC)) == ("waves", PICTURES)


def test_a_library_that_a_family_lacks_is_named_with_who_needs_it(tmp_path, monkeypatch, windows):
    site = register(tmp_path, "deaf_family", {GROUP: {"wave": "deaf_family:FAMILY"}}, "import soundless")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(MissingExtraError, match=r"'wave'.* deaf_family, needs soundless"):
        family_for(WINDOWS)
    np.save(tmp_path / "a.npy", np.zeros((2, 8, 2), np.int16))
    said = run("encode", windows / "encoder.onnx", tmp_path / "a.npy", "-o", tmp_path / "a.lw", code=2).stderr
    assert said.startswith("latentwire: MissingExtraError: ") and not (tmp_path / "a.lw").exists()


@pytest.mark.parametrize(
    ("family", "reading", "said"),
    [
        (ITEMS, Encoding(tile=16), "a codec of items, found --tile: it is for codecs of pictures"),
        (ITEMS, Reading(background="white"), "a codec of items, found --background: it is for codecs of pictures"),
        (ITEMS, Encoding(reading=Reading(depth=8)), "a codec of items, found --depth: it is for codecs of pictures"),
        (PICTURES, Reading(raw=True), "a codec of pictures, found --raw: values without a size are no picture"),
    ],
    ids=["tile", "background", "depth", "raw"],
)
def test_an_option_of_another_family_is_refused_with_the_kind_of_this_one(family, reading, said):
    with pytest.raises(SettingError, match=f"expected options for {said}"):
        refuse(family, reading.asked)


def test_options_of_a_family_itself_are_taken():
    refuse(ITEMS, Encoding(reading=Reading(raw=True)).asked)
    refuse(PICTURES, Encoding(tile=16, reading=Reading(background="white", depth=8)).asked)
    check_form(PICTURES, "webp")
    check_form(ITEMS, None)
    with pytest.raises(SettingError, match="a codec of items, found --format webp: choose npy, raw, png"):
        check_form(ITEMS, "webp")


def test_windows_of_a_family_that_is_not_registered_go_out_and_come_back(windows, signal, tmp_path):
    np.save(tmp_path / "in.npy", signal)
    stream, back = tmp_path / "a.lw", tmp_path / "back.npy"
    assert "70 items in 2 packets" in run("encode", windows / "encoder.onnx", tmp_path / "in.npy", "-o", stream).stderr
    run("decode", windows / "decoder.onnx", stream, "-o", back)
    assert np.array_equal(np.load(back), signal)
    raw = signal.astype("<i2").tobytes()
    packet = run("encode", windows / "encoder.onnx", "-", "--raw", "--packet", stdin=raw).stdout_bytes
    assert run("decode", windows / "decoder.onnx", "-", "--packet", "--format", "raw", stdin=packet).stdout_bytes == raw
    assert "square" in run("decode", windows / "decoder.onnx", stream, "-o", tmp_path / "a.png", code=2).stderr
    said = run("encode", windows / "encoder.onnx", tmp_path / "in.npy", "--tile", 16, code=2).stderr
    assert "a codec of items, found --tile" in said


def test_a_registered_family_has_formats_and_words_of_its_own(waves, windows, signal, tmp_path):
    np.save(tmp_path / "in.npy", signal)
    run("encode", windows / "encoder.onnx", tmp_path / "in.npy", "-o", tmp_path / "a.lw")
    run("decode", windows / "decoder.onnx", tmp_path / "a.lw", "-o", tmp_path / "back.csv")
    assert np.array_equal(np.loadtxt(tmp_path / "back.csv", delimiter=",").reshape(signal.shape), signal)
    shown = run("decode", windows / "decoder.onnx", tmp_path / "a.lw", "--format", "csv").stdout_bytes
    assert shown == (tmp_path / "back.csv").read_bytes()
    said = run("decode", windows / "decoder.onnx", tmp_path / "a.lw", "--format", "wav", code=2).stderr
    assert "a codec of waves, found --format wav: choose npy, raw, png, csv" in said


def test_one_window_is_a_batch_of_one(windows, signal):
    encoder, decoder = Encoder(windows / "encoder.onnx"), Decoder(windows / "decoder.onnx")
    assert encoder.default_batch == 64
    assert encoder.encode(signal[0]) == encoder.encode(signal[:1])
    assert np.array_equal(decoder.decode(encoder.encode(signal[0])), signal[:1])
    with pytest.raises(SettingError, match=r"expected a codec of pictures, found one of \[items, 8, 2\]"):
        encoder.encode_tiles(signal[0])
    with pytest.raises(SettingError, match="expected a codec of pictures"):
        decoder.decode_tiles([])


def test_items_that_no_array_holds_together_are_refused(store, tmp_path):
    encoder, decoder = Encoder(store / "encoder.onnx"), Decoder(store / "decoder.onnx")
    pictures = [np.zeros((2, width, 1), np.uint8) for width in (3, 4)]
    (tmp_path / "a.lw").write_bytes(b"".join(map(frame, encoder.encode_stream(pictures))))
    with pytest.raises(SettingError, match="one shape"):
        ITEMS.decode_job(decoder, Decoding()).run(str(tmp_path / "a.lw"), str(tmp_path / "back.npy"))


def test_what_the_service_stores_is_the_familys_affair(signal):
    assert np.array_equal(np.load(io.BytesIO(ITEMS.to_bytes(signal, ITEMS.sink_form("png")))), signal)
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert PICTURES.to_bytes(picture, PICTURES.sink_form("png")).startswith(b"\x89PNG")
    assert np.array_equal(np.load(io.BytesIO(PICTURES.to_bytes(picture, PICTURES.sink_form("npy")))), picture)


@pytest.mark.parametrize("command", ["encode", "decode", "inspect", "selftest", "doctor", "send", "spool", "key"])
def test_help_opens_with_an_example_of_the_command(command):
    first, second, third, *_ = run(command, "--help").stdout.splitlines()
    assert first.startswith(f"Example: latentwire {command} ")
    assert (second, third.split()[:3]) == ("", ["Usage:", "main", command])
