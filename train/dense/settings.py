"""How a dense autoencoder is shaped and trained: settings that every objective shares. Nothing here needs torch."""

from dataclasses import dataclass
from typing import Literal

from latentwire.train.errors import SettingsError
from latentwire.train.settings import (
    Arithmetic,
    require_above_zero,
    require_at_least,
    require_choice,
    require_fraction,
    require_widths,
)

PresetName = Literal["keras", "torch", "codec"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast and from which seed.

    Attributes:
        epochs: passes over the training items.
        batch: items in one step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size at its peak.
        schedule: `constant`, or `cosine` from the peak down to `final_rate` of it at the end.
        final_rate: what is left of the learning rate at the end of the cosine schedule, a fraction of the peak.
        warmup: steps over which the learning rate rises linearly from zero; 0 for none.
        basis_rate: learning rate of layers that start from the data's principal components, relative to the others.
        objective_rate: learning rate of what the objective itself learns (prior, step sizes), relative to the
            network's.
        adam_epsilon: Adam's epsilon (PyTorch's default is 1e-8, Keras's 1e-7).
        clip: largest norm of one player's gradient; 0 for no limit.
        average: decay of the moving average of the weights, which is what the run hands on; 0 for the last weights.
        seed: seed of every random choice: weights, order of the items, noise.
        threads: threads that torch may use; results are reproducible for one and the same number.
        minutes: time box, 0 for none: the schedule then runs over the time, whichever of time and epochs ends first.
        checkpoint_steps: steps from one checkpoint to the next; there is one at the end of each epoch in any case.
        arithmetic: of matrix products and convolutions in training. `bfloat16` is several times as fast for
            convolutions on a processor that has it (AVX512-BF16, AMX); weights, losses and validation stay float32.
    """

    epochs: int = 10
    batch: int = 256
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    final_rate: float = 0.02
    warmup: int = 0
    basis_rate: float = 1.0
    objective_rate: float = 1.0
    adam_epsilon: float = 1e-8
    clip: float = 0.0
    average: float = 0.0
    seed: int = 0
    threads: int = 1
    minutes: float = 0.0
    checkpoint_steps: int = 500
    arithmetic: Arithmetic = "float32"

    def __post_init__(self) -> None:
        """Refuses values outside their range."""
        require_at_least(
            1, epochs=self.epochs, batch=self.batch, threads=self.threads, checkpoint_steps=self.checkpoint_steps
        )
        require_at_least(0, warmup=self.warmup, clip=self.clip, seed=self.seed, minutes=self.minutes)
        require_above_zero(learning_rate=self.learning_rate, adam_epsilon=self.adam_epsilon)
        require_above_zero(basis_rate=self.basis_rate, objective_rate=self.objective_rate)
        require_fraction(average=self.average, final_rate=self.final_rate)
        require_choice(Schedule, schedule=self.schedule)
        require_choice(Arithmetic, arithmetic=self.arithmetic)


Initialisation = Literal["glorot", "he", "torch"]
DecoderKind = Literal["layers", "pictures"]
Kind = Literal["plain", "residual"]
Activation = Literal["relu", "leaky-relu", "gelu", "silu", "tanh"]
CodeActivation = Literal["linear", "relu"]
OutputActivation = Literal["linear", "sigmoid"]


@dataclass(frozen=True)
class DenseSettings:
    """The shape of a dense autoencoder; the input width comes from the data.

    Attributes:
        network: `plain` or `residual`, see above.
        hidden: widths of the encoder's hidden layers, input side first.
        latent: width of the code, C.
        decoder: `layers`, or `pictures` for convolutions (only in `residual`, see pictures.py).
        decoder_hidden: widths of the decoder's hidden layers, code side first.
        maps: channels of a picture decoder at a quarter and at half of the size.
        blocks: residual convolutions of a picture decoder at a quarter and at half of the size.
        activation: after every hidden layer.
        code_activation: after the code; `residual` takes only `linear`.
        output_activation: after the output; `residual` takes only `linear`.
        initialisation: how the encoder's weights are drawn, see `network.initialise`.
        decoder_initialisation: how the decoder's are.
    """

    network: Kind
    hidden: tuple[int, ...]
    latent: int
    decoder_hidden: tuple[int, ...]
    activation: Activation = "relu"
    code_activation: CodeActivation = "linear"
    output_activation: OutputActivation = "linear"
    initialisation: Initialisation = "torch"
    decoder_initialisation: Initialisation = "torch"
    decoder: DecoderKind = "layers"
    maps: tuple[int, int] = (32, 32)
    blocks: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Refuses widths below one, unknown names and an activation on either end of a residual network."""
        require_at_least(1, latent=self.latent)
        require_widths(hidden=self.hidden, decoder_hidden=self.decoder_hidden)
        require_choice(Kind, network=self.network)
        require_choice(Activation, activation=self.activation)
        require_choice(CodeActivation, code_activation=self.code_activation)
        require_choice(OutputActivation, output_activation=self.output_activation)
        require_choice(Initialisation, initialisation=self.initialisation)
        require_choice(Initialisation, decoder_initialisation=self.decoder_initialisation)
        require_choice(DecoderKind, decoder=self.decoder)
        require_widths(maps=self.maps)
        require_at_least(0, blocks=min(self.blocks))
        if self.decoder == "pictures" and self.network != "residual":
            raise SettingsError("a decoder of pictures belongs to --network residual")
        if self.network == "residual" and (self.code_activation, self.output_activation) != ("linear", "linear"):
            raise SettingsError(
                "a residual network has a linear code and a linear output; choose --network plain for others"
            )
