"""Run folders of the image family: killed and resumed, written from memory, started from others' weights, refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from interrupted import InterruptedRunError, kill_in_the_middle
from PIL import Image
from small_images import picture, small_network

from latentwire.runtime.cli.group import main
from latentwire.runtime.errors import InputFileError
from latentwire.train import checkpoint
from latentwire.train import load_run as load_dense_run
from latentwire.train.cli import train as train_command
from latentwire.train.errors import DivergedError, RunError, SettingsError
from latentwire.train.image import ImageSettings, load_image_run, resume, train, write_run
from latentwire.train.image.photos import read_material
from latentwire.train.image.run import new_network, settings_of
from latentwire.train.image.weights import load_initial
from latentwire.train.run import read_document

SMALL = {"width": 8, "hyper": 8, "lambdas": (0.005, 0.05), "batch": 1, "scales": (1.0,), "threads": 1, "warmup": 2}
# Judged after steps 0, 2 and 4; with a checkpoint after every other step too.
QUICK = ImageSettings(**SMALL, steps=4, validations=2, checkpoint_minutes=1e-9)
OPTIONS = "--width 8 --hyper 8 --lambdas 0.005,0.05 --batch 1 --scales 1 --threads 1 --warmup 2"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(3):
        Image.fromarray(picture(256, 272, seed=k)).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(QUICK, photos, out)
    return out


def image(*arguments: object) -> Result:
    return CliRunner().invoke(train_command, ["image", *map(str, arguments)])


def require_equal(first: Path, second: Path) -> None:
    for name in ("checkpoint.safetensors", "metrics.jsonl", "run.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
def test_a_cut_picture_does_not_end_a_run_and_is_counted(photos: Path, tmp_path: Path) -> None:
    mixed, out = tmp_path / "mixed", tmp_path / "run"
    shutil.copytree(photos, mixed)
    clean, content = read_material(mixed, None).digest(), (mixed / "0.png").read_bytes()
    (mixed / "1 cut.png").write_bytes(content[: len(content) // 2])
    result = image("--data", mixed, "--out", out, *OPTIONS.split(), "--steps", 1, "--validations", 1)
    assert result.exit_code == 0, result.output
    assert "skipped: " in result.stderr and "1 cut.png" in result.stderr
    document = read_document(out)
    assert document["data"]["skipped"] == 1 and document["data"]["sha256"] == clean
    (out / "run.json").write_text(json.dumps({**document, "finished": False}))
    assert resume(out)["finished"]
    (mixed / "1 cut.png").write_bytes(content)
    (out / "run.json").write_text(json.dumps({**document, "finished": False}))
    with pytest.raises(RunError, match="was started on other pictures"):
        resume(out)


@pytest.mark.slow
@pytest.mark.parametrize("stores", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("written", [True, False])
def test_a_run_that_stopped_anywhere_ends_as_if_it_had_not(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: int, written: bool
) -> None:
    """Stopped right after a checkpoint, and right before it, when its line of metrics is already there."""
    original, count = checkpoint.write, 0

    def stopping(path: Path, state: checkpoint.Checkpoint) -> None:
        nonlocal count
        count += 1
        if written or count < stores:
            original(path, state)
        if count == stores:
            raise InterruptedRunError

    with monkeypatch.context() as patch:
        patch.setattr("latentwire.train.checkpoint.write", stopping)
        with pytest.raises(InterruptedRunError):
            train(QUICK, photos, tmp_path / "parts")
    with pytest.raises(RunError, match="not finished"):
        load_image_run(tmp_path / "parts")
    resume(tmp_path / "parts")
    require_equal(tmp_path / "parts", whole)


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bytes(photos: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    options = [*OPTIONS.split(), *["--steps", "4", "--validations", "2", "--checkpoint-minutes", "1e-9"]]
    kill_in_the_middle(out, "image", "--data", str(photos), "--out", str(out), *options)
    resume(out)
    require_equal(out, whole)
    assert not list(out.glob(".*.tmp"))


@pytest.mark.slow
def test_a_run_folder_holds_what_it_says(photos: Path, whole: Path, tmp_path: Path) -> None:
    document = json.loads((whole / "run.json").read_text())
    assert document["family"] == "image" and document["finished"]
    assert document["data"]["train"] == str(photos) and document["data"]["pictures"] == [2, 1]
    assert document["cost"]["device"] > 0
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4] and lines[-1] == document["metrics"]
    assert lines[0]["rate_difference"] == 0 and lines[0]["loss"] is None
    assert all(len(line["bpp"]) == len(line["decibels"]) == 4 for line in lines)
    assert (whole / "rate.png").read_bytes().startswith(b"\x89PNG")
    state = checkpoint.read(whole / "checkpoint.safetensors")
    assert state.position["best"] == min(line["rate_difference"] for line in lines)
    trained = load_image_run(whole)
    assert trained.distortion == "mse" and trained.provenance == document
    assert not trained.network.training and not any(p.requires_grad for p in trained.network.parameters())
    assert all(torch.equal(value, state.part("best")[name]) for name, value in trained.network.state_dict().items())
    assert resume(whole) == document


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_pictures_wherever_they_are(photos: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    document = json.loads((tmp_path / "run/run.json").read_text())
    checkpoint.write_json(tmp_path / "run/run.json", {**document, "finished": False})
    shutil.copytree(photos, tmp_path / "moved")
    assert resume(tmp_path / "run", data=tmp_path / "moved", device="cpu")["finished"]
    checkpoint.write_json(tmp_path / "run/run.json", {**document, "finished": False})
    Image.new("RGB", (300, 300)).save(tmp_path / "moved/1.png")
    with pytest.raises(RunError, match="other pictures"):
        resume(tmp_path / "run", data=tmp_path / "moved")


@pytest.mark.slow
def test_a_time_box_ends_a_run(photos: Path, tmp_path: Path) -> None:
    settings = ImageSettings(**SMALL, steps=0, minutes=0.03, distortion="mix")
    document = train(settings, photos, tmp_path / "run")
    assert document["metrics"]["step"] >= 1 and document["metrics"]["elapsed"] >= 1.8


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentwire.train.image.loop.distortion", lambda *_: torch.tensor([torch.nan]))
    with pytest.raises(DivergedError, match="nan at step 0: lower --learning-rate"):
        train(QUICK, photos, tmp_path / "run")


def test_weights_trained_elsewhere_become_a_run(photos: Path, tmp_path: Path) -> None:
    network = small_network()
    line = {"step": 5, "bpp": [0.1, 0.2, 0.4, 0.8], "decibels": [25.0, 28.0, 31.0, 34.0]}
    better = {**line, "step": 9, "bpp": [0.09, 0.18, 0.36, 0.72]}
    provenance = {
        "data": {"train": photos, "validation": None},
        "settings": {"distortion": "ms-ssim", "scales": (1.0, 0.5)},
        "how": "by hand",
    }
    document = write_run(tmp_path / "run", network, provenance, [line, better])
    assert read_document(tmp_path / "run") == document and document["family"] == "image"
    assert document["origin"] == {"how": "by hand"} and document["data"]["train"] == str(photos)
    assert document["settings"]["lambdas"] == [0.002, 0.02, 0.2]
    assert document["metrics"]["rate_difference"] == pytest.approx(-0.1)
    assert (tmp_path / "run/rate.png").is_file()
    trained = load_image_run(tmp_path / "run")
    assert trained.distortion == "ms-ssim"
    expected = network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trained.network.state_dict().items())
    assert resume(tmp_path / "run") == document
    with pytest.raises(RunError, match="already holds a run"):
        write_run(tmp_path / "run", network, provenance)
    with pytest.raises(RunError, match=r"data\.train"):
        write_run(tmp_path / "other", network, {})
    with pytest.raises(SettingsError, match="has no setting speed"):
        write_run(tmp_path / "other", network, {**provenance, "settings": {"speed": 1}})
    assert not (tmp_path / "other").exists()
    with pytest.raises(SettingsError, match="family must be dense, found 'image'"):
        load_dense_run(tmp_path / "run")
    load_initial(new_network(ImageSettings(width=16, hyper=16)), tmp_path / "run")
    with pytest.raises(RunError, match="size mismatch"):
        load_initial(new_network(ImageSettings(width=24, hyper=16)), tmp_path / "run")


def test_weights_keep_the_trade_offs_of_the_run_they_start(photos: Path, tmp_path: Path) -> None:
    network = small_network()  # knots at 0.002, 0.02, 0.2
    write_run(tmp_path / "run", network, {"data": {"train": photos}})
    other = new_network(ImageSettings(width=16, hyper=16, lambdas=(0.002, 0.02, 0.2, 2.0)))
    load_initial(other, tmp_path / "run" / "checkpoint.safetensors")
    assert torch.equal(other.lambdas, torch.tensor([0.002, 0.02, 0.2, 2.0]))
    assert torch.allclose(other.log_gain[:3], network.log_gain)
    assert torch.allclose(other.log_gain[3], 2 * network.log_gain[2] - network.log_gain[1], atol=1e-4)
    assert torch.equal(other.synthesis.klt.patch.weight, network.synthesis.klt.patch.weight)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_run_of_the_synthesis_alone_leaves_everything_else_as_it_was(
    photos: Path, whole: Path, tmp_path: Path, optimizer: str
) -> None:
    better = tmp_path / "better"
    options = [*OPTIONS.split(), "--steps", 3, "--part", "synthesis", "--optimizer", optimizer]
    # Another distortion would change the steps of the quantization, and with them the packets.
    result = image("--data", photos, "--out", better, "--initial", whole, "--distortion", "ms-ssim", *options)
    assert result.exit_code == 0, result.output
    before = load_image_run(whole).network.state_dict()
    trained = checkpoint.read(better / "checkpoint.safetensors")
    for part in ("network", "average"):
        after = trained.part(part)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        learning = {name for name in before if name.startswith("synthesis.")}
        assert moved <= learning and len(moved) > 0.9 * len(learning), part
    lines = [json.loads(line) for line in (better / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["bpp"] == lines[0]["bpp"] and lines[-1]["decibels"] != lines[0]["decibels"]


@pytest.mark.slow
def test_the_synthesis_alone_learns_from_what_packets_hold_from_the_first_step_on(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", small_network(), {"data": {"train": photos}})  # its means are no whole sixteenths

    def after(part: str, exact_from: float) -> torch.Tensor:
        shape = {"width": 16, "hyper": 16, "lambdas": (0.002, 0.02, 0.2)}
        settings = ImageSettings(**{**SMALL, **shape}, steps=3, validations=1, part=part, exact_from=exact_from)
        out = tmp_path / f"{part}{exact_from}"
        train(settings, photos, out, initial=tmp_path / "run")
        return checkpoint.read(out / "checkpoint.safetensors").part("network")["synthesis.klt.patch.weight"]

    assert torch.equal(after("synthesis", 0), after("synthesis", 0.9))
    assert not torch.equal(after("all", 0), after("all", 0.9))


def test_a_run_of_the_synthesis_alone_needs_weights_and_their_trade_offs(photos: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", small_network(), {"data": {"train": photos}})
    alone = {"part": "synthesis", "width": 16, "hyper": 16, "steps": 1, "batch": 1}
    with pytest.raises(SettingsError, match="name them with --initial"):
        train(ImageSettings(**alone), photos, tmp_path / "better")
    with pytest.raises(SettingsError, match=r"expected --lambdas 0\.002,0\.02,0\.2$"):
        train(ImageSettings(**alone), photos, tmp_path / "better", initial=tmp_path / "run")
    narrower = ImageSettings(**{**alone, "width": 8}, lambdas=(0.002, 0.02, 0.2))
    with pytest.raises(SettingsError, match=r"expected --width 16$"):
        train(narrower, photos, tmp_path / "better", initial=tmp_path / "run")
    with pytest.raises(SettingsError, match="part"):
        ImageSettings(part="analysis")
    assert not (tmp_path / "better").exists()


def test_a_run_from_before_there_were_parts_trained_all(photos: Path, tmp_path: Path) -> None:
    document = write_run(tmp_path / "run", small_network(), {"data": {"train": photos}})
    del document["settings"]["part"]
    (tmp_path / "run/run.json").write_text(json.dumps(document))
    assert load_image_run(tmp_path / "run").provenance == document
    with pytest.raises(SettingsError, match="settings must be a JSON object, found list"):
        settings_of({"settings": []})


def test_bad_data_leaves_no_run_behind(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (255, 900)).save(tmp_path / "data/narrow.png")
    with pytest.raises(InputFileError, match="at least 256 x 256, found 1 smaller"):
        train(QUICK, tmp_path / "data", tmp_path / "run")
    (tmp_path / "data/broken.jpg").write_bytes(b"\xff\xd8nothing")
    (tmp_path / "data/narrow.png").unlink()
    with pytest.raises(InputFileError, match=r"broken\.jpg"):
        train(QUICK, tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_may_be_done_to_pictures_is_kept_for_resume(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.fromarray(picture(256, 272, seed=1)).save(tmp_path / "data/opaque.png")
    Image.new("RGBA", (300, 260), (9, 9, 9, 0)).save(tmp_path / "data/through.png")
    options = ["--data", tmp_path / "data", "--out", tmp_path / "run", *OPTIONS.split(), "--steps", "1"]
    assert isinstance(image(*options).exception, InputFileError)
    assert image(*options, "--background", "white").exit_code == 0
    document = read_document(tmp_path / "run")
    assert document["data"]["background"] == "white" and "depth" not in document["data"]
    assert image("--out", tmp_path / "run", "--resume", "--depth", "8").exit_code == 2
    checkpoint.write_json(tmp_path / "run/run.json", {**document, "finished": False, "metrics": None})
    assert resume(tmp_path / "run") == document


@pytest.mark.slow
def test_the_command_says_what_it_does_and_json_is_alone_on_stdout(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "more/small.png")
    Image.fromarray(picture(260, 260, seed=9)).save(tmp_path / "more/large.png")
    options = [*OPTIONS.split(), "--steps", "1", "--validation", photos, "--json"]
    result = image("--data", tmp_path / "more", "--out", tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["finished"] and document["settings"]["lambdas"] == [0.005, 0.05]
    assert "kMAC/px" in result.stderr and "1 skipped: smaller than a crop" in result.stderr
    assert "step 1: loss" in result.stderr
    assert image("--out", tmp_path / "run", "--resume", "--width", 8, "--threads", 2).exit_code == 0
    assert "1 steps" in image("--out", tmp_path / "run", "--resume").stdout
    assert isinstance(image("--out", tmp_path / "run", "--resume", "--steps", 9).exception, SettingsError)
    assert image("--out", tmp_path / "run", "--resume", "--initial", tmp_path / "run").exit_code == 2


def test_faults_of_the_caller_have_exit_codes(photos: Path, tmp_path: Path) -> None:
    def code(*arguments: object) -> int:
        return (
            CliRunner().invoke(main, ["train", "image", "--out", *map(str, (tmp_path / "run", *arguments))]).exit_code
        )

    assert code() == 2
    assert code("--data", photos, "--crop", 128) == 2
    assert code("--data", photos, "--budget", 5, "--width", 96) == 2
    assert code("--data", photos, "--budget", 0.01) == 2
    assert code("--data", tmp_path) == 3
    assert code("--resume") == 1
    assert code("--data", photos, "--initial", tmp_path / "none.safetensors") == 1
    if not torch.cuda.is_available():
        assert code("--data", photos, "--device", "cuda", "--width", 8) == 1
    assert not (tmp_path / "run").exists()
