"""A spool that was copied, as images of SD cards and snapshots are: two devices give one name to different packets."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from receiver import Receiver
from services import in_thread, until

from latentwire.runtime import Decoder
from latentwire.runtime.send import Backoff, Event
from latentwire.runtime.send.errors import SpoolFullError
from latentwire.runtime.send.link import Accepted, Busy, Conflict, Parcel
from latentwire.runtime.send.retry import put_back
from latentwire.runtime.send.spool import CONFLICT, Bounds, Spool
from latentwire.runtime.send.view import read_refused
from latentwire.runtime.wire import Envelope, Keys, draw_key

CODEC = "c0" * 32


class Link:
    def __init__(self, *answers: object) -> None:
        self.answers, self.parcels = list(answers), []

    def deliver(self, parcel: Parcel) -> object:
        self.parcels.append(parcel)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        pass


def number_of(envelope: Envelope) -> int:
    return envelope.notes[0]["number"]


def put(sender, items, numbers) -> None:
    for number in numbers:
        sender.put(items[number % 64], {"number": number})


def test_two_copies_of_a_spool_lose_nothing_and_double_nothing(make, receiver, items, tmp_path):
    """What waited when it was copied arrives once; what each copy put afterwards arrives all the same."""
    before = make(Link(Busy("away")))
    put(before, items, range(3))
    before.close(0)
    shutil.copy(tmp_path / "spool", tmp_path / "copy")
    heard: list[Event] = []
    first, second = make(), make(spool=tmp_path / "copy", on_event=heard.append)
    put(first, items, range(10, 15))
    assert first.flush(10)
    put(second, items, range(20, 27))
    assert second.flush(10)
    put(second, items, range(30, 33))
    put(first, items, range(40, 42))
    assert second.flush(10) and first.flush(10)
    numbers = sorted(map(number_of, receiver.envelopes.values()))
    assert numbers == [*range(3), *range(10, 15), *range(20, 27), *range(30, 33), *range(40, 42)]
    one, two = first.status(), second.status()
    assert one.spool != two.spool and one.sent == 10 and two.sent == 13
    assert (one.refused, two.refused, one.conflicts) == (0, 0, 0) and 1 <= two.conflicts <= 7
    loud = [event for event in heard if event.kind == "renamed" and event.level == 30]
    assert len(loud) == 1 and "copy" in loud[0].message and two.spool in loud[0].message
    assert {e.spool for e in receiver.envelopes.values() if number_of(e) >= 30} == {one.spool, two.spool}
    decoder = Decoder("mnist")
    for key, envelope in receiver.envelopes.items():
        item = items[number_of(envelope) % 64].astype(int)
        assert np.abs(decoder.decode(receiver.packets[key]).astype(int) - item).mean() < 12


def test_a_spool_that_was_set_back_sends_what_it_gets_anew(make, receiver, items, tmp_path):
    sender = make()
    put(sender, items, range(2))
    assert sender.close(10)
    shutil.copy(tmp_path / "spool", tmp_path / "backup")
    sender = make()
    put(sender, items, range(2, 8))
    assert sender.close(10)
    for rest in tmp_path.glob("spool-*"):
        rest.unlink()
    shutil.copy(tmp_path / "backup", tmp_path / "spool")
    sender = make()
    put(sender, items, range(8, 20))
    assert sender.flush(10) and sender.status().conflicts >= 1
    assert sorted(map(number_of, receiver.envelopes.values())) == list(range(20))


def sealed_in_conflict(make, receiver, items, keys):
    """A sealed packet waits, and the server knows another one under its name; returns the spool's id."""
    away = make(Link(Busy("away")), keys=keys)
    put(away, items, [0])
    name = away.status().spool
    away.close(0)
    receiver.packets[name, 0] = b"another packet"
    return name


def test_sealed_packets_are_sealed_anew_for_their_new_name(make, receiver, items, tmp_path):
    keys = Keys({"gate-3": bytes(32)})
    name = sealed_in_conflict(make, receiver, items, keys)
    sender = make(keys=keys)
    assert sender.flush(10) and sender.status().sent == 1
    ((key, body),) = [found for found in receiver.packets.items() if found[0] != (name, 0)]
    assert Decoder("mnist").decode(keys.open(body, receiver.envelopes[key])).shape == (1, 784)


def test_a_sealed_packet_whose_key_is_gone_is_kept_aside_until_it_is_there_again(make, receiver, items, tmp_path):
    keys = Keys({"gate-3": bytes(32)})
    name = sealed_in_conflict(make, receiver, items, keys)
    without = make()
    assert without.flush(10)
    assert (without.status().refused, without.status().sent, without.status().dropped) == (1, 0, 0)
    (kept,) = read_refused(tmp_path / "spool")
    assert kept.error == CONFLICT and "'gate-3'" in kept.message and "--retry" in kept.message
    without.close(0)
    assert put_back(tmp_path / "spool") == [kept.parcel.envelope.id]
    stranger = make(keys=Keys({"gate-4": bytes(32)}), seal="gate-4")
    assert stranger.flush(10) and stranger.status().refused == 1, "another key does not help"
    stranger.close(0)
    assert put_back(tmp_path / "spool", "0") == [kept.parcel.envelope.id]
    again = make(keys=keys)
    assert again.flush(10) and (again.status().refused, again.status().sent) == (0, 1)
    ((key, body),) = [found for found in receiver.packets.items() if found[0] != (name, 0)]
    assert Decoder("mnist").decode(keys.open(body, receiver.envelopes[key])).shape == (1, 784)


def test_a_server_that_sees_conflicts_everywhere_is_asked_seldom_and_costs_nothing(make, items):
    link = Link(Conflict("another packet"))
    sender = make(link, backoff=Backoff(0.5, 1, draw=lambda: 1.0))
    put(sender, items, range(3))
    time.sleep(1)
    status = sender.status()
    assert (status.waiting, status.sent, status.dropped, status.refused) == (3, 0, 0, 0)
    assert 3 < len(link.parcels) < 12 and "another packet" in status.last_error
    link.answers = [Accepted()]
    assert sender.flush(10) and sender.status().sent == 3


def test_another_name_is_whole_or_not_at_all(tmp_path):
    """The new id, the packet's fields and its body are one transaction."""
    spool = Spool(tmp_path / "spool", CODEC, "gate-3")
    for _ in range(2):
        spool.add(lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), b"body"))
    before = spool.id

    def fail(parcel: Parcel, envelope: Envelope) -> bytes:
        raise OSError("the process ends here")

    with pytest.raises(OSError, match="ends here"):
        spool.rename(0, fail)
    assert spool.id == before and spool.totals().conflicts == 0
    assert [parcel.envelope.spool for parcel in spool.waiting(-1, 9)] == [before, before]
    after = spool.rename(0, lambda parcel, envelope: parcel.body[::-1])
    assert after == spool.id != before
    (first, second) = spool.waiting(-1, 9)
    assert first == Parcel(Envelope("gate-3", after, 0), b"ydob") and second.envelope.spool == before
    assert spool.rename(1, lambda parcel, _: parcel.body) == after, "one new id for all"
    assert spool.rename(7, lambda parcel, _: parcel.body) is None
    spool.close()
    again = Spool(tmp_path / "spool", CODEC, "gate-3")
    assert (again.id, again.totals().conflicts, again.totals().waiting) == (after, 2, 2)
    again.close()


PROGRAM = textwrap.dedent("""
    import sys
    import numpy as np
    from latentwire.runtime import Encoder
    from latentwire.runtime.send import Backoff, Sender

    url, spool = sys.argv[1:]
    with Sender(Encoder("mnist"), url, spool=spool, device="gate-3", backoff=Backoff(0.01, 0.05)) as sender:
        print("begun", flush=True)
        sender.flush(60)
""")


@pytest.mark.slow
def test_kills_while_a_copy_heals_lose_nothing_and_double_nothing(make, receiver: Receiver, items, tmp_path):
    original = make()
    name = original.status().spool
    original.close(0)
    shutil.copy(tmp_path / "spool", tmp_path / "copy")
    original = make()
    put(original, items, range(100, 140))
    assert original.close(10)
    away = make(Link(Busy("away")), spool=tmp_path / "copy")
    put(away, items, range(60))
    away.close(0)
    receiver.script.extend([0.01, None, "drop", None] * 30)
    for pause in (0.0, 0.05, 0.1, 0.2, None):
        command = [sys.executable, "-c", PROGRAM, receiver.url, str(tmp_path / "copy")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        if pause is None:
            assert process.wait(60) == 0
        else:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        process.communicate()
    numbers = sorted(map(number_of, receiver.envelopes.values()))
    assert numbers == [*range(60), *range(100, 140)]
    spools = {envelope.spool for envelope in receiver.envelopes.values()}
    assert name in spools and len(spools) == 2
    last = make(spool=tmp_path / "copy")
    assert (last.status().sent, last.status().conflicts) == (60, 40)


def test_a_full_spool_still_gives_other_names(tmp_path):
    spool = Spool(tmp_path / "spool", CODEC, "gate-3", Bounds(300, policy="stop"))
    spool.add(lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), bytes(100)))
    with pytest.raises(SpoolFullError):
        spool.add(lambda name, sequence: Parcel(Envelope("gate-3", name, sequence), bytes(200)))
    assert spool.rename(0, lambda parcel, _: parcel.body) == spool.id
    spool.close()


@pytest.mark.parametrize("sealed", [False, True])
def test_two_copies_and_the_service_itself(make, items, tmp_path, sealed):
    """What the sink holds at the end is every item once, named by whichever copy had it."""
    draw_key(tmp_path / "keys", "gate-3")
    keys = Keys.load(tmp_path / "keys") if sealed else None
    with in_thread(tmp_path / "service", keys=tmp_path / "keys") as service:
        before = make(Link(Busy("away")), keys=keys)
        put(before, items, range(2))
        before.close(0)
        shutil.copy(tmp_path / "spool", tmp_path / "copy")
        first, second = make(service.url, keys=keys), make(service.url, keys=keys, spool=tmp_path / "copy")
        put(first, items, range(10, 14))
        assert first.flush(30)
        put(second, items, range(20, 26))
        assert second.flush(30)
        until(lambda: len(service.files(".json")) == 12)
        notes = [json.loads(content) for content in service.files(".json").values()]
        numbers = [note["notes"][0]["number"] for note in notes]
        assert sorted(numbers) == [0, 1, *range(10, 14), *range(20, 26)]
        assert second.status().conflicts >= 1 and first.status().conflicts == 0
        assert service.metric("latentwire_packets_accepted_total") == 12


def test_what_the_service_refuses_it_names(make, items, tmp_path):
    """Of another codec: set aside at once, and put back when the service has learned it."""
    with in_thread(tmp_path / "service", bundles=("photo",)) as service:
        sender = make(service.url)
        put(sender, items, [0])
        assert sender.flush(30)
        assert (sender.status().refused, sender.status().waiting) == (1, 0)
        sender.close()
    (refused,) = read_refused(tmp_path / "spool")
    assert refused.error == "CodecError"
    put_back(tmp_path / "spool")
    with in_thread(tmp_path / "service", bundles=("photo", "mnist")) as service:
        sender = make(service.url)
        assert sender.flush(30) and (sender.status().sent, sender.status().refused) == (1, 0)
