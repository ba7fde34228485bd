"""A step that is recorded moves the weights as the step itself does."""

from __future__ import annotations

import pytest
import torch
from small_images import LAMBDAS, picture, small_network

from latentwire.train.image.loop import ImageLoop
from latentwire.train.image.optimizers import Optimizers
from latentwire.train.image.photos import Crops
from latentwire.train.image.settings import ImageSettings

SETTINGS = ImageSettings(lambdas=tuple(LAMBDAS), width=16, hyper=16, batch=2, exact_from=0.5, steps=12, warmup=4)


def test_a_learning_rate_in_a_tensor_moves_the_weights_as_a_number_does() -> None:
    ends = []
    for in_tensor in (False, True):
        network = small_network().requires_grad_(True).to(memory_format=torch.channels_last)
        optimizers = Optimizers(network, SETTINGS)
        if in_tensor:
            for optimizer in optimizers.parts.values():
                for group in optimizer.param_groups:
                    group["lr"] = torch.tensor(0.0)
        torch.manual_seed(5)
        for factor in (0.5, 1.0, 0.25):
            for parameter in network.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizers.set_rate(factor)
            optimizers.step()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    number, tensor = ends
    start = torch.cat([parameter.flatten() for parameter in small_network().parameters()])
    assert (number - start).abs().max() > 1e-4
    assert torch.allclose(number, tensor, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_recorded_steps_have_the_losses_of_steps_as_they_are() -> None:
    device = torch.device("cuda")
    photos = [torch.tensor(picture(256, 320, seed=k)).permute(2, 0, 1).contiguous() for k in range(3)]
    losses = []
    for recording in (False, True):
        loop = ImageLoop(small_network().requires_grad_(True), Crops(photos, 256, device), photos[:1], SETTINGS, device)
        loop.recording = recording
        losses.append([loop.step(step / SETTINGS.steps) for step in range(SETTINGS.steps)])
    assert len(set(losses[0])) == SETTINGS.steps
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
