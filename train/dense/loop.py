"""The training loop of the dense family: any autoencoder, any objective, resumable at any step.

Reproducible by construction: one generator, seeded by the run's seed, feeds weights and noise and is saved with every
checkpoint; the order of an epoch's items depends on nothing but seed and epoch. A run that is killed and resumed ends
with the same bytes as one that was not, and two runs of one seed (and one number of threads, on one machine) end with
the same bytes. The one exception is a run with a time box, whose schedule follows the clock.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from tqdm import tqdm

from latentwire.train.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from latentwire.train.dense.objective import Objective, Player, Scores
from latentwire.train.dense.settings import LoopSettings
from latentwire.train.errors import DivergedError
from latentwire.train.loops import Outputs, append_metrics, progress_bar, show_scores, threads

EVALUATION_BATCH = 1000


class Items(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """The number of items."""

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """The items at these indices, float32 [len(indices), ...] in [0, 1]."""


@dataclass
class Position:
    """How far the run is: all of it JSON, all of it in the checkpoint.

    Attributes:
        epoch: the epoch under way, from 0.
        taken: batches of it that are done.
        step: steps done in all.
        elapsed: seconds spent, counted only under a time box (a checkpoint must not depend on the clock otherwise).
        sums: sum over the epoch's batches so far of each score.
        finished: whether the last step is done.
    """

    epoch: int = 0
    taken: int = 0
    step: int = 0
    elapsed: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    finished: bool = False


class Loop:
    """Trains an objective's network on items; `run` goes from wherever it stands to the end."""

    def __init__(
        self, objective: Objective, items: Items, validation: Items | None, settings: LoopSettings, generator: Generator
    ) -> None:
        """Takes a started objective, and the generator that drew its weights, which goes on to draw the noise."""
        self.objective = objective
        self.items = items
        self.validation = validation
        self.settings = settings
        self.generator = generator
        self.position = Position()
        self.players = [(player, _optimizer(player, settings)) for player in objective.players()]
        self.parts: dict[str, nn.Module] = {"network": objective.network, "objective": objective}
        self.average = {name: value.detach().clone() for name, value in self._parameters()} if settings.average else {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the last one possibly small."""
        return math.ceil(len(self.items) / self.settings.batch)

    def run(self, outputs: Outputs) -> None:
        """Trains to the end, appending a line of metrics for each epoch and storing checkpoints on the way.

        Raises DivergedError where a loss is not finite; the last checkpoint stays.
        """
        total = self.steps_per_epoch * self.settings.epochs
        with threads(self.settings.threads), progress_bar(total, self.position.step) as bar:
            while not self.position.finished:
                self._epoch(outputs, bar)

    def checkpoint(self) -> Checkpoint:
        """Everything that the rest of the run depends on."""
        tensors = {
            f"{part}.{name}": value
            for part, module in self.parts.items()
            for name, value in module.state_dict().items()
        }
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for player, optimizer in self.players:
            tensors |= optimizer_tensors(f"optimizer.{player.name}", optimizer)
        tensors["random"] = self.generator.get_state()
        return Checkpoint(tensors, vars(self.position).copy())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to where the checkpoint was taken; its tensors must be of this very run's settings."""
        for part, module in self.parts.items():
            module.load_state_dict(checkpoint.part(part))
        self.average = checkpoint.part("average")
        for player, optimizer in self.players:
            restore_optimizer(optimizer, checkpoint.part(f"optimizer.{player.name}"))
        self.generator.set_state(checkpoint.tensors["random"])
        self.position = Position(**checkpoint.position)

    def _epoch(self, outputs: Outputs, bar: "tqdm[Any]") -> None:
        """The rest of the current epoch, its metrics and its checkpoint."""
        order = _order(len(self.items), self.settings.seed, self.position.epoch)
        began = time.monotonic() - self.position.elapsed
        while self.position.taken < self.steps_per_epoch and self._progress() < 1:
            start = self.position.taken * self.settings.batch
            scores = self._step(self.items.batch(order[start : start + self.settings.batch]))
            self._count(scores, time.monotonic() - began)
            show_scores(bar, scores)
            if self.position.step % self.settings.checkpoint_steps == 0:
                outputs.store(self.checkpoint())
        self._close_epoch(outputs)

    def _count(self, scores: dict[str, float], elapsed: float) -> None:
        position = self.position
        position.step += 1
        position.taken += 1
        position.elapsed = elapsed if self.settings.minutes else 0.0
        position.sums = {name: position.sums.get(name, 0.0) + value for name, value in scores.items()}

    def _close_epoch(self, outputs: Outputs) -> None:
        position = self.position
        line = {
            "epoch": position.epoch + 1,
            "step": position.step,
            "learning_rate": self.settings.learning_rate * self._rate_factor(),
            "train": {name: value / max(position.taken, 1) for name, value in position.sums.items()},
        }
        position.epoch, position.taken, position.sums = position.epoch + 1, 0, {}
        position.finished = self._progress() >= 1
        # The line goes first: after a kill between the two, `resume` drops lines that are ahead of the checkpoint.
        append_metrics(outputs.metrics, {**line, "validation": self.validate()})
        outputs.store(self.checkpoint())

    def _step(self, batch: Tensor) -> dict[str, float]:
        """One move of each player on the batch [N, ...]; the scores of all."""
        factor = self._rate_factor()
        shown: dict[str, float] = {}
        for player, optimizer in self.players:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.arithmetic == "bfloat16"):
                loss, scores = player.loss(batch, self.generator)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the loss of the {player.name} is {loss.item()} at step {self.position.step}: lower "
                    "--learning-rate, set --clip, and look at the data's range"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            if self.settings.clip:
                nn.utils.clip_grad_norm_(player.parameters(), self.settings.clip)
            optimizer.step()
            shown |= {"loss" if len(self.players) == 1 else f"{player.name}_loss": loss.item(), **_floats(scores)}
        self._follow()
        return shown

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average towards the weights; in the first steps faster, so that it forgets the start."""
        step = self.position.step
        decay = min(self.settings.average, (1 + step) / (10 + step))
        if self.average:
            for name, value in self._parameters():
                self.average[name].lerp_(value, 1 - decay)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within, the weights are their averages (where the run keeps them)."""
        kept = {name: value.detach().clone() for name, value in self._parameters()} if self.average else {}
        try:
            self._assign(self.average)
            yield
        finally:
            self._assign(kept)

    @torch.no_grad()
    def _assign(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters():
            if name in values:
                parameter.copy_(values[name])

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for part, module in self.parts.items():
            for name, parameter in module.named_parameters():
                yield f"{part}.{name}", parameter

    def _progress(self) -> float:
        """The part of the run that is done, by steps or by the clock, whichever is ahead."""
        done = self.position.step / (self.steps_per_epoch * self.settings.epochs)
        return max(done, self.position.elapsed / 60 / self.settings.minutes) if self.settings.minutes else done

    def _rate_factor(self) -> float:
        """The learning rate of the next step relative to its peak."""
        rise = min(1.0, (self.position.step + 1) / self.settings.warmup) if self.settings.warmup else 1.0
        if self.settings.schedule == "constant":
            return rise
        floor = self.settings.final_rate
        return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, self._progress()))))

    def validate(self) -> dict[str, float]:
        """The objective's measures over the validation items, means per item; empty where there are none."""
        if self.validation is None:
            return {}
        with self._averaged(), torch.no_grad():
            return measure(self.objective, self.validation)


def measure(objective: Objective, items: Items) -> dict[str, float]:
    """The objective's measures, as means over all items."""
    sums: dict[str, float] = {}
    for start in range(0, len(items), EVALUATION_BATCH):
        batch = items.batch(np.arange(start, min(start + EVALUATION_BATCH, len(items))))
        for name, value in objective.measure(batch).items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return {name: value / len(items) for name, value in sums.items()}


def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _optimizer(player: Player, settings: LoopSettings) -> torch.optim.Adam:
    relative = {"network": 1.0, "basis": settings.basis_rate, "objective": settings.objective_rate}
    groups = [
        {"params": group.parameters, "peak": settings.learning_rate * relative[group.rate]}
        for group in player.groups
        if group.parameters
    ]
    return torch.optim.Adam(groups, lr=settings.learning_rate, eps=settings.adam_epsilon)


def _floats(scores: Scores) -> dict[str, float]:
    return {name: value.item() for name, value in scores.items()}
