import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from latentwire.runtime import Damaged, Decoder, Encoder, Limits, check_packet, errors, frame, read_stream
from latentwire.runtime.cli.group import main


@pytest.fixture
def sender(store: Path) -> Path:
    return store / "encoder.onnx"


@pytest.fixture
def receiver(store: Path) -> Path:
    return store / "decoder.onnx"


def run(*arguments: object, stdin: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape[0]).integers(0, 256, shape).astype(np.uint8)


def save(picture: np.ndarray, path: Path) -> Path:
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path)
    return path


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image).reshape(image.height, image.width, -1)


SHAPES = [(1, 1, 1), (1, 4000, 3), (17, 33, 1), (511, 513, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_goes_out_and_comes_back(sender, receiver, tmp_path, shape):
    picture = pixels(*shape)
    source, stream, back = save(picture, tmp_path / "a.png"), tmp_path / "a.lw", tmp_path / "back.png"
    told = json.loads(run("encode", sender, source, "-o", stream, "--json").stdout)["outputs"][0]
    assert (told["size"], told["packets"], told["items"]) == (list(shape), 1, 1)
    assert told["packet_bytes"] == stream.stat().st_size - 4
    assert "from 1 packets" in run("decode", receiver, stream, "-o", back).stderr
    assert np.array_equal(opened(back), picture)


@pytest.mark.parametrize("suffix", ["png", "npy", "raw", "ppm", "pgm", "bmp", "tif", "tiff", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [None, 16])
def test_every_format_loses_nothing(sender, receiver, tmp_path, suffix, channels, tile):
    picture = pixels(17, 33, channels)
    tiling = [] if tile is None else ["--tile", tile, "--overlap", 4]
    run("encode", sender, save(picture, tmp_path / "a.png"), "-o", tmp_path / "a.lw", *tiling)
    back = tmp_path / f"back.{suffix}"
    run("decode", receiver, tmp_path / "a.lw", "-o", back)
    if suffix == "raw":
        assert back.read_bytes() == picture.tobytes()
    elif suffix == "npy":
        assert np.array_equal(np.load(back), picture)
    else:
        found = opened(back)
        assert np.array_equal(found, picture if suffix != "webp" else np.broadcast_to(picture, found.shape))


def test_a_result_that_would_lose_something_is_refused(sender, receiver, bundle, digits, tmp_path):
    run("encode", sender, save(pixels(5, 6, 3), tmp_path / "a.png"), "-o", tmp_path / "a.lw")
    refused = run("decode", receiver, tmp_path / "a.lw", "-o", tmp_path / "back.jpg", code=2)
    assert "expected a result of npy, raw, png" in refused.stderr and not (tmp_path / "back.jpg").exists()
    (tmp_path / "digits.packet").write_bytes(Encoder(bundle).encode(digits[:2]))
    run("decode", bundle, tmp_path / "digits.packet", "-o", tmp_path / "back.tif", code=2)
    run("decode", bundle, tmp_path / "digits.packet", "-o", tmp_path / "back", "--format", "webp", code=2)


def test_folders_pipes_and_bare_packets(sender, receiver, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    wanted = {"a": pixels(17, 33, 3), "b": pixels(1, 7, 1), "c": pixels(30, 20, 3)}
    for name, picture in wanted.items():
        save(picture, source / f"{name}.png")
    run("encode", sender, source, "-o", tmp_path / "sent", "--tile", 16, "--overlap", 2)
    run("decode", receiver, tmp_path / "sent", "-o", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "sent").iterdir()) == ["a.lw", "b.lw", "c.lw"]
    for name, picture in wanted.items():
        assert np.array_equal(opened(tmp_path / "back" / f"{name}.png"), picture)
    packet = run("encode", sender, "-", "--packet", stdin=(source / "a.png").read_bytes()).stdout_bytes
    assert check_packet(packet).size == (17, 33, 3)
    found = run("decode", receiver, "-", "--packet", stdin=packet).stdout_bytes
    assert np.array_equal(np.load(io.BytesIO(found)), wanted["a"])
    (tmp_path / "a.packet").write_bytes(packet)
    run("decode", receiver, tmp_path / "a.packet", "-o", tmp_path / "a.ppm")
    assert np.array_equal(opened(tmp_path / "a.ppm"), wanted["a"])


def test_several_pictures_of_a_stream_become_several_files(sender, receiver, tmp_path):
    pictures = [pixels(4, 5, 3), pixels(6, 2, 1), pixels(9, 9, 3)]
    encoder = Encoder(sender)
    stream = b"".join(map(frame, encoder.encode_stream(pictures)))
    (tmp_path / "all.lw").write_bytes(stream)
    told = run("decode", receiver, tmp_path / "all.lw", "-o", tmp_path / "p.png", "--json").stdout
    assert json.loads(told)["outputs"][0]["items"] == 3
    for name, picture in zip(("p", "p-2", "p-3"), pictures, strict=True):
        assert np.array_equal(opened(tmp_path / f"{name}.png"), picture)
    flow = run("decode", receiver, "-", "--format", "raw", stdin=stream).stdout_bytes
    assert flow == b"".join(picture.tobytes() for picture in pictures)
    assert "several" in run("decode", receiver, "-", stdin=stream, code=2).stderr


def test_a_picture_larger_than_a_packet_needs_tiles(sender, receiver, tmp_path):
    picture = np.zeros((1100, 1000, 3), np.uint8)
    picture[400:700, 300:] = (200, 100, 7)
    np.save(tmp_path / "a.npy", picture)
    save(picture, tmp_path / "a.png")
    for name in ("a.npy", "a.png"):
        assert "as tiles" in run("encode", sender, tmp_path / name, "-o", tmp_path / "a.lw", code=3).stderr
        sent = run("encode", sender, tmp_path / name, "-o", tmp_path / "a.lw", "--tile", 512, "--json")
        assert json.loads(sent.stdout)["outputs"][0]["packets"] == 6
        run("decode", receiver, tmp_path / "a.lw", "-o", tmp_path / "back.npy")
        assert np.array_equal(np.load(tmp_path / "back.npy"), picture)
    refused = run("decode", receiver, tmp_path / "a.lw", "-o", tmp_path / "b.npy", "--max-pixels", 1_099_999, code=4)
    assert "LimitError" in refused.stderr and not (tmp_path / "b.npy").exists()
    run("decode", receiver, tmp_path / "a.lw", "-o", tmp_path / "b.npy", "--max-pixels", 1_100_000)


def test_a_damaged_and_a_missing_tile_are_told_and_grey(sender, receiver, tmp_path):
    picture = pixels(60, 70, 3)
    run("encode", sender, save(picture, tmp_path / "a.png"), "-o", tmp_path / "a.lw", "--tile", 32, "--overlap", 4)
    records = list(read_stream(io.BytesIO((tmp_path / "a.lw").read_bytes())))
    assert len(records) == 6
    hurt = bytearray((tmp_path / "a.lw").read_bytes())
    hurt[records[1].offset + 100] ^= 1
    (tmp_path / "hurt.lw").write_bytes(hurt)
    received = run("decode", receiver, tmp_path / "hurt.lw", "-o", tmp_path / "back.png", "--json", code=4)
    told = json.loads(received.stdout)["outputs"][0]
    assert [(d["offset"], d["error"]) for d in told["damaged"]] == [(records[1].offset, "ChecksumError")]
    assert told["packets"] == 5 and len(told["holes"]) == 1
    hole, back = told["holes"][0], opened(tmp_path / "back.png")
    rows, columns = slice(0, hole["height"]), slice(hole["left"], hole["left"] + hole["width"])
    assert (back[rows, columns] == 128).all()
    back[rows, columns] = picture[rows, columns]
    assert np.array_equal(back, picture)
    (tmp_path / "short.lw").write_bytes((tmp_path / "a.lw").read_bytes()[: records[5].offset])
    received = run("decode", receiver, tmp_path / "short.lw", "-o", tmp_path / "back.png", code=4)
    assert "TruncatedError: expected tiles for the whole picture" in received.stderr
    assert "no tile: " in received.stderr
    shown = run("inspect", tmp_path / "hurt.lw", code=4).stdout
    assert shown.count("tile: codec 5107e000") == 5 and "of 60 x 70" in shown and "damaged" in shown


def test_a_damaged_picture_does_not_lose_its_neighbours(sender, receiver, tmp_path):
    pictures = [pixels(4, 5, 3), pixels(6, 2, 1), pixels(9, 9, 3)]
    packets = list(Encoder(sender).encode_stream(pictures))
    data = bytearray(b"".join(map(frame, packets)))
    data[4 + len(packets[0]) + 4 + 30] ^= 1
    (tmp_path / "all.lw").write_bytes(data)
    received = run("decode", receiver, tmp_path / "all.lw", "-o", tmp_path / "p.png", code=4)
    assert "ChecksumError" in received.stderr
    assert np.array_equal(opened(tmp_path / "p.png"), pictures[0])
    assert np.array_equal(opened(tmp_path / "p-2.png"), pictures[2])
    results = list(Decoder(receiver).decode_stream(io.BytesIO(data)))
    assert [isinstance(result, Damaged) for result in results] == [False, True, False]


def test_alpha_and_depth_are_asked_for(sender, receiver, tmp_path):
    save(np.full((4, 5, 4), 9, np.uint8), tmp_path / "a.png")
    assert "--background" in run("encode", sender, tmp_path / "a.png", code=3).stderr
    run("encode", sender, tmp_path / "a.png", "--background", "#fff", "-o", tmp_path / "a.lw")
    run("encode", sender, tmp_path / "a.png", "--background", "whitish", code=2)
    Image.fromarray(np.full((4, 5), 770, np.uint16)).save(tmp_path / "d.png")
    assert "--depth 8" in run("encode", sender, tmp_path / "d.png", code=3).stderr
    run("encode", sender, tmp_path / "d.png", "--depth", 8, "-o", tmp_path / "d.lw")
    run("decode", receiver, tmp_path / "d.lw", "-o", tmp_path / "d.npy")
    assert np.array_equal(np.load(tmp_path / "d.npy"), np.full((4, 5, 1), 3))


def test_options_that_contradict_each_other_or_the_codec_are_refused(sender, bundle, digits, tmp_path):
    source = save(pixels(5, 6, 3), tmp_path / "a.png")
    np.save(tmp_path / "digits.npy", digits[:3])
    for options in (["--packet"], ["--max-bytes", 100], ["--overlap", 9]):
        run("encode", sender, source, "--tile", 16, *options, code=2)
    assert "a codec of pictures, found --raw" in run("encode", sender, "-", "--raw", stdin=b"abc", code=2).stderr
    for options in (["--tile", 16], ["--background", "white"], ["--depth", 8]):
        assert (
            f"a codec of items, found {options[0]}"
            in run("encode", bundle, tmp_path / "digits.npy", *options, code=2).stderr
        )


def test_the_api_takes_pictures_with_and_without_channels(sender, receiver):
    encoder, decoder = Encoder(sender), Decoder(receiver)
    assert not encoder.batches and not decoder.batches
    grey = pixels(17, 33)
    assert encoder.encode(grey) == encoder.encode(grey[..., None])
    assert decoder.decode(encoder.encode(grey)).shape == (17, 33, 1)
    assert len(encoder.encode(grey, max_bytes=10_000)) < 10_000
    with pytest.raises(errors.BudgetError):
        encoder.encode(grey, max_bytes=100)
    for shape, said in (
        ((5, 6, 4), "drop it with"),
        ((5, 6, 2), "alpha"),
        ((2, 5, 6, 3), "encode_stream"),
        ((5,), "found"),
    ):
        with pytest.raises(errors.InputShapeError, match=said):
            encoder.encode(np.zeros(shape, np.uint8))
    with pytest.raises(errors.InputTypeError):
        encoder.encode(np.zeros((5, 6, 3)))
    with pytest.raises(errors.SettingError):
        next(encoder.encode_stream([grey], batch=2))
    pictures = [grey, pixels(4, 5, 3), pixels(1, 1, 1)]
    packets = list(encoder.encode_stream(iter(pictures)))
    for found, wanted in zip(decoder.decode_many(packets), pictures, strict=True):
        assert np.array_equal(found, wanted.reshape(found.shape))


def test_lowered_limits_hold_for_pictures(sender, receiver):
    limits = Limits((100, 100, 3), area=3000)
    encoder, decoder = Encoder(sender, limits=limits), Decoder(receiver, limits=limits)
    packet = Encoder(sender).encode(pixels(40, 26, 3))
    with pytest.raises(errors.InputLimitError, match=r"product up to 3000, found \[40, 26, 3\]: .* as tiles"):
        encoder.encode(pixels(40, 26, 3))
    with pytest.raises(errors.LimitError, match="product up to 3000"):
        decoder.decode(packet)
    assert decoder.decode(encoder.encode(pixels(40, 25, 3))).shape == (40, 25, 3)
