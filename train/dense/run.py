"""The run folder: what training leaves behind, and the way back from it to networks.

run.json                 recipe, data, contract, versions, last metrics, whether it is finished
checkpoint.safetensors   everything, see checkpoint.py
metrics.jsonl            one JSON line for each epoch
loss.png                 the same as curves
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Generator, nn

from latentwire.runtime.contract import ItemContract
from latentwire.train import checkpoint, plots
from latentwire.train.dense.autoencoder import Autoencoder
from latentwire.train.dense.data import DataRequest, Split, describe
from latentwire.train.dense.loop import Loop
from latentwire.train.dense.network import DenseAutoencoder
from latentwire.train.dense.objective import Objective
from latentwire.train.dense.objectives import create
from latentwire.train.dense.recipe import Recipe
from latentwire.train.errors import RunError
from latentwire.train.loops import Outputs, rewind_metrics, threads
from latentwire.train.run import CHECKPOINT_FILE, METRICS_FILE, RUN_FILE, SCHEMA, RunDocument, read_document, versions
from latentwire.train.settings import from_json, to_json

PLOT_FILE = "loss.png"
# Items that shape the start (principal components, prior): enough for the covariance of some thousand dimensions.
SAMPLE = 20_000


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, ready for export.

    Attributes:
        encoder: float32 [N, D] in [0, 1] -> latents float32 [N, C]; in eval mode, parameters frozen.
        decoder: latents float32 [N, C] -> float32 [N, D], nominally in [0, 1] but not clipped to it.
        contract: dtype, shape and range of the items; the network's input is (x - low) / (high - low).
        steps: quantization step per quality and channel, float32 [256, C], in units of the latents; None without a rate
            term.
        objective: what was minimised.
        prior: `normal` where decoding draws of N(0, I) generates items, else None.
        provenance: run.json: recipe, data, versions, metrics.
    """

    encoder: nn.Module
    decoder: nn.Module
    contract: ItemContract
    steps: NDArray[np.float32] | None
    objective: str
    prior: Literal["normal"] | None
    provenance: dict[str, Any]


def train(recipe: Recipe, split: Split, out: Path) -> dict[str, Any]:
    """Trains from the start into a new run folder; returns the content of run.json.

    Raises RunError where the folder already holds a run.
    """
    if (out / RUN_FILE).exists():
        raise RunError(f"{out} already holds a run: continue it with --resume, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    document = _description(recipe, split)
    checkpoint.write_json(out / RUN_FILE, document)
    return _run_to_end(recipe, split, out, document)


def resume(split: Split, out: Path) -> dict[str, Any]:
    """Continues the run in a folder to its end, with the settings it was started with; returns the content of run.json.

    The result is the same, byte by byte, as if the run had never stopped. Raises RunError where there is no run or
    where the data is not the data it was started on.
    """
    document = read_document(out)
    data = _data_description(split)
    before = document.section("data")
    if data != before:
        changed = [key for key in data if data[key] != before.get(key)]
        raise RunError(f"{out} was started on other data: {', '.join(changed)} changed; found {data}")
    if document["finished"]:
        return document
    return _run_to_end(Recipe.from_json(document), split, out, document)


def recorded_request(document: RunDocument) -> DataRequest:
    """Where a run's data came from; raises RunError for a run on items that came from memory, not from files."""
    request = document.section("data")["request"]
    if request is None:
        raise RunError("the run's items did not come from files: resume it from the program that has them")
    return from_json(DataRequest, request, "run.json: data.request")


def load_run(path: str | Path) -> TrainedRun:
    """The networks of a finished run; where it kept averaged weights, these.

    Raises RunError where there is no run, where it is unfinished or where its checkpoint is damaged.
    """
    folder = Path(path)
    document = read_document(folder)
    if not document["finished"]:
        raise RunError(f"{folder} is not finished: continue it with `latentwire train dense --out {folder} --resume`")
    recipe = Recipe.from_json(document)
    contract = ItemContract.from_json(document["contract"])
    network, objective = _construct(recipe, _item_shape(document))
    _load_weights(network, objective, checkpoint.read(folder / CHECKPOINT_FILE), folder)
    for module in (network, objective):
        module.eval().requires_grad_(False)
    steps = objective.steps()
    return TrainedRun(
        network.encoder,
        network.decoder,
        contract,
        None if steps is None else steps.numpy().astype(np.float32),
        recipe.objective.name,
        recipe.objective.prior,
        document,
    )


def _item_shape(document: RunDocument) -> tuple[int, ...]:
    shape = document.section("data")["item_shape"]
    if not isinstance(shape, list) or not shape or not all(type(length) is int and length > 0 for length in shape):
        raise RunError(f"{RUN_FILE}: expected lengths of an item as data.item_shape, found {shape!r:.200}")
    return tuple(shape)


def _load_weights(network: Autoencoder, objective: Objective, state: checkpoint.Checkpoint, folder: Path) -> None:
    try:
        for part, module in (("network", network), ("objective", objective)):
            module.load_state_dict({**state.part(part), **state.part(f"average.{part}")})
    except RuntimeError as error:  # torch's word for tensors that are missing, unknown or of another shape
        raise RunError(
            f"{folder / CHECKPOINT_FILE} does not hold the network that {RUN_FILE} describes: {error}"
        ) from error


def _construct(recipe: Recipe, item_shape: tuple[int, ...]) -> tuple[Autoencoder, Objective]:
    """The modules of a recipe, their weights not yet set."""
    network = DenseAutoencoder(recipe.network, item_shape)
    return network, create(recipe.objective, network, recipe.network.latent)


def _run_to_end(recipe: Recipe, split: Split, out: Path, document: dict[str, Any]) -> dict[str, Any]:
    loop = _prepared_loop(recipe, split)
    saved = out / CHECKPOINT_FILE
    if saved.exists():
        checkpoint.go_back(loop.restore, saved)
    rewind_metrics(out / METRICS_FILE, loop.position.step)
    loop.run(Outputs(lambda state: checkpoint.write(saved, state), out / METRICS_FILE))
    metrics = plots.read_metrics(out / METRICS_FILE)
    checkpoint.write_atomically(out / PLOT_FILE, plots.loss_curve(metrics))
    finished = {**document, "finished": True, "metrics": metrics[-1]}
    checkpoint.write_json(out / RUN_FILE, finished)
    return finished


def _prepared_loop(recipe: Recipe, split: Split) -> Loop:
    """Network and objective with their first weights, ready for the first step."""
    generator = Generator().manual_seed(recipe.loop.seed)
    network, objective = _construct(recipe, split.train.item_shape)
    sample = split.train.batch(_sample_indices(len(split.train), recipe.loop.seed))
    with threads(recipe.loop.threads):
        network.start(sample, generator)
        objective.start(sample, generator)
    return Loop(objective, split.train, split.validation, recipe.loop, generator)


def _sample_indices(count: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])


def _description(recipe: Recipe, split: Split) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **recipe.to_json(),
        "data": _data_description(split),
        "contract": split.train.contract.to_json(),
        "versions": versions(),
        "finished": False,
        "metrics": None,
    }


def _data_description(split: Split) -> dict[str, Any]:
    return {
        "request": None if split.request is None else to_json(split.request),
        "train": describe(split.train),
        "validation": None if split.validation is None else describe(split.validation),
        "item_shape": list(split.train.item_shape),
    }
