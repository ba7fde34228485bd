"""The family's room in the train layer: one command, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from latentwire.train import RunError, read_document
from latentwire_windows import NAME


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Windows [N, T, C], .npy.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder.")
@click.option("--steps", default=200, show_default=True, help="Steps of training.")
def windows(data: Path, out: Path, steps: int) -> None:
    """Windows of a signal."""
    out.mkdir(parents=True)
    document = {"schema": 1, "family": NAME, "data": str(data.resolve()), "steps": steps, "finished": False}
    (out / "run.json").write_text(json.dumps(document))
    click.echo(f"{out}: loss {FAMILY.resume(out, click.echo)['loss']:.4f}")


@dataclass(frozen=True)
class Family:
    """What `latentwire train` and the export layer ask for."""

    name: str = NAME
    command: click.Command = windows

    def load_run(self, folder: Path) -> Any:
        """(Encoder, decoder, run.json)."""
        import torch

        from latentwire_windows.networks import pair

        document = read_document(folder)
        if not document["finished"]:
            raise RunError(f"{folder} is not finished: continue it with `latentwire train resume {folder}`")
        encoder, decoder = pair(document["channels"])
        weights = torch.load(folder / "weights.pt", weights_only=True)
        encoder.load_state_dict(weights["encoder"])
        decoder.load_state_dict(weights["decoder"])
        return encoder, decoder, document

    def resume(self, folder: Path, report: Any) -> dict[str, Any]:
        """Trains from the start: a run takes seconds."""
        import torch

        from latentwire_windows.networks import fit, pair

        document = read_document(folder)
        items = np.load(document["data"])
        encoder, decoder = pair(items.shape[2])
        loss = fit(encoder, decoder, items, document["steps"])
        torch.save({"encoder": encoder.state_dict(), "decoder": decoder.state_dict()}, folder / "weights.pt")
        document |= {"finished": True, "loss": loss, "channels": items.shape[2], "length": items.shape[1]}
        (folder / "run.json").write_text(json.dumps(document))
        return document


FAMILY = Family()
