"""Fuzz everything that takes bytes from elsewhere, guided by what code an input reaches.

    python tests/fuzz/run.py [--minutes 10] [--target NAME ...]

Each target of `targets.py` has its share of the time, in processes of its own: one that crashes or is refused memory
does not end the others. Inputs are found by atheris (libFuzzer) where it is installed, else by mutation alone; those
worth going on from stay in build/fuzz/NAME. What a target fails on is written to tests/corpus/NAME/, where the test
suite finds it from then on; the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]
CORPUS, BUILD = ROOT / "tests" / "corpus", ROOT / "build" / "fuzz"
LONGEST_INPUT = 1 << 13
MOST_FINDINGS = 5
"""Of one target: then it needs mending, not more of them."""
STARTING = 60
"""Seconds that a process may take beyond its time, to load models and to end."""
REPORT_SECONDS = 1.0


def main() -> int:
    """Fuzz; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--target", action="append", help="only this one; may be given several times")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=None, help="of the mutations; drawn if not given")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1, 1 << 31) if arguments.seed is None else arguments.seed
    if arguments.worker:
        work(arguments.worker, arguments.seconds, seed)
        return 0
    from targets import TARGETS

    chosen = arguments.target or list(TARGETS)
    unknown = sorted(set(chosen) - set(TARGETS))
    if unknown:
        parser.error(f"expected targets among {', '.join(TARGETS)}, found {', '.join(unknown)}")
    faults, runs = 0, 0
    for name in chosen:
        found, reports = fuzz(name, 60 * arguments.minutes / len(chosen), seed)
        faults += found
        runs += sum(report["runs"] for report in reports)
        print(described(name, found, reports), flush=True)
    print(f"{runs} inputs, {faults} faults, {'coverage-guided' if guided() else 'mutations alone: no atheris here'}")
    return 1 if faults else 0


def guided() -> bool:
    """Whether atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(name: str, seconds: float, seed: int) -> tuple[int, list[dict[str, Any]]]:
    """Fuzz one target for a time; returns how many new faults there are, and the reports of its processes."""
    place = BUILD / name
    place.mkdir(parents=True, exist_ok=True)
    begins, faults, reports = time.monotonic(), 0, []
    while faults < MOST_FINDINGS and (left := seconds - (time.monotonic() - begins)) > 0.5:
        report = BUILD / f"{name}.json"
        report.unlink(missing_ok=True)
        command = [sys.executable, __file__, "--worker", name, "--seconds", str(left), "--seed", str(seed + faults)]
        with (BUILD / f"{name}.log").open("wb") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=log, timeout=left + STARTING, check=False).returncode
            except subprocess.TimeoutExpired:
                code = -1
        if report.exists():
            reports.append(json.loads(report.read_text()))
        if code == 0:
            break
        kept = keep(name)
        faults += max(kept, 1)
        print(f"{name}: exit code {code}, {kept} inputs kept, log {BUILD / name}.log", flush=True)
        if not kept:
            break
    return faults, reports


def keep(name: str) -> int:
    """Move what a process failed on to the corpus; returns how many inputs that were."""
    found = [path for path in (BUILD / name).glob("fault-*") if path.is_file()]
    for path in found:
        data = path.read_bytes()
        place = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        path.unlink()
    return len(found)


def described(name: str, faults: int, reports: list[dict[str, Any]]) -> str:
    """One line for a person."""
    worst = max((report["worst"] for report in reports), key=lambda worst: worst["seconds"], default=None)
    line = f"{name}: {sum(report['runs'] for report in reports)} inputs, {faults} faults"
    if worst is None:
        return line
    memory = max(report["memory"] for report in reports) / 2**20
    cost = (
        f"dearest {1000 * worst['seconds']:.1f} ms of processor for {worst['bytes']} bytes and {worst['values']} values"
    )
    return f"{line}; {cost}; peak raised by {memory:.0f} MiB at most"


def work(name: str, seconds: float, seed: int) -> None:
    """What a process of its own does: fuzz one target until the time is over or something fails."""
    if guided():
        import atheris

        with atheris.instrument_imports(include=["latentwire"]):
            import targets
    else:
        import targets
    from cost import Judge, limit_memory

    target = targets.TARGETS[name]
    place = BUILD / name
    inputs = dict(target.corpus())
    for label, data in inputs.items():
        target.check(data)  # what is loaded once is no input's cost
        (place / label).write_bytes(data)
    limit_memory()
    judge, said = Judge(target), time.monotonic()

    def check(data: bytes) -> None:
        nonlocal said
        try:
            judge.check(bytes(data))
        finally:
            if time.monotonic() - said > REPORT_SECONDS or judge.runs < 2:
                said = time.monotonic()
                (BUILD / f"{name}.json").write_text(json.dumps(judge.report()))

    with contextlib.ExitStack() as stack:
        stack.callback(targets.close)
        if guided():
            _guided(check, place, seconds, seed)
        else:
            _mutating(check, list(inputs.values()), place, seconds, seed)


def _guided(check: Any, place: Path, seconds: float, seed: int) -> None:
    """atheris does not return: the process ends with libFuzzer's exit code."""
    import atheris

    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-artifact_prefix={place}/fault-",
        f"-max_len={LONGEST_INPUT}",
        f"-seed={seed}",
        "-rss_limit_mb=0",  # the process's own limit is the judge's
        "-timeout=20",
    ]
    atheris.Setup([sys.argv[0], *options, str(place)], check)
    atheris.Fuzz()


def _mutating(check: Any, inputs: list[bytes], place: Path, seconds: float, seed: int) -> None:
    from mutations import mutated

    chance, ends = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < ends:
        data = mutated(chance.choice(inputs), chance)[:LONGEST_INPUT]
        try:
            check(data)
        except BaseException:
            (place / f"fault-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            raise


if __name__ == "__main__":
    sys.exit(main())
