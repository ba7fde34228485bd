"""Inputs that fuzzing begins with, made rather than kept: one good one of each kind, by name."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from latentwire.artifacts import locate
from latentwire.runtime import Encoder
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.wire import Envelope, frame

LARGE = 64
"""Bytes of the largest tensor in a model to begin with."""
Seeds = dict[str, bytes]


def digits() -> np.ndarray:
    """Digits of a kind, uint8 [5, 784]."""
    return np.random.default_rng(1).integers(0, 256, (5, 784)).astype(np.uint8)


def scene(height: int = 48, width: int = 40) -> np.ndarray:
    """A picture uint8 [height, width, 3]: a slope with some grain."""
    y, x = np.mgrid[:height, :width]
    grain = np.random.default_rng(2).integers(0, 12, (height, width, 3))
    return (np.stack([y + x, 2 * y, 3 * x], -1) % 240 + grain).astype(np.uint8)


@cache
def encoder(codec: str) -> Encoder:
    """An encoder of a ready codec."""
    return Encoder(codec)


def packets() -> Seeds:
    found = {f"items{quality}": encoder("mnist").encode(digits(), quality) for quality in (0, 100, 255)}
    return found | {"one": encoder("mnist").encode(digits()[:1], 30)}


def pictures() -> Seeds:
    return {f"picture{quality}": encoder("photo").encode(scene(), quality) for quality in (0, 120, 255)}


def streams() -> Seeds:
    records = [*packets().values(), *encoder("photo").encode_tiles(scene(70, 80), 30, tile=64, overlap=8)]
    whole = b"".join(map(frame, records))
    return {"whole": whole, "damaged": whole[:30] + b"\0" + whole[31:], "cut": whole[:-9]}


def tiles() -> Seeds:
    records = encoder("photo").encode_tiles(scene(70, 80), 30, tile=64, overlap=8)
    return {f"tile{number}": record for number, record in enumerate(records)}


def envelopes() -> Seeds:
    found = Envelope("gate-3", "0123456789abcdef" * 2, 7, (1, 2), ({"lane": 2}, None)).to_fields()
    return {"whole": "\n".join(f"{name}:{value}" for name, value in found.items()).encode()}


def requests() -> Seeds:
    named = Envelope("gate-3", "0123456789abcdef" * 2, 7, (1,), ({"lane": 2},)).to_headers()
    head = "\n".join(f"{name}:{value}" for name, value in named.items()).encode()
    found = {name: head + b"\n\n" + packet for name, packet in (packets() | pictures()).items()}
    return found | {
        "unnamed": b"Accept: image/png\n\n" + pictures()["picture0"],
        "stream": b"\n\n" + streams()["whole"],
    }


def messages() -> Seeds:
    return {"whole": envelopes()["whole"] + b"\n\n" + packets()["one"]}


def manifests() -> Seeds:
    return {name: (locate(name) / "manifest.json").read_bytes() for name in ("mnist", "photo")}


def models() -> Seeds:
    # Without the large tables, of which there is nothing to find out: the smaller the input, the faster the search.
    model = onnx.load_from_string(open_bundle("mnist").read_model("unpack", "exact"))
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > LARGE:
            tensor.raw_data = tensor.raw_data[:LARGE]
    return {"unpack": model.SerializeToString()}


def zips() -> Seeds:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(locate("mnist") / "manifest.json", "mnist/manifest.json")
    return {"manifest": archive.getvalue()}


def checkpoints() -> Seeds:
    import torch

    from latentwire.train.checkpoint import Checkpoint, write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        write(path, Checkpoint({"network.weight": torch.arange(6.0).reshape(2, 3)}, {"step": 3}))
        return {"small": path.read_bytes()}


def runs() -> Seeds:
    from latentwire.train.image.settings import ImageSettings
    from latentwire.train.settings import to_json

    settings = {"settings": to_json(ImageSettings()), "finished": True}
    return {
        "image": json.dumps({"schema": 1, "family": "image", **settings}).encode(),
        "dense": json.dumps({"schema": 1, "family": "dense", "finished": True}).encode(),
    }


def arrays() -> Seeds:
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, digits())
    np.savez_compressed(npz, items=digits(), labels=np.arange(5))
    idx = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (5, 28, 28)) + digits().tobytes()
    return {"npy": npy.getvalue(), "npz": npz.getvalue(), "idx": idx, "csv": b"a,b\n1,2\n3,4\n"}


def images() -> Seeds:
    found = {}
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"):
        file = io.BytesIO()
        Image.fromarray(scene(9, 7)).save(file, kind)
        found[kind.lower()] = file.getvalue()
    npy = io.BytesIO()
    np.save(npy, scene(9, 7))
    return found | {"npy": npy.getvalue()}
