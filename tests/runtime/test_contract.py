import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.contract import DTYPES, OUT_OF_RANGE, ItemContract, Strays, dtype_range
from latentwire.runtime.errors import InputRangeError, InputShapeError, InputTypeError, ManifestError, SettingError

DIGITS = ItemContract("uint8", ("items", 4), (0, 16))
FLOATS = ItemContract("float32", ("items", 2), (-1.0, 1.0))
PICTURES = ItemContract("uint8", ("height", "width", (1, 3)), (0, 255))


def test_items_that_fit_are_returned_as_they_are():
    items = np.full((3, 4), 16, np.uint8)
    assert DIGITS.validate(items) is items


@pytest.mark.parametrize(
    ("contract", "items", "error", "said"),
    [
        (DIGITS, np.zeros((3, 4)), InputTypeError, "found float64"),
        (DIGITS, [[0, 0, 0, 0]], InputTypeError, "found list"),
        (DIGITS, np.zeros((3, 5), np.uint8), InputShapeError, r"expected shape \[items, 4\], found \[3, 5\]"),
        (DIGITS, np.zeros((0, 4), np.uint8), InputShapeError, "found"),
        (DIGITS, np.zeros(4, np.uint8), InputShapeError, "found"),
        (DIGITS, np.array([[0, 0, 17, 0]], np.uint8), InputRangeError, r"found 17 in item 0 at \[2\]"),
        (PICTURES, np.zeros((5, 6, 2), np.uint8), InputShapeError, r"\[height, width, 1 or 3\], found .* alpha"),
        (PICTURES, np.zeros((5, 6, 4), np.uint8), InputShapeError, r"drop it with \[:, :, :3\]"),
        (PICTURES, np.zeros((5, 0, 3), np.uint8), InputShapeError, r"found \[5, 0, 3\]"),
        (PICTURES, np.zeros((2, 5, 6, 3), np.uint8), InputShapeError, "use encode_stream"),
        (FLOATS, np.array([[0, 0], [0, np.nan]], np.float32), InputRangeError, r"found nan in item 1 at \[1\]"),
        (FLOATS, np.array([[np.inf, 0]], np.float32), InputRangeError, "found inf"),
        (FLOATS, np.array([[0, -1.5]], np.float32), InputRangeError, "found -1.5"),
    ],
)
def test_items_that_do_not_fit_name_what_is_wrong(contract, items, error, said):
    with pytest.raises(error, match=said):
        contract.validate(items)


WINDOWS = ItemContract("float32", ("items", "samples", 1), (-1.0, 1.0))
LEADS = ItemContract("int16", ("windows", 5, (1, 2)), (-9, 9))


@pytest.mark.parametrize(
    ("contract", "found", "completed"),
    [
        (DIGITS, (4,), (1, 4)),
        (DIGITS, (3, 4), (3, 4)),
        (DIGITS, (5,), (5,)),
        (PICTURES, (7, 9), (7, 9, 1)),
        (PICTURES, (7, 3), (7, 3, 1)),
        (PICTURES, (1, 1), (1, 1, 1)),
        (PICTURES, (7, 9, 3), (7, 9, 3)),
        (PICTURES, (7,), (7,)),
        (PICTURES, (0, 9), (0, 9)),
        (WINDOWS, (7, 1), (1, 7, 1)),
        (WINDOWS, (3, 7), (3, 7, 1)),
        (LEADS, (5, 2), (1, 5, 2)),
        (LEADS, (5, 1), (1, 5, 1)),
        (LEADS, (3, 5), (3, 5, 1)),
        (LEADS, (3, 4), (3, 4)),
        (ItemContract("uint8", (4, 4), (0, 9)), (4,), (4,)),
    ],
    ids=str,
)
def test_an_axis_of_length_1_may_be_left_out(contract, found, completed):
    assert contract.completed(np.zeros(found, contract.dtype)).shape == completed


def test_what_is_no_array_is_left_for_the_check_to_name():
    assert DIGITS.completed([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_a_contract_of_pictures_is_asked_for_by_name():
    PICTURES.require_picture()
    with pytest.raises(SettingError, match=r"expected a codec of pictures, found one of \[items, 4\]"):
        DIGITS.require_picture()


def test_floats_of_the_full_range_are_still_refused_when_not_finite():
    contract = ItemContract("float32", ("items", 1), dtype_range("float32"))
    with pytest.raises(InputRangeError):
        contract.validate(np.array([[np.nan]], np.float32))


WILD = np.array([[0, 0.5], [0, 7], [np.nan, 0], [-np.inf, 0], [1, -1]], np.float32)


@pytest.mark.parametrize(
    ("policy", "kept", "clipped", "skipped"),
    [
        ("skip", [[0, 0.5], [1, -1]], (), (1, 2, 3)),
        ("clip", [[0, 0.5], [0, 1], [-1, 0], [1, -1]], (1, 3), (2,)),
    ],
)
def test_items_out_of_range_are_clipped_or_left_out_and_named(policy, kept, clipped, skipped):
    before = WILD.copy()
    items, strays = FLOATS.within(WILD, policy)
    np.testing.assert_array_equal(items, np.array(kept, np.float32))
    assert items.dtype == np.float32
    assert (strays.clipped, strays.skipped) == (clipped, skipped)
    np.testing.assert_array_equal(WILD, before)
    assert FLOATS.validate(items) is items


def test_an_item_out_of_range_is_named_by_its_place_in_the_file():
    with pytest.raises(InputRangeError, match=r"in \[-1, 1\], found 7.0 in item 101 at \[1\]"):
        FLOATS.within(WILD, "error", first=100)
    assert FLOATS.within(WILD, "skip", first=100)[1].skipped == (101, 102, 103)


@pytest.mark.parametrize("policy", OUT_OF_RANGE)
def test_what_is_inside_of_the_range_is_the_same_array_under_every_policy(policy):
    items = np.ones((3, 2), np.float32)
    kept, strays = FLOATS.within(items, policy)
    assert kept is items and strays == Strays()
    with pytest.raises(InputShapeError):
        FLOATS.within(items[:0], policy)
    with pytest.raises(InputTypeError):
        FLOATS.within(items.astype(np.float64), policy)


def test_where_an_array_is_one_item_a_value_out_of_range_concerns_all_of_it():
    field = ItemContract("float32", ("height", "width"), (0.0, 1.0))
    items = np.array([[0, 2], [1, 1]], np.float32)
    kept, strays = field.within(items, "clip", several=False)
    assert kept.tolist() == [[0, 1], [1, 1]] and strays == Strays(clipped=(0,))
    kept, strays = field.within(items, "skip", several=False)
    assert len(kept) == 0 and strays == Strays(skipped=(0,))
    with pytest.raises(InputRangeError, match=r"found 2.0 at index \[0, 1\]"):
        field.within(items, "error", several=False)


def test_integers_outside_of_a_part_of_their_range_are_clipped_in_their_own_dtype():
    items, strays = DIGITS.within(np.array([[0, 0, 255, 0], [1, 2, 3, 4]], np.uint8), "clip")
    assert items.dtype == np.uint8 and items.tolist() == [[0, 0, 16, 0], [1, 2, 3, 4]] and strays.clipped == (0,)
    with pytest.raises(SettingError, match="error, clip, skip"):
        DIGITS.within(items, "drop")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_contract_survives_json(dtype):
    contract = ItemContract.of(np.zeros((2, 3), dtype))
    assert contract.shape == ("items", 3)
    assert ItemContract.from_json(contract.to_json()) == contract


def test_lengths_from_a_list_survive_json_and_are_told():
    document = PICTURES.to_json()
    assert document["shape"] == ["height", "width", [1, 3]]
    assert ItemContract.from_json(document) == PICTURES
    assert PICTURES.describe_shape() == "[height, width, 1 or 3]"
    assert [PICTURES.fits((4, 5, channels)) for channels in range(5)] == [False, True, False, True, False]
    assert PICTURES.is_picture and not DIGITS.is_picture
    assert PICTURES.item_bytes == 1


@pytest.mark.parametrize("axis", [[], [0], [1, -3], [True], [1.0], [[1]], ["a"], [None]])
def test_a_list_of_anything_but_lengths_is_no_axis(axis):
    with pytest.raises(ManifestError):
        ItemContract.from_json(PICTURES.to_json() | {"shape": ["height", "width", axis]})


def test_no_contract_is_made_of_items_without_a_length_or_of_another_dtype():
    with pytest.raises(InputShapeError):
        ItemContract.of(np.zeros((0, 3), np.uint8))
    with pytest.raises(InputTypeError):
        ItemContract.of(np.zeros((2, 3)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["dtype", "shape", "range", "extra"]), json_values)
def test_any_change_of_the_json_is_the_same_contract_or_an_error(key, value):
    document = DIGITS.to_json() | {key: value}
    try:
        contract = ItemContract.from_json(document)
    except ManifestError:
        return
    assert key != "extra"
    assert contract.to_json().keys() == document.keys()


CASTING = ItemContract("uint8", ("items", 2), (0, 200), casts=("int64", "float64"))


def test_other_dtypes_are_cast_where_the_contract_says_so():
    for dtype in ("int64", "float64"):
        cast = CASTING.completed(np.array([[0, 200]], dtype))
        assert cast.dtype == np.uint8 and cast.tolist() == [[0, 200]]
    assert CASTING.completed(np.array([3, 4])).tolist() == [[3, 4]], "an axis may be left out all the same"
    own = np.zeros((1, 2), np.uint8)
    assert CASTING.cast(own) is own
    floats = ItemContract("float32", ("items", 2), (-1.0, 1.0), casts=("float64",))
    assert floats.completed(np.array([[0.1, -1]])).dtype == np.float32


@pytest.mark.parametrize(
    ("items", "error", "said"),
    [
        (np.array([[0, 256]]), InputRangeError, "expected values of uint8, found 0 to 256"),
        (np.array([[0, -1]]), InputRangeError, "found -1 to 0"),
        (np.array([[0, np.nan]]), InputRangeError, "found nan"),
        (np.array([[0, 0.5]]), InputTypeError, "expected whole numbers for uint8"),
        (np.array([[0, 1]], np.int32), InputTypeError, "found int32"),
        (np.array([[0, 201]]), InputRangeError, r"expected values in \[0, 200\], found 201"),
    ],
)
def test_what_cannot_be_cast_without_loss_is_refused(items, error, said):
    with pytest.raises(error, match=said):
        CASTING.validate(CASTING.completed(items))


def test_casts_are_in_the_document_only_where_there_are_some():
    assert "casts" not in DIGITS.to_json()
    assert ItemContract.from_json(CASTING.to_json()) == CASTING
    for wrong in (["uint8"], ["complex64"], ["int64", 3]):
        with pytest.raises(ManifestError, match=r"cast|dtype"):
            ItemContract.from_json({**CASTING.to_json(), "casts": wrong})
