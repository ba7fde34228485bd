"""`latentwire import compressai`, as it is typed, with weights that CompressAI made."""

from __future__ import annotations

import json

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from latentwire.runtime import Decoder, Encoder, open_bundle
from latentwire.runtime.cli import main


def test_a_file_of_weights_becomes_a_bundle(case_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = case_of("FactorizedPrior")
    torch.save({"state_dict": {f"module.{name}": value for name, value in case.state.items()}, "epoch": 1}, "w.pth.tar")
    (tmp_path / "photos").mkdir()
    for place in range(4):
        picture = np.ascontiguousarray(np.roll(case.picture, 9 * place, 1)[:96, :128])
        Image.fromarray(picture).save(tmp_path / "photos" / f"{place}.png")
    asked = ["--weights", "w.pth.tar", "--data", "photos", "--precision", "fp32", "--out", "codec", "--json"]
    done = CliRunner().invoke(main, ["import", "compressai", "bmshj2018_factorized", *asked])
    assert done.exit_code == 0, done.output
    bundle = open_bundle("codec")
    assert json.loads(done.stdout)["codec_id"] == bundle.manifest.codec_id
    training = bundle.manifest.provenance.training
    assert training["import"] == {
        "kind": "compressai",
        "architecture": "bmshj2018_factorized",
        "weights": "w.pth.tar",
        "data": "photos",
        "precision": ["fp32"],
    }
    back = Decoder(bundle).decode(Encoder(bundle).encode(picture))
    assert back.shape == picture.shape
    wrong = CliRunner().invoke(main, ["import", "compressai", "cheng2020", *asked])
    assert wrong.exit_code == 1 and "already" in wrong.output
    wrong = CliRunner().invoke(main, ["import", "compressai", "cheng2020", *asked, "--check"])
    assert wrong.exit_code == 1 and "bmshj2018-hyperprior" in wrong.output
