import io

import numpy as np
import pytest
from click.testing import CliRunner

from latentwire.runtime.cli import main
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import InputError, InputFileError, SettingError
from latentwire.runtime.files import items_from_stdin, load_items, read_items, read_labelled
from latentwire.runtime.files.items import items_from

TABLE = b"time,temp,hum\n" + b"".join(b"%d,%d.5,-3e2\n" % (row, row) for row in range(4))


WINDOWS = b"\xef\xbb\xbf" + TABLE.replace(b"\n", b"\r\n") + b"\n"
WHOLE = "expected a whole number from 0 to 255, found"


@pytest.mark.parametrize("text", [TABLE, TABLE.partition(b"\n")[2], WINDOWS])
@pytest.mark.parametrize("separator", [b",", b";", b"\t", b", "])
@pytest.mark.parametrize("name", ["a.csv", "a"])
def test_a_table_is_items_in_the_contracts_dtype(tmp_path, text, separator, name):
    contract = ItemContract("float32", ("items", 3), (-300, 10))
    wanted = np.array([[row, row + 0.5, -300] for row in range(4)], np.float32)
    (tmp_path / name).write_bytes(text.replace(b",", separator))
    found = load_items(tmp_path / name, contract)
    assert found.dtype == np.float32 and np.array_equal(found, wanted)
    piped = items_from_stdin(io.BytesIO(text.replace(b",", separator)), contract, raw=False)
    assert piped.dtype == np.float32 and np.array_equal(piped, wanted)
    items, labels = read_labelled(tmp_path / name)
    assert items.dtype == np.float64 and np.array_equal(items, wanted) and labels is None


def test_one_column_of_whole_numbers_is_a_table_too(tmp_path):
    (tmp_path / "a").write_text("7\n-8\n300\n")
    found = load_items(tmp_path / "a", ItemContract("int16", ("items", 1), (-1000, 1000)))
    assert found.dtype == np.int16 and found.tolist() == [[7], [-8], [300]]


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        (
            "a,b\n1,2\n3,x\n4,y\n",
            r"line 3, column 2: expected a number, found 'x': .* column 'b'$",
            {"line": 3, "column": 2},
        ),
        (
            "1,ok,5\n2,ok,\n",
            r"line 1, column 2: expected a number, found 'ok': .* columns 2, 3$",
            {"line": 1, "column": 2},
        ),
        ("1,2\n3,1_0\n", r"line 2, column 2: expected a number, found '1_0'", {"line": 2, "column": 2}),
        ("a,b\n1,2\n3\n", r"line 3: expected 2 columns, found 1", {"line": 3}),
        ("1,2\n\n3,4,5\n", r"line 3: expected 2 columns, found 3", {"line": 3}),
        (
            "1,2\n3,4.5\n",
            rf"item 1, column 2: {WHOLE} 4.5",
            {"item": 1, "column": 2},
        ),
        (
            "1,2\n3,256\n",
            rf"item 1, column 2: {WHOLE} 256",
            {"item": 1, "column": 2},
        ),
        (
            "1,2\n3,nan\n",
            rf"item 1, column 2: {WHOLE} nan",
            {"item": 1, "column": 2},
        ),
        ("a,b\n", r"expected rows of numbers, found none", None),
        ("1,2,3\n", r"expected items as \[items, 2\]", None),
    ],
)
def test_what_is_no_table_of_such_numbers_is_refused_with_its_place(tmp_path, text, said, place):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        load_items(tmp_path / "a.csv", ItemContract("uint8", ("items", 2), (0, 255)))
    assert caught.value.place == place and (place is None or caught.value.file == str(tmp_path / "a.csv"))


def test_a_table_with_times_and_words_says_which_columns_are_text():
    """Columns of a real log."""
    text = b"time,temp,hum,press,label\n2026-01-01T00:00,19.86,51.0,1013.4,ok\n2026-01-01T00:01,20.55,51.7,1012.6,ok\n"
    with pytest.raises(InputFileError, match=r"line 2, column 1: .* '2026-01-01T00:00': .* columns 'time', 'label'$"):
        items_from(io.BytesIO(text), "log")


def test_text_pictures_are_no_tables(tmp_path):
    (tmp_path / "a").write_text("P2\n2\n1\n255\n7 9\n")
    assert read_items(tmp_path / "a").tolist() == [[7, 9]]


READINGS = b"time,temp,hum,label\n2026-01-01T00:00,19.5,51,ok\n2026-01-01T00:01,20.5,52,hot\n"
READING = ItemContract("float32", ("items", 2), (0, 100))


@pytest.mark.parametrize("columns", [("temp", "hum"), ("2", "3"), ("temp", "3")])
def test_columns_are_chosen_by_name_or_by_place(tmp_path, columns):
    (tmp_path / "a.csv").write_bytes(READINGS)
    assert load_items(tmp_path / "a.csv", READING, columns).tolist() == [[19.5, 51], [20.5, 52]]
    turned = items_from_stdin(io.BytesIO(READINGS), READING, False, columns[::-1])
    assert turned.tolist() == [[51, 19.5], [52, 20.5]]


def test_a_column_that_is_text_or_is_not_there_is_said(tmp_path):
    (tmp_path / "a.csv").write_bytes(READINGS)
    with pytest.raises(InputFileError, match=r"line 2, column 1: .* choose others with --columns .* 'time', 'label'$"):
        load_items(tmp_path / "a.csv", READING)
    with pytest.raises(InputFileError, match="found 'ok'"):
        load_items(tmp_path / "a.csv", READING, ("temp", "label"))
    with pytest.raises(SettingError, match=r"among time, temp, hum, label, found wind: .* from 1 to 4"):
        load_items(tmp_path / "a.csv", READING, ("temp", "wind"))
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(SettingError, match="expected a table"):
        load_items(tmp_path / "a.npy", READING, ("temp", "hum"))


def test_columns_of_a_table_through_the_command(tmp_path):
    """All columns but the first two are text or too many for a digit: those asked for are the item."""
    names = ["when", *(f"p{at}" for at in range(784)), "label"]
    row = ["noon", *(str(at % 256) for at in range(784)), "seven"]
    (tmp_path / "a.csv").write_text("\n".join([",".join(names), ",".join(row)]))
    np.save(tmp_path / "a.npy", (np.arange(784) % 256).astype(np.uint8)[None])
    run = CliRunner().invoke
    chosen = ["--columns", ",".join(names[1:-1])]
    found = run(main, ["encode", "mnist", str(tmp_path / "a.csv"), "-o", str(tmp_path / "csv.lw"), *chosen])
    assert found.exit_code == 0, found.output
    assert run(main, ["encode", "mnist", str(tmp_path / "a.npy"), "-o", str(tmp_path / "npy.lw")]).exit_code == 0
    assert (tmp_path / "csv.lw").read_bytes() == (tmp_path / "npy.lw").read_bytes()
    refused = run(main, ["encode", "photo", str(tmp_path / "a.csv"), "-o", str(tmp_path / "x.lw"), *chosen])
    assert refused.exit_code == 2 and "columns are values of items" in refused.output
