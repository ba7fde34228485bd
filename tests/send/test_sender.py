import threading
import time

import numpy as np
import pytest
from receiver import Receiver

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.errors import BudgetError, InputError, KeyFileError, SettingError
from latentwire.runtime.send import Access, Backoff, Bounds, Event, Rate
from latentwire.runtime.send.errors import SpoolFullError
from latentwire.runtime.send.link import Accepted, Busy, Parcel
from latentwire.runtime.wire.envelope import Envelope
from latentwire.runtime.wire.packet import Limits, parse_header
from latentwire.runtime.wire.seal import Keys


class Link:
    """A link that answers as it is told; what it delivered is in ``parcels``."""

    def __init__(self, answer: object = None) -> None:
        self.parcels: list[Parcel] = []
        self.answer = answer or Accepted()

    def deliver(self, parcel: Parcel) -> object:
        self.parcels.append(parcel)
        return self.answer

    def close(self) -> None:
        pass


AWAY = Busy("nobody is there")


def test_what_is_put_arrives(make, receiver, items):
    sender = make()
    for item in items[:20]:
        sender.put(item, {"lane": 2}, 1_000)
    assert sender.flush(10)
    status = sender.status()
    assert (status.sent, status.waiting, status.refused, status.dropped) == (20, 0, 0, 0)
    decoder = Decoder("mnist")
    for sequence in range(20):
        envelope = receiver.envelopes[(status.spool, sequence)]
        assert envelope == Envelope("gate-3", status.spool, sequence, (1_000,), ({"lane": 2},))
        errors = decoder.decode(receiver.packets[envelope.spool, sequence]).astype(int) - items[sequence]
        assert np.abs(errors).mean() < 12


def test_batches_are_complete_by_count_by_time_and_at_the_end(make, receiver, items):
    sender = make(batch=8, batch_seconds=0.2)
    sender.put(items[:20], [{"n": n} for n in range(20)], list(range(1000, 1020)))
    assert sender.status().gathering == 4
    while sender.status().gathering:
        time.sleep(0.01)
    sender.put(items[20])
    assert sender.flush(10) and sender.status().gathering == 0
    found = [receiver.envelopes[key] for key in sorted(receiver.envelopes)]
    assert [len(envelope.times) for envelope in found] == [8, 8, 4, 1]
    assert [note["n"] for envelope in found for note in envelope.notes] == list(range(20))
    assert [time for envelope in found[:3] for time in envelope.times] == list(range(1000, 1020))
    assert found[3].notes == () and abs(found[3].times[0] - 1000 * time.time()) < 60_000
    assert Decoder("mnist").decode(receiver.packets[found[0].spool, 0]).shape == (8, 784)


def test_notes_that_would_not_fit_beside_one_packet_go_beside_several(make, receiver, items):
    sender = make(batch=8)
    sender.put(items[:8], [{"n": "x" * 5000}] * 8)
    assert sender.flush(10)
    assert [len(receiver.envelopes[key].times) for key in sorted(receiver.envelopes)] == [3, 3, 2]


def test_a_buffer_may_be_used_again_while_its_items_wait(make, receiver, items):
    sender, buffer = make(batch=2), items[0].copy()
    sender.put(buffer)
    buffer[:] = 0
    sender.put(buffer)
    assert sender.flush(10)
    both = Decoder("mnist").decode(next(iter(receiver.packets.values())))
    assert both[0].max() > 100 > 50 > both[1].max()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([1, 2],), InputError),
        ((np.zeros((2, 3), np.uint8),), InputError),
        ((np.zeros(784, np.float32),), InputError),
        ((np.zeros((2, 784), np.uint8), {"one": 1}), InputError),
        ((np.zeros(784, np.uint8), {"set": {1}}), InputError),
        ((np.zeros(784, np.uint8), {"long": "x" * 20_000}), InputError),
        ((np.zeros(784, np.uint8), ["text"]), InputError),
        ((np.zeros(784, np.uint8), None, -1), InputError),
        ((np.zeros(784, np.uint8), None, [1, 2]), InputError),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_the_callers_error_and_leaves_nothing_behind(make, arguments, error):
    sender = make(Link())
    with pytest.raises(error):
        sender.put(*arguments)
    assert sender.flush(5) and sender.status().sent == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "no spaces"},
        {"device": ""},
        {"batch": 0},
        {"batch_seconds": 0},
        {"rate": Rate(quality=256)},
        {"rate": Rate(quality=10, lowest=11)},
        {"rate": Rate(bandwidth=0)},
        {"to": "ftp://host"},
        {"to": "http://"},
        {"to": "http://host:port"},
        {"to": "http://host?x=1"},
        {"to": "http://example.org", "access": Access("token")},
        {"to": "https://example.org", "access": Access(ca="/nowhere")},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(make, tmp_path, settings):
    with pytest.raises(SettingError) as found:
        make(settings.pop("to", None) or Link(), **settings)
    assert "token" not in str(found.value) or "https" in str(found.value)
    assert not (tmp_path / "spool").exists()


def test_a_token_goes_to_this_machine_or_encrypted_or_where_it_is_allowed(make, receiver, items):
    for text in ("", "two\nlines", "ä"):
        with pytest.raises(SettingError):
            Access(text)
    make("http://192.0.2.1", access=Access("secret", insecure_http=True)).close(0)
    receiver.token = "secret"
    sender = make(access=Access("secret"))
    sender.put(items[0])
    assert sender.flush(5) and sender.status().sent == 1


def test_a_wrong_token_is_reported_and_nothing_is_lost(make, receiver, items, tmp_path):
    receiver.token = "secret"
    sender = make(access=Access("other"))
    sender.put(items[0])
    assert not sender.flush(0.3)
    status = sender.status()
    assert status.waiting == 1 and "401" in status.last_error
    sender.close(0)
    again = make(access=Access("secret"))
    assert again.flush(5) and again.status().sent == 1 and again.status().spool == status.spool


def test_whatever_the_server_does_each_packet_arrives_once_as_far_as_names_go(make, receiver, items):
    receiver.script.extend(["lose", "drop", (503,), (500,), "login", (404,), (302, {"Location": "/"}), 0.3, "drop"])
    sender = make(timeout=0.2, in_flight=3)
    for item in items[:30]:
        sender.put(item)
    assert sender.flush(20)
    status = sender.status()
    assert sorted(receiver.packets) == [(status.spool, sequence) for sequence in range(30)]
    assert (status.sent, status.waiting, status.last_error) == (30, 0, None)
    assert max(receiver.times.values()) > 1, "some came twice, under the same name"


PAGE = b"<html><h1>Nothing to see</h1></html>"
NAMELESS = b'{"status": "refused", "error": "CodecError", "message": "of another codec"}'
MISNAMED = b'{"status": "refused", "id": "gate-4.x.0", "error": "CodecError", "message": "of another codec"}'


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize(
    "content", [PAGE, NAMELESS, MISNAMED, b'["refused"]'], ids=["page", "nameless", "other", "list"]
)
def test_a_proxys_refusal_is_none_of_the_servers(make, receiver, items, status, content):
    receiver.script.extend([(status, {"Content-Type": "text/html"}, content)] * 4)
    heard: list[Event] = []
    sender = make(in_flight=3, on_event=heard.append)
    for item in items[:6]:
        sender.put(item)
    assert sender.flush(10)
    totals = sender.status()
    assert (totals.sent, totals.refused, totals.dropped) == (6, 0, 0) and not receiver.script
    assert sorted(sequence for _, sequence in receiver.packets) == list(range(6))
    assert "failing" in [event.kind for event in heard] and str(status) in heard[0].message + heard[1].message


def test_requests_go_side_by_side_over_few_connections(make, receiver, items):
    receiver.script.extend([0.05] * 16)
    sender = make(in_flight=4)
    for item in items[:32]:
        sender.put(item)
    assert sender.flush(20)
    assert 2 <= receiver.most_at_once <= 4 and receiver.connections <= 4


def test_retry_after_is_heeded(make, receiver, items):
    receiver.script.append((429, {"Retry-After": "1"}))
    sender = make()
    began = time.monotonic()
    sender.put(items[0])
    assert sender.flush(10)
    assert 1 <= time.monotonic() - began < 3


def test_refused_packets_are_kept_aside_and_not_in_the_way(make, receiver, items):
    receiver.refused = {0, 3}
    sender = make()
    for item in items[:6]:
        sender.put(item)
    assert sender.flush(10)
    status = sender.status()
    assert (status.sent, status.refused, status.waiting) == (4, 2, 0) and status.refused_bytes > 200
    sender.close()
    assert make().status().refused == 2


def test_a_packet_that_the_server_fails_on_does_not_stop_the_others(make, receiver, items):
    receiver.failing = {0}
    sender = make(in_flight=1)
    for item in items[:6]:
        sender.put(item)
    deadline = time.monotonic() + 10
    while sender.status().sent < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (sender.status().sent, sender.status().waiting) == (5, 1)
    receiver.failing = set()
    assert sender.flush(10)


def test_a_server_that_is_away_is_waited_for_and_asked_seldom(make, items):
    link = Link(AWAY)
    sender = make(link, backoff=Backoff(0.1, 0.1, draw=lambda: 1.0))
    for item in items[:10]:
        sender.put(item)
    time.sleep(1)
    assert 5 <= len(link.parcels) <= 12 and {p.envelope.sequence for p in link.parcels} == {0}
    link.answer = Accepted()
    assert sender.flush(5)
    assert [p.envelope.sequence for p in link.parcels[-10:]] == list(range(10)), "in order"


def test_what_is_left_at_the_end_goes_after_the_next_start(make, receiver, items):
    first = make(Link(AWAY))
    first.put(items[0])
    assert first.close(0.1) is False
    with pytest.raises(SettingError):
        first.put(items[1])
    second = make()
    second.put(items[1])
    assert second.flush(5)
    assert sorted(sequence for _, sequence in receiver.packets) == [0, 1]


def test_who_waits_for_packets_that_grow_too_old_does_not_wait_for_ever(make, items):
    class Away:
        def deliver(self, _: object) -> Busy:
            return Busy("away")

        def close(self) -> None:
            pass

    sender = make(Away(), bounds=Bounds(seconds=0.2))
    sender.put(items[0])
    began = time.monotonic()
    assert sender.flush(30) and time.monotonic() - began < 20
    assert (sender.status().waiting, sender.status().dropped) == (0, 1)


def test_quality_falls_as_the_spool_fills_and_recovers(make, items):
    link = Link(AWAY)
    sender = make(link, bounds=Bounds(6_000), rate=Rate(quality=200, lowest=20))
    for item in items[:40]:
        sender.put(item)
    qualities = [parse_header(parcel.body).quality for parcel in sender._spool.waiting(-1, 40)]
    assert qualities[0] == 200 and qualities[-1] == 20 and qualities == sorted(qualities, reverse=True)
    link.answer = Accepted()
    assert sender.flush(10)
    sender.put(items[0])
    assert sender.flush(10) and parse_header(link.parcels[-1].body).quality == 200


def test_bandwidth_is_bounded(make, receiver, items):
    sender, began = make(rate=Rate(bandwidth=2_000)), time.monotonic()
    for item in items[:50]:
        sender.put(item)
    assert sender.flush(30)
    sizes = [Parcel(receiver.envelopes[key], body).size for key, body in receiver.packets.items()]
    assert sum(sizes) > 4_000
    assert time.monotonic() - began >= (sum(sizes) - 2_000 - max(sizes)) / 2_000


def test_max_bytes_divides_batches_and_refuses_single_items(make, receiver, items):
    sender = make(batch=16, rate=Rate(max_bytes=60))
    sender.put(items[:16])
    assert sender.flush(10) and sender.status().gathering == 0
    assert len(receiver.packets) > 1 and max(map(len, receiver.packets.values())) <= 60
    assert sum(len(envelope.times) for envelope in receiver.envelopes.values()) == 16
    small = make(Link(), batch=1, rate=Rate(max_bytes=16), spool=sender._spool.path.with_name("other"))
    with pytest.raises(BudgetError):
        small.put(items[0])


def test_sealed_packets_open_with_the_key_and_fit_the_bytes(make, receiver, items):
    keys = Keys({"gate-3": bytes(32)})
    sender = make(keys=keys, rate=Rate(max_bytes=70))
    sender.put(items[0], {"lane": 1})
    assert sender.flush(5)
    ((key, body),) = receiver.packets.items()
    packet = keys.open(body, receiver.envelopes[key])
    assert receiver.envelopes[key].seal == "gate-3" and len(body) <= 70
    assert Decoder("mnist").decode(packet).shape == (1, 784)
    with pytest.raises(KeyFileError):
        make(Link(), keys=keys, seal="other", spool=sender._spool.path.with_name("other"))


def test_pictures_go_one_by_one_and_large_ones_are_to_be_resized(make):
    encoder = Encoder("photo", limits=Limits((1000, 1000, (1, 3))))
    sender = make(Link(), encoder=encoder)
    picture = np.zeros((40, 50, 3), np.uint8)
    sender.put(picture, {"camera": 1})
    sender.put(picture[..., 0])
    with pytest.raises(SettingError, match="resize"):
        sender.put(np.zeros((2000, 2000, 3), np.uint8))
    with pytest.raises(InputError):
        sender.put(np.zeros((40, 50, 4), np.uint8))
    assert sender.flush(5) and sender.status().sent == 2
    with pytest.raises(SettingError):
        make(Link(), encoder=encoder, batch=2, spool=sender._spool.path.with_name("other"))


def test_put_is_safe_from_many_threads(make, receiver, items):
    sender = make(batch=3)
    threads = [threading.Thread(target=lambda: [sender.put(item) for item in items[:20]]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender.flush(20)
    assert sum(len(envelope.times) for envelope in receiver.envelopes.values()) == 100
    assert sorted(sequence for _, sequence in receiver.packets) == list(range(len(receiver.packets)))


def test_a_full_spool_stops_puts_where_that_is_the_policy(make, items):
    sender = make(Link(AWAY), bounds=Bounds(1_000, policy="stop"))
    with pytest.raises(SpoolFullError, match="1000"):
        for item in items:
            sender.put(item)
    assert sender.status().waiting > 3 and sender.status().dropped == 0


def test_a_server_that_comes_back_hours_later_is_found(make, items, receiver):
    port = receiver.port
    receiver.close()
    sender = make(f"http://127.0.0.1:{port}")
    sender.put(items[0])
    assert not sender.flush(0.3) and "connection" in sender.status().last_error
    back = Receiver(port)
    try:
        assert sender.flush(10)
        assert len(back.packets) == 1
    finally:
        sender.close(0)
        back.close()
