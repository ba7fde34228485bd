"""What a finished run hands on: its best weights alone, an eighth of the size of what training keeps to resume."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentwire.train import checkpoint
from latentwire.train.checkpoint import Checkpoint
from latentwire.train.image.cost import cost_of
from latentwire.train.image.integer import IntegerConv
from latentwire.train.image.network import ImageNetwork
from latentwire.train.image.run import load_image_run, new_network, require_no_run, settings_of
from latentwire.train.image.weights import load_initial
from latentwire.train.run import CHECKPOINT_FILE, RUN_FILE, without_folders
from latentwire.train.settings import change, to_json

LARGE = 4096
"""Values from which on a convolution's weight is stored as float16."""


def compact(run: Path, out: Path, lambdas: Sequence[float] | None = None) -> dict[str, Any]:
    """Write a run folder with the best weights of another; returns the content of its run.json.

    It is exported, and gone on from with ``--initial``, as the run is; it cannot be resumed. Of the folders in run.json
    only the names remain.

    Args:
        run: the folder of a finished image run.
        out: the folder to write.
        lambdas: other trade-offs than it was trained for, as ``--initial`` moves weights to them.

    Raises:
        RunError: there is no finished image run, or ``out`` already holds a run.
        SettingsError: trade-offs are not rising numbers above 0.
    """
    require_no_run(out)
    trained = load_image_run(run)
    document: dict[str, Any] = without_folders(trained.provenance)
    network = trained.network
    if lambdas is not None:
        settings = change(settings_of(document), {"lambdas": tuple(lambdas)})
        network = new_network(settings)
        load_initial(network, run)
        document |= {"settings": to_json(settings), "cost": cost_of(network).to_json(), "metrics": None}
    out.mkdir(parents=True, exist_ok=True)
    weights = {f"best.{name}": value for name, value in rounded(network).items()}
    checkpoint.write(out / CHECKPOINT_FILE, Checkpoint(weights, {"finished": True}))
    checkpoint.write_json(out / RUN_FILE, document)  # last: without it there is no run
    return document


@torch.no_grad()
def rounded(network: ImageNetwork) -> dict[str, Tensor]:
    """Tensors by name, the weights of large convolutions as float16.

    Integer layers lose nothing: their weights become what the exported integers stand for, which float16 holds.
    """
    state = dict(network.state_dict())
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.weight.numel() < LARGE:
            continue
        if isinstance(layer, IntegerConv):
            weight = layer.on_grid()[0].half()
        else:
            # The basis of the synthesis makes 768 or more values of each latent: over these the errors are to cancel.
            along = 0 if name == "synthesis.klt.patch" else 1
            weight = half(layer.weight.flatten(1), along).reshape(layer.weight.shape)
        state[f"{name}.weight"] = weight
    return state


def half(matrix: Tensor, along: int) -> Tensor:
    """A float16 matrix, the rounding error of each value passed on to the next one along a dimension.

    Weights of flat filters are nearly equal: rounded one by one, all would be off the same way, and with them the gain.
    """
    out, carry = [], torch.zeros(())
    for values in matrix.unbind(along):
        out.append((values + carry).half())
        carry = values + carry - out[-1].float()
    return torch.stack(out, along)
