"""One item that the codec does not take: it is handled by a policy and counted, and the others arrive."""

import io
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwire.runtime import Encoder
from latentwire.runtime.bundle import Identity
from latentwire.runtime.cli import Place
from latentwire.runtime.cli.group import main
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import BudgetError, InputRangeError, InputShapeError, SettingError
from latentwire.runtime.send import Rate
from latentwire.runtime.send.feed import FileFeed
from latentwire.runtime.send.sources import stamp_of
from latentwire.runtime.send.spool import Mark

SIGNALS = ItemContract("float32", ("items", 96), (-4.0, 4.0))


class Plain(Encoder):
    """Of signals float32 [N, 96]: a packet is their values, behind two bytes that make it longer than a budget."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("mnist")
        self._identity: Identity = replace(self._identity, input=SIGNALS)

    def encode(self, items: np.ndarray, quality: int | None = None, *, max_bytes: int | None = None) -> bytes:
        packet = self.contract.validate(self.contract.completed(items)).tobytes()
        if max_bytes is not None and np.abs(items).max() > 3.5:
            raise BudgetError("expected fewer bytes, found more")
        return packet


@pytest.fixture
def signals() -> np.ndarray:
    """float32 [200, 96]; item 100 has a value of 1200."""
    found = np.random.default_rng(4).normal(0, 0.8, (200, 96)).astype(np.float32).clip(-3, 3)
    found[100, 7] = 1200
    return found


@pytest.fixture
def send(receiver, tmp_path, monkeypatch):
    monkeypatch.setattr(Place, "encoder", lambda *_: Plain())

    def call(source: object, *options: object, stdin: bytes | None = None) -> Result:
        arguments = ["send", "signals", source, "--to", receiver.url, "--wait", 10, "--spool", tmp_path / "spool"]
        words = [str(word) for word in [*arguments, "--device", "gate-3", *options]]
        return CliRunner().invoke(main, words, input=stdin)

    return call


def received(receiver) -> np.ndarray:
    keys = sorted(receiver.packets)
    return np.concatenate([np.frombuffer(receiver.packets[key], np.float32).reshape(-1, 96) for key in keys])


WITHOUT = np.r_[0:100, 101:200]


def test_the_default_names_the_items_place_in_the_file_and_sends_the_others(send, receiver, signals, tmp_path):
    np.save(tmp_path / "over.npy", signals)
    result = send(tmp_path / "over.npy", "--json")
    assert result.exit_code == 3
    assert "over.npy: 1 of 200 items left out" in result.stderr and "item 100 at [7]" in result.stderr
    *_, status, error = map(json.loads, result.stdout.splitlines())
    assert (status["skipped"], status["clipped"], status["waiting"]) == (1, 0, 0)
    assert error["error"]["class"] == "InputRangeError" and error["error"]["place"] == {"item": 100, "index": [7]}
    assert error["error"]["file"] == str(tmp_path / "over.npy")
    np.testing.assert_array_equal(received(receiver), signals[WITHOUT])
    again = send(tmp_path / "over.npy", "--json", "--delete")
    assert again.exit_code == 0 and "taken before" in again.stderr and (tmp_path / "over.npy").exists()
    assert json.loads(again.stdout.splitlines()[-1])["skipped"] == 1, "counted once, over all starts"


@pytest.mark.parametrize(("policy", "clipped", "skipped"), [("skip", 0, 1), ("clip", 1, 0)])
def test_a_policy_leaves_items_out_or_clips_them_counts_them_and_ends_well(
    send, receiver, signals, tmp_path, policy, clipped, skipped
):
    np.save(tmp_path / "over.npy", signals)
    result = send(tmp_path / "over.npy", "--out-of-range", policy, "--delete")
    assert result.exit_code == 0, result.stderr
    assert ("1 items clipped" in result.stderr, "1 items left out" in result.stderr) == (bool(clipped), bool(skipped))
    expected = np.clip(signals, -4, 4) if clipped else signals[WITHOUT]
    np.testing.assert_array_equal(received(receiver), expected)
    assert not (tmp_path / "over.npy").exists(), "that was asked for"
    listed = CliRunner().invoke(main, ["spool", str(tmp_path / "spool"), "--json"])
    told = json.loads(listed.stdout)
    assert (told["clipped"], told["skipped"]) == (clipped, skipped)


@pytest.mark.parametrize("last", [198, 199])
def test_a_file_that_ends_with_items_left_out_is_taken_to_the_end(send, receiver, signals, tmp_path, last):
    signals[100], signals[last:] = 0, np.nan
    np.save(tmp_path / "a.npy", signals)
    assert send(tmp_path / "a.npy", "--out-of-range", "clip", "--delete").exit_code == 0
    assert len(received(receiver)) == last and not (tmp_path / "a.npy").exists()
    signals[:] = np.inf
    np.save(tmp_path / "b.npy", signals)
    assert send(tmp_path / "b.npy", "--out-of-range", "skip", "--delete").exit_code == 0
    assert len(received(receiver)) == last and not (tmp_path / "b.npy").exists()


def test_items_of_stdin_are_named_by_their_place_in_the_stream(send, receiver, signals):
    stream = io.BytesIO()
    for part in (signals[:60], signals[60], signals[61:]):
        np.save(stream, part)
    result = send("-", "--json", stdin=stream.getvalue())
    assert result.exit_code == 3 and "stdin: 1 items left out" in result.stderr and "item 100 at" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["error"]["file"] == "stdin"
    np.testing.assert_array_equal(received(receiver), signals[WITHOUT])
    raw = send("-", "--raw", "--out-of-range", "skip", stdin=signals.tobytes())
    assert raw.exit_code == 0 and len(received(receiver)) == 2 * 199


def test_an_item_that_no_packet_takes_stops_no_others_either(send, receiver, signals, tmp_path):
    signals[100, 7], signals[150, 0], signals[199, 1] = 0, 3.9, -3.8
    np.save(tmp_path / "a.npy", signals)
    result = send(tmp_path / "a.npy", "--max-bytes", 100, "--batch", 7, "--delete")
    assert result.exit_code == 3 and "item 150 of a.npy: expected fewer bytes" in result.stderr
    np.testing.assert_array_equal(received(receiver), np.delete(signals, [150, 199], axis=0))
    assert (tmp_path / "a.npy").exists() and "2 items left out" in result.stderr.splitlines()[-2]


def test_put_refuses_all_or_does_as_it_was_told(make, receiver, signals):
    sender = make(encoder=Plain(), batch=10)
    with pytest.raises(InputRangeError, match=r"item 100 at \[7\]"):
        sender.put(signals, [{"n": n} for n in range(200)])
    with pytest.raises(InputShapeError):
        sender.put(signals[:, 1:])
    assert sender.flush(5) and sender.status().sent == 0 == sender.status().skipped
    sender.close()
    sender = make(encoder=Plain(), batch=10, out_of_range="skip")
    sender.put(signals, [{"n": n} for n in range(200)], list(range(200)))
    sender.put(signals[100], {"n": 200})
    assert sender.flush(10)
    envelopes = [receiver.envelopes[key] for key in sorted(receiver.envelopes)]
    assert [note["n"] for envelope in envelopes for note in envelope.notes] == WITHOUT.tolist()
    assert [time for envelope in envelopes for time in envelope.times] == WITHOUT.tolist()
    assert (sender.status().skipped, sender.status().gathering) == (2, 0)
    assert max(len(envelope.times) for envelope in envelopes) == 10
    sender.close()
    again = make(encoder=Plain(), out_of_range="clip")
    assert again.status().skipped == 2 and again.status().clipped == 0
    again.put(signals[100])
    assert again.flush(5) and again.status().clipped == 1 and received(receiver).max() == 4
    again.close()
    with pytest.raises(SettingError, match="error, clip, skip"):
        make(encoder=Plain(), out_of_range="drop")


def test_what_max_bytes_leaves_out_of_a_put_is_raised_when_the_others_are_taken(make, receiver, signals):
    signals[100], signals[3, 0] = 0, 3.9
    sender = make(encoder=Plain(), batch=10, rate=Rate(max_bytes=100))
    with pytest.raises(BudgetError):
        sender.put(signals)
    assert sender.flush(10) and sender.status().skipped == 1
    np.testing.assert_array_equal(received(receiver), np.delete(signals, 3, axis=0))


def test_a_broken_sensor_fills_no_memory(make, signals):
    sender = make(encoder=Plain(), out_of_range="skip")
    for _ in range(2000):
        sender.put(signals[100])
    assert len(sender._batcher._items) == 1
    assert sender.flush(5) and sender.status().skipped == 2000


def test_a_kill_in_the_middle_counts_nothing_twice(make, signals, tmp_path):
    """Counts stand in the transaction of the mark: what is taken again after a kill is counted again, once."""
    signals[::10] = np.nan
    np.save(tmp_path / "a.npy", signals)
    sender = make(encoder=Plain(), batch=16, out_of_range="skip")
    feed = FileFeed(sender, np.load)
    feed._put(tmp_path / "a.npy", stamp_of(tmp_path / "a.npy"))  # the last batch is in memory only
    mark = sender.progress(str(tmp_path / "a.npy"))
    assert mark is not None and not mark.whole and sender.status().gathering
    skipped = sender.status().skipped
    assert skipped == len([place for place in range(mark.done) if place % 10 == 0 or place == 100])
    sender._batcher.rest()  # lost, as by a kill
    sender.close()
    again = make(encoder=Plain(), batch=16, out_of_range="skip")
    FileFeed(again, np.load).take(tmp_path / "a.npy")
    assert again.flush(10) and again.status().skipped == 20
    assert again.progress(str(tmp_path / "a.npy")).whole


def test_no_mark_is_stored_before_the_items_that_it_speaks_of(make, signals, tmp_path):
    """The clock has begun to make a packet of the first item when the next ones fill another."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Plain):
        def encode(self, items: np.ndarray, *arguments: object, **settings: object) -> bytes:
            if len(items) == 1:
                begun.set()
                assert go_on.wait(20)
            return super().encode(items, *arguments, **settings)

    sender = make(encoder=Slow(), batch=2, batch_seconds=0.05)
    sender.put(signals[0], mark=Mark("a", "1:1", 1, False))
    assert begun.wait(20)
    others = threading.Thread(target=lambda: sender.put(signals[1:3], mark=Mark("a", "1:1", 3, True)))
    others.start()
    time.sleep(0.3)
    assert sender.progress("a") is None, "a kill here loses nothing: the file is taken again"
    go_on.set()
    others.join()
    assert sender.flush(10) and sender.progress("a") == Mark("a", "1:1", 3, True)
