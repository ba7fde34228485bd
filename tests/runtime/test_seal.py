import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.errors import KeyFileError, SealError
from latentwire.runtime.wire.envelope import Envelope
from latentwire.runtime.wire.seal import OVERHEAD, Keys, draw_key

KEYS = Keys({"gate": bytes(range(32)), "door": bytes(32)})
ENVELOPE = Envelope("gate-3", "00" * 16, 7, (1_000, 1_040), ({"lane": 2}, None), "gate")


@given(st.binary(max_size=64))
def test_a_sealed_packet_opens_to_itself_and_no_two_bodies_are_alike(packet: bytes):
    body = KEYS.seal(packet, ENVELOPE)
    assert len(body) == len(packet) + OVERHEAD
    assert KEYS.open(body, ENVELOPE) == packet
    assert KEYS.seal(packet, ENVELOPE) != body


def test_every_flipped_bit_and_every_missing_byte_is_noticed():
    body = KEYS.seal(b"packet", ENVELOPE)
    for at in range(8 * len(body)):
        changed = bytearray(body)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(SealError):
            KEYS.open(bytes(changed), ENVELOPE)
    for length in range(len(body)):
        with pytest.raises(SealError):
            KEYS.open(body[:length], ENVELOPE)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "gate-4"},
        {"spool": "01" * 16},
        {"sequence": 8},
        {"times": (1_000, 1_041)},
        {"times": ()},
        {"notes": ({"lane": 3}, None)},
        {"notes": ()},
        {"seal": "door"},
        {"seal": "nobody"},
        {"seal": None},
    ],
    ids=str,
)
def test_a_body_under_another_envelope_does_not_open(changes: dict):
    with pytest.raises(SealError):
        KEYS.open(KEYS.seal(b"packet", ENVELOPE), replace(ENVELOPE, **changes))


def test_keys_are_drawn_into_a_file_for_its_owner_alone_and_loaded_from_it(tmp_path):
    path = tmp_path / "keys.json"
    draw_key(path, "gate")
    draw_key(path, "door")
    assert path.stat().st_mode & 0o777 == 0o600
    keys = Keys.load(path)
    assert keys.names == ("gate", "door")
    assert keys.open(keys.seal(b"packet", ENVELOPE), ENVELOPE) == b"packet"
    with pytest.raises(KeyFileError, match="'gate'"):
        draw_key(path, "gate")
    assert Keys.load(path).open(keys.seal(b"packet", ENVELOPE), ENVELOPE) == b"packet"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"a": 1}', '{"a": "?"}', json.dumps({"a": base64.b64encode(bytes(31)).decode()})]
)
def test_a_file_that_is_not_one_of_keys_is_an_error(tmp_path, content: str):
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(KeyFileError):
        Keys.load(path)
    with pytest.raises(KeyFileError):
        Keys.load(tmp_path / "absent.json")


@pytest.mark.parametrize("content", ["", "[]"])
def test_drawing_into_another_kind_of_file_leaves_it_alone(tmp_path, content: str):
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(KeyFileError):
        draw_key(path, "gate")
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("name", ["", "a b", "../a", "x" * 65])
def test_a_name_that_no_envelope_takes_is_no_name_of_a_key(tmp_path, name: str):
    with pytest.raises(KeyFileError):
        draw_key(tmp_path / "keys.json", name)
    with pytest.raises(KeyFileError):
        Keys({name: bytes(32)})
    assert not list(tmp_path.iterdir())


def test_sealing_with_a_key_that_is_not_there_names_those_that_are():
    with pytest.raises(KeyFileError, match="gate, door"):
        KEYS.seal(b"packet", replace(ENVELOPE, seal="other"))
