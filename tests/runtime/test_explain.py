"""Files that encode, decode and inspect cannot take: the sentence names what they are, and who takes them."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latentwire.runtime import Encoder, frame
from latentwire.runtime.cli import main
from latentwire.runtime.errors import InputTypeError
from latentwire.runtime.wire import Envelope
from latentwire.runtime.wire.packet import write_packet


def run(*arguments: object, stdin: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def image(form: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, form, **settings)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, items=np.zeros((2, 64), np.uint8))
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 64), np.uint8))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "not a codec")
    return buffer.getvalue()


IDX = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8]) + bytes(64)
ENVELOPE = json.dumps(Envelope("gate-3", "0" * 32, 7).to_fields(), indent=1).encode()
FOREIGN = {
    "a.txt": (b"these are words, and no packets\n", "text"),
    "a.csv": (b"1,2,3\n4,5,6\n", "text"),
    "a.json": (b'{"a": [1, 2, 3]}', "JSON"),
    "envelope.json": (ENVELOPE, "an envelope"),
    "a.html": (b"<!doctype html><html><body>502 Bad Gateway</body></html>", "HTML"),
    "a.png": (image("PNG"), "a PNG picture"),
    "a.jpg": (image("JPEG"), "a JPEG picture"),
    "a.gif": (image("GIF"), "a GIF picture"),
    "a.bmp": (image("BMP"), "a BMP picture"),
    "a.ppm": (image("PPM"), "a PNM picture"),
    "a.tif": (image("TIFF"), "a TIFF picture"),
    "a.webp": (image("WEBP"), "a WebP picture"),
    "a.avif": (image("AVIF"), "an AVIF picture"),
    "a.jp2": (image("JPEG2000"), "a JPEG 2000 picture"),
    "a.npy": (npy(), "a NumPy array"),
    "a.npz": (npz(), "NumPy arrays (.npz)"),
    "a.idx": (IDX, "an IDX file"),
    "a.gz": (b"\x1f\x8b\x08\0" + bytes(60), "a gzip file"),
    "a.zip": (zipped(), "a zip"),
    "a.spool": (b"SQLite format 3\0" + bytes(100), "`latentwire spool`"),
    # What a refused packet is called when a spool writes it out; these bytes are sealed, and look like nothing.
    f"gate-3.{'0' * 32}.7.packet": (np.random.default_rng(1).bytes(200), "a sealed packet"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_decode_names_what_is_no_packet(bundle, tmp_path, name):
    content, kind = FOREIGN[name]
    path, back = tmp_path / name, tmp_path / "back.npy"
    path.write_bytes(content)
    said = run("decode", bundle, path, "-o", back, code=4).stderr
    assert said.startswith(f"latentwire: MagicError: {path}: expected packets, found ") and kind in said
    assert not back.exists()
    if "picture" in kind or kind.startswith(("a NumPy", "NumPy", "an IDX")):
        assert f"`latentwire encode CODEC {path}`" in said


def test_decode_names_what_is_no_packet_on_stdin_too(bundle):
    assert (
        "stdin: expected packets, found a PNG picture" in run("decode", bundle, "-", stdin=image("PNG"), code=4).stderr
    )
    assert "stdin: expected packets, found nothing" in run("decode", bundle, "-", stdin=b"", code=3).stderr


def test_raw_results_replace_nothing_where_there_is_no_packet(bundle, tmp_path):
    (tmp_path / "a.png").write_bytes(image("PNG"))
    (tmp_path / "back.raw").write_bytes(b"before")
    run("decode", bundle, tmp_path / "a.png", "-o", tmp_path / "back.raw", code=4)
    assert (tmp_path / "back.raw").read_bytes() == b"before"


def test_a_codec_is_no_input(bundle, tmp_path):
    zip_path = Path(shutil.make_archive(str(tmp_path / "codec"), "zip", bundle))
    shutil.copy(bundle / "encoder.int8.onnx", tmp_path / "model.onnx")
    for path, kind in ((zip_path, "a bundle (the zip of a codec)"), (tmp_path / "model.onnx", "an ONNX file")):
        said = run("decode", bundle, path, "-o", tmp_path / "back.npy", code=4).stderr
        assert f"expected packets, found {kind}: that is a codec: name it first" in said
        said = run("encode", bundle, path, "-o", tmp_path / "a.lw", code=3).stderr
        assert f"expected something to encode, found {kind}: that is a codec: name it first" in said


@pytest.fixture
def mnist_packet() -> bytes:
    return Encoder("mnist").encode(np.zeros((1, 784), np.uint8))


@pytest.mark.parametrize("framed", [False, True], ids=["packet", "stream"])
def test_decode_names_the_ready_codec_that_packets_are_of(tmp_path, mnist_packet, framed):
    path = tmp_path / "a b.lw"
    path.write_bytes(frame(mnist_packet) * 2 if framed else mnist_packet)
    said = run("decode", "photo", path, "-o", tmp_path / "a.png", code=5).stderr
    assert said.startswith(f"latentwire: CodecError: {path}: expected packets of the codec photo (")
    assert f"`latentwire decode mnist '{path}'`" in said
    told = json.loads(run("decode", "photo", path, "-o", tmp_path / "a.png", "--json", code=5).stdout)["error"]
    assert (told["class"], told["file"], told["place"]) == ("CodecError", str(path), {"offset": 0})


def test_decode_names_the_ready_codec_that_tiles_are_of(tmp_path, bundle):
    picture = np.zeros((80, 80, 3), np.uint8)
    np.save(tmp_path / "a.npy", picture)
    run("encode", "photo", tmp_path / "a.npy", "-o", tmp_path / "a.lw", "--tile", 64, "--overlap", 8)
    said = run("decode", bundle, tmp_path / "a.lw", "-o", tmp_path / "back.npy", code=4).stderr
    assert "tile" in said
    said = run("encode", "photo", tmp_path / "a.lw", "-o", tmp_path / "b.lw", code=3).stderr
    assert "found a stream of packets of the codec photo" in said


def test_a_codec_that_is_not_ready_is_named_by_its_id(bundle, tmp_path):
    path = tmp_path / "a.lw"
    path.write_bytes(frame(write_packet(b"\xab\xcd\xef\x01", 1, 1, (1,), bytes(4))))
    assert "found those of codec abcdef01: decode them with `latentwire decode CODEC" in (
        run("decode", bundle, path, "-o", tmp_path / "a.npy", code=5).stderr
    )


@pytest.mark.parametrize("framed", [False, True], ids=["packet", "stream"])
def test_decode_names_another_packet_version(bundle, digits, tmp_path, framed):
    packet = bytearray(Encoder(bundle).encode(digits[:2]))
    packet[2] = 9
    path = tmp_path / "a.lw"
    path.write_bytes(frame(bytes(packet)) if framed else packet)
    said = run("decode", bundle, path, "-o", tmp_path / "a.npy", code=5).stderr
    assert f"VersionError: {path}: expected packets of version 1, found version 9: use a release that reads it" in said


def test_a_damaged_packet_is_not_taken_for_something_else(bundle, digits, tmp_path):
    packet = bytearray(Encoder(bundle).encode(digits[:2]))
    packet[-1] ^= 1
    for name, content in (("a.lw", frame(bytes(packet))), ("a.packet", bytes(packet))):
        (tmp_path / name).write_bytes(content)
        assert "ChecksumError" in run("decode", bundle, tmp_path / name, "-o", tmp_path / "a.npy", code=4).stderr


def test_packets_behind_words_are_found_all_the_same(bundle, digits, tmp_path):
    (tmp_path / "a.lw").write_bytes(b"words in front of it\n" + frame(Encoder(bundle).encode(digits[:2])))
    said = run("decode", bundle, tmp_path / "a.lw", "-o", tmp_path / "a.npy", code=4).stderr
    assert len(np.load(tmp_path / "a.npy")) == 2 and "found text" not in said


@pytest.mark.parametrize("framed", [False, True], ids=["packet", "stream"])
@pytest.mark.parametrize("codec", ["photo", "mnist"])
def test_encode_refuses_what_is_encoded_already(tmp_path, mnist_packet, codec, framed):
    content = frame(mnist_packet) if framed else mnist_packet
    path = tmp_path / "a.lw"
    path.write_bytes(content)
    said = run("encode", codec, path, "-o", tmp_path / "b.lw", code=3).stderr
    assert f"found a {'stream of packets' if framed else 'packet'} of the codec mnist (" in said
    assert f"`latentwire decode mnist {path}`" in said
    assert "found a" in run("encode", codec, "-", "-o", tmp_path / "b.lw", stdin=content, code=3).stderr
    assert not (tmp_path / "b.lw").exists()


def test_raw_values_that_begin_like_a_packet_are_encoded_and_whole_packets_are_not(windows, tmp_path):
    encoder = Encoder(windows / "encoder.onnx")
    packet = encoder.encode(np.zeros((1, 8, 2), np.int16))
    chance = (packet[:20] + bytes(64))[:32]
    (tmp_path / "a.raw").write_bytes(chance)
    run("encode", windows / "encoder.onnx", tmp_path / "a.raw", "-o", tmp_path / "a.lw")
    run("encode", windows / "encoder.onnx", "-", "--raw", "-o", tmp_path / "a.lw", stdin=chance)
    (tmp_path / "b.raw").write_bytes(packet)
    assert "a packet of" in run("encode", windows / "encoder.onnx", tmp_path / "b.raw", "-o", "x.lw", code=3).stderr


@pytest.mark.parametrize("name", [name for name in FOREIGN if not name.endswith((".packet", ".npz", ".zip"))])
def test_inspect_names_what_is_none_of_ours(tmp_path, name):
    content, kind = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    told = json.loads(run("inspect", tmp_path / name, "--json", code=4).stdout)
    assert told["kind"] == "other" and kind in told["fault"]["message"]
    assert told["error"]["file"] == str(tmp_path / name)


def test_inspect_says_that_there_is_nothing_and_knows_a_model_under_any_name(bundle, tmp_path):
    (tmp_path / "a.lw").write_bytes(b"")
    assert "found nothing" in run("inspect", tmp_path / "a.lw", code=3).stderr
    assert "found nothing" in run("inspect", "-", stdin=b"", code=3).stderr
    shutil.copy(bundle / "encoder.int8.onnx", tmp_path / "model")
    assert json.loads(run("inspect", tmp_path / "model", "--json").stdout)["kind"] == "onnx"


ODD = {
    "no-axis": np.int16(3).reshape(()),
    "no-item": np.zeros((0, 8, 2), np.int16),
    "empty-axis": np.zeros((3, 0, 2), np.int16),
    "empty-picture": np.zeros((0, 5, 3), np.uint8),
    "fields": np.zeros((4,), [("a", "i2"), ("b", "u1")]),
    "objects": np.array([1, "a"], object),
    "texts": np.array(["a", "bc"]),
    "truths": np.ones((2, 8, 2), bool),
    "complex": np.ones((2, 8, 2), complex),
    "times": np.zeros((2, 8, 2), "M8[s]"),
    "ten-axes": np.zeros((1,) * 10, np.uint8),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("form", ["npy", "npz", "stdin"])
def test_an_odd_array_is_an_error_with_a_name(windows, store, tmp_path, name, form):
    path = tmp_path / f"a.{form}"
    with path.open("wb") as file:
        if form == "npz":
            np.savez(file, items=ODD[name])
        else:
            np.save(file, ODD[name], allow_pickle=True)
    for codec in (windows, store):
        source, stdin = ("-", path.read_bytes()) if form == "stdin" else (path, None)
        result = run("encode", codec / "encoder.onnx", source, "-o", tmp_path / "a.lw", stdin=stdin, code=3)
        assert result.stderr.startswith("latentwire: Input") and "found a zip" not in result.stderr
        assert not (tmp_path / "a.lw").exists()
        spool = ["--to", "http://127.0.0.1:9", "--wait", "0", "--spool", tmp_path / f"{codec.name}.spool"]
        sent = CliRunner().invoke(
            main, [str(part) for part in ["send", codec / "encoder.onnx", source, *spool]], input=stdin
        )
        assert sent.exit_code != 0 and isinstance(sent.exception, SystemExit), sent.output


@pytest.mark.parametrize("form", ["npy", "npz", "stdin"])
def test_the_order_of_axes_and_bytes_in_memory_is_none_of_a_packets_business(windows, store, tmp_path, form):
    draw = np.random.default_rng(0)
    window = draw.integers(-9, 9, (5, 8, 2)).astype(np.int16)
    pixels = draw.integers(0, 256, (6, 7, 3)).astype(np.uint8)
    for codec, items, odd in (
        (windows, window, np.asfortranarray(window)),
        (windows, window, window.astype(">i2")),
        (store, pixels, np.asfortranarray(pixels)),
    ):
        path = tmp_path / f"a.{form}"
        with path.open("wb") as file:
            np.savez(file, items=odd) if form == "npz" else np.save(file, odd)
        source, stdin = ("-", path.read_bytes()) if form == "stdin" else (path, None)
        run("encode", codec / "encoder.onnx", source, "-o", tmp_path / "a.packet", "--packet", stdin=stdin)
        assert (tmp_path / "a.packet").read_bytes() == Encoder(codec / "encoder.onnx").encode(items)


def test_a_dtype_of_the_same_name_and_a_number_that_is_no_array_are_told_apart(windows):
    encoder = Encoder(windows / "encoder.onnx")
    with pytest.raises(InputTypeError, match="found int16 of the other byte order"):
        encoder.encode(np.zeros((2, 8, 2), np.dtype(np.int16).newbyteorder()))
    with pytest.raises(InputTypeError, match="found int16, which is no array"):
        encoder.encode(np.int16(3))  # type: ignore[arg-type]
