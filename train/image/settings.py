"""Every decision of an image run but its data, and how it is written to run.json."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Literal

from latentwire.train import bounds
from latentwire.train.errors import SettingsError
from latentwire.train.settings import Arithmetic, require_same

Device = Literal["auto", "cpu", "cuda"]
Optimizer = Literal["muon", "adam"]
Part = Literal["all", "synthesis"]
Shape = Literal["lapped", "blocks"]
Distortion = Literal["mse", "ms-ssim", "mix"]
AtLeastEight = Annotated[int, partial(bounds.require_at_least, 8)]
LAMBDAS = (0.0009, 0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.048, 0.09, 0.17, 0.33)
SMALLEST_CROP = 256


@dataclass(frozen=True)
class ImageSettings(bounds.Checked):
    """How an image codec is trained.

    Attributes:
        lambdas: one per quality knot, rising: the loss is bits per pixel + lambda * squared error in grey levels.
        shape: `lapped` bases and patches, which overlap; `blocks` is for weights from before they did.
        width: channels of the encoder's first layers, a multiple of 8.
        hyper: channels of the hyper-latents.
        distortion: `mse`; `ms-ssim`, (1 - MS-SSIM) * 2000 in place of the squared error; `mix`, the mean of both. With
            that factor one lambda means about the same slope of rate against distortion in all three.
        part: what learns: `all`, or `synthesis` alone. All else stays as it is then, and so do packets: a better
            decoder for encoders that are in use.
        batch: crops in a step.
        crop: side of the crops in pixels, a multiple of 64.
        scales: the pictures are used at each of these sizes.
        optimizer: `muon` takes Muon for the convolutions' matrices and Adam for everything else, `adam` Adam
            for all.
        arithmetic: of the transforms in training. `bfloat16` is faster where the processor has it.
        learning_rate: size of a step at its peak.
        hold: share of the run over which the learning rate stays at its peak, before a cosine takes it down to a
            fiftieth.
        basis_rate: learning rate of the layers that start from the KLT, relative to the others.
        warmup: steps over which the learning rate rises.
        clip: largest norm of the gradient.
        average: decay of the moving average of the weights, which is what the run hands on.
        exact_from: share of the run after which the probability model computes in integers.
        steps: how many; 0 for as many as the minutes allow.
        minutes: time box; 0 for none. The schedule follows whichever ends first.
        checkpoint_minutes: time from one checkpoint to the next; under a time box each one judges the weights.
        validations: how often a run of steps judges its weights, evenly spaced, besides the start. Not by the clock:
            which weights are the best must not depend on the machine's speed.
        validation_pictures: how many whole pictures are coded to judge the weights.
        device: `auto` takes CUDA where there is one.
        seed: of crops, weights and noise.
        threads: threads that torch may use.
    """

    lambdas: tuple[float, ...] = LAMBDAS
    shape: Shape = "lapped"
    width: AtLeastEight = 32
    hyper: AtLeastEight = 64
    distortion: Distortion = "mse"
    part: Part = "all"
    batch: bounds.Count = 4
    crop: int = SMALLEST_CROP
    scales: tuple[float, ...] = (1.0, 0.8)
    optimizer: Optimizer = "muon"
    arithmetic: Arithmetic = "float32"
    learning_rate: bounds.Positive = 5e-4
    hold: bounds.Fraction = 0.0
    basis_rate: bounds.Positive = 1 / 3
    warmup: bounds.Natural = 300
    clip: bounds.Positive = 1.0
    average: bounds.Fraction = 0.9985
    exact_from: bounds.Fraction = 0.25
    steps: bounds.Natural = 20_000
    minutes: bounds.NotNegative = 0.0
    checkpoint_minutes: bounds.Positive = 8.0
    validations: bounds.Count = 20
    validation_pictures: bounds.Count = 6
    device: Device = "auto"
    seed: bounds.Natural = 0
    threads: bounds.Count = 2

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        super().__post_init__()
        if self.width % 8:
            raise SettingsError(f"width must be a multiple of 8, found {self.width}")
        if self.crop < SMALLEST_CROP or self.crop % 64:
            raise SettingsError(
                f"crop must be a multiple of 64 from {SMALLEST_CROP}, found {self.crop}: in smaller ones the "
                "hyper-latents see padding more than picture, and whole pictures come out up to 40 % larger"
            )
        if len(self.lambdas) < 2 or min(self.lambdas) <= 0 or list(self.lambdas) != sorted(set(self.lambdas)):
            raise SettingsError(f"lambdas must be two or more numbers above 0, rising; found {self.lambdas}")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise SettingsError(f"scales must be numbers above 0 and up to 1, found {self.scales}")
        if not self.steps and not self.minutes:
            raise SettingsError("steps or minutes must say when to stop, found 0 for both")

    def require_same(self, asked: Mapping[str, Any]) -> None:
        """Raises SettingsError where a setting that was asked for, {name: value}, is not this run's own."""
        require_same({field.name: getattr(self, field.name) for field in fields(self)}, asked)
