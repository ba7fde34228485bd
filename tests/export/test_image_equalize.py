"""Channels of the analysis transform made about equally loud: the same latents in floats, better ones in int8."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from small_images import picture, small_network

from latentwire.export.image.codec import export_analysis
from latentwire.export.image.equalize import SHARE, SOFTEST, Value, equalized, watched
from latentwire.export.image.quantize import feeds, to_int8
from latentwire.export.image.transforms import AnalysisTransform
from latentwire.train.image.transforms import Block

PICTURES = [picture(128, 192, seed=60 + k) for k in range(4)]
LOUD = 64.0


def uneven() -> AnalysisTransform:
    """Every fourth channel of each value inside is so much louder than training would leave it."""
    network = small_network()
    with torch.no_grad():
        for layer in network.analysis.net:
            if isinstance(layer, Block):
                layer.project.weight.normal_(std=0.1)
        network.analysis.net[-1].weight.normal_(std=0.1)
    transform = AnalysisTransform(network)
    values, hooks = watched(transform)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for value in values:
            channels = value.written[-1][0].shape[value.written[-1][1]]
            value.powers = torch.where(torch.arange(channels) % 4 == 0, LOUD ** (-4 / SHARE), 1.0)
            value.scale()
    return transform


def latents(model: onnx.ModelProto) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"picture": PICTURES[0], "quality": np.asarray(128, np.uint8)}
    return session.run(None, feed)[0]


def loudness(transform: AnalysisTransform) -> list[torch.Tensor]:
    values, _ = watched(transform)
    for feed in feeds(PICTURES):
        transform(torch.tensor(feed["picture"]), torch.tensor(feed["quality"]))
    return [value.powers**0.25 for value in values]


def test_channels_become_alike_and_latents_stay() -> None:
    before, after = uneven(), equalized(uneven(), feeds(PICTURES))
    picture, quality = torch.tensor(PICTURES[0]), torch.tensor(128, dtype=torch.uint8)
    wanted = before(picture, quality)
    assert wanted.abs().max() > 100
    assert torch.allclose(after(picture, quality), wanted, rtol=0, atol=2e-3)
    for old, new in zip(loudness(before), loudness(after), strict=True):
        assert old.max() / old.median() > LOUD / 4
        assert new.max() == pytest.approx(float(old.max()), rel=1e-3)
        share = old / old.max()
        assert torch.allclose(new / new.max(), share * share.clamp_min(SOFTEST) ** -SHARE, rtol=1e-2)


def test_int8_loses_less() -> None:
    before = uneven()
    plain = export_analysis(before)
    exact = latents(plain)
    errors = [
        float(np.sqrt(np.square(latents(to_int8(model, PICTURES)) - exact).mean()))
        for model in (plain, export_analysis(equalized(before, feeds(PICTURES))))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_silent_channel_is_not_made_infinitely_loud() -> None:
    weight = torch.ones(3, 2)
    value = Value([(weight, 0)], powers=torch.tensor([16.0, 0.0, 1e-30]))
    value.scale()
    assert weight[:, 0].tolist() == pytest.approx([1.0, SOFTEST**-SHARE, SOFTEST**-SHARE])
    silent = Value([(weight, 0)], powers=torch.zeros(3))
    silent.scale()
    assert torch.isfinite(weight).all()
