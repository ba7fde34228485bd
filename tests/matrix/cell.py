"""One cell of the matrix: runs a corpus's models under one ONNX Runtime and tells what came out.

Needs NumPy and onnxruntime and nothing else, so that it runs wherever those do: old versions, emulated processors.

    python cell.py encode CORPUS TASKS.json ANSWERS.json PACKETS
    python cell.py decode CORPUS TASKS.json ANSWERS.json POOL

A task names the family, the variants, the optimisation level, the number of threads, the execution providers, and
inputs or packets. `encode` runs each variant's encoder on those inputs (it also tells the symbols that it sends) and
the pack piece on the corpus's own latents; `decode` reads those packets of the pool with the unpack piece, and some of
them with each decoder. With an accelerator the pieces stand for encoder and decoder: transforms there, the coder on the
CPU.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
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
        coder = name in ("pack", "unpack")
        providers = [f"{name}ExecutionProvider" for name in (("CPU",) if coder else self.task["providers"])]
        path = self.corpus / self.family["models"][name]
        session = ort.InferenceSession(str(path), self.options, providers=providers)
        if session.get_providers()[0] != providers[0]:  # ONNX Runtime goes on without one whose libraries do not load
            raise RuntimeError(f"{name}: expected {providers[0]}, found {session.get_providers()}")
        return session

    @property
    def accelerated(self) -> bool:
        return self.task["providers"][0] != "CPU"

    def encoder(self, variant: str) -> Callable[[dict], list[np.ndarray]]:
        """Input, quality and size to the packet and the symbols that it holds."""
        if not self.accelerated:
            whole = self.open(f"encoder.{variant}")
            return lambda known: whole.run(["packet", *told(whole)], fed(whole, known))
        analysis, pack = self.open(f"analysis.{variant}"), self.open("pack")

        def encode(known: dict) -> list[np.ndarray]:
            (latents,) = analysis.run(["latents"], fed(analysis, known))
            return pack.run(["packet", *told(pack)], fed(pack, known | {"latents": latents}))

        return encode

    def decoder(self, variant: str) -> Callable[[np.ndarray], list[np.ndarray]]:
        """A packet to output and status."""
        if not self.accelerated:
            whole = self.open(f"decoder.{variant}")
            return lambda packet: whole.run(["output", "status"], {"packet": packet})
        unpack, synthesis = self.open("unpack"), self.open(f"synthesis.{variant}")
        names = [entry.name for entry in unpack.get_outputs()]

        def decode(packet: np.ndarray) -> list[np.ndarray]:
            known = dict(zip(names, unpack.run(names, {"packet": packet}), strict=True))
            return [*synthesis.run(["output"], fed(synthesis, known)), known["status"]]

        return decode

    def read(self, entry: dict) -> np.ndarray:
        data = (self.corpus / entry["file"]).read_bytes()
        return np.frombuffer(data, np.dtype(entry["dtype"])).reshape(entry["shape"])


def told(session: ort.InferenceSession) -> list[str]:
    """The outputs of a session that are symbols."""
    return [name for name in SYMBOLS if name in {output.name for output in session.get_outputs()}]


def fed(session: ort.InferenceSession, known: dict) -> dict:
    """What a session takes of what is known."""
    return {entry.name: known[entry.name] for entry in session.get_inputs()}


def encode(models: Models, file: BinaryIO) -> dict:
    """Packets of the task's inputs, appended to a file, with what each says that it sent."""
    pack = models.open("pack")
    entries = [models.family["inputs"][at] for at in models.task["inputs"]]
    packed = []
    for entry in entries:
        feed = fed(pack, described(entry) | {"latents": models.read(entry["latents"])})
        packed.append(digest(pack.run(["packet"], feed)[0]))
    sent, spent = {}, {}
    for variant in models.task["variants"]:
        encoder, sent[variant], times = models.encoder(variant), [], []
        for entry in entries:
            known = described(entry) | {"input": models.read(entry["input"])}
            began = time.perf_counter()
            packet, *symbols = encoder(known)
            times.append(1000 * (time.perf_counter() - began))
            file.write(packet.tobytes())
            sent[variant].append({"bytes": packet.size, "symbols": digest(*symbols)})
        spent[variant] = float(np.median(times))
    return {"sent": sent, "packed": packed, "milliseconds": spent}


def described(entry: dict) -> dict:
    """An input's quality and size as the models take them."""
    return {"quality": np.asarray(entry["quality"], np.uint8), "size": np.asarray(entry["size"], np.int64)}


def decode(models: Models, file: BinaryIO) -> dict:
    """For each packet of the task its status and symbols; for some how far outputs are from the corpus's."""
    unpack = models.open("unpack")
    read, packets = [], []
    for entry in models.task["packets"]:
        file.seek(entry["offset"])
        packets.append(np.frombuffer(file.read(entry["bytes"]), np.uint8))
        *symbols, status = unpack.run([*told(unpack), "status"], {"packet": packets[-1]})
        read.append({"status": int(status), "symbols": digest(*symbols)})
    gaps, spent = {}, {}
    for variant in models.task["variants"]:
        decoder, gaps[variant], times = models.decoder(variant), [], []
        for entry, packet in zip(models.task["packets"], packets, strict=True):
            if entry["output"]:
                began = time.perf_counter()
                output, status = decoder(packet)
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
