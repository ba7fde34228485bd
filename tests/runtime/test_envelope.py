import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.errors import EnvelopeError
from latentwire.runtime.wire.envelope import MAX_FIELD, MAX_SEQUENCE, MAX_TIME, Envelope

SPOOL = "00112233445566778899aabbccddeeff"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
NOTES = st.none() | st.dictionaries(st.text(max_size=8), SCALARS | st.text(max_size=8), max_size=3)
ENVELOPES = st.builds(
    Envelope,
    device=NAMES,
    spool=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    sequence=st.integers(0, MAX_SEQUENCE),
    times=st.lists(st.integers(0, MAX_TIME), max_size=5).map(tuple),
    notes=st.just(()) | st.lists(NOTES, min_size=1, max_size=3).filter(any).map(tuple),
    seal=st.none() | NAMES,
)


@given(ENVELOPES)
def test_an_envelope_survives_its_fields_and_its_headers(envelope: Envelope):
    assert Envelope.from_fields(envelope.to_fields()) == envelope
    headers = envelope.to_headers()
    assert all(value.isascii() for value in headers.values())
    assert Envelope.from_headers({name.upper(): value for name, value in headers.items()}) == envelope


def test_its_fields_as_they_stand():
    envelope = Envelope("gate-3", SPOOL, 7, (1_000, 1_040, 1_030), ({"lane": 2}, None), "k1")
    assert envelope.to_headers() == {
        "Latentwire-Device": "gate-3",
        "Latentwire-Spool": SPOOL,
        "Latentwire-Sequence": "7",
        "Latentwire-Times": "1000,40,-10",
        "Latentwire-Notes": '[{"lane":2},null]',
        "Latentwire-Seal": "k1",
    }
    assert envelope.id == f"gate-3.{SPOOL}.7"


GOOD = {"device": "gate-3", "spool": SPOOL, "sequence": "7"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("device", bad) for bad in ("", "..", ".hidden", "a/b", "a b", "é", "x" * 65, "a\n")),
        *(("spool", bad) for bad in ("", SPOOL.upper(), SPOOL[1:], SPOOL + "0")),
        *(("sequence", bad) for bad in ("", "-1", "07", "1.0", "1e3", str(2**63), "٣", "9" * 400)),
        *(("times", bad) for bad in ("", "x", "1,,2", "5,-6", "-0", str(2**53 + 1), "1.5", "1, 2")),
        *(("notes", bad) for bad in ("", "{}", "[1]", "[NaN]", '[{"a":1,"a":2}]', "[" * 9000, "\udc80", "null")),
        ("seal", "a/b"),
        *((name, "0" * (MAX_FIELD + 1)) for name in ("device", "sequence", "times", "notes", "seal")),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_named(name: str, value: str):
    with pytest.raises(EnvelopeError, match=rf"^{name}: expected"):
        Envelope.from_fields(GOOD | {name: value})


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_field_is_named(name: str):
    with pytest.raises(EnvelopeError, match=rf"^{name}: expected this field"):
        Envelope.from_fields({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("note", [{"x": float("nan")}, {"x": object()}, {"x": "y" * MAX_FIELD}])
def test_notes_that_cannot_travel_are_refused_before_they_do(note: dict[str, object]):
    with pytest.raises(EnvelopeError, match=r"^notes: expected"):
        Envelope("gate-3", SPOOL, 0, notes=(note,))


@given(st.dictionaries(st.sampled_from(["device", "spool", "sequence", "times", "notes", "seal"]), st.text()))
def test_hostile_fields_are_an_envelope_or_a_named_error(fields: dict[str, str]):
    try:
        envelope = Envelope.from_fields(fields)
    except EnvelopeError:
        return
    assert json.dumps(envelope.to_fields()).isascii()
