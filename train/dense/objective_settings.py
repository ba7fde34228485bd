"""What each objective can be told; which there are is the table at the end. Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, get_args

from latentwire.train import bounds
from latentwire.train.errors import SettingsError


@dataclass(frozen=True)
class _Settings(bounds.Checked):
    """What the settings of every objective say beside them."""

    name: ClassVar[str]
    prior: ClassVar[Literal["normal"] | None] = None
    """`normal` where codes are matched to N(0, I), so that decoding draws of it generates items."""


@dataclass(frozen=True)
class SquaredErrorSettings(_Settings):
    """The squared error has nothing to set."""

    name = "mse"


@dataclass(frozen=True)
class RateSettings(_Settings):
    """Range and shape of the rate objective.

    Attributes:
        tradeoff: lambda at quality 0 and at quality 255, bits per squared error of items in [0, 1]. None derives it
            from the data: the range over which principal components alone would lose `loses` of the variance.
        loses: fraction of the variance lost at quality 0 and at quality 255, where `tradeoff` is None.
        knots: points of the curve of step sizes over quality.
        components: logistics in the prior of one channel.
        balance: exponent that keeps the highest rates from drowning the others; 0 for no weighting. An item's loss is
            weighted by (lambda / middle lambda)^-balance.
        focus: fraction of the items whose quality is drawn around `focus_at` (deviation 0.12) instead of uniformly.
        focus_at: the part of the quality scale that gets more practice, 0 for quality 0 and 1 for quality 255.
    """

    name = "rate"
    tradeoff: tuple[float, float] | None = None
    loses: tuple[float, float] = (0.7, 0.02)
    knots: Annotated[int, partial(bounds.require_at_least, 2)] = 8
    components: bounds.Count = 3
    balance: bounds.NotNegative = 0.5
    focus: bounds.Fraction = 0.5
    focus_at: bounds.Fraction = 0.5

    def __post_init__(self) -> None:
        """Refuses values outside their range, and ranges that do not rise in quality."""
        super().__post_init__()
        bounds.require_fraction(loses_at_lowest=self.loses[0], loses_at_highest=self.loses[1])
        bounds.require_above_zero(loses_at_highest=self.loses[1])
        if self.tradeoff is not None:
            bounds.require_above_zero(lambda_at_lowest=self.tradeoff[0], lambda_at_highest=self.tradeoff[1])
        if self.loses[0] <= self.loses[1] or (self.tradeoff and self.tradeoff[0] >= self.tradeoff[1]):
            raise SettingsError(
                "quality must rise: lambda LOW,HIGH with LOW below HIGH, lost variance LOW,HIGH with LOW above HIGH; "
                f"found lambda {self.tradeoff}, lost variance {self.loses}"
            )


@dataclass(frozen=True)
class DenoisingSettings(_Settings):
    """Noise on the way in.

    Attributes:
        noise: standard deviation of the Gaussian noise that the input gets, on the scale where items lie in [0, 1].
    """

    name = "denoising"
    noise: bounds.Positive = 0.3


@dataclass(frozen=True)
class VariationalSettings(_Settings):
    """The balance of reconstruction and prior.

    Attributes:
        beta: weight of the divergence from the prior (Higgins et al. 2017); 1 is the evidence lower bound.
    """

    name = "variational"
    prior = "normal"
    beta: bounds.NotNegative = 1.0


@dataclass(frozen=True)
class AdversarialSettings(_Settings):
    """The discriminator and its weight.

    Attributes:
        critic_hidden: widths of the discriminator's hidden layers.
        pull: weight of the loss that pulls codes towards the prior, against the squared error relative to the batch's
            variance.
        penalty: weight of the discriminator's squared slope at draws of the prior (Mescheder et al. 2018, "R1").
            Without it the discriminator becomes so steep that the encoder gives up and maps all items to one code.
    """

    name = "adversarial"
    prior = "normal"
    critic_hidden: bounds.Widths = (256, 256)
    pull: bounds.Positive = 0.1
    penalty: bounds.NotNegative = 1.0


ObjectiveSettings = SquaredErrorSettings | RateSettings | DenoisingSettings | VariationalSettings | AdversarialSettings
OBJECTIVES: Mapping[str, type[ObjectiveSettings]] = MappingProxyType(
    {kind.name: kind for kind in get_args(ObjectiveSettings)}
)
"""Settings by the objective's name."""


def settings_class(name: str) -> type[ObjectiveSettings]:
    """The class of the settings of the objective `name`; raises SettingsError for a name that there is not."""
    if name not in OBJECTIVES:
        raise SettingsError(f"objective must be one of {', '.join(OBJECTIVES)}, found {name!r}")
    return OBJECTIVES[name]
