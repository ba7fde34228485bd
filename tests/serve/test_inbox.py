"""The inbox's files: what is lost or damaged is not replaced in silence, what is older is taken over; a full disk."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from services import envelope, in_thread, until

from latentwire.runtime import Encoder
from latentwire.runtime.serve import known
from latentwire.runtime.serve.errors import DamagedInboxError, InboxError, LostInboxError
from latentwire.runtime.serve.inbox import Arrival, Entry, Inbox
from latentwire.runtime.serve.known import ACCEPTED, BLOCK, CONFLICT, DUPLICATE, content_of
from latentwire.runtime.wire import Envelope

BEFORE = """
CREATE TABLE packets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, envelope TEXT, codec BLOB NOT NULL,
    output INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE TABLE spools (
    device TEXT NOT NULL, spool TEXT NOT NULL, seen BLOB NOT NULL, touched INTEGER NOT NULL,
    PRIMARY KEY (device, spool)) WITHOUT ROWID;
CREATE INDEX spools_touched ON spools (touched);
CREATE TABLE hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
PRAGMA user_version = 1;
"""
"""As the first version made it: names without what they named."""


def arrival(sequence: int, body: bytes, device: str = "gate-3", **more) -> Arrival:
    beside = envelope(sequence, device, **more)
    return Arrival(beside.id, beside, b"aaaa", 10, body, content_of(body, beside))


def unnamed(body: bytes) -> Arrival:
    return Arrival(body.hex(), None, b"aaaa", 10, body, content_of(body, None))


def opened(folder: Path, found: list[Entry] | None = None, **more) -> Inbox:
    return Inbox(folder, 100_000, 1 << 30, (found if found is not None else []).extend, **more)


def offered(inbox: Inbox, *arrivals: Arrival) -> list[str]:
    """What the inbox answers, when it is on the disk."""
    outcomes: list[list[str] | Exception] = []
    inbox.offer(arrivals, outcomes.append)
    inbox.flush()
    (outcome,) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_another_content_under_a_known_name_is_a_conflict(tmp_path: Path):
    inbox = opened(tmp_path)
    first, times, notes = b"one", arrival(1, b"one", times=(5,)), arrival(2, b"two", notes=({"a": 1},))
    assert offered(inbox, arrival(0, first), times, notes) == [ACCEPTED] * 3
    assert offered(inbox, arrival(0, first), times, notes) == [DUPLICATE] * 3
    others = [arrival(0, b"other"), arrival(1, b"one", times=(6,)), arrival(2, b"two", notes=({"a": 2},))]
    assert offered(inbox, *others) == [CONFLICT] * 3
    assert offered(inbox, arrival(0, first, seal="a-key"), arrival(0, b"x", "gate-4")) == [DUPLICATE, ACCEPTED]
    assert inbox.packets == 4
    inbox.close()
    again = opened(tmp_path)
    assert offered(again, *others, times, arrival(3, b"new")) == [CONFLICT] * 3 + [DUPLICATE, ACCEPTED]
    again.close()


def test_names_are_known_after_decoding_and_a_request_may_hold_one_twice(tmp_path: Path):
    found: list[Entry] = []
    inbox = opened(tmp_path, found)
    assert offered(inbox, arrival(7, b"a"), arrival(7, b"a"), arrival(7, b"b")) == [ACCEPTED, DUPLICATE, CONFLICT]
    inbox.finish(found)
    inbox.flush()
    assert inbox.packets == 0 and inbox.byte_count == 0
    assert offered(inbox, arrival(7, b"a"), arrival(7, b"b")) == [DUPLICATE, CONFLICT]
    assert offered(inbox, unnamed(b"x"), unnamed(b"x")) == [ACCEPTED, DUPLICATE]
    inbox.close()


def test_contents_are_bounded_and_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known, "MAX_BLOCKS", 3)
    monkeypatch.setattr(known, "CACHED", 2)
    inbox = opened(tmp_path)
    for block in range(5):
        places = [known.BLOCK * block, known.BLOCK * block + 9]
        assert offered(inbox, *(arrival(at, b"one") for at in places)) == [ACCEPTED] * 2
    rows = sqlite3.connect(tmp_path / "inbox.sqlite").execute("SELECT block, length(digests) FROM contents").fetchall()
    assert rows == [(2, 80), (3, 80), (4, 80)]
    answers = [offered(inbox, arrival(known.BLOCK * block + 9, b"other"))[0] for block in range(5)]
    assert answers == [DUPLICATE] * 2 + [CONFLICT] * 3  # forgotten contents are known by name alone
    inbox.close()


def test_memory_is_bounded_where_nothing_new_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A device that sends again what it has sent before, all of it."""
    monkeypatch.setattr("latentwire.runtime.serve.known.CACHED", 3)
    inbox = opened(tmp_path)
    sent = [arrival(BLOCK * number, b"a") for number in range(20)]
    for status in (ACCEPTED, DUPLICATE):
        for one in sent:
            assert offered(inbox, one) == [status]
        assert len(inbox._known._blocks) <= 3
    inbox.close()


def test_what_was_not_written_is_not_known(tmp_path: Path):
    inbox = opened(tmp_path)
    assert offered(inbox, arrival(0, b"a")) == [ACCEPTED]
    inbox._writer.execute(f"PRAGMA max_page_count = {inbox._writer.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(InboxError, match="full"):
        offered(inbox, arrival(1, bytes(100_000)))
    assert "full" in str(inbox.fault) and inbox.packets == 1
    inbox._writer.execute("PRAGMA max_page_count = 1000000")
    until(lambda: inbox.fault is None, 10)  # nobody has to offer anything for that
    assert offered(inbox, arrival(1, b"another, since nobody was told")) == [ACCEPTED]
    inbox.close()


def test_a_full_disk_is_said_until_it_is_not(tmp_path: Path, mnist: Encoder, strokes):
    packet = mnist.encode(np.tile(strokes, (20, 1)), 255)
    with in_thread(tmp_path) as running:
        assert running.post(mnist.encode(strokes[:1]), envelope(0)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        writer = running.server.config.app.state.service.inbox._writer
        writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
        assert running.post(packet, envelope(1)).status_code == 503
        answer = running.client.get("/readyz")
        assert answer.status_code == 503 and "inbox: " in answer.text and "full" in answer.text
        writer.execute("PRAGMA max_page_count = 1000000")
        until(lambda: running.client.get("/readyz").status_code == 200)
        assert running.post(packet, envelope(1)).status_code == 202


def test_an_inbox_of_before_is_taken_over_with_all_it_has(tmp_path: Path):
    beside, body = envelope(5), b"waits"
    database = sqlite3.connect(tmp_path / "inbox.sqlite")
    database.executescript(BEFORE)
    fields = '{"device": "gate-3", "spool": "%s", "sequence": "5"}' % beside.spool  # noqa: UP031
    row = (beside.id, fields, b"aaaa", 10, body)
    database.execute("INSERT INTO packets (name, envelope, codec, output, body) VALUES (?, ?, ?, ?, ?)", row)
    runs = b"".join(number.to_bytes(8, "little") for number in (0, 5))
    database.execute("INSERT INTO spools VALUES (?, ?, ?, 1)", ("gate-3", beside.spool, runs))
    database.execute("INSERT INTO hashes (name) VALUES (?)", (b"x".hex(),))
    database.commit()
    database.close()
    found: list[Entry] = []
    inbox = opened(tmp_path, found)
    assert [stored.body for stored in inbox.read(found)] == [body]
    assert offered(inbox, arrival(3, b"decoded long ago"), unnamed(b"x")) == [DUPLICATE] * 2
    assert offered(inbox, arrival(6, b"new")) == [ACCEPTED] and offered(inbox, arrival(6, b"other")) == [CONFLICT]
    inbox.close()


def test_an_inbox_that_is_gone_is_missed(tmp_path: Path):
    inbox = opened(tmp_path)
    offered(inbox, arrival(0, b"a"))
    inbox.close()
    for path in tmp_path.glob("inbox.sqlite*"):
        path.unlink()
    with pytest.raises(LostInboxError, match=r"inbox\.json tells of, found none.*--new-inbox"):
        opened(tmp_path)
    (tmp_path / "inbox.sqlite").touch()  # an empty file is none
    with pytest.raises(LostInboxError):
        opened(tmp_path)
    anew = opened(tmp_path, anew=True)
    assert offered(anew, arrival(0, b"a")) == [ACCEPTED]
    identity = anew.id
    anew.close()
    same = opened(tmp_path, anew=True)  # of a whole inbox it changes nothing
    assert same.id == identity and offered(same, arrival(0, b"a")) == [DUPLICATE]
    same.close()


@pytest.mark.parametrize("where", ["head", "middle", "end", "other"])
def test_a_damaged_inbox_stays_as_it_is(tmp_path: Path, where: str):
    inbox = opened(tmp_path)
    offered(inbox, *(arrival(number, bytes([number]) * 3000) for number in range(100)))
    inbox.close()
    path = tmp_path / "inbox.sqlite"
    data = bytearray(path.read_bytes())
    if where == "head":
        data[:100] = b"x" * 100
    elif where == "middle":
        for page in range(4, len(data) // 4096 - 1):
            data[4096 * page : 4096 * page + 16] = b"\xff" * 16
    elif where == "end":
        del data[len(data) // 2 :]
    else:
        path.unlink()
        sqlite3.connect(path).executescript("CREATE TABLE mine (a)").close()
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    with pytest.raises(DamagedInboxError, match=r"inbox\.sqlite: expected a whole inbox, found.*--new-inbox"):
        opened(tmp_path)
    assert path.read_bytes() == data
    anew = opened(tmp_path, anew=True)
    assert offered(anew, arrival(0, b"a")) == [ACCEPTED]
    anew.close()
    (old,) = tmp_path.glob("old-*-inbox.sqlite")
    assert old.read_bytes() == data


def test_a_sink_with_content_misses_its_inbox(tmp_path: Path, packet: bytes):
    with in_thread(tmp_path) as running:
        pass
    for path in (tmp_path / "inbox").iterdir():
        path.unlink()
    with in_thread(tmp_path) as running:  # nothing had come
        assert running.post(packet, envelope(0)).status_code == 202
        until(lambda: len(running.files(".npy")) == 1)
    (tmp_path / "inbox").rename(tmp_path / "elsewhere")
    from latentwire.runtime.serve import Settings, create_app

    settings = {"bundles": ("mnist",), "sink": str(tmp_path / "sink"), "inbox": tmp_path / "inbox", "open_to_all": True}
    with pytest.raises(LostInboxError, match="the sink's _inbox/id tells of, found none"):
        create_app(Settings(**settings)).state.service.start()
    service = create_app(Settings(**settings, new_inbox=True)).state.service
    service.start()
    service.close()
    assert not (tmp_path / "elsewhere" / "old").exists() and (tmp_path / "elsewhere" / "inbox.sqlite").exists()


def test_a_killed_first_start_is_no_loss(tmp_path: Path):
    (tmp_path / "inbox.sqlite").touch()
    sqlite3.connect(tmp_path / "owner.sqlite").close()
    opened(tmp_path).close()


def test_two_services_do_not_share_an_inbox(tmp_path: Path):
    inbox = opened(tmp_path)
    with pytest.raises(InboxError, match="nobody else"):
        opened(tmp_path, anew=True)
    inbox.close()


def test_what_is_content():
    beside = Envelope("gate-3", "0" * 32, 1, times=(1, 2), notes=({"a": 1}, None))
    moved = Envelope("gate-4", "1" * 32, 2, times=(1, 2), notes=({"a": 1}, None), seal="key")
    assert content_of(b"packet", beside) == content_of(b"packet", moved) != content_of(b"packet", None)
    assert len(content_of(b"packet", None)) == known.DIGEST_BYTES
