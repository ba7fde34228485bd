"""How a dense autoencoder is shaped and trained: settings that every objective shares. Nothing here needs torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from latentwire.train import bounds
from latentwire.train.errors import SettingsError
from latentwire.train.settings import Arithmetic

PresetName = Literal["keras", "torch", "codec"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class LoopSettings(bounds.Checked):
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

    epochs: bounds.Count = 10
    batch: bounds.Count = 256
    learning_rate: bounds.Positive = 1e-3
    schedule: Schedule = "constant"
    final_rate: bounds.Fraction = 0.02
    warmup: bounds.Natural = 0
    basis_rate: bounds.Positive = 1.0
    objective_rate: bounds.Positive = 1.0
    adam_epsilon: bounds.Positive = 1e-8
    clip: bounds.NotNegative = 0.0
    average: bounds.Fraction = 0.0
    seed: bounds.Natural = 0
    threads: bounds.Count = 1
    minutes: bounds.NotNegative = 0.0
    checkpoint_steps: bounds.Count = 500
    arithmetic: Arithmetic = "float32"


Initialisation = Literal["glorot", "he", "torch"]
DecoderKind = Literal["layers", "pictures"]
Kind = Literal["plain", "residual"]
Activation = Literal["relu", "leaky-relu", "gelu", "silu", "tanh"]
CodeActivation = Literal["linear", "relu"]
OutputActivation = Literal["linear", "sigmoid"]


@dataclass(frozen=True)
class DenseSettings(bounds.Checked):
    """The shape of a dense autoencoder; the input width comes from the data.

    Attributes:
        network: `plain` or `residual`, see above.
        hidden: widths of the encoder's hidden layers, input side first.
        latent: width of the code, C.
        decoder: `layers`, or `pictures` for convolutions (only in `residual`, see convolutions.py).
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
    hidden: bounds.Widths
    latent: bounds.Count
    decoder_hidden: bounds.Widths
    activation: Activation = "relu"
    code_activation: CodeActivation = "linear"
    output_activation: OutputActivation = "linear"
    initialisation: Initialisation = "torch"
    decoder_initialisation: Initialisation = "torch"
    decoder: DecoderKind = "layers"
    maps: Annotated[tuple[int, int], bounds.require_widths] = (32, 32)
    blocks: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Refuses values outside their range, and an activation on either end of a residual network."""
        super().__post_init__()
        bounds.require_at_least(0, blocks=min(self.blocks))
        if self.decoder == "pictures" and self.network != "residual":
            raise SettingsError("a decoder of pictures belongs to --network residual")
        if self.network == "residual" and (self.code_activation, self.output_activation) != ("linear", "linear"):
            raise SettingsError(
                "a residual network has a linear code and a linear output; choose --network plain for others"
            )
