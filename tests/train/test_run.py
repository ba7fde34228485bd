"""Run folders: reproducible, resumable after a kill, and strict when they are read."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupted import InterruptedRunError, kill_in_the_middle
from PIL import Image

from latentwire.train import (
    DivergedError,
    Recipe,
    RunError,
    SettingsError,
    dense_recipe,
    from_array,
    load_run,
    resume,
    train,
)
from latentwire.train import split as split_items
from latentwire.train.checkpoint import Checkpoint, read, write
from latentwire.train.dense.data import DataRequest, load_split
from latentwire.train.dense.objective_settings import OBJECTIVES
from latentwire.train.settings import change

SMALL = {"latent": 4, "hidden": (16,), "decoder_hidden": (16,)}
QUICK = {"epochs": 3, "batch": 32, "checkpoint_steps": 20, "average": 0.9, "clip": 1.0, "schedule": "cosine"}


def quick(objective: str, **loop: object) -> Recipe:
    return dense_recipe(item_shape=(8, 8), objective=objective, network=SMALL, loop={**QUICK, **loop})


def checkpoint_bytes(folder: Path) -> bytes:
    return (folder / "checkpoint.safetensors").read_bytes()


def test_one_seed_gives_one_checkpoint_and_another_another(halves, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(quick("rate", epochs=1, seed=seed), halves, tmp_path / name)
    assert checkpoint_bytes(tmp_path / "a") == checkpoint_bytes(tmp_path / "b")
    assert checkpoint_bytes(tmp_path / "a") != checkpoint_bytes(tmp_path / "c")


# Each objective once, and `rate` also within an epoch, at its end and in the last one.
STOPS = [("rate", 1), ("rate", 6), ("rate", 8), ("mse", 4), ("denoising", 2), ("variational", 5), ("adversarial", 3)]


@pytest.mark.parametrize(("objective", "stores"), STOPS)
def test_a_run_that_stopped_anywhere_ends_as_if_it_had_not(
    halves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, stores: int
) -> None:
    recipe = quick(objective)
    train(recipe, halves, tmp_path / "whole")
    written = []

    def stop_after(path: Path, state: Checkpoint) -> None:
        write(path, state)
        written.append(path)
        if len(written) == stores:
            raise InterruptedRunError

    with monkeypatch.context() as patch:
        patch.setattr("latentwire.train.checkpoint.write", stop_after)
        with pytest.raises(InterruptedRunError):
            train(recipe, halves, tmp_path / "parts")
    resume(halves, tmp_path / "parts")
    assert checkpoint_bytes(tmp_path / "parts") == checkpoint_bytes(tmp_path / "whole")
    assert (tmp_path / "parts/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bytes(digits, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", digits.items)
    recipe = dense_recipe(item_shape=(8, 8), network=SMALL, loop={**QUICK, "epochs": 15})
    request = DataRequest(str(tmp_path / "digits.npy"))
    train(recipe, load_split(request), tmp_path / "whole")
    options = "--epochs 15 --batch 32 --checkpoint-steps 20 --average 0.9 --clip 1 --schedule cosine"
    shape = "--hidden 16 --latent 4"
    files = ["--data", request.path, "--out", str(tmp_path / "killed")]
    kill_in_the_middle(tmp_path / "killed", "dense", *files, *options.split(), *shape.split())
    with pytest.raises(RunError, match="not finished"):
        load_run(tmp_path / "killed")
    resume(load_split(request), tmp_path / "killed")
    assert checkpoint_bytes(tmp_path / "killed") == checkpoint_bytes(tmp_path / "whole")
    assert load_run(tmp_path / "killed").steps is not None
    assert not list((tmp_path / "killed").glob(".*.tmp"))


def test_a_run_folder_holds_what_it_says(halves, tmp_path: Path) -> None:
    document = train(quick("rate"), halves, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == document
    assert document["contract"] == {"dtype": "uint8", "shape": ["items", 64], "range": [0, 16]}
    assert document["data"]["item_shape"] == [8, 8] and document["data"]["train"]["items"] == len(halves.train)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and lines[-1] == document["metrics"]
    assert {"bits", "mse", "loss"} == lines[0]["train"].keys()
    assert {"bits_128", "mse_128"} < lines[0]["validation"].keys()
    with Image.open(tmp_path / "loss.png") as plot:
        assert plot.format == "PNG" and min(plot.size) > 300
    assert resume(halves, tmp_path) == document


def test_what_a_kill_left_half_written_is_written_over(halves, tmp_path: Path) -> None:
    for name in ("checkpoint.safetensors", "run.json", "metrics.jsonl", "loss.png"):
        (tmp_path / f".{name}.tmp").write_bytes(b"half")
    train(quick("mse"), halves, tmp_path)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_with_a_run_is_not_written_over(halves, tmp_path: Path) -> None:
    train(quick("mse"), halves, tmp_path)
    before = checkpoint_bytes(tmp_path)
    with pytest.raises(RunError, match="already holds a run: continue it with --resume"):
        train(quick("mse", seed=2), halves, tmp_path)
    assert checkpoint_bytes(tmp_path) == before


def test_a_run_is_not_resumed_on_other_data(halves, digits, tmp_path: Path) -> None:
    train(quick("mse"), halves, tmp_path)
    with pytest.raises(RunError, match="other data: train, validation changed"):
        resume(split_items(digits, 0.2, seed=9), tmp_path)


def test_handed_on_are_the_averaged_weights(halves, tmp_path: Path) -> None:
    train(quick("mse"), halves, tmp_path)
    state = read(tmp_path / "checkpoint.safetensors")
    weight = load_run(tmp_path).encoder.state_dict()["head.weight"]
    assert weight.equal(state.tensors["average.network.encoder.head.weight"])
    assert not weight.equal(state.tensors["network.encoder.head.weight"])


def test_damaged_runs_are_refused(halves, tmp_path: Path) -> None:
    train(quick("mse"), halves, tmp_path)
    saved, whole = tmp_path / "checkpoint.safetensors", checkpoint_bytes(tmp_path)
    saved.write_bytes(whole[:-100])
    with pytest.raises(RunError, match="expected a safetensors checkpoint"):
        load_run(tmp_path)
    state = Checkpoint(*_parts(whole, saved))
    del state.tensors["network.encoder.head.weight"], state.tensors["average.network.encoder.head.weight"]
    write(saved, state)
    with pytest.raises(RunError, match=r"does not hold the network that run\.json describes"):
        load_run(tmp_path)
    document = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**document, "schema": 2}))
    with pytest.raises(RunError, match="expected a run of schema 1"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="expected a run folder"):
        load_run(tmp_path / "missing")


def _parts(content: bytes, path: Path):
    path.write_bytes(content)
    state = read(path)
    return state.tensors, state.position


@pytest.mark.parametrize("kind", OBJECTIVES.values())
@pytest.mark.parametrize("preset", ["keras", "torch", "codec"])
def test_recipes_survive_json(kind, preset) -> None:
    recipe = dense_recipe(preset, kind.name, item_shape=(28, 28), network={"hidden": (7, 5)})
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("change_document", "message"),
    [
        (lambda d: d["loop"].pop("epochs"), "missing or unknown: epochs"),
        (lambda d: d["loop"].update(speed=1), "missing or unknown: speed"),
        (lambda d: d["loop"].update(epochs="3"), "loop.epochs must be int, found '3'"),
        (lambda d: d["loop"].update(schedule="step"), "loop.schedule must be"),
        (lambda d: d["network"].update(hidden=[1.5]), "hidden must be int, found 1.5"),
        (lambda d: d["objective"].update(tradeoff=[1.0]), "tradeoff must be"),
        (lambda d: d["objective"].update(name="psnr"), "objective must be one of mse, rate"),
        (lambda d: d.update(family="video"), "family must be dense"),
        (lambda d: d.pop("network"), "missing: network"),
        (lambda d: d.update(network=[]), "network must be a JSON object, found list"),
    ],
)
def test_reading_a_recipe_is_strict(change_document, message: str) -> None:
    document = json.loads(
        json.dumps(dense_recipe(item_shape=(9,), objective_settings={"tradeoff": (1.0, 2.0)}).to_json())
    )
    change_document(document)
    with pytest.raises(SettingsError, match=message):
        Recipe.from_json(document)


def test_presets_and_objectives_choose_each_other() -> None:
    def chosen(*names: str | None) -> tuple[str, str]:
        recipe = dense_recipe(*names, item_shape=(8, 8))
        return recipe.preset, recipe.objective.name

    assert chosen() == ("codec", "rate")
    assert chosen("keras") == ("keras", "mse")
    assert chosen(None, "denoising") == ("torch", "denoising")
    assert chosen("torch", "rate") == ("torch", "rate")
    assert dense_recipe("keras", item_shape=(8, 8)).network.code_activation == "relu"
    assert dense_recipe("keras", "variational", item_shape=(8, 8)).network.code_activation == "linear"
    with pytest.raises(SettingsError, match="preset must be one of"):
        dense_recipe("resnet", item_shape=(8, 8))
    with pytest.raises(SettingsError, match="denoising has no setting beta; it has noise"):
        dense_recipe(item_shape=(8, 8), objective="denoising", objective_settings={"beta": 2.0})


def test_a_diverging_run_says_so(halves, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"autoencoder is (nan|inf) at step \d+: lower --learning-rate"):
        train(quick("rate", learning_rate=1e6, clip=0.0), halves, tmp_path)


def test_a_time_box_ends_the_run(halves, tmp_path: Path) -> None:
    began = time.monotonic()
    document = train(quick("mse", epochs=100_000, minutes=0.02), halves, tmp_path)
    assert document["finished"] and time.monotonic() - began < 15
    assert document["metrics"]["epoch"] < 100_000


def test_bfloat16_training_goes_nearly_the_same_way(halves, tmp_path: Path) -> None:
    documents = {
        arithmetic: train(quick("rate", arithmetic=arithmetic), halves, tmp_path / arithmetic)
        for arithmetic in ("float32", "bfloat16")
    }
    losses = [document["metrics"]["train"]["loss"] for document in documents.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert checkpoint_bytes(tmp_path / "float32") != checkpoint_bytes(tmp_path / "bfloat16")


def test_float_items_keep_their_range(tmp_path: Path) -> None:
    items = np.random.default_rng(0).normal(20, 5, (200, 6)).astype(np.float32)
    data = from_array(items)
    train(quick("mse", epochs=1), split_items(data, 0.1, 0), tmp_path)
    assert load_run(tmp_path).contract.range == (items.min(), items.max())


def test_settings_change_only_what_they_have() -> None:
    loop = dense_recipe(item_shape=(3,)).loop
    assert change(loop, {"epochs": 3}) == replace(loop, epochs=3)
    with pytest.raises(SettingsError, match="epochs must be at least 1"):
        change(loop, {"epochs": 0})
    with pytest.raises(SettingsError, match="has no setting epoch"):
        change(loop, {"epoch": 3})
