"""The image family's training loop: Adam on random crops, resumable at any checkpoint, judged on whole pictures.

Everything that the rest of a run depends on is in its checkpoint, the state of the random generators included: a run of
a number of steps that is killed and resumed ends with the same weights as one that was not (on one machine, with one
number of threads). A time-boxed run follows the clock instead.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from latentwire.train.checkpoint import Checkpoint
from latentwire.train.errors import DivergedError
from latentwire.train.image.network import Coded, ImageNetwork, squared_error
from latentwire.train.image.photos import Crops
from latentwire.train.image.settings import ImageSettings
from latentwire.train.image.validate import Point, rate_difference, similarity, validate

FINAL_RATE = 0.02
BALANCE = 0.25
"""Exponent that keeps the highest rates, whose losses are largest, from drowning the others."""
MS_SSIM_WORTH = 1280.0
"""Squared error that a loss of all MS-SSIM stands for."""
EARLY = 50
"""The moving average follows the weights faster at first: its decay is at most step / (step + EARLY)."""

Report = Callable[[str], None]


@dataclass
class Position:
    """How far the run is: JSON, in the checkpoint.

    Attributes:
        step: steps done.
        elapsed: seconds spent, counted only under a time box.
        first: the first validation, which later ones are compared with.
        best: the lowest rate difference to it so far.
        finished: whether the last step is done.
    """

    step: int = 0
    elapsed: float = 0.0
    first: list[list[float]] = field(default_factory=list)
    best: float = math.inf
    finished: bool = False


class ImageLoop:
    """Trains one network; `run` goes from wherever it stands to the end."""

    def __init__(
        self,
        network: ImageNetwork,
        crops: Crops,
        pictures: Sequence[Tensor],
        settings: ImageSettings,
        device: torch.device,
    ) -> None:
        """Takes a network with its first weights, and whole pictures uint8 [3, H, W] to judge it on."""
        self.settings, self.crops, self.pictures, self.device = settings, crops, pictures, device
        self.network = network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in torch's docs only
        self.network.train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        bases = [self.network.analysis.klt.weight, self.network.synthesis.klt.weight]
        others = [p for p in self.network.parameters() if all(p is not base for base in bases)]
        rate = settings.learning_rate
        groups = [{"params": others, "peak": rate}, {"params": bases, "peak": rate * settings.basis_rate}]
        self.optimizer = torch.optim.Adam(groups, lr=rate)
        self.generator = Generator().manual_seed(settings.seed)
        self.position = Position()

    def run(self, store: Callable[[Checkpoint], None], metrics: Path, report: Report) -> None:
        """Train to the end; store a checkpoint and append a line of metrics at each validation.

        Raises:
            DivergedError: a loss is not finite; the last checkpoint stays.
        """
        began = time.monotonic() - self.position.elapsed
        saved, losses = time.monotonic(), []
        while self.progress(time.monotonic() - began) < 1:
            losses.append(self.step(self.progress(time.monotonic() - began)))
            if time.monotonic() - saved > 60 * self.settings.checkpoint_minutes:
                self.close(began, losses, store, metrics, report)
                saved, losses = time.monotonic(), []
        self.position.finished = True
        self.close(began, losses, store, metrics, report)

    def progress(self, elapsed: float) -> float:
        """The share of the run that is done."""
        settings = self.settings
        by_steps = self.position.step / settings.steps if settings.steps else 0.0
        return max(by_steps, elapsed / 60 / settings.minutes) if settings.minutes else by_steps

    def step(self, done: float) -> float:
        """One step; returns its loss."""
        settings, step = self.settings, self.position.step
        warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
        cosine = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * warm * cosine
        image = self.crops.draw(settings.batch, self.generator)
        top = len(settings.lambdas) - 1
        level = (torch.rand(settings.batch, generator=self.generator) * top).to(self.device)
        # Knots themselves are practised in every other step: their ends would hardly ever be drawn.
        level = level.round() if step % 2 else level
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(0, 1 << 62, (1,), generator=self.generator)))
            coded = self.network(image, level, exact=done >= settings.exact_from)
        loss = self.loss(coded, image, level)
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self.optimizer.step()
        self.position.step += 1
        self.follow()
        return float(loss)

    def loss(self, coded: Coded, image: Tensor, level: Tensor) -> Tensor:
        """Bits per pixel + lambda * distortion, weighted so that all rates count alike."""
        trade_off = self.network.trade_off(level)
        rate = coded.bits / (image.shape[-1] * image.shape[-2])
        middle = self.settings.lambdas[len(self.settings.lambdas) // 2]
        return ((rate + trade_off * self.distortion(coded.image, image)) * (trade_off / middle) ** -BALANCE).mean()

    def distortion(self, restored: Tensor, image: Tensor) -> Tensor:
        """[B], in units of squared grey levels."""
        kind = self.settings.distortion
        error = squared_error(restored, image) if kind != "ms-ssim" else torch.zeros(len(image), device=self.device)
        if kind == "mse":
            return error
        loss = MS_SSIM_WORTH * (1 - similarity(restored.clamp(-0.5, 0.5), image))
        return loss if kind == "ms-ssim" else (error + loss) / 2

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the weights."""
        decay = min(self.settings.average, self.position.step / (self.position.step + EARLY))
        pairs = (list(self.average.parameters()), list(self.network.parameters()))
        torch._foreach_lerp_(*pairs, 1 - decay)

    def close(
        self, began: float, losses: Sequence[float], store: Callable[[Checkpoint], None], metrics: Path, report: Report
    ) -> None:
        """Validate the averaged weights, keep them if they are the best so far, store and note everything."""
        position, settings = self.position, self.settings
        if settings.minutes:
            position.elapsed = time.monotonic() - began
        exact = position.finished or self.progress(position.elapsed) >= settings.exact_from
        points = validate(self.average, self.pictures, settings.distortion, exact=exact)
        position.first = position.first or [[point.bpp, point.decibels] for point in points]
        difference = rate_difference([Point(*entry) for entry in position.first], points)
        # Weights that were never judged as integers are not handed on once there are others.
        if exact and difference <= position.best:
            position.best = difference
            self.best.load_state_dict(self.average.state_dict())
        elif not exact:
            self.best.load_state_dict(self.average.state_dict())
        store(self.checkpoint())
        loss = sum(losses) / len(losses) if losses else math.nan
        line = {
            "step": position.step,
            "loss": loss,
            "exact": exact,
            "bpp": [point.bpp for point in points],
            "decibels": [point.decibels for point in points],
            "rate_difference": difference,
        }
        with metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        report(f"step {position.step}: loss {loss:.4f}, rate {100 * difference:+.2f} % against the first validation")

    def checkpoint(self) -> Checkpoint:
        """Everything that the rest of the run depends on."""
        parts = {"network": self.network, "average": self.average, "best": self.best}
        tensors = {
            f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()
        }
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in values.items()}
        tensors["random"] = self.generator.get_state()
        return Checkpoint(tensors, vars(self.position).copy())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint of this very run was taken."""
        for part in ("network", "average", "best"):
            getattr(self, part).load_state_dict(checkpoint.part(part))
        state = self.optimizer.state_dict()
        values: dict[int, dict[str, Any]] = {}
        for name, tensor in checkpoint.part("optimizer").items():
            index, key = name.split(".")
            values.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({**state, "state": values})
        self.generator.set_state(checkpoint.tensors["random"])
        self.position = Position(**checkpoint.position)
