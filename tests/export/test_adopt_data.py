"""Items for `export_codec` out of whatever holds them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from latentwire.export.adopt import data as adopt_data
from latentwire.export.adopt import read_data
from latentwire.runtime.contract import DTYPES
from latentwire.runtime.errors import InputFileError, InputRangeError, InputShapeError, InputTypeError, SettingError

ITEMS = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)
PICTURES = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3), np.uint8)


class Rows(Dataset):
    """A map-style dataset with neither an iterator nor an end that is announced by an error."""

    def __init__(self, row):
        self.row = row

    def __len__(self):
        return len(ITEMS)

    def __getitem__(self, index):
        return self.row(index)


SOURCES = {
    "array": lambda: ITEMS,
    "tensor": lambda: torch.from_numpy(ITEMS).requires_grad_(),
    "list of arrays": lambda: list(ITEMS),
    "generator": lambda: (item for item in ITEMS),
    "dataset of pairs": lambda: TensorDataset(torch.from_numpy(ITEMS), torch.arange(10)),
    "dataset of dicts": lambda: Rows(lambda index: {"label": 3, "pixel_values": ITEMS[index]}),
    "loader of pairs": lambda: DataLoader(TensorDataset(torch.from_numpy(ITEMS), torch.arange(10)), batch_size=4),
    "loader of dicts": lambda: DataLoader(Rows(lambda index: {"signal": ITEMS[index], "y": 1}), batch_size=3),
    "loader of items": lambda: DataLoader(Rows(lambda index: ITEMS[index]), batch_size=None),
    "dict of arrays": lambda: {"label": np.arange(10), "x": ITEMS},
    "other byte order": lambda: ITEMS.astype(">f4"),
    "lists of numbers": lambda: Rows(lambda index: ITEMS[index].tolist()),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_items_come_out_of_every_source(source):
    items, _, _ = read_data(SOURCES[source](), cast="float32")
    assert items.dtype == np.float32 and items.dtype.isnative
    np.testing.assert_array_equal(items, ITEMS)


def test_notes_say_what_was_taken():
    _, notes, _ = read_data(SOURCES["loader of pairs"]())
    assert notes == ("data: 10 items of a DataLoader", "of each element the first of 2")
    _, notes, _ = read_data(SOURCES["dataset of dicts"]())
    assert notes == ("data: 10 items of a Rows", "of each element the value of 'pixel_values'")
    assert read_data(ITEMS)[1] == ()


def test_files_and_folders(tmp_path):
    np.save(tmp_path / "items.npy", ITEMS)
    np.savez(tmp_path / "items.npz", items=PICTURES, labels=np.arange(4))
    (tmp_path / "table.csv").write_text("a,b\n1,2.5\n-3,4\n")
    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{index}.png")
    np.testing.assert_array_equal(read_data(tmp_path / "items.npy")[0], ITEMS)
    np.testing.assert_array_equal(read_data(str(tmp_path / "items.npz"))[0], PICTURES)
    np.testing.assert_array_equal(read_data(tmp_path / "pictures")[0], PICTURES)
    np.testing.assert_array_equal(read_data(tmp_path / "pictures" / "2.png")[0], PICTURES[2:3])
    table, notes, _ = read_data(tmp_path / "table.csv")
    assert table.dtype == np.float32 and table.tolist() == [[1, 2.5], [-3, 4]]
    assert notes == ("data: the table table.csv, as float32",)
    with pytest.raises(InputFileError, match="found nothing"):
        read_data(tmp_path / "nowhere")


def test_pictures_as_elements():
    items, _, _ = read_data([(Image.fromarray(picture), 0) for picture in PICTURES])
    np.testing.assert_array_equal(items, PICTURES)


def test_a_data_frame_gives_its_numbers():
    numbers = np.arange(6).reshape(3, 2)
    chosen = SimpleNamespace(columns=["a", "b"], to_numpy=lambda: numbers)
    frame = SimpleNamespace(columns=["name", "a", "b"], select_dtypes=lambda kind: chosen)
    items, notes, _ = read_data(frame, cast=True)
    assert items.dtype == np.uint8 and items.tolist() == numbers.tolist()
    assert notes[0] == "data: 2 columns of a DataFrame; left out as they are no numbers: name"


def test_an_endless_source_ends(monkeypatch):
    monkeypatch.setattr(adopt_data, "MOST_ITEMS", 7)
    items, notes, _ = read_data(itertools.cycle(ITEMS))
    np.testing.assert_array_equal(items, ITEMS[:7])
    assert notes[0].startswith("data: the first 7 items of a cycle; no more than 7 items and ")
    monkeypatch.setattr(adopt_data, "MOST_BYTES", 3 * ITEMS[0].nbytes)
    assert len(read_data(itertools.cycle(ITEMS))[0]) == 3
    loader = DataLoader(TensorDataset(torch.from_numpy(ITEMS)), batch_size=4)
    monkeypatch.setattr(adopt_data, "MOST_BYTES", 1 << 20)
    np.testing.assert_array_equal(read_data(loader)[0], ITEMS[:7])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int32", "int8", "bool", "uint32"])
def test_other_dtypes_are_cast_on_request_only(dtype):
    items = np.array([[0, 1], [1, 1]], dtype)
    target = "float32" if dtype.startswith("float") else "uint8"
    with pytest.raises(InputTypeError, match=f"found {dtype}: say cast=True to have them cast to {target}"):
        read_data(items)
    cast, notes, _ = read_data(items, cast=True)
    assert cast.dtype == target and cast.tolist() == items.tolist()
    assert notes == (f"data: {dtype} cast to {target}",)


@given(arrays(np.int64, (3, 2), elements=st.integers(-(1 << 24), 1 << 24)))
def test_integers_become_the_smallest_that_holds_them(items):
    cast, _, _ = read_data(items, cast=True)
    assert cast.dtype.name in DTYPES
    np.testing.assert_array_equal(cast.astype(np.int64), items)
    smaller = {"uint8": (), "int16": ("uint8",), "uint16": ("uint8", "int16"), "float32": ("uint8", "int16", "uint16")}
    for name in smaller[cast.dtype.name]:
        limits = np.iinfo(name)
        assert items.min() < limits.min or items.max() > limits.max


@pytest.mark.parametrize(
    ("items", "cast", "error", "match"),
    [
        (np.array([[1 << 25]]), True, InputRangeError, "scale them"),
        (np.array([[1e300]]), True, InputRangeError, "float32"),
        (np.array([[300]]), "uint8", InputRangeError, r"from 0 to 255 for uint8, found 300 at \[0, 0\]"),
        (np.array([[0.5]]), "int16", InputRangeError, r"whole numbers .* found 0.5"),
        (np.array([[np.nan]]), "int16", InputRangeError, "found nan"),
        (ITEMS, "float16", SettingError, "float32, found 'float16'"),
        (np.array([["a"]]), True, InputTypeError, "items of numbers"),
        (np.array([[1j]]), True, InputTypeError, "items of numbers"),
        (np.zeros(4, np.float32), None, InputShapeError, r"\[N, 1\]"),
        (np.zeros((0, 4), np.float32), None, InputShapeError, r"shape \[0, 4\]"),
        ([], None, InputShapeError, "list without any"),
        ([ITEMS[0], ITEMS[0, :1]], None, InputShapeError, r"found \[2, 3\] and, as item 1, \[1, 3\]"),
        (["a"], None, InputTypeError, "found str"),
        ([{"left": ITEMS[0], "right": ITEMS[0]}], None, InputTypeError, "found left, right"),
        (3, None, InputTypeError, "found int"),
        (torch.zeros(2, 2, dtype=torch.bfloat16), True, InputTypeError, r"data\.float\(\)"),
    ],
)
def test_what_cannot_be_items_is_named(items, cast, error, match):
    with pytest.raises(error, match=match):
        read_data(items, cast=cast)
