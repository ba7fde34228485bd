"""What the cells of the matrix are given: models and real inputs of each family, in plain files.

Encoders and pack pieces in a corpus also tell the symbols that they send. `index.json` says where everything lies:

    {FAMILY: {"models": {NAME: FILE}, "inputs": [{"input", "latents", "output.VARIANT": {"file", "dtype", "shape"},
                                                 "quality", "size", "packet": SHA-256 of what the latents pack to}]}}

Inputs are MNIST digits and BSDS500 photographs where `$LATENTWIRE_DATA` has them, scikit-learn's otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from latentwire.export import measure
from latentwire.export.assemble import assemble_decoder, join, with_size
from latentwire.export.factorized import Dense
from latentwire.export.factorized.pack import build_pack as build_dense_pack
from latentwire.export.factorized.verify import read_tables
from latentwire.export.graph.tap import telling
from latentwire.export.image.codec import make_transforms
from latentwire.export.image.fit import fit_tables
from latentwire.export.image.pack import build_pack
from latentwire.export.image.reference import Picture
from latentwire.export.image.tables import ImageTables
from latentwire.export.image.unpack import build_unpack
from latentwire.export.pictures import LIMITS, SIZE_AXES
from latentwire.export.verify import Subject
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.files import read_items, read_pictures
from latentwire.train.image.network import ImageNetwork

ROOT = Path(__file__).parents[2]
COUNT = 200
QUALITIES = (0, 40, 90, 128, 200, 255)
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Codec:
    """One family's models and inputs."""

    family: str
    pack: onnx.ModelProto
    unpack: onnx.ModelProto
    analysis: dict[str, onnx.ModelProto]
    synthesis: dict[str, onnx.ModelProto]
    size_axes: Sequence[int]
    inputs: Sequence[Array]


def digits(count: int) -> Array:
    """uint8 [count, 784]."""
    data = os.environ.get("LATENTWIRE_DATA")
    if data and (found := Path(data) / "mnist/t10k-images-idx3-ubyte.gz").exists():
        return np.asarray(read_items(found)).reshape(-1, 784)[:count]
    from sklearn.datasets import load_digits

    small = load_digits().images[:count].repeat(3, 1).repeat(3, 2)
    return (np.pad(small, [(0, 0), (2, 2), (2, 2)]) * (255 / 16)).astype(np.uint8).reshape(count, 784)


def photographs() -> list[Picture]:
    """uint8 [H, W, 3] each."""
    data = os.environ.get("LATENTWIRE_DATA")
    if data and (found := Path(data) / "bsds500/val").exists():
        return read_pictures(found)
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


def crops(photos: Sequence[Picture], count: int, seed: int = 0) -> list[Picture]:
    """Pieces of 1 to 112 pixels each way, every fifth one grey; emulated processors are slow."""
    rng, found = np.random.default_rng(seed), []
    for at in range(count):
        photo = photos[at % len(photos)]
        height, width = rng.integers(1, 113, 2)
        top, left = rng.integers(0, photo.shape[0] - height), rng.integers(0, photo.shape[1] - width)
        piece = photo[top : top + height, left : left + width]
        found.append(np.ascontiguousarray(piece[..., 1:2] if at % 5 == 4 else piece))
    return found


def dense_codec(bundle: str = "mnist", count: int = COUNT) -> Codec:
    """The ready codec for vectors, its pack piece built anew so that it can tell what it sends."""
    subject = Subject(open_bundle(bundle))
    files = {(entry.role, entry.variant): entry for entry in subject.manifest.files}
    read = {key: onnx.load_from_string(subject.bundle.read_model(*key)) for key in files}
    tables = read_tables(subject)
    family = Dense(subject.manifest.input, tables.gain.shape[1])
    items = digits(3 * count)
    return Codec(
        "dense",
        build_dense_pack(family, tables, subject.manifest.identity.codec_digest),
        read["unpack", "exact"],
        {variant: model for (role, variant), model in read.items() if role == "analysis"},
        {variant: model for (role, variant), model in read.items() if role == "synthesis"},
        (0,),
        [items[at : at + 1 + at % 5] for at in range(count)],
    )


def image_codec(
    network: ImageNetwork,
    pictures: Sequence[Picture],
    inputs: Sequence[Picture],
    precisions: Sequence[str] = ("fp32", "int8", "fp16"),
    tables: ImageTables | None = None,
) -> Codec:
    """A codec of pictures from trained weights; tables and int8 are fitted to ``pictures``."""
    fitted = fit_tables(network, pictures) if tables is None else tables
    analysis, synthesis = make_transforms(network, pictures, precisions)
    codec_id = fitted.codec_id()
    pack, unpack = build_pack(fitted, codec_id), build_unpack(fitted, codec_id, LIMITS)
    return Codec("image", pack, unpack, analysis, synthesis, SIZE_AXES, inputs)


def write_corpus(folder: Path, codecs: Sequence[Codec], say: Callable[[str], None] = print) -> None:
    """Models, inputs, and what this machine's ONNX Runtime makes of them."""
    index = {}
    for codec in codecs:
        say(f"corpus: {len(codec.inputs)} inputs of the family {codec.family}")
        (folder / codec.family).mkdir(parents=True, exist_ok=True)
        index[codec.family] = {
            "models": write_models(folder, codec),
            "inputs": [write_input(folder, codec, at, item) for at, item in enumerate(codec.inputs)],
        }
    (folder / "index.json").write_text(json.dumps(index))


def write_models(folder: Path, codec: Codec) -> dict[str, str]:
    """The files of a codec's models, by name."""
    told = telling(codec.pack)
    outputs = [entry.name for entry in told.graph.output]
    models = {"pack": told, "unpack": codec.unpack}
    models |= {f"analysis.{variant}": model for variant, model in codec.analysis.items()}
    models |= {f"synthesis.{variant}": model for variant, model in codec.synthesis.items()}
    for variant, model in codec.analysis.items():
        encoder = join(with_size(model, codec.size_axes), told, ["input", "quality"], outputs)
        models[f"encoder.{variant}"] = encoder
    models |= {
        f"decoder.{variant}": assemble_decoder(codec.unpack, model) for variant, model in codec.synthesis.items()
    }
    files = {}
    for name, model in models.items():
        files[name] = f"{codec.family}/{name}.onnx"
        onnx.save(model, folder / files[name])
    return files


def write_input(folder: Path, codec: Codec, at: int, item: Array) -> dict[str, Any]:
    """One input, its latents, its packet's hash and its outputs, as the newest ONNX Runtime here computes them."""
    quality = QUALITIES[at % len(QUALITIES)]
    known = {"input": item, "quality": np.asarray(quality, np.uint8)}
    size = [item.shape[axis] for axis in codec.size_axes]
    latents = measure.run_known(session(codec.analysis["fp32"]), known)
    packet = measure.run_known(session(codec.pack), {**known, "latents": latents, "size": np.asarray(size, np.int64)})
    unpack = session(codec.unpack)
    names = [entry.name for entry in unpack.get_outputs()]
    unpacked = dict(zip(names, unpack.run(names, {"packet": packet}), strict=True))
    stem = f"{codec.family}/{at:03d}"
    entry = {
        "input": write_array(folder, f"{stem}.input", item),
        "latents": write_array(folder, f"{stem}.latents", latents),
        "quality": quality,
        "size": size,
        "packet": hashlib.sha256(packet.tobytes()).hexdigest(),
    }
    for variant, model in codec.synthesis.items():
        output = measure.run_known(session(model), unpacked)
        entry[f"output.{variant}"] = write_array(folder, f"{stem}.output.{variant}", output)
    return entry


SESSIONS: dict[int, Any] = {}


def session(model: onnx.ModelProto) -> Any:
    """One session for each model."""
    return SESSIONS.setdefault(id(model), measure.session(model))


def write_array(folder: Path, name: str, array: Array) -> dict[str, Any]:
    """An array's bytes in a file, and what they are."""
    (folder / name).write_bytes(np.ascontiguousarray(array).tobytes())
    return {"file": name, "dtype": array.dtype.name, "shape": list(array.shape)}
