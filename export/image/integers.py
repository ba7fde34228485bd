"""From the trained torch modules to the integer layers of the graph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from latentwire.export.graph import Layer
from latentwire.export.image.tables import HYPER_ZERO, Network, Stage
from latentwire.train.image import ImageNetwork, IntegerConv, Prior
from latentwire.train.image import Stage as TorchStage


def network_of(prior: Prior) -> Network:
    """Hyper-synthesis and stages."""
    expand = [
        layer_of(layer, f"prior/expand.{i}", shuffled=True, zero=0 if i else HYPER_ZERO)
        for i, layer in enumerate(convolutions(prior.expand))
    ]
    return Network(tuple(expand), tuple(stage_of(stage, f"prior/stage.{i}") for i, stage in enumerate(prior.stages)))


def analysis_of(network: ImageNetwork) -> tuple[Layer, ...]:
    """The hyper-analysis."""
    found = convolutions(network.hyper_analysis.net)
    return tuple(layer_of(layer, f"prior/hyper.{i}") for i, layer in enumerate(found))


def convolutions(modules: Iterable[nn.Module]) -> list[IntegerConv]:
    """The integer layers among modules, in order."""
    return [module for module in modules if isinstance(module, IntegerConv)]


def stage_of(stage: nn.Module, name: str) -> Stage:
    """One group's layers; the head becomes two, as means and rows are used apart."""
    assert isinstance(stage, TorchStage)
    means = slice(0, stage.means)
    return Stage(
        channels=stage.channels,
        context=layer_of(stage.context, f"{name}.context") if stage.context is not None else None,
        hidden=layer_of(stage.hidden, f"{name}.hidden"),
        mean=layer_of(stage.head, f"{name}.mean", keep=means) if stage.means else None,
        row=layer_of(stage.head, f"{name}.row", keep=slice(stage.means, None)),
    )


def layer_of(
    layer: IntegerConv, name: str, *, shuffled: bool = False, zero: int = 0, keep: slice = slice(None)
) -> Layer:
    """The integers of a layer.

    Args:
        layer: the trained layer.
        name: prefix of its tables in the graph.
        shuffled: a pixel shuffle by 2 follows; outputs are then ordered by row, column, channel, not channel first.
        zero: the byte that stands for 0 in the input.
        keep: which outputs.
    """
    found = layer.integers()
    outputs = len(found.weight)
    order = (shuffle_order(outputs) if shuffled else torch.arange(outputs))[keep]
    return Layer(
        name,
        found.weight[order].contiguous().numpy(),
        found.bias[order].numpy().astype(np.int32),
        found.shift[order].numpy().astype(np.int32),
        stride=int(layer.stride[0]),
        zero=zero,
    )


def shuffle_order(outputs: int) -> torch.Tensor:
    """Indices that turn (channel, row, column) into (row, column, channel)."""
    return torch.arange(outputs).reshape(-1, 2, 2).permute(1, 2, 0).flatten()
