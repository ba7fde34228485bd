"""Runs the seed's Keras program as it stands and exports its halves: `python keras_make.py DATA OUT`, where Keras is.

The program imports TensorFlow. Where there is none, the program alone is given a module of that name whose `keras` is
Keras on torch. MNIST, which it downloads, are the images of DATA: .npz with ``train`` and ``test``, uint8 [N, 28, 28].
"""

import builtins
import importlib.util
import json
import os
import sys
import types
from importlib import metadata
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).parent / "keras_seed.txt"
USED = ("keras", "tensorflow", "tf2onnx", "torch", "onnx", "onnxscript", "numpy")


def tensorflow() -> types.ModuleType:
    """TensorFlow, or what stands in for it."""
    if importlib.util.find_spec("tensorflow") is not None:
        return importlib.import_module("tensorflow")
    os.environ["KERAS_BACKEND"] = "torch"
    standin = types.ModuleType("tensorflow")
    standin.keras = importlib.import_module("keras")
    return standin


def importing(tf: types.ModuleType) -> dict[str, object]:
    """Builtins with an ``import tensorflow`` that gives that module."""
    return vars(builtins) | {
        "__import__": lambda name, *rest: tf if name == "tensorflow" else builtins.__import__(name, *rest)
    }


def main(data: Path, out: Path) -> None:
    """Train, export, and note what came back in the framework itself, and which versions were used."""
    tf, images = tensorflow(), np.load(data)
    tf.keras.utils.set_random_seed(0)
    tf.keras.datasets.mnist.load_data = lambda: ((images["train"], None), (images["test"], None))
    names: dict[str, object] = {"__name__": "__main__", "__builtins__": importing(tf)}
    exec(compile(PROGRAM.read_text(encoding="utf-8"), PROGRAM.name, "exec"), names)
    out.mkdir(parents=True, exist_ok=True)
    for half in ("encoder", "decoder"):
        names[half].export(str(out / f"{half}.onnx"), format="onnx")
    np.save(out / "restored.npy", np.asarray(names["decoded_imgs"], np.float32))
    versions = {name: metadata.version(name) for name in USED if name in sys.modules}
    (out / "made.json").write_text(json.dumps(versions, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
