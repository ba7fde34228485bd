"""Memory that is short for a while: what was accepted waits until it is back."""

from pathlib import Path

import numpy as np
import pytest
from services import Running, envelope, in_process, until

from latentwire.runtime import Encoder

resource = pytest.importorskip("resource", reason="limits of processes are a matter of Unix")

ROOM = 40 << 20
"""Bytes that the service may still get: it goes on answering, and cannot decode a large picture."""


def limit(running: Running, room: int | None) -> None:
    """Let the service's process have so many bytes more than it has, or as many as it wants."""
    assert running.process is not None
    pid = running.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = resource.RLIM_INFINITY if room is None else pages * resource.getpagesize() + room
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits are set on Linux only")
def test_a_picture_that_memory_is_too_short_for_waits_until_it_is_back(
    tmp_path: Path, photo: Encoder, scene: np.ndarray
):
    large, small = photo.encode(np.tile(scene, (32, 24, 1)), 60), photo.encode(scene, 60)
    with in_process(tmp_path, codecs=("photo",)) as running:
        assert running.post(small, envelope(0)).status_code == 202
        until(lambda: running.metric("latentwire_packets_waiting") == 0)
        limit(running, ROOM)
        assert running.post(large, envelope(1)).status_code == 202
        until(lambda: running.metric("latentwire_decoder_failures_total") >= 3)
        answer = running.client.get("/readyz")
        assert answer.status_code == 503 and "decoder: photo: ResourceError: " in answer.text
        assert running.post(large, Accept="application/x-npy").status_code == 503
        assert running.metric("latentwire_packets_undecodable_total") == 0
        limit(running, None)
        until(lambda: running.client.get("/readyz").status_code == 200, 90)
        assert sorted(name.rpartition("-")[2] for name in running.files(".png")) == ["0.png", "1.png"]
        assert running.process is not None and running.process.poll() is None
    assert not list((tmp_path / "inbox" / "quarantine").glob("*"))
