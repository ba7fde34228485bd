"""Weights from one run to the next: of the same network or a wider one, for these or other trade-offs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentwire.train import checkpoint
from latentwire.train.errors import RunError
from latentwire.train.image.narrow import narrowed
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.transforms import PATCH
from latentwire.train.run import CHECKPOINT_FILE

PARTS = ("best", "average", "network")
"""Where weights are looked for in a checkpoint, the first that is there."""
BY_KNOT = ("log_gain", "prior.base", "prior.hyper_scale", "analysis.level_bias", "synthesis.level_bias")
"""Tensors [knots, ...] that belong to trade-offs."""


def read_weights(source: Path) -> dict[str, Tensor]:
    """The best averaged weights of a run folder or of a checkpoint; in one without them, the last ones.

    Raises:
        RunError: there is no checkpoint that can be read.
    """
    path = source / CHECKPOINT_FILE if source.is_dir() else source
    state = checkpoint.read(path)
    found = next((found for part in PARTS if (found := state.part(part))), {})
    # Weights from before patches overlapped call the basis of the synthesis by the layer it was then.
    return {name.replace("synthesis.klt.weight", "synthesis.klt.patch.weight"): value for name, value in found.items()}


def read_network(source: Path) -> ImageNetwork:
    """The trained network, in eval mode, parameters frozen; widths and trade-offs are read off its weights.

    Raises:
        RunError: there is no checkpoint that can be read, or it is another network's.
    """
    weights = read_weights(source)
    try:
        network = ImageNetwork(weights["lambdas"].tolist(), **shape_of(weights))
    except KeyError as fault:
        raise RunError(f"{source}: expected weights of an image network, found none of {fault}") from fault
    load_weights(network, weights, source)
    return network.eval().requires_grad_(False)


def shape_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings `shape`, `width` and `hyper` of an image network's weights.

    Raises:
        KeyError: they are no such weights.
    """
    sizes = {name: len(weights[f"hyper_analysis.net.{layer}.weight"]) for name, layer in (("width", 0), ("hyper", 4))}
    side = weights["analysis.klt.weight"].shape[-1]
    return {"shape": "blocks" if side == PATCH else "lapped", **sizes}


def is_wider(weights: Mapping[str, Tensor], width: int) -> bool:
    """Whether they are an image network's, and their encoder is wider."""
    try:
        return bool(shape_of(weights)["width"] > width)
    except KeyError:
        return False


def load_weights(network: ImageNetwork, weights: dict[str, Tensor], source: Path) -> None:
    """Set a network's weights.

    Raises:
        RunError: they are another network's; names what is missing, unknown or of another shape.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as fault:  # torch's word for tensors that are missing, unknown or of another shape
        raise RunError(f"{source}: expected weights of the network that is trained, found others: {fault}") from fault


def load_initial(network: ImageNetwork, source: Path) -> None:
    """Set a network's weights to another run's, moved to this network's trade-offs; a wider encoder's are narrowed.

    Raises:
        RunError: there are none, or they are of another shape.
    """
    weights = read_weights(source)
    width = network.analysis.first.out_channels
    if weights.keys() == network.state_dict().keys() and is_wider(weights, width):
        weights = narrowed(weights, width)
    before = weights.get("lambdas")
    if before is not None and before.ndim == 1 and len(before) > 1:
        after = network.lambdas.tolist()
        moved = {name: moved_knots(weights[name], before.tolist(), after) for name in BY_KNOT if name in weights}
        weights = {**weights, **moved, "lambdas": network.lambdas}
    load_weights(network, weights, source)


def moved_knots(values: Tensor, before: Sequence[float], after: Sequence[float]) -> Tensor:
    """Values [knots, C] at trade-offs ``before`` as values at ``after``.

    Linear in the logarithm of the trade-off, beyond the ends too: that is what the law of step sizes says of gains and
    of scales.
    """
    if list(before) == list(after) or len(values) != len(before):
        return values  # of another length than the trade-offs: refused when it is loaded
    at = [math.log(value) for value in before]
    rows = []
    for value in after:
        low = sum(math.log(value) >= knot for knot in at[1:-1])
        part = (math.log(value) - at[low]) / (at[low + 1] - at[low])
        rows.append(torch.lerp(values[low], values[low + 1], part))
    return torch.stack(rows)
