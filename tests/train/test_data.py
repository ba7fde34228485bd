"""Reading items, and refusing what is not items."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latentwire.runtime.errors import (
    InputError,
    InputFileError,
    InputRangeError,
    InputShapeError,
    InputTypeError,
    LocalError,
)
from latentwire.runtime.files import read_idx, read_npy
from latentwire.runtime.files.arrays import IDX_TYPES
from latentwire.train.dense.data import DataRequest, from_array, load_data, load_split, split

ITEMS = np.random.default_rng(5).integers(0, 256, (12, 3, 4), dtype=np.uint8)


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(IDX_TYPES[code]).tobytes()


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    labels = np.arange(12, dtype=np.uint8) % 10
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(ITEMS)))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(ITEMS[:5]))
    return tmp_path


@pytest.mark.parametrize("code", IDX_TYPES)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_of_every_type(tmp_path: Path, code: int, packed: bool) -> None:
    content = idx_bytes(ITEMS // 2, code)
    path = tmp_path / ("items.gz" if packed else "items")
    path.write_bytes(gzip.compress(content) if packed else content)
    array = read_idx(path)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, ITEMS // 2)


@given(length=st.integers(0, len(idx_bytes(ITEMS)) - 1))
def test_every_truncation_of_an_idx_file_is_refused_where_it_ends(tmp_path_factory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "short-idx3-ubyte"
    path.write_bytes(idx_bytes(ITEMS)[:length])
    with pytest.raises(InputFileError, match=rf"short-idx3-ubyte, offset {length if length >= 4 else 0}: expected"):
        read_idx(path)


def test_idx_with_bytes_to_spare_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(idx_bytes(ITEMS) + b"\0")
    with pytest.raises(InputFileError, match=f"offset {16 + ITEMS.size}: expected the end of the file"):
        read_idx(path)


def test_idx_that_announces_more_than_memory_holds_is_refused_without_allocating_it(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 28) + bytes(100))
    with pytest.raises(InputFileError, match="offset 116: expected"):
        read_idx(path)


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(idx_bytes(ITEMS))[:-9])
    with pytest.raises(InputFileError, match="complete gzip file"):
        read_idx(path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, order: str) -> None:
    np.save(tmp_path / "items.npy", np.asarray(ITEMS, order=order))
    data = load_data(tmp_path / "items.npy")
    np.testing.assert_array_equal(data.items, ITEMS.reshape(12, 12))
    assert data.item_shape == (3, 4)


def test_npy_faults_name_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "items.npy"
    np.save(path, ITEMS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(InputFileError, match=f"offset {len(whole) - 7}: expected 144 bytes"):
        read_npy(path)
    path.write_bytes(b"not numpy's")
    with pytest.raises(InputFileError, match="offset 0: expected the header of a NumPy array"):
        read_npy(path)


def test_npy_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(InputFileError, match="unpickled"):
        read_npy(tmp_path / "items.npy")


def test_npz_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", digits=ITEMS, labels=np.arange(12))
    data = load_data(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.items, ITEMS.reshape(12, 12))
    np.testing.assert_array_equal(data.labels, np.arange(12))


def test_npz_that_leaves_a_choice_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=ITEMS, y=ITEMS)
    with pytest.raises(InputFileError, match="an array `items`, or one array beside `labels`, found x, y"):
        load_data(tmp_path / "a.npz")


@pytest.mark.parametrize("channels", [(), (3,)])
def test_folder_of_images(tmp_path: Path, channels: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, *channels), dtype=np.uint8)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    data = load_data(tmp_path)
    np.testing.assert_array_equal(data.items, images.reshape(3, -1))
    assert data.item_shape == (5, 4, *channels)


def test_a_file_is_what_its_first_bytes_say(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ITEMS)
    (tmp_path / "a.npy").rename(tmp_path / "items.idx")
    np.testing.assert_array_equal(load_data(tmp_path / "items.idx").items, ITEMS.reshape(12, 12))
    (tmp_path / "items.npy").write_bytes(gzip.compress(idx_bytes(ITEMS)))
    np.testing.assert_array_equal(load_data(tmp_path / "items.npy").items, ITEMS.reshape(12, 12))


def test_an_image_alone_is_one_item(tmp_path: Path) -> None:
    Image.fromarray(ITEMS[0]).save(tmp_path / "a.png")
    data = load_data(tmp_path / "a.png")
    np.testing.assert_array_equal(data.items, ITEMS[:1].reshape(1, 12))
    assert data.item_shape == (3, 4)


def test_images_of_unequal_size_are_refused_by_name(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (4, 5)).save(tmp_path / "b.png")
    with pytest.raises(
        InputFileError, match=r"b\.png, offset 0: expected uint8 \(4, 4\) as in a\.png, found uint8 \(5, 4\)"
    ):
        load_data(tmp_path)


def test_an_image_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputFileError, match=r"a\.png, offset 0: expected an array or an image"):
        load_data(tmp_path)


def test_empty_folder_and_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="expected images"):
        load_data(tmp_path)
    with pytest.raises(InputFileError, match="found nothing"):
        load_data(tmp_path / "missing")


def test_mnist_folder_gives_training_images_with_labels_and_test_images_for_validation(mnist_folder: Path) -> None:
    parts = load_split(DataRequest(str(mnist_folder)))
    assert len(parts.train) == 12 and parts.validation is not None and len(parts.validation) == 5
    np.testing.assert_array_equal(parts.train.labels, np.arange(12) % 10)
    assert parts.train.contract.to_json() == {"dtype": "uint8", "shape": ["items", 12], "range": [0, 255]}


def test_validation_can_be_a_fraction_or_a_file(mnist_folder: Path) -> None:
    none = load_split(DataRequest(str(mnist_folder), validation="0"))
    assert none.validation is None and len(none.train) == 12
    quarter = load_split(DataRequest(str(mnist_folder), validation="0.25"))
    assert quarter.validation is not None and len(quarter.validation) == 3
    both = np.concatenate([quarter.train.items, quarter.validation.items])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(ITEMS.reshape(12, 12), axis=0))
    np.save(mnist_folder / "other.npy", np.zeros((4, 12), np.uint16))
    with pytest.raises(InputError, match="validation items must be like the training items"):
        load_split(DataRequest(str(mnist_folder), validation=str(mnist_folder / "other.npy")))


@pytest.mark.parametrize("fraction", [0.01, 0.99, 1.5, -1, float("nan")])
def test_a_split_that_leaves_one_side_empty_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="leaves no items on one side"):
        split(from_array(ITEMS), fraction, 0)


@pytest.mark.parametrize(("dtype", "bounds"), [("uint8", (0, 255)), ("uint16", (0, 65535)), ("int16", (-32768, 32767))])
def test_integers_have_the_whole_range_of_their_dtype(dtype: str, bounds: tuple[int, int]) -> None:
    assert from_array(ITEMS.astype(dtype)).contract.range == bounds


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_have_the_range_of_the_items(dtype: str) -> None:
    data = from_array(np.array([[-1, 3], [0.5, 2]], dtype))
    assert (data.contract.dtype, data.contract.range) == ("float32", (-1, 3))
    np.testing.assert_allclose(data.batch(np.array([0, 1])), [[0, 1], [0.375, 0.75]])


@pytest.mark.parametrize(
    ("items", "bounds", "error", "message"),
    [
        (np.array([[0, 1], [2, np.nan]]), None, InputRangeError, "found nan at item 1, element 1"),
        (np.array([[0, 1e300]]), None, InputRangeError, "found inf at item 0, element 1"),
        (np.ones((3, 2)), None, InputRangeError, "LOW below HIGH"),
        (np.eye(2), (0.25, 1), InputRangeError, r"expected values in 0\.25\.\.1"),
        (ITEMS, (0, 256), InputRangeError, "both in uint8"),
        (ITEMS.astype("int64"), None, InputTypeError, "found int64"),
        (ITEMS > 3, None, InputTypeError, "found bool"),
        (ITEMS[:0], None, InputShapeError, r"found shape \(0, 3, 4\)"),
        (ITEMS[0, 0], None, InputShapeError, r"found shape \(4,\)"),
    ],
)
def test_items_that_cannot_be_used(items, bounds, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        from_array(items, bounds)
    assert isinstance(caught.value, LocalError) and caught.value.exit_code == 3


def test_labels_must_fit() -> None:
    with pytest.raises(InputShapeError, match="one label for each of 12 items"):
        from_array(ITEMS, labels=np.arange(5))


def test_the_digest_is_of_the_items_and_not_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ITEMS)
    (tmp_path / "b-idx3-ubyte").write_bytes(idx_bytes(ITEMS))
    digests = {load_data(tmp_path / name).digest() for name in ("a.npy", "b-idx3-ubyte")}
    assert len(digests) == 1
    assert from_array(ITEMS[::-1]).digest() not in digests
