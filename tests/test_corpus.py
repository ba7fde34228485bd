"""Whatever fuzzing once failed on, and a good input of each kind: taken, or refused by name, at a bounded cost."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))

import targets
from cost import Judge
from mutations import mutated
from run import CORPUS, keep


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    targets.close()


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_every_input_of_the_corpus_is_answered(name: str):
    target = targets.TARGETS[name]
    inputs = dict(target.corpus())
    assert inputs
    target.check(next(iter(inputs.values())))  # what is loaded once is no input's cost
    judge = Judge(target)
    for label, data in inputs.items():
        try:
            judge.check(data)
        except Exception as fault:
            pytest.fail(f"{name}/{label}: {fault!r}")


def test_each_folder_of_the_corpus_has_a_target():
    assert {path.name for path in CORPUS.iterdir()} <= set(targets.TARGETS)


@pytest.mark.parametrize("name", sorted(targets.TARGETS.keys() - {"onnx", "run", "zip"}))
def test_seeds_reach_what_they_are_for(name: str):
    """A seed that is refused at the door would let everything behind it go untested.

    Of the three left out the seeds are no whole bundle, model and run: those are large.
    """
    target = targets.TARGETS[name]
    target.run(next(iter(target.seeds().values())))


def test_a_fault_a_slow_input_and_a_disagreement_are_found():
    def run(data: bytes) -> int:
        if data == b"slow":
            time.sleep(0)
            end = time.process_time() + 0.5
            while time.process_time() < end:
                pass
        if data == b"fault":
            raise KeyError(data)
        targets.require(data != b"differs", "expected the same")
        return 0

    judge = Judge(targets.Target("planted", run, lambda: {"good": b"good"}))
    judge.check(b"good")
    for data, kind in ((b"slow", AssertionError), (b"fault", KeyError), (b"differs", AssertionError)):
        with pytest.raises(kind):
            judge.check(data)
    assert judge.runs == 2
    assert judge.worst.seconds > 0.4


def test_what_fails_is_kept_once_under_the_hash_of_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import run

    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    monkeypatch.setattr(run, "CORPUS", tmp_path / "corpus")
    (tmp_path / "build" / "streams").mkdir(parents=True)
    for name in ("fault-1", "fault-2", "other"):
        (tmp_path / "build" / "streams" / name).write_bytes(b"the same")
    assert keep("streams") == 2
    assert [path.read_bytes() for path in (tmp_path / "corpus" / "streams").iterdir()] == [b"the same"]
    assert [path.name for path in (tmp_path / "build" / "streams").iterdir()] == ["other"]
    assert keep("streams") == 0


def test_mutations_are_drawn_from_the_seed():
    import random

    drawn = [mutated(b"0123456789" * 9, random.Random(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
