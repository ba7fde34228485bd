"""A Lightning training that ends in a codec: `ExportCodec` exports the module when fitting has ended.

    python examples/lightning_callback.py codec

Any LightningModule will do that has `encode` and `decode`, or `encoder` and `decoder`. The codec is fitted to the
training data and verified on the validation data, on the CPU; the module stays as it was.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latentwire.export import export_codec


class ExportCodec(Callback):
    """Writes a bundle when fitting has ended.

    Args:
        out: folder of the bundle; one that is there is replaced.
        settings: of `export_codec`, such as ``precisions`` and ``input_range``.
    """

    def __init__(self, out: str | Path, **settings: Any) -> None:
        self.out, self.settings = Path(out), settings

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Export; only one process of several does."""
        if not trainer.is_global_zero:
            return
        module = copy.deepcopy(pl_module).cpu().eval()
        data, held = trainer.datamodule.train_dataloader(), trainer.datamodule.val_dataloader()
        training = {"trainer": "lightning", "epochs": trainer.current_epoch, "steps": trainer.global_step}
        exported = export_codec(
            module, data, self.out, holdout=held, training=training, overwrite=True, **self.settings
        )
        print(f"{exported.path}: codec {exported.codec_id[:16]}, {len(exported.parity['checks'])} parity checks passed")


class Autoencoder(lightning.LightningModule):
    """Digits of 8 x 8 pixels, [N, 1, 8, 8] in [0, 1], as 8 latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 8)
        )
        self.decoder = nn.Sequential(
            nn.Linear(8, 256), nn.ReLU(), nn.Unflatten(1, (16, 4, 4)), nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1)
        )

    def _error(self, batch: list[torch.Tensor]) -> torch.Tensor:
        (items,) = batch
        return nn.functional.mse_loss(self.decoder(self.encoder(items)), items)

    def training_step(self, batch: list[torch.Tensor], _index: int) -> torch.Tensor:
        """Mean squared error."""
        return self._error(batch)

    def validation_step(self, batch: list[torch.Tensor], _index: int) -> None:
        """The same, logged."""
        self.log("val_loss", self._error(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), 3e-3)


class Digits(lightning.LightningDataModule):
    """The digits that come with scikit-learn: 1437 to train with, 360 to validate on."""

    def setup(self, stage: str) -> None:
        """Read them."""
        items = (load_digits().images[:, None] / 16).astype(np.float32)
        self.train, self.val = (
            TensorDataset(torch.from_numpy(items[:1437])),
            TensorDataset(torch.from_numpy(items[1437:])),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return DataLoader(self.train, batch_size=64, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """In order."""
        return DataLoader(self.val, batch_size=64)


def main(out: str) -> None:
    """Train for a few seconds, and export."""
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ExportCodec(out, precisions=("fp32",), input_range=(0, 1))],
    )
    trainer.fit(Autoencoder(), datamodule=Digits())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "codec")
