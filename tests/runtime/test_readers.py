import gzip
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from latentwire.runtime.atomic import whole_file, whole_folder
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import InputFileError, InputShapeError, SettingError
from latentwire.runtime.files import (
    IMAGE_SUFFIXES,
    LOSSY,
    OTHER_NAMES,
    PICTURE_FORMATS,
    RAW_SUFFIXES,
    conform,
    contact_sheet,
    items_from_stdin,
    load_items,
    read_images,
    read_items,
    read_labelled,
    write_items,
)
from latentwire.runtime.files.items import items_from

CONTRACT = ItemContract("uint8", ("items", 6), (0, 255))
ITEMS = np.arange(24, dtype=np.uint8).reshape(4, 6)
IDX = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (4, 2, 3)) + ITEMS.tobytes()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npy(ITEMS),
        npy(np.asfortranarray(ITEMS)),
        npy(ITEMS.reshape(4, 2, 3)),
        npy(ITEMS.ravel()),
        npz(items=ITEMS, labels=np.zeros(4), other=ITEMS),
        npz(digits=ITEMS),
        IDX,
        gzip.compress(IDX, mtime=0),  # the time would be in the names of the tests
    ],
)
def test_every_kind_of_file_gives_the_same_items(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert np.array_equal(load_items(tmp_path / "file", CONTRACT), ITEMS)
    assert np.array_equal(items_from_stdin(io.BytesIO(content), CONTRACT, raw=False), ITEMS)


def test_values_without_a_header_are_little_endian(tmp_path):
    contract = ItemContract("int16", ("items", 3), (-5, 500))
    values = np.array([[1, -2, 300], [4, 5, 6]], np.int16)
    (tmp_path / "file.raw").write_bytes(values.astype("<i2").tobytes())
    assert np.array_equal(load_items(tmp_path / "file.raw", contract), values)
    assert np.array_equal(items_from_stdin(io.BytesIO(values.astype("<i2").tobytes()), contract, raw=True), values)
    with pytest.raises(InputFileError, match="whole items of 6 bytes, found 7"):
        items_from_stdin(io.BytesIO(bytes(7)), contract, raw=True)


def test_an_image_is_one_item_and_a_folder_of_images_many(tmp_path):
    for place, pixels in enumerate(ITEMS.reshape(4, 2, 3)):
        (tmp_path / f"{place}.png").write_bytes(png(pixels))
    assert np.array_equal(load_items(tmp_path / "2.png", CONTRACT), ITEMS[2:3])
    assert np.array_equal(read_images(tmp_path), ITEMS.reshape(4, 2, 3))
    (tmp_path / "9.png").write_bytes(png(np.zeros((3, 3), np.uint8)))
    with pytest.raises(InputFileError, match=r"9\.png"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "offset 0: expected an array or an image"),
        (b"text", "offset 0: expected an array or an image"),
        (IDX[:3], "offset 0: expected an array or an image"),
        (IDX[:4], "offset 4: expected 3 dimensions"),
        (IDX[:9], "offset 9: expected 3 dimensions"),
        (IDX[:-1], "offset 39: expected 24 bytes of values"),
        (IDX + b"\0", "offset 40: expected the end"),
        (gzip.compress(IDX, mtime=0)[:-9], "gzip"),
        (gzip.compress(IDX + b"\0", mtime=0), "offset 40: expected the end"),
        (npy(ITEMS)[:-1], "expected 24 bytes of values"),
        (npy(ITEMS)[:20], "header of a NumPy array"),
        (npy(np.array([{}], object)), "unpickled"),
        (npz(one=ITEMS, two=ITEMS), "one array beside `labels`, found one, two"),
        (npz(items=ITEMS)[:60], "npz"),
        (b"\x89PNG\r\n\x1a\n and no more", "offset 0: .*, found a PNG picture that is damaged"),
        (png(np.zeros((2, 2, 4), np.uint8)), "expected an opaque picture, found alpha: make it opaque first"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "expected .* bytes of values"),
    ],
)
def test_a_bad_file_names_the_offset_and_what_was_expected(tmp_path, content, said):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(InputFileError, match=said):
        read_items(tmp_path / "bad")


def test_an_image_is_an_item_in_its_own_dtype(tmp_path):
    deep = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9999
    palette = Image.fromarray(np.array([[[9, 8, 7]]], np.uint8)).convert("P", palette=Image.Palette.ADAPTIVE)
    images = {"deep.png": deep, "deep.tif": deep, "grey.png": ITEMS, "colour.png": np.stack([ITEMS] * 3, -1)}
    for name, array in images.items():
        Image.fromarray(array).save(tmp_path / name)
        found = read_items(tmp_path / name)
        assert found.dtype == array.dtype and np.array_equal(found, array)
    palette.save(tmp_path / "palette.png")
    assert read_items(tmp_path / "palette.png").tolist() == [[[9, 8, 7]]]


def test_formats_are_written_by_something_or_lose_something_and_values_are_raw_under_both_names():
    assert PICTURE_FORMATS == ("npy", "raw", "png", "ppm", "bmp", "tif", "webp")
    assert {OTHER_NAMES[suffix.lstrip(".")] for suffix in RAW_SUFFIXES if suffix != ".raw"} == {"raw"}
    assert not set(LOSSY) & {*PICTURE_FORMATS, *OTHER_NAMES}
    assert {f".{suffix}" for suffix in LOSSY} < set(IMAGE_SUFFIXES)


def test_labels_come_with_an_archive_and_an_image_is_one_item(tmp_path):
    (tmp_path / "a").write_bytes(npz(items=ITEMS, labels=np.arange(4)))
    (tmp_path / "b").write_bytes(png(ITEMS))
    items, labels = read_labelled(tmp_path / "a")
    assert np.array_equal(items, ITEMS) and labels is not None and labels.tolist() == [0, 1, 2, 3]
    items, labels = read_labelled(tmp_path / "b")
    assert np.array_equal(items, ITEMS[None]) and labels is None


def test_pickles_are_never_run(tmp_path):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was run",))

    with pytest.raises(InputFileError):
        items_from(io.BytesIO(pickle.dumps(Boom())), "file")


@pytest.mark.parametrize("shape", [(4, 5), (3, 3), (0, 6), (6, 4)])
def test_what_cannot_be_cut_into_items_is_refused(shape):
    with pytest.raises(InputShapeError, match=r"expected items as \[items, 6\]"):
        conform(np.zeros(shape, np.uint8), CONTRACT, "file")


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert target.read_text() == "old"
    with whole_file(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(InputFileError), whole_file(tmp_path / "nowhere" / "out"):
        pass


def test_what_only_one_process_writes_takes_the_place_of_what_a_kill_left(tmp_path):
    (tmp_path / ".out.tmp").write_bytes(b"left behind, and longer")
    with whole_file(tmp_path / "out", durable=True, sole=True) as file:
        file.write(b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out": b"new"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "inner" / "out"
    with pytest.raises(RuntimeError), whole_folder(target) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    for name in ("first", "second"):
        (target.parent / ".out.writing").mkdir(exist_ok=True)
        (target.parent / ".out.writing" / "left behind").touch()
        with whole_folder(target) as folder:
            (folder / name).touch()
            assert not (target / name).exists()
        assert [path.name for path in target.iterdir()] == [name]
        assert list(target.parent.iterdir()) == [target]
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputFileError, match="expected a folder that can be written to"),
        whole_folder(tmp_path / "file" / "out"),
    ):
        pass


def test_written_items_are_read_back(tmp_path):
    for form in ("npy", "raw"):
        with (tmp_path / f"out.{form}").open("wb") as file:
            write_items(file, ITEMS, form)
        assert np.array_equal(load_items(tmp_path / f"out.{form}", CONTRACT), ITEMS)


def test_square_items_become_one_picture(tmp_path):
    items = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9)
    sheet = contact_sheet(items)
    assert sheet.shape == (6, 9)
    assert np.array_equal(sheet[3:, 3:6], items[4].reshape(3, 3))
    assert not sheet[3:, 6:].any()
    with (tmp_path / "out.png").open("wb") as file:
        write_items(file, items, "png")
    assert np.array_equal(read_items(tmp_path / "out.png"), sheet)
    with pytest.raises(SettingError):
        contact_sheet(ITEMS)
