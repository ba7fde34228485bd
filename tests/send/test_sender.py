import numpy as np

from latentwire.runtime import Decoder


def test_what_is_put_arrives(make, receiver, items):
    with make() as sender:
        for item in items[:20]:
            sender.put(item, {"lane": 2}, 1_000)
        assert sender.flush(10)
        status = sender.status()
    assert (status.sent, status.waiting, status.refused, status.dropped) == (20, 0, 0, 0)
    decoder = Decoder("mnist")
    for sequence in range(20):
        key = (status.spool, sequence)
        assert receiver.envelopes[key].times == (1_000,) and receiver.envelopes[key].notes == ({"lane": 2},)
        assert receiver.envelopes[key].device == "gate-3"
        assert np.abs(decoder.decode(receiver.packets[key]).astype(int) - items[sequence]).mean() < 3
