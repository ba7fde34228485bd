"""Short memory is a fault of this machine, by name, wherever it is found; never one of the packet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.errors import CorruptPacketError, ModelError, ProviderError, ResourceError
from latentwire.runtime.session.limits import is_short_of_memory

CODE = """
import resource, sys
import numpy as np
from latentwire.runtime import Decoder, Encoder, errors

def left(mebibytes):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (mebibytes << 20), resource.RLIM_INFINITY))

def told(work):
    try:
        work()
    except errors.ResourceError as fault:
        assert fault.exit_code == 8 and not isinstance(fault, errors.RemoteError), fault
        return "short"
    return "done"

store, profile = sys.argv[1:]
small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((1000, 1000, 3), np.uint8)
encoder, decoder = Encoder(store + "/encoder.onnx", profile=profile), Decoder(store + "/decoder.onnx", profile=profile)
packet = encoder.encode(large)
encoder.encode(small), decoder.decode(encoder.encode(small))
found = []
for work in (lambda: encoder.encode(large), lambda: decoder.decode(packet)):
    left(2)
    found.append(told(work))
left(600)
found += [told(lambda: encoder.encode(large)), told(lambda: decoder.decode(packet))]
print(*found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
@pytest.mark.parametrize("profile", ["device", "server"])
def test_short_memory_is_told_by_name_and_passes(store, profile):
    # Freed memory goes back at once: what is left is what the limit says.
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-W", "error", "-c", CODE, str(store), profile]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["short", "short", "done", "done"]


class Failing:
    """A session of ONNX Runtime that fails so."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault

    def run(self, *_: object) -> None:
        raise self.fault


def faults() -> dict[str, Exception]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return {
        "python": MemoryError(),
        "no arena": state.RuntimeException("while running Cast node. Status Message: std::bad_alloc"),
        "arena": state.Fail("bfc_arena.cc:360 AllocateRawInternal Failed to allocate memory for requested buffer"),
        "cuda": state.RuntimeException("CUDA failure 2: out of memory ; GPU=0"),
        "windows": state.Fail("bad allocation"),
    }


@pytest.mark.parametrize("name", ["python", "no arena", "arena", "cuda", "windows"])
def test_every_way_to_say_it_is_understood(store: Path, name, monkeypatch):
    fault = faults()[name]
    encoder, decoder = Encoder(store / "encoder.onnx"), Decoder(store / "decoder.onnx")
    packet = encoder.encode(np.zeros((8, 8, 3), np.uint8))
    assert is_short_of_memory(fault)
    for half, role, work in (
        (encoder, "encoder", lambda: encoder.encode(np.zeros((8, 8, 3), np.uint8))),
        (decoder, "decoder", lambda: decoder.decode(packet)),
    ):
        monkeypatch.setattr(half._sessions[role], "_session", Failing(fault))
        with pytest.raises(ResourceError, match="memory"):
            work()


def test_other_faults_keep_their_names(store: Path, monkeypatch):
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    encoder, decoder = Encoder(store / "encoder.onnx"), Decoder(store / "decoder.onnx")
    packet = encoder.encode(np.zeros((8, 8, 3), np.uint8))
    other = state.RuntimeException("Gather node: indices element out of data bounds")
    assert not is_short_of_memory(other)
    monkeypatch.setattr(decoder._sessions["decoder"], "_session", Failing(other))
    with pytest.raises(CorruptPacketError):
        decoder.decode(packet)
    monkeypatch.setattr(encoder._sessions["encoder"], "_session", Failing(other))
    with pytest.raises(ModelError, match="stops"):
        encoder.encode(np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(encoder._sessions["encoder"], "_on_cpu", False)
    with pytest.raises(ProviderError):
        encoder.encode(np.zeros((8, 8, 3), np.uint8))


def test_a_model_that_does_not_fit_is_told_by_name(store, monkeypatch):
    import onnxruntime as ort

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ort, "InferenceSession", full)
    with pytest.raises(ResourceError, match=r"load encoder\.fp32"):
        Encoder(store / "encoder.onnx")
