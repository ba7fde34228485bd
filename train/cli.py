"""`latentwire train`, one subcommand for each family, and `latentwire weights`.

Only click and the standard library are imported here; torch comes when a command runs.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with commas between them, as a tuple; `count` of them, or any number where it is None."""

    def __init__(self, kind: type[int] | type[float], count: int | None = None) -> None:
        """Takes the type of the numbers."""
        self.kind = kind
        self.count = count
        self.name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The tuple; an empty text is an empty tuple."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in value.split(",")) if value else ()
        except ValueError:
            self.fail(f"expected numbers with commas between them, found {value!r}", param, ctx)
        if self.count is not None and len(numbers) != self.count:
            self.fail(f"expected {self.count} numbers with a comma between them, found {value!r}", param, ctx)
        return numbers


WIDTHS, MAPS, PAIR = Numbers(int), Numbers(int, 2), Numbers(float, 2)
INITIALISATIONS = click.Choice(["glorot", "he", "torch"])
ACTIVATIONS = click.Choice(["relu", "leaky-relu", "gelu", "silu", "tanh"])

# Options by the settings they change: (flag, field, type, help). Unset options keep the preset's value.
LOOP_OPTIONS = (
    ("--epochs", "epochs", int, "Passes over the items."),
    ("--batch", "batch", int, "Items in a step."),
    ("--learning-rate", "learning_rate", float, "Adam's step size at its peak."),
    ("--schedule", "schedule", click.Choice(["constant", "cosine"]), "Course of the learning rate."),
    ("--final-rate", "final_rate", float, "What is left of the learning rate after the cosine, relative to the peak."),
    ("--warmup", "warmup", int, "Steps over which the learning rate rises."),
    ("--basis-rate", "basis_rate", float, "Relative learning rate of the layers that start from principal components."),
    ("--objective-rate", "objective_rate", float, "Relative learning rate of what the objective itself learns."),
    ("--adam-epsilon", "adam_epsilon", float, "Adam's epsilon."),
    ("--clip", "clip", float, "Largest norm of the gradient; 0 for no limit."),
    ("--average", "average", float, "Decay of the moving average of the weights; 0 for the last weights."),
    ("--seed", "seed", int, "Seed of every random choice."),
    ("--threads", "threads", int, "Threads for torch."),
    ("--minutes", "minutes", float, "Time box; the schedule follows the clock then."),
    ("--checkpoint-steps", "checkpoint_steps", int, "Steps from one checkpoint to the next."),
    ("--arithmetic", "arithmetic", click.Choice(["float32", "bfloat16"]), "Of products and convolutions in training."),
)
NETWORK_OPTIONS = (
    (
        "--network",
        "network",
        click.Choice(["plain", "residual"]),
        "Textbook layers, or principal components plus a residual.",
    ),
    ("--hidden", "hidden", WIDTHS, "Widths of the encoder's hidden layers, such as 256,128; '' for none."),
    ("--latent", "latent", int, "Width of the code."),
    (
        "--decoder-hidden",
        "decoder_hidden",
        WIDTHS,
        "Widths of the decoder's hidden layers; --hidden reversed if only that is given.",
    ),
    ("--decoder", "decoder", click.Choice(["layers", "pictures"]), "pictures: convolutions in a residual decoder."),
    ("--maps", "maps", MAPS, "Channels of a picture decoder at a quarter and at half of the size."),
    ("--blocks", "blocks", MAPS, "Residual convolutions of a picture decoder at a quarter and at half of the size."),
    ("--activation", "activation", ACTIVATIONS, "After every hidden layer."),
    ("--code-activation", "code_activation", click.Choice(["linear", "relu"]), "After the code."),
    ("--output-activation", "output_activation", click.Choice(["linear", "sigmoid"]), "After the output."),
    ("--initialisation", "initialisation", INITIALISATIONS, "How the encoder's weights are drawn."),
    ("--decoder-initialisation", "decoder_initialisation", INITIALISATIONS, "How the decoder's weights are drawn."),
)
OBJECTIVE_OPTIONS = (
    (
        "--lambda",
        "tradeoff",
        PAIR,
        "rate: LOW,HIGH bits per squared error at qualities 0 and 255; from the data if not given.",
    ),
    ("--loses", "loses", PAIR, "rate: fraction of variance that principal components lose at qualities 0 and 255."),
    ("--knots", "knots", int, "rate: points of the curve of step sizes over quality."),
    ("--components", "components", int, "rate: logistics in the prior of one channel."),
    ("--balance", "balance", float, "rate: exponent that keeps the highest rates from drowning the others."),
    ("--focus", "focus", float, "rate: fraction of the items that practise the qualities around --focus-at."),
    ("--focus-at", "focus_at", float, "rate: 0 for quality 0, 1 for quality 255."),
    ("--noise", "noise", float, "denoising: deviation of the noise, items in [0, 1]."),
    ("--beta", "beta", float, "variational: weight of the divergence from the prior."),
    ("--critic-hidden", "critic_hidden", WIDTHS, "adversarial: widths of the discriminator's hidden layers."),
    ("--pull", "pull", float, "adversarial: weight of the pull towards the prior."),
    ("--critic-penalty", "penalty", float, "adversarial: weight of the discriminator's slope at draws of the prior."),
)
Options = tuple[tuple[str, str, Any, str], ...]


def settings_options(options: Options) -> Callable[[Command], Command]:
    """A decorator that adds options whose value is None unless given."""

    def decorate(command: Command) -> Command:
        for flag, name, kind, text in reversed(options):
            command = click.option(flag, name, type=kind, default=None, help=text)(command)
        return command

    return decorate


def given(options: Options, values: dict[str, Any]) -> dict[str, Any]:
    """The options of one group that the user gave."""
    return {name: values[name] for _, name, _, _ in options if values[name] is not None}


@click.group()
def train() -> None:
    """Train an autoencoder: a run folder for `latentwire export`."""


@train.command()
@click.option(
    "--data",
    type=click.Path(resolve_path=True),
    help="IDX (plain or .gz), .npy, .npz, folder of images or of MNIST's files.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder.")
@click.option(
    "--preset", type=click.Choice(["keras", "torch", "codec"]), help="Defaults: a seed program, or the codec."
)
@click.option(
    "--objective",
    type=click.Choice(["mse", "rate", "denoising", "variational", "adversarial"]),
    help="What to minimise; the preset's (keras, torch: mse; codec: rate) if not given, and rate without a preset.",
)
@click.option("--range", "value_range", type=PAIR, help="LOW,HIGH of the values; from dtype or data if not given.")
@click.option(
    "--validation", help="Path of held-out items, or the fraction to hold back (MNIST's test images, else 0.1)."
)
@click.option("--limit", type=click.IntRange(1), help="Use only so many items.")
@click.option("--resume", is_flag=True, help="Continue the run in --out with the settings it was started with.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
@settings_options(NETWORK_OPTIONS)
@settings_options(OBJECTIVE_OPTIONS)
@settings_options(LOOP_OPTIONS)
def dense(
    data: str | None,
    out: Path,
    preset: Any,
    objective: str | None,
    value_range: tuple[float, float] | None,
    validation: str | None,
    limit: int | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Vectors: digits, sensor readings, embeddings. Items of more than one dimension are flattened."""
    network = _mirrored(given(NETWORK_OPTIONS, settings))
    own, loop = given(OBJECTIVE_OPTIONS, settings), given(LOOP_OPTIONS, settings)
    source = {"path": data, "validation": validation, "range": value_range, "limit": limit}
    source = {name: value for name, value in source.items() if value is not None}
    if resume:
        named = {"preset": preset, "objective": objective}
        asked = {name: value for name, value in named.items() if value is not None}
        document = _resume(out, {**asked, **network, **own, **loop}, source)
    else:
        document = _start(out, preset, objective, network, own, loop, source)
    click.echo(json.dumps(document, indent=2) if as_json else _summary(document, out))


IMAGE_OPTIONS = (
    ("--distortion", "distortion", click.Choice(["mse", "ms-ssim", "mix"]), "What is minimised beside the rate."),
    ("--part", "part", click.Choice(["all", "synthesis"]), "What learns; synthesis: packets stay the same."),
    ("--lambdas", "lambdas", Numbers(float), "Trade-off at each quality knot, rising; bits per pixel a squared level."),
    ("--width", "width", int, "Channels of the encoder's first layers; --budget picks it too."),
    ("--hyper", "hyper", int, "Channels of the hyper-latents."),
    ("--steps", "steps", int, "How many steps; 0 for as many as --minutes allows."),
    ("--minutes", "minutes", float, "Time box; the schedule follows the clock then."),
    ("--batch", "batch", int, "Crops in a step."),
    ("--crop", "crop", int, "Side of a crop in pixels, a multiple of 64 from 256."),
    ("--scales", "scales", Numbers(float), "Sizes at which the pictures are used, such as 1,0.8."),
    ("--optimizer", "optimizer", click.Choice(["muon", "adam"]), "Muon for the convolutions, or Adam for all."),
    ("--arithmetic", "arithmetic", click.Choice(["float32", "bfloat16"]), "Of the transforms in training."),
    ("--learning-rate", "learning_rate", float, "Size of a step at its peak."),
    ("--hold", "hold", float, "Share of the run before the learning rate begins to fall."),
    ("--basis-rate", "basis_rate", float, "Relative learning rate of the layers that start from the KLT."),
    ("--warmup", "warmup", int, "Steps over which the learning rate rises."),
    ("--clip", "clip", float, "Largest norm of the gradient."),
    ("--average", "average", float, "Decay of the moving average of the weights."),
    ("--exact-from", "exact_from", float, "Share of the run after which the probability model computes in integers."),
    ("--checkpoint-minutes", "checkpoint_minutes", float, "Time from one checkpoint to the next."),
    ("--validations", "validations", int, "How often a run of steps judges its weights; a time box: each checkpoint."),
    ("--validation-pictures", "validation_pictures", int, "How many whole pictures to judge the weights on."),
    ("--device", "device", click.Choice(["auto", "cpu", "cuda"]), "Where to train."),
    ("--seed", "seed", int, "Seed of every random choice."),
    ("--threads", "threads", int, "Threads for torch."),
)


@train.command()
@click.option("--data", type=click.Path(path_type=Path, resolve_path=True), help="Folder of pictures, any size.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The run folder.")
@click.option(
    "--validation",
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of other pictures to judge on; every 20th of --data is held back if not given.",
)
@click.option("--initial", type=click.Path(path_type=Path), help="Start from the weights of this run or checkpoint.")
@click.option(
    "--budget",
    type=float,
    help="Thousand multiply-accumulates per pixel that the device may spend; those of --initial, or 5, if not given.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out as it was started; --data, --validation, --device and --threads may be new.",
)
@click.option("--json", "as_json", is_flag=True, help="Print run.json instead of a summary.")
@settings_options(IMAGE_OPTIONS)
def image(
    data: Path | None,
    out: Path,
    validation: Path | None,
    initial: Path | None,
    budget: float | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Pictures of any size: one codec for all qualities."""
    if resume and initial is not None:
        raise click.UsageError("a run that is resumed has its weights: leave --initial away.")
    chosen = _image_settings(given(IMAGE_OPTIONS, settings), budget, initial)
    if resume:
        document = _resume_image(out, chosen, data, validation)
    else:
        document = _start_image(out, chosen, data, validation, initial)
    click.echo(json.dumps(document, indent=2) if as_json else _image_summary(document, out))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--lambdas", type=Numbers(float), help="Other trade-offs, between or beyond those it was trained for.")
def weights(run: Path, out: Path, lambdas: tuple[float, ...] | None) -> None:
    """Write the best weights of a finished image run alone, large ones as float16: to share, export, and go on from."""
    from latentwire.train.image.compact import compact

    compact(run, out, lambdas)
    click.echo(f"{out}: the weights of {run}")


def _image_settings(chosen: dict[str, Any], budget: float | None, initial: Path | None) -> dict[str, Any]:
    """The settings that the options stand for: weights or a budget for widths, a time box for no limit of steps."""
    from latentwire.train.image.cost import width_for
    from latentwire.train.image.settings import ImageSettings
    from latentwire.train.image.weights import read_weights, widths_of

    widths = {}
    if initial is not None:
        with contextlib.suppress(KeyError):  # weights of another network are refused by name, when they are loaded
            widths = widths_of(read_weights(initial))
    if budget is not None:
        if "width" in chosen:
            raise click.UsageError("--budget picks the width: give one of --budget and --width.")
        hyper = {"hyper": ImageSettings().hyper, **widths, **chosen}["hyper"]
        chosen = {**chosen, "width": width_for(budget, hyper)}
    chosen = {**widths, **chosen}
    return {"steps": 0, **chosen} if chosen.get("minutes") else chosen


def _start_image(
    out: Path, chosen: dict[str, Any], data: Path | None, validation: Path | None, initial: Path | None
) -> dict[str, Any]:
    from latentwire.train.image.run import train as train_run
    from latentwire.train.image.settings import ImageSettings

    if data is None:
        raise click.UsageError("Missing option '--data': the pictures to train on.")
    return train_run(ImageSettings(**chosen), data, out, validation=validation, initial=initial, report=_report)


def _resume_image(out: Path, chosen: dict[str, Any], data: Path | None, validation: Path | None) -> dict[str, Any]:
    from latentwire.train.image.run import read_image_document, settings_of
    from latentwire.train.image.run import resume as resume_run

    place = {name: chosen.pop(name, None) for name in ("device", "threads")}
    settings_of(read_image_document(out)).require_same(chosen)
    return resume_run(out, _report, data=data, validation=validation, **place)


def _report(line: str) -> None:
    """What happens goes to stderr: stdout is for the result."""
    click.echo(line, err=True)


def _image_summary(document: dict[str, Any], out: Path) -> str:
    metrics = document["metrics"]
    if metrics is None:
        return f"{out}: weights that were trained elsewhere"
    return (
        f"{out}: {document['settings']['distortion']}, {metrics['step']} steps, "
        f"rate {100 * metrics['rate_difference']:+.2f} % against the first validation"
    )


def _start(
    out: Path,
    preset: Any,
    objective: str | None,
    network: dict[str, Any],
    own: dict[str, Any],
    loop: dict[str, Any],
    source: dict[str, Any],
) -> dict[str, Any]:
    from latentwire.train.dense.data import DataRequest, load_split
    from latentwire.train.dense.recipe import dense_recipe
    from latentwire.train.dense.run import train as train_run

    if "path" not in source:
        raise click.UsageError("Missing option '--data': the items to train on.")
    split = load_split(DataRequest(**source, seed=loop.get("seed", 0)))
    recipe = dense_recipe(
        preset, objective, item_shape=split.train.item_shape, network=network, objective_settings=own, loop=loop
    )
    return train_run(recipe, split, out)


def _resume(out: Path, asked: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    from latentwire.train.dense.data import load_split
    from latentwire.train.dense.recipe import Recipe
    from latentwire.train.dense.run import recorded_request
    from latentwire.train.dense.run import resume as resume_run
    from latentwire.train.run import read_document

    document = read_document(out)
    Recipe.from_json(document).require_same(asked)
    request = recorded_request(document)
    if request != replace(request, **source):
        raise click.UsageError(f"a run is resumed on the data it was started on: {request}; leave the option away.")
    return resume_run(load_split(request), out)


def _mirrored(network: dict[str, Any]) -> dict[str, Any]:
    """The decoder's hidden layers follow the encoder's unless they are given too."""
    if "hidden" in network and "decoder_hidden" not in network:
        return {**network, "decoder_hidden": network["hidden"][::-1]}
    return network


def _summary(document: dict[str, Any], out: Path) -> str:
    metrics = document["metrics"]
    scores = metrics["validation"] or metrics["train"]
    shown = ", ".join(f"{name} {value:.5g}" for name, value in scores.items())
    return f"{out}: {document['objective']['name']}, {metrics['epoch']} epochs, {metrics['step']} steps\n{shown}"
