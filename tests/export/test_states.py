"""The lanes' last states and the bytes that fill them: nothing is lost, however few bytes there are."""

import numpy as np
import numpy_image
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.export.graph.builder import INT32, INT64, build_model, value
from latentwire.export.image import states
from latentwire.export.measure import session

LANE = st.one_of(st.integers(1 << 15, (1 << 23) - 1), st.integers(1 << 23, (1 << 31) - 1))


@pytest.fixture(scope="module")
def fill() -> onnxruntime.InferenceSession:
    inputs = [value("states", INT32, ["lanes"]), value("data", INT64, ["n"])]
    outputs = [value("filled", INT64, ["lanes"]), value("rest", INT64, ["m"])]
    return session(build_model(states.fill, inputs, outputs, "fill"))


@pytest.fixture(scope="module")
def empty() -> onnxruntime.InferenceSession:
    inputs = [value("filled", INT64, ["lanes"]), value("rest", INT64, ["m"])]
    outputs = [value("states", INT32, ["lanes"]), value("data", INT64, ["n"])]
    return session(build_model(states.empty, inputs, outputs, "empty"))


@given(lanes=st.lists(LANE, min_size=1, max_size=20), data=st.binary(max_size=30))
def test_states_and_bytes_come_back(fill, empty, lanes, data):
    feed = {"states": np.array(lanes, np.int32), "data": np.frombuffer(data, np.uint8).astype(np.int64)}
    filled, rest = fill.run(["filled", "rest"], feed)
    sent = b"".join(int(state).to_bytes(4, "little") for state in filled) + bytes(rest.astype(np.uint8))
    assert sent == numpy_image.fill(lanes, data)
    roomy = sum(state < 1 << 23 for state in lanes)
    assert len(sent) == 4 * len(lanes) + len(data) - min(roomy, len(data))
    back = dict(zip(["states", "data"], empty.run(["states", "data"], {"filled": filled, "rest": rest}), strict=True))
    assert back["states"].tolist() == lanes
    assert back["data"].tolist() == list(data)


@given(words=st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=20), data=st.binary(max_size=5))
def test_any_32_bits_are_read_as_a_state_of_31(empty, words, data):
    feed = {"filled": np.array(words, np.int64), "rest": np.frombuffer(data, np.uint8).astype(np.int64)}
    found, behind = empty.run(["states", "data"], feed)
    assert (found >= 0).all()
    assert len(behind) == len(data) + sum(word >= 1 << 31 for word in words)
