"""The image family's training loop: steps on random crops, resumable at any checkpoint, judged on whole pictures.

Everything that the rest of a run depends on is in its checkpoint, the state of the random generator included: a run of
a number of steps that is killed and resumed ends with the same bytes as one that was not (on one machine, with one
number of threads). A time-boxed run follows the clock instead.
"""

import copy
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from latentwire.train.checkpoint import Checkpoint
from latentwire.train.errors import DivergedError
from latentwire.train.image.captured import Captured, Update
from latentwire.train.image.distortion import DISTORTIONS, distortion, framed
from latentwire.train.image.network import DEAD_ZONE, Coded, ImageNetwork
from latentwire.train.image.optimizers import Optimizers
from latentwire.train.image.photos import Crops
from latentwire.train.image.settings import ImageSettings
from latentwire.train.image.validate import Point, rate_difference, validate
from latentwire.train.loops import Outputs, append_metrics, progress_bar, show_scores

FINAL_RATE = 0.02
EARLY = 50
"""The moving average follows the weights faster at first: its decay is at most step / (step + EARLY)."""


@dataclass
class Position:
    """How far the run is: JSON, in the checkpoint.

    Attributes:
        step: steps done.
        elapsed: seconds spent, counted only under a time box (a checkpoint must not depend on the clock otherwise).
        losses: sum of the losses since the last validation.
        counted: how many they are.
        first: the first validation, [bits per pixel, decibels] by level, which later ones are compared with.
        best: the lowest rate difference to it so far.
        finished: whether the last step is done.
    """

    step: int = 0
    elapsed: float = 0.0
    losses: float = 0.0
    counted: int = 0
    first: list[list[float]] = field(default_factory=list)
    best: float = 0.0
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
        self.network = network.to(device).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's types do not know it
        if settings.part == "synthesis":
            self.network.requires_grad_(False).synthesis.requires_grad_(True)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        self.optimizers = Optimizers(self.network, settings)
        # MS-SSIM draws its frame with numbers of Python, which a recording would repeat.
        self.recording = device.type == "cuda" and not DISTORTIONS[settings.distortion].structural
        self.updates: dict[tuple[bool, float | None], Update] = {}
        self.generator = Generator().manual_seed(settings.seed)
        self.position = Position()

    def run(self, outputs: Outputs) -> None:
        """Train to the end; judge the weights at the start, on the way and at the end, and store checkpoints.

        Raises:
            DivergedError: a loss is not finite; the last checkpoint stays.
        """
        position, settings = self.position, self.settings
        began, saved = time.monotonic() - position.elapsed, time.monotonic()
        with progress_bar(settings.steps or None, position.step) as bar:
            if not position.first:
                outputs.store(self.checkpoint())  # so that a run that is killed now need not find its start again
                self._judge(outputs)
            while not position.finished:
                show_scores(bar, {"loss": self.step(self.progress)})
                position.elapsed = time.monotonic() - began if settings.minutes else 0.0
                position.finished = self.progress >= 1
                late = time.monotonic() - saved > 60 * settings.checkpoint_minutes
                if position.finished or (late if settings.minutes else position.step % self._interval == 0):
                    self._judge(outputs)
                elif late:
                    outputs.store(self.checkpoint())
                else:
                    continue
                saved = time.monotonic()

    @property
    def progress(self) -> float:
        """The share of the run that is done, by steps or by the clock, whichever is ahead."""
        settings, position = self.settings, self.position
        by_steps = position.step / settings.steps if settings.steps else 0.0
        return max(by_steps, position.elapsed / 60 / settings.minutes) if settings.minutes else by_steps

    @property
    def _interval(self) -> int:
        """Steps from one validation to the next, without a time box."""
        return math.ceil(self.settings.steps / self.settings.validations)

    def step(self, done: float) -> float:
        """One step, ``done`` of the run being behind it; returns its loss."""
        image = self.crops.draw(self.settings.batch, self.generator)
        level = self._levels().to(self.device)
        self.optimizers.set_rate(self._rate_factor(done))
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(0, 1 << 62, (1,), generator=self.generator)))
            loss = self._updating(**self._rounding(done))(image, level).item()
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is {loss} at step {self.position.step}: lower --learning-rate, and look at the pictures"
            )
        return self._count(loss)

    def _updating(self, *, exact: bool, dead_zone: float | None = None) -> Update:
        """One update of the weights, with latents rounded so; on CUDA recorded once and replayed."""
        key = exact, dead_zone
        if key not in self.updates:
            update = partial(self._update, exact=exact, dead_zone=dead_zone)
            self.updates[key] = Captured(update) if self.recording else update
        return self.updates[key]

    def _update(self, image: Tensor, level: Tensor, *, exact: bool, dead_zone: float | None) -> Tensor:
        """Move the weights; returns the loss."""
        coarse = self.settings.arithmetic == "bfloat16"
        loss = self.loss(self.network(image, level, exact=exact, dead_zone=dead_zone, coarse=coarse), image, level)
        self.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        # MS-SSIM's slope is infinite where nothing of a crop's structure is left: one such crop must not end the run.
        # A recording cannot ask; the squared error has no such slopes.
        if self.recording or (torch.isfinite(norm) and torch.isfinite(loss)):
            self.optimizers.step()
        return loss.detach()

    def _rounding(self, done: float) -> dict[str, Any]:
        """How latents are rounded: from the first step on as in packets, where only what reads packets learns."""
        if self.settings.part == "synthesis":
            return {"exact": True, "dead_zone": DEAD_ZONE}
        return {"exact": done >= self.settings.exact_from}

    def _rate_factor(self, done: float) -> float:
        """The learning rate as a share of its peak: up over the warmup, level, then down along a cosine."""
        warmup, hold = self.settings.warmup, self.settings.hold
        warm = min(1.0, (self.position.step + 1) / warmup) if warmup else 1.0
        cooled = min(max(done - hold, 0.0) / (1 - hold), 1.0)
        return warm * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * cooled)) / 2)

    def _levels(self) -> Tensor:
        """Levels [batch] for a step: anywhere, or in every other step knots alone, whose ends are hardly ever drawn."""
        knots = len(self.settings.lambdas)
        drawn = torch.rand(self.settings.batch, generator=self.generator)
        return drawn * (knots - 1) if self.position.step % 2 else (drawn * knots).floor().clamp(max=knots - 1)

    def _count(self, loss: float) -> float:
        self.position.step += 1
        self.position.losses += loss
        self.position.counted += 1
        self._follow()
        return loss

    def loss(self, coded: Coded, image: Tensor, level: Tensor) -> Tensor:
        """Bits per pixel + lambda * distortion, weighted so that all rates count alike."""
        trade_off = self.network.trade_off(level)
        rate = coded.bits / (image.shape[-1] * image.shape[-2])
        middle = self.settings.lambdas[len(self.settings.lambdas) // 2]
        kind, seen = self.settings.distortion, [coded.image, image]
        if DISTORTIONS[kind].structural:
            seen = framed(seen, self.generator)
        balance = (trade_off / middle) ** -DISTORTIONS[kind].balance
        return ((rate + trade_off * distortion(kind, *seen)) * balance).mean()

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights."""
        decay = min(self.settings.average, self.position.step / (self.position.step + EARLY))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)

    def _judge(self, outputs: Outputs) -> None:
        """Validate the averaged weights as they would be exported, keep them if they are the best, store and note."""
        position = self.position
        points = validate(self.average, self.pictures, self.settings.distortion, exact=True)
        position.first = position.first or [[point.bpp, point.decibels] for point in points]
        difference = rate_difference([Point(*entry) for entry in position.first], points)
        if difference <= position.best:
            position.best = difference
            self.best.load_state_dict(self.average.state_dict())
        line: dict[str, Any] = {
            "step": position.step,
            "elapsed": position.elapsed,
            "loss": position.losses / position.counted if position.counted else None,
            "bpp": [point.bpp for point in points],
            "decibels": [point.decibels for point in points],
            "rate_difference": difference,
        }
        position.losses, position.counted = 0.0, 0
        # The line goes first: after a kill between the two, `resume` drops lines that are ahead of the checkpoint.
        append_metrics(outputs.metrics, line)
        outputs.store(self.checkpoint())
        with tqdm.external_write_mode(sys.stderr):
            outputs.report(_described(line))

    def checkpoint(self) -> Checkpoint:
        """Everything that the rest of the run depends on."""
        parts = {"network": self.network, "average": self.average, "best": self.best}
        tensors = {
            f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()
        }
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizers.tensors().items()}
        tensors["random"] = self.generator.get_state()
        return Checkpoint(tensors, vars(self.position).copy())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint of this very run was taken."""
        for part in ("network", "average", "best"):
            getattr(self, part).load_state_dict(checkpoint.part(part))
        self.optimizers.restore(checkpoint.part("optimizer"))
        self.updates.clear()  # recordings move what the optimizers had before
        self.generator.set_state(checkpoint.tensors["random"])
        self.position = Position(**checkpoint.position)


def _described(line: dict[str, Any]) -> str:
    """A line of metrics for a person."""
    points = ", ".join(f"{bpp:.3f}" for bpp in line["bpp"])
    quality = ", ".join(f"{decibels:.2f}" for decibels in line["decibels"])
    loss = "" if line["loss"] is None else f"loss {line['loss']:.4f}, "
    return (
        f"step {line['step']}: {loss}{points} bits per pixel at {quality} dB, "
        f"rate {100 * line['rate_difference']:+.2f} % against the first validation"
    )
