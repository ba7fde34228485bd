"""Every encoder's packets to every decoder, over processors, versions, optimisation levels, threads and precisions.

    python tests/matrix/run.py [--out docs/matrix.md] [--work build/matrix] [--count 200] [--only NAME ...]

Fails if one symbol is read otherwise than it was sent, if the same latents give other bytes anywhere, or if an output
is further from the reference than its precision allows. A place that cannot be made here is shown as not run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from matrix.browser import die_with_parent
from matrix.environments import PLACES, Place, SkippedError
from matrix.page import Ran, faults, render

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "artifacts/weights/photo"


class Matrix:
    """Runs places over one corpus."""

    def __init__(self, corpus: Path, work: Path, places: Sequence[Place]) -> None:
        self.corpus, self.work = corpus, work
        self.index = json.loads((corpus / "index.json").read_text())
        self.results = [Ran(place) for place in places]
        self.commands: dict[str, list[str]] = {}

    def run(self) -> list[Ran]:
        """All encoders, then all decoders on all packets."""
        for result in self.results:
            try:
                say(f"{result.place.name}: prepare")
                self.commands[result.place.name] = result.place.prepare(self.work)
            except SkippedError as fault:
                result.reason = str(fault)
                say(f"{result.place.name}: not run: {fault}")
        self.for_each_place(self.encode)
        pool, file, at = self.pool(), self.work / "pool", 0
        with file.open("wb") as out:
            for (_, packet), entry in pool.items():
                entry["offset"] = at
                at += out.write(packet)
        self.for_each_place(lambda result: self.decode(result, pool, file))
        return self.results

    def for_each_place(self, work: Callable[[Ran], None]) -> None:
        """Do a piece of work with every place that runs, as many at a time as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            list(workers.map(work, [result for result in self.results if result.ran]))

    def tasks(self, place: Place, role: str) -> Iterable[dict[str, Any]]:
        """Families x levels x threads."""
        for family, entry in self.index.items():
            variants = [name.split(".")[1] for name in entry["models"] if name.startswith(f"{role}.")]
            for level in place.levels:
                for threads in place.threads:
                    task = {"family": family, "variants": variants, "level": level, "threads": threads}
                    yield task | {"providers": place.providers}

    def encode(self, result: Ran) -> None:
        """Run the place's encoders and keep what they send."""
        tasks, packets = list(self.tasks(result.place, "encoder")), self.work / f"packets-{slug(result.place)}"
        for task in tasks:
            task["inputs"] = list(range(0, len(self.index[task["family"]]["inputs"]), result.place.inputs))
        answers = self.cell(result, "encode", tasks, packets)
        data, at = packets.read_bytes(), 0
        for task, answer in zip(tasks, answers, strict=True):
            family, inputs = task["family"], task["inputs"]
            wanted = [self.index[family]["inputs"][at]["packet"] for at in inputs]
            result.packed += len(inputs)
            result.other_bytes += sum(found != packet for found, packet in zip(answer["packed"], wanted, strict=True))
            for variant, sent in answer["sent"].items():
                for place, line in zip(inputs, sent, strict=True):
                    packet = data[at : at + line["bytes"]]
                    at += line["bytes"]
                    result.sent.append({"family": family, "input": place, "packet": packet, "symbols": line["symbols"]})
                result.milliseconds[f"{family} {variant} encode"] = answer["milliseconds"][variant]

    def pool(self) -> dict[tuple[str, bytes], dict[str, Any]]:
        """Every different packet once, with who sent it and what they said."""
        found: dict[tuple[str, bytes], dict[str, Any]] = {}
        for result in self.results:
            for line in result.sent:
                entry = found.setdefault((line["family"], line["packet"]), {**line, "senders": {}})
                entry["senders"].setdefault(result.place.name, set()).add(line["symbols"])
        return found

    def decode(self, result: Ran, pool: dict[tuple[str, bytes], dict[str, Any]], file: Path) -> None:
        """Let the place read the pool, which lies in a file, and compare."""
        tasks = []
        for task in self.tasks(result.place, "decoder"):
            entries = [entry for (family, _), entry in pool.items() if family == task["family"]]
            tasks.append((task | {"packets": [self.described(result, entry) for entry in entries]}, entries))
        answers = self.cell(result, "decode", [task for task, _ in tasks], file)
        for (task, entries), answer in zip(tasks, answers, strict=True):
            self.compare(result, task["family"], entries, answer)

    def described(self, result: Ran, entry: dict[str, Any]) -> dict[str, Any]:
        """A packet of the pool for a cell; its output is compared if the corpus holds it and the place has the time."""
        wanted = self.index[entry["family"]]["inputs"][entry["input"]]["packet"]
        due = entry["input"] % result.place.outputs == 0 and hashlib.sha256(entry["packet"]).hexdigest() == wanted
        return {"offset": entry["offset"], "bytes": len(entry["packet"]), "input": entry["input"], "output": due}

    def compare(self, result: Ran, family: str, entries: Sequence[dict[str, Any]], answer: Any) -> None:
        """Count what was read otherwise than sent, for each sender of each packet."""
        for entry, line in zip(entries, answer["read"], strict=True):
            for sender, said in entry["senders"].items():
                wrong = line["status"] != 0 or said != {line["symbols"]}
                result.read[sender] = result.read.get(sender, 0) + 1
                result.lost[sender] = result.lost.get(sender, 0) + wrong
        for variant, gaps in answer["gaps"].items():
            name = f"{family} {variant}"
            worst = max([gap if gap >= 0 else float("inf") for gap in gaps], default=0.0)
            result.gaps[name] = max(result.gaps.get(name, 0.0), worst)
            if answer["milliseconds"][variant] is not None:
                result.milliseconds[f"{name} decode"] = answer["milliseconds"][variant]

    def cell(self, result: Ran, job: str, tasks: list[dict[str, Any]], data: Path) -> list[Any]:
        """One process of a place over a list of tasks."""
        began = time.monotonic()
        stem = self.work / f"{job}-{slug(result.place)}"
        asked, answered = stem.with_suffix(".tasks.json"), stem.with_suffix(".answers.json")
        asked.write_text(json.dumps(tasks))
        answered.unlink(missing_ok=True)
        command = [*self.commands[result.place.name], job, *map(str, (self.corpus, asked, answered, data))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=die_with_parent)
        if done.returncode:
            raise SystemExit(f"{result.place.name}: {job} failed\n{done.stdout}{done.stderr}")
        found = json.loads(answered.read_text())
        result.version = found["onnxruntime"]
        say(f"{result.place.name}: {job}, {len(tasks)} tasks, {time.monotonic() - began:.0f} s")
        return list(found["answers"])


def slug(place: Place) -> str:
    """A place's name as part of a file's."""
    return "".join(letter if letter.isalnum() else "-" for letter in place.name.lower())


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


def build(folder: Path, count: int) -> str:
    """The corpus of the ready codecs; returns where its inputs come from."""
    from matrix import corpus

    from latentwire.train.image.weights import read_network

    network = read_network(WEIGHTS)
    photos = corpus.photographs()
    pictures = [photo[:256, :256] for photo in photos[:: max(1, len(photos) // 8)][:8]]
    inputs = corpus.crops(photos, count)
    corpus.write_corpus(folder, [corpus.dense_codec(count=count), corpus.image_codec(network, pictures, inputs)], say)
    return "MNIST and BSDS500" if os.environ.get("LATENTWIRE_DATA") else "scikit-learn's digits and photographs"


def main() -> None:
    """Build the corpus, run the places, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--work", type=Path, default=ROOT / "build/matrix", help="folder for places and corpus")
    parser.add_argument("--count", type=int, default=200, help="inputs of each family")
    parser.add_argument("--only", nargs="*", help="parts of the names of places to run")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    source = build(arguments.work / "corpus", arguments.count)
    chosen = [p for p in PLACES if not arguments.only or any(part in p.name for part in arguments.only)]
    results = Matrix(arguments.work / "corpus", arguments.work, chosen).run()
    page = render(results, arguments.count, source)
    print(page)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    if found := faults(results):
        sys.exit("the places disagree:\n" + "\n".join(found))


if __name__ == "__main__":
    main()
