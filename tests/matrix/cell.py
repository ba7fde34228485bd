"""One cell of the matrix: runs a corpus's models under one ONNX Runtime and tells what came out.

Needs NumPy and onnxruntime and nothing else, so that it runs wherever those do: old versions, emulated processors.

    python cell.py encode CORPUS TASKS.json ANSWERS.json PACKETS
    python cell.py decode CORPUS TASKS.json ANSWERS.json POOL

A task names the family, the variants, the optimisation level, the number of threads, and inputs or packets. `encode`
runs each variant's encoder on those inputs (it also tells the symbols that it sends) and the pack piece on the corpus's
own latents; `decode` reads those packets of the pool with the unpack piece, and some of them with each decoder.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnxruntime as ort

LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


SYMBOLS = ("hyper_symbols", "symbols")


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of arrays' bytes, one after the other."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


class Models:
    """Sessions of one family under one task's options."""

    def __init__(self, corpus: Path, task: dict) -> None:
        self.corpus, self.task = corpus, task
        self.family = json.loads((corpus / "index.json").read_text())[task["family"]]
        self.options = ort.SessionOptions()
        self.options.intra_op_num_threads = task["threads"]
        self.options.inter_op_num_threads = 1
        self.options.graph_optimization_level = LEVELS[task["level"]]
        self.options.log_severity_level = 3

    def open(self, name: str) -> ort.InferenceSession:
        providers = self.task.get("providers", ["CPUExecutionProvider"])
        exact = name in ("pack", "unpack")
        return ort.InferenceSession(
            str(self.corpus / self.family["models"][name]),
            self.options,
            providers=["CPUExecutionProvider"] if exact else providers,
        )

    def read(self, entry: dict) -> np.ndarray:
        data = (self.corpus / entry["file"]).read_bytes()
        return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(entry["shape"])


def encode(models: Models, file: BinaryIO) -> dict:
    """Packets of the task's inputs, appended to a file, with what each says that it sent."""
    pack = models.open("pack")
    entries = [models.family["inputs"][at] for at in models.task["inputs"]]
    packed = []
    for entry in entries:
        feed = {"latents": models.read(entry["latents"]), "size": np.asarray(entry["size"], np.int64)}
        packed.append(digest(pack.run(["packet"], feed | {"quality": quality_of(entry)})[0]))
    sent, spent = {}, {}
    for variant in models.task["variants"]:
        encoder, sent[variant], times = models.open(f"encoder.{variant}"), [], []
        told = [name for name in SYMBOLS if name in {output.name for output in encoder.get_outputs()}]
        for entry in entries:
            feed = {"input": models.read(entry["input"]), "quality": quality_of(entry)}
            began = time.perf_counter()
            packet, *symbols = encoder.run(["packet", *told], feed)
            times.append(1000 * (time.perf_counter() - began))
            file.write(packet.tobytes())
            sent[variant].append({"bytes": packet.size, "symbols": digest(*symbols)})
        spent[variant] = float(np.median(times))
    return {"sent": sent, "packed": packed, "milliseconds": spent}


def quality_of(entry: dict) -> np.ndarray:
    """An input's quality as the models take it."""
    return np.asarray(entry["quality"], np.uint8)


def decode(models: Models, file: BinaryIO) -> dict:
    """For each packet of the task its status and symbols; for some how far outputs are from the corpus's."""
    unpack = models.open("unpack")
    told = [name for name in SYMBOLS if name in {output.name for output in unpack.get_outputs()}]
    read, packets = [], []
    for entry in models.task["packets"]:
        file.seek(entry["offset"])
        packets.append(np.frombuffer(file.read(entry["bytes"]), np.uint8))
        *symbols, status = unpack.run([*told, "status"], {"packet": packets[-1]})
        read.append({"status": int(status), "symbols": digest(*symbols)})
    gaps, spent = {}, {}
    for variant in models.task["variants"]:
        decoder, gaps[variant], times = models.open(f"decoder.{variant}"), [], []
        for entry, packet in zip(models.task["packets"], packets, strict=True):
            if entry["output"]:
                began = time.perf_counter()
                output, status = decoder.run(["output", "status"], {"packet": packet})
                times.append(1000 * (time.perf_counter() - began))
                wanted = models.read(models.family["inputs"][entry["input"]][f"output.{variant}"])
                same = int(status) == 0 and output.shape == wanted.shape
                gaps[variant].append(float(np.abs(output.astype(np.float64) - wanted).max()) if same else -1.0)
        spent[variant] = float(np.median(times)) if times else None
    return {"read": read, "gaps": gaps, "milliseconds": spent}


def main() -> None:
    """Do what the command line says."""
    job, corpus, tasks, answers, data = sys.argv[1], *map(Path, sys.argv[2:])
    work = {"encode": encode, "decode": decode}[job]
    with data.open("wb" if job == "encode" else "rb") as file:
        done = [work(Models(corpus, task), file) for task in json.loads(tasks.read_text())]
    answers.write_text(json.dumps({"onnxruntime": ort.__version__, "answers": done}))


if __name__ == "__main__":
    main()
