"""A sender that is killed again and again loses nothing whose `put` returned."""

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from receiver import Receiver

PROGRAM = textwrap.dedent("""
    import sys
    import numpy as np
    from latentwire.runtime import Encoder
    from latentwire.runtime.send import Backoff, Sender

    url, spool, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with Sender(Encoder("mnist"), url, spool=spool, device="gate-3", backoff=Backoff(0.01, 0.05)) as sender:
        while number >= 0:
            sender.put(np.full(784, number % 256, np.uint8), {"number": number}, number)
            print(number, flush=True)
            number += 1
        sender.flush(60)
""")
KILLS = 5


def start(url: str, spool: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, url, str(spool), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_every_put_that_returned_arrives_under_one_name(receiver: Receiver, tmp_path: Path):
    draw, returned, number = random.Random(7), set(), 0
    for _ in range(KILLS):
        receiver.script.extend(draw.choice(["drop", "lose", (503,), 0.05, None]) for _ in range(20))
        process = start(receiver.url, tmp_path / "spool", number)
        returned.add(int(process.stdout.readline()))
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        returned.update(int(line) for line in process.communicate()[0].splitlines() if line)
        number = max(returned) + 2  # the one after the last may be stored although nobody was told
    assert start(receiver.url, tmp_path / "spool", -1).communicate()[0] == ""
    numbers = [envelope.notes[0]["number"] for envelope in receiver.envelopes.values()]
    assert len(numbers) == len(set(numbers)) >= len(returned) > 2 * KILLS
    assert returned <= set(numbers) and len(numbers) <= len(returned) + KILLS
    assert sorted(sequence for _, sequence in receiver.packets) == list(range(len(numbers)))
    assert all(envelope.times == (envelope.notes[0]["number"],) for envelope in receiver.envelopes.values())
