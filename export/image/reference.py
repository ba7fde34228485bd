"""The codec between its transforms as torch computes it: what fitting measures and what the graph is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from latentwire.export.image.tables import HYPER_PATCH, SIXTEENTHS
from latentwire.runtime.contract import QUALITIES
from latentwire.train.image import ImageNetwork, rounded_hyper

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pass:
    """One image at one quality: L latents at [h, w] positions, Z hyper-latents.

    rows int64, offset float32 (latent minus mean, in steps) and symbols int64 are [h, w, L], hyper int64
    [h / 4, w / 4, Z].
    """

    rows: npt.NDArray[np.int64]
    offset: Floats
    symbols: npt.NDArray[np.int64]
    hyper: npt.NDArray[np.int64]


def padded(image: Picture) -> torch.Tensor:
    """[H, W, 3] as the analysis transform's input: [1, 3, H', W'] in [-0.5, 0.5], edges repeated to multiples of 64."""
    height, width = image.shape[:2]
    margins = [(0, -height % HYPER_PATCH), (0, -width % HYPER_PATCH), (0, 0)]
    whole = torch.tensor(np.pad(image, margins, "edge")).permute(2, 0, 1)[None]
    return (whole.float() / 255 - 0.5).contiguous(memory_format=torch.channels_last)


def knobs_of(network: ImageNetwork) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Gains float32 [K, L] (sixteenths of a step per latent unit) and bases int32 [K, L] at the network's knots."""
    gain = np.exp(network.log_gain.detach().double().numpy()) * SIXTEENTHS
    base = np.floor(network.prior.base.detach().double().numpy() * SIXTEENTHS + 0.5)
    return gain.astype(np.float32), base.astype(np.int32)


def level_of(network: ImageNetwork, quality: int) -> torch.Tensor:
    """A quality's level between the network's knots, float32 [1]."""
    return torch.tensor([quality * (len(network.lambdas) - 1) / (QUALITIES - 1)])


@torch.no_grad()
def latents_of(network: ImageNetwork, image: Picture, quality: int) -> torch.Tensor:
    """Latents float32 [1, L, h, w] of a picture uint8 [H, W, 3], in grey levels."""
    return network.analysis(padded(image), level_of(network, quality))  # type: ignore[no-any-return]


@torch.no_grad()
def run(
    network: ImageNetwork,
    gain: Floats,
    base: npt.NDArray[np.int32],
    latents: torch.Tensor,
    rounding: Floats,
    coded: range,
    hyper_coded: npt.NDArray[np.bool_] | None = None,
) -> Pass:
    """Symbols of unscaled latents [1, L, h, w], computed as the graph computes them.

    Args:
        network: the torch side.
        gain: float32 [L], sixteenths of a step per latent unit.
        base: int32 [L], sixteenths of a row.
        latents: float32 [1, L, h, w].
        rounding: float32 [rows], added to magnitudes before they are cut off.
        coded: which rows; what belongs to one beyond them belongs to the last.
        hyper_coded: bool [Z], which hyper-latents are sent; all if None.
    """
    scaled = latents * torch.tensor(gain)[None, :, None, None]
    offsets_of_rows = torch.tensor(base / SIXTEENTHS, dtype=torch.float32)[None, :, None, None]
    hyper = rounded_hyper(network.hyper_analysis(scaled / SIXTEENTHS, exact=True))
    if hyper_coded is not None:
        hyper = hyper * torch.tensor(hyper_coded)[None, :, None, None]
    added, found = torch.tensor(rounding), list[tuple[torch.Tensor, ...]]()
    stages = network.prior.predictions(hyper, offsets_of_rows, exact=True)
    stage, mean, rows = next(stages)
    while True:
        offset = (scaled[:, stage.start : stage.start + stage.channels] - mean * SIXTEENTHS) / SIXTEENTHS
        index = rows.long().clamp(max=coded[-1])
        symbols = torch.floor(offset.abs() + added[index]) * offset.sign() * (index >= coded[0])
        found.append((index, offset, symbols))
        try:
            stage, mean, rows = stages.send(symbols + mean)
        except StopIteration:
            break
    index, offset, symbols = (channels_last(torch.cat(parts, 1)) for parts in zip(*found, strict=True))
    return Pass(index.numpy(), offset.numpy(), symbols.long().numpy(), channels_last(hyper).long().numpy())


def channels_last(planes: torch.Tensor) -> torch.Tensor:
    """[1, C, h, w] to [h, w, C]."""
    return planes[0].permute(1, 2, 0).contiguous()
