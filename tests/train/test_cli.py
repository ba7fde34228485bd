"""`latentwire train dense`."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from latentwire.runtime.errors import InputFileError
from latentwire.train import RunError, SettingsError, load_run
from latentwire.train.cli import train
from latentwire.train.dense.family import FAMILY
from latentwire.train.dense.objective_settings import OBJECTIVES
from latentwire.train.dense.settings import DenseSettings, LoopSettings
from latentwire.train.image.settings import ImageSettings
from latentwire.train.options import attribute_docs

SHORT = ["--epochs", "1", "--hidden", "16,8", "--latent", "4"]


@pytest.fixture
def data(digits, tmp_path: Path) -> Path:
    np.save(tmp_path / "digits.npy", digits.items[:300])
    return tmp_path / "digits.npy"


def dense(*arguments: object) -> Result:
    return CliRunner().invoke(train, ["dense", *map(str, arguments)])


def test_json_on_stdout_and_nothing_else(data: Path, tmp_path: Path) -> None:
    result = dense("--data", data, "--out", tmp_path / "run", "--range", "0,16", "--json", *SHORT)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["finished"] and document["objective"]["name"] == "rate" and document["preset"] == "codec"
    assert document["network"]["decoder_hidden"] == [8, 16]
    assert result.stderr == ""
    assert load_run(tmp_path / "run").contract.range == (0, 16)


def test_the_summary_names_the_scores(data: Path, tmp_path: Path) -> None:
    result = dense("--data", data, "--out", tmp_path / "run", "--preset", "torch", *SHORT)
    assert result.exit_code == 0 and "mse, 1 epochs, 3 steps" in result.stdout


def test_every_option_changes_its_setting(data: Path, tmp_path: Path) -> None:
    options = {
        **{"--epochs": "1", "--batch": "50", "--learning-rate": "0.002", "--schedule": "cosine", "--final-rate": "0.5"},
        **{"--warmup": "2", "--basis-rate": "0.3", "--objective-rate": "2", "--adam-epsilon": "1e-6", "--clip": "3"},
        **{"--average": "0.5", "--seed": "7", "--threads": "1", "--minutes": "5", "--checkpoint-steps": "2"},
        **{
            "--network": "residual",
            "--hidden": "9,8",
            "--latent": "5",
            "--decoder-hidden": "7",
            "--activation": "gelu",
        },
        **{
            "--code-activation": "linear",
            "--output-activation": "linear",
            "--initialisation": "glorot",
            "--decoder-initialisation": "he",
            "--decoder": "layers",
        },
        **{"--maps": "3,2", "--blocks": "2,0", "--focus": "0.4", "--focus-at": "0.3"},
        **{"--lambda": "1,90", "--loses": "0.5,0.1", "--knots": "5", "--components": "2", "--balance": "0.5"},
    }
    result = dense(
        "--data", data, "--out", tmp_path / "run", "--json", *(part for pair in options.items() for part in pair)
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    settings = {**document["network"], **document["objective"], **document["loop"]}
    for name, flag in ((option.name, option.opts[0]) for option in FAMILY.command.params):
        if flag in options:
            text = json.dumps(settings[name]).strip('[]"').replace(" ", "")
            numbers = [float(part) if part[0].isdigit() else part for part in text.split(",")]
            asked = [float(part) if part[0].isdigit() else part for part in options[flag].split(",")]
            assert numbers == asked, flag


def test_every_setting_is_an_option_with_a_help_text() -> None:
    """They are read off the classes, so what is left to guard is that each attribute is described."""
    for kind in (DenseSettings, LoopSettings, ImageSettings, *OBJECTIVES.values()):
        described = attribute_docs(kind)
        assert set(described) == {field.name for field in fields(kind)}
        assert all(text[0].isupper() and text.endswith(".") and len(text) < 120 for text in described.values()), (
            described
        )


def test_resume_takes_the_recorded_settings_and_refuses_others(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert dense("--data", data, "--out", out, *SHORT).exit_code == 0
    finished = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**finished, "finished": False, "metrics": None}))
    assert dense("--out", out, "--resume").exit_code == 0
    assert json.loads((out / "run.json").read_text()) == finished
    assert dense("--data", data, "--out", out, "--resume", *SHORT).exit_code == 0
    assert isinstance(dense("--out", out, "--resume", "--epochs", 2).exception, SettingsError)
    assert isinstance(dense("--out", out, "--resume", "--preset", "keras").exception, SettingsError)
    assert dense("--out", out, "--resume", "--range", "0,16").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "12;3"], "expected numbers with commas"),
        (["--lambda", "1,2,3"], "expected 2 numbers"),
        (["--objective", "psnr"], "'psnr' is not one of"),
    ],
)
def test_usage_errors(data: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = dense("--data", data, "--out", tmp_path / "run", *arguments)
    assert result.exit_code == 2 and message in result.stderr


def test_faults_of_the_caller_are_named_errors(data: Path, tmp_path: Path) -> None:
    assert dense("--out", tmp_path / "run").exit_code == 2
    missing = dense("--data", tmp_path / "none.npy", "--out", tmp_path / "run")
    assert isinstance(missing.exception, InputFileError)
    contradiction = dense("--data", data, "--out", tmp_path / "run", "--noise", 0.2)
    assert isinstance(contradiction.exception, SettingsError) and "rate has no setting noise" in str(
        contradiction.exception
    )
    assert isinstance(dense("--out", tmp_path / "run", "--resume").exception, RunError)
