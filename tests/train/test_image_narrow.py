"""Weights for a narrower encoder: what says nothing goes first, and nothing changes when that is all that goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_images import LAMBDAS, picture
from torch import nn

from latentwire.runtime.cli.group import main
from latentwire.train.errors import RunError
from latentwire.train.image.cost import cost_of, width_for
from latentwire.train.image.narrow import narrowed
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.run import new_network, read_image_document, write_run
from latentwire.train.image.settings import ImageSettings
from latentwire.train.image.weights import load_initial

WIDE, NARROW = 24, 16


@torch.no_grad()
def with_silent_channels() -> ImageNetwork:
    """A network of width 24 in which a third of the channels, drawn everywhere anew, is neither written to nor read."""
    torch.manual_seed(3)
    network = ImageNetwork(LAMBDAS, hyper=16, width=WIDE).eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():  # what starts as nothing would hide what is behind it
            parameter.normal_(0, 0.05)
    analysis, prior = network.analysis, network.prior
    quiet(
        WIDE,
        [analysis.first, analysis.net[0].spatial, analysis.net[0].project],
        [analysis.net[0].expand, analysis.net[1]],
    )
    for block in (analysis.net[2], analysis.net[3]):
        quiet(4 * WIDE, [block.expand], [block.project])
    inner = [analysis.net[2], analysis.net[3]]
    quiet(
        2 * WIDE,
        [analysis.net[1], *(part for block in inner for part in (block.spatial, block.project))],
        [*(block.expand for block in inner), analysis.net[4]],
    )
    quiet(2 * WIDE, [analysis.net[0].expand], [analysis.net[0].project])
    for layer in (0, 2):
        quiet(WIDE, [network.hyper_analysis.net[layer]], [network.hyper_analysis.net[layer + 2]])
    quiet(WIDE, [prior.expand[0]], [prior.expand[1]], rows=4)
    heads = [(stage.head, WIDE) for stage in prior.stages]
    quiet(WIDE, [prior.expand[1]], [*(stage.hidden for stage in prior.stages), *heads], rows=4)
    for stage in prior.stages:
        quiet(WIDE, [stage.hidden], [stage.head])
    return network


def quiet(count: int, written: list[nn.Conv2d], read: list[nn.Conv2d | tuple[nn.Conv2d, int]], rows: int = 1) -> None:
    """Set a third of ``count`` channels to zero in what writes and what reads them."""
    silent = torch.randperm(count)[: count // 3]
    for layer in written:
        for row in range(rows):
            layer.weight[silent * rows + row] = 0
            layer.bias[silent * rows + row] = 0
    for entry in read:
        layer, start = entry if isinstance(entry, tuple) else (entry, 0)
        layer.weight[:, silent + start] = 0


@pytest.mark.parametrize("exact", [False, True])
def test_channels_that_say_nothing_go_and_nothing_changes(exact: bool) -> None:
    wide = with_silent_channels()
    wide.analysis.level_bias[:, ~wide.analysis.first.weight.flatten(1).any(1)] = 0
    narrow = ImageNetwork(LAMBDAS, hyper=16, width=NARROW).eval().requires_grad_(False)
    narrow.load_state_dict(narrowed(wide.state_dict(), NARROW))
    image = torch.tensor(picture(128, 192)).permute(2, 0, 1)[None].float() / 255 - 0.5
    level = torch.tensor([1.3])
    first, second = (network(image, level, exact=exact, dead_zone=0.08) for network in (wide, narrow))
    assert first.bits > 1000
    assert first.image.std() > 0.05
    assert torch.allclose(first.bits, second.bits, rtol=1e-5)
    assert torch.allclose(first.image, second.image, atol=1e-4)


def test_the_loudest_channels_stay() -> None:
    wide = ImageNetwork(LAMBDAS, hyper=16, width=WIDE).state_dict()
    loud = torch.arange(WIDE) % 3 != 1
    wide["hyper_analysis.net.0.weight"][~loud] *= 0.1
    found = narrowed(wide, NARROW)
    assert torch.equal(found["hyper_analysis.net.0.weight"], wide["hyper_analysis.net.0.weight"][loud])
    assert found["hyper_analysis.net.2.weight"].shape == (NARROW, NARROW, 4, 4)
    assert torch.equal(found["synthesis.first.weight"], wide["synthesis.first.weight"])


def test_a_run_starts_from_wider_weights_but_not_from_narrower_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "wide", with_silent_channels(), {"data": {"train": "elsewhere"}})
    trade_offs = tuple(LAMBDAS)
    narrow = new_network(ImageSettings(lambdas=trade_offs, width=NARROW, hyper=16))
    load_initial(narrow, tmp_path / "wide")
    assert narrow.analysis.first.weight.abs().sum() > 0
    wider = new_network(ImageSettings(lambdas=trade_offs, width=32, hyper=16))
    with pytest.raises(RunError, match="found others"):
        load_initial(wider, tmp_path / "wide")


def test_a_run_has_the_widths_of_the_weights_it_starts_from(tmp_path: Path) -> None:
    write_run(tmp_path / "wide", with_silent_channels(), {"data": {"train": "elsewhere"}})
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture(256, 256)).save(tmp_path / "photos" / "only.png")

    def widths(out: str, *more: str) -> tuple[int, int]:
        command = ["train", "image", "--data", tmp_path / "photos", "--out", tmp_path / out, "--steps", 1, "--batch", 1]
        options = ["--initial", tmp_path / "wide", "--validations", 1, "--lambdas", "0.002,0.02,0.2", *more]
        result = CliRunner().invoke(main, [str(entry) for entry in (*command, *options)])
        assert result.exit_code == 0, result.output
        settings = read_image_document(tmp_path / out)["settings"]
        return settings["width"], settings["hyper"]

    assert widths("same") == (WIDE, 16)
    assert widths("narrower", "--width", str(NARROW)) == (NARROW, 16)
    budget = cost_of(ImageNetwork(LAMBDAS, hyper=16, width=NARROW)).device
    assert width_for(budget, ImageSettings().hyper) < NARROW, "the weights' hyper-latents leave more for the width"
    assert widths("budget", "--budget", repr(budget)) == (NARROW, 16)
