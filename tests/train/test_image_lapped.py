"""Bases and patches that overlap: what the start of training and the export rely on."""

import pytest
import torch
from small_images import LAMBDAS

from latentwire.export.image.transforms import AnalysisTransform, SynthesisTransform
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.transforms import (
    ACROSS,
    LAP,
    PATCH,
    Analysis,
    Patches,
    Synthesis,
    filter_across,
    folded,
    mirrored,
    warm_start,
)
from latentwire.train.image.weights import shape_of

SHAPES = ("lapped", "blocks")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_folding_is_the_transpose_of_mirroring() -> None:
    image, frame = torch.randn(2, 3, 16, 24), torch.randn(2, 3, 20, 28)
    assert torch.allclose((mirrored(image, 2) * frame).sum(), (image * folded(frame, 2)).sum(), rtol=1e-4)
    assert torch.equal(mirrored(image, 2)[..., 2:-2, 1], mirrored(image, 2)[..., 2:-2, 2])  # the outermost pixel, twice


def test_the_filter_across_borders_is_undone_by_that_of_the_synthesis() -> None:
    odd = torch.tensor(ACROSS)
    before, after = filter_across(odd), filter_across(torch.linalg.inv(odd).T)
    line = torch.randn(5 * PATCH)
    windows = mirrored(line[None, None, None].expand(1, 1, LAP, -1), LAP)[0, 0, LAP].unfold(0, PATCH + 2 * LAP, PATCH)
    canvas = torch.zeros(len(line) + 2 * LAP)
    for place, block in enumerate(windows @ before.T):
        canvas[place * PATCH : (place + 1) * PATCH + 2 * LAP] += block @ after
    inner = canvas[2 * LAP : -2 * LAP]
    assert torch.allclose(inner, line[LAP:-LAP], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_training_starts_with_perfect_reconstruction_to_the_border(shape: str) -> None:
    analysis, synthesis = Analysis(1, PATCH**2, 16, 2, shape), Synthesis(1, PATCH**2, 32, 2, shape)
    images, level = torch.rand(6, 1, 48, 64) - 0.5, torch.zeros(6)
    warm_start(analysis, synthesis, images)
    with torch.no_grad():
        assert torch.allclose(synthesis(analysis(images, level), level), images, atol=1e-5)
    # A quantization step costs the same in every channel.
    assert torch.allclose(synthesis.klt.patch.weight.flatten(1).norm(dim=0), torch.ones(PATCH**2), atol=1e-5)


def test_a_patch_reaches_into_its_neighbours_and_not_beyond_the_image() -> None:
    layer = Patches(1, 1, 8, 2, bias=False)
    torch.nn.init.ones_(layer.patch.weight)
    features = torch.zeros(1, 1, 3, 3)
    features[0, 0, 1, 1] = 1
    drawn = layer(features)[0, 0]
    assert drawn.shape == (24, 24) and drawn[6:18, 6:18].eq(1).all() and drawn.sum() == 144
    corner = torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 0] = 1
    assert layer(corner).sum() == 144  # what would lie outside is mirrored back


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_exported_transforms_are_those_that_were_trained(shape: str) -> None:
    network = ImageNetwork(LAMBDAS, hyper=16, width=16, shape=shape).eval()
    for parameter in network.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    picture, quality = torch.randint(0, 256, (64, 128, 3), dtype=torch.uint8), torch.tensor(255, dtype=torch.uint8)
    image, level = picture.permute(2, 0, 1)[None] / 255 - 0.5, torch.tensor([len(LAMBDAS) - 1.0])
    latents = network.analysis(image, level)
    assert torch.allclose(AnalysisTransform(network)(picture, quality), latents, atol=2e-3)
    restored = (network.synthesis(latents, level) * 255 + 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    assert torch.allclose(SynthesisTransform(network)(latents, quality[None]), restored, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_tell_their_shape(shape: str) -> None:
    network = ImageNetwork(LAMBDAS, hyper=16, width=24, shape=shape)
    assert shape_of(network.state_dict()) == {"shape": shape, "width": 24, "hyper": 16}
