"""A spool that an earlier version of the package made."""

import sqlite3

from latentwire.runtime.send.link import Parcel
from latentwire.runtime.send.spool import Mark, Spool
from latentwire.runtime.send.view import Totals, read_refused, read_totals
from latentwire.runtime.wire import Envelope

CODEC = "c0" * 32
OLD_SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1280799600;
PRAGMA user_version = 1;
CREATE TABLE totals (
    id TEXT NOT NULL, device TEXT NOT NULL, codec TEXT NOT NULL, next INTEGER NOT NULL, clock INTEGER NOT NULL,
    waiting INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL, refused INTEGER NOT NULL, refused_bytes INTEGER NOT NULL,
    sent INTEGER NOT NULL, dropped INTEGER NOT NULL
);
CREATE TABLE packets (
    sequence INTEGER PRIMARY KEY, error TEXT, message TEXT, bytes INTEGER NOT NULL, born INTEGER NOT NULL,
    fields TEXT NOT NULL, body BLOB NOT NULL
);
CREATE INDEX waiting ON packets (sequence) WHERE error IS NULL;
CREATE INDEX refused ON packets (sequence) WHERE error IS NOT NULL;
CREATE TABLE taken (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, done INTEGER NOT NULL, whole INTEGER NOT NULL);
CREATE TRIGGER came AFTER INSERT ON packets BEGIN
    UPDATE totals SET waiting = waiting + 1, waiting_bytes = waiting_bytes + NEW.bytes;
END;
CREATE TRIGGER refused AFTER UPDATE OF error ON packets BEGIN
    UPDATE totals SET waiting = waiting - 1, waiting_bytes = waiting_bytes - NEW.bytes,
        refused = refused + 1, refused_bytes = refused_bytes + NEW.bytes;
END;
CREATE TRIGGER went AFTER DELETE ON packets WHEN OLD.error IS NULL BEGIN
    UPDATE totals SET waiting = waiting - 1, waiting_bytes = waiting_bytes - OLD.bytes;
END;
CREATE TRIGGER forgotten AFTER DELETE ON packets WHEN OLD.error IS NOT NULL BEGIN
    UPDATE totals SET refused = refused - 1, refused_bytes = refused_bytes - OLD.bytes;
END;
INSERT INTO totals VALUES ('0123456789abcdef0123456789abcdef', 'gate-3', '%s', 9, 70, 0, 0, 0, 0, 4, 3);
INSERT INTO packets VALUES (7, NULL, NULL, 104, 60,
    '{"device": "gate-3", "spool": "0123456789abcdef0123456789abcdef", "sequence": "7"}', X'01020304');
INSERT INTO packets VALUES (8, NULL, NULL, 104, 60,
    '{"device": "gate-3", "spool": "0123456789abcdef0123456789abcdef", "sequence": "8"}', X'05');
INSERT INTO taken VALUES ('/in/a.npy', '1:1', 5, 0);
UPDATE packets SET error = 'CodecError', message = 'other' WHERE sequence = 8;
"""


def test_it_is_read_as_it_is_and_brought_to_the_present_one_by_its_owner(tmp_path):
    path = tmp_path / "spool"
    old = sqlite3.connect(path)
    old.executescript(OLD_SCHEMA % CODEC)
    old.close()
    assert read_totals(path)[2] == Totals(1, 104, 1, 104, 4, 3, 0, 0, 0)
    assert [refused.error for refused in read_refused(path)] == ["CodecError"]
    spool = Spool(path, CODEC, "gate-3")
    assert spool.totals() == Totals(1, 104, 1, 104, 4, 3, 0, 0, 0)
    assert spool.progress("/in/a.npy") == Mark("/in/a.npy", "1:1", 5, False)
    assert [parcel.envelope.sequence for parcel in spool.waiting(-1, 9)] == [7]
    assert spool.add(lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), b"new")) == 9
    spool.refuse(7, "CodecError", "")
    assert (spool.totals().waiting, spool.totals().refused) == (1, 2)
    spool.close()
    columns = {}
    for name in (path, path.with_name("new")):
        made = Spool(name, CODEC, "gate-3")
        rows = made._read("SELECT type, name, tbl_name FROM sqlite_master")
        columns[name] = sorted(rows), made._read("PRAGMA table_info(totals)"), made._read("PRAGMA table_info(taken)")
        made.close()
    assert columns[path] == columns[path.with_name("new")], "as one that is made now"
