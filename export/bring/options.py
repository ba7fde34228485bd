"""Options that all imports share: those of `export_codec`, by the same names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from latentwire.export.bring.recipe import take_recipe
from latentwire.runtime.cli import Option, json_option, option_group
from latentwire.runtime.files import read_items

Command = Callable[..., Any]

EXISTING = click.Path(exists=True, path_type=Path)
CHANNELS = ("first", "last")


def numbers(count: int | None = None) -> Callable[[Any], tuple[float, ...]]:
    """Numbers with commas between them, or a list of a recipe.

    Args:
        count: how many; any number of them if None.
    """

    def convert(value: Any) -> tuple[float, ...]:
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        wanted = f"{'' if count is None else f'{count} '}numbers with commas between them"
        try:
            found = tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            raise click.BadParameter(f"expected {wanted}, found {value!r}") from None
        if count not in (None, len(found)):
            raise click.BadParameter(f"expected {wanted}, found {value!r}")
        return found

    return convert


def names(value: Any) -> tuple[str, ...]:
    """Names with commas between them, or a list of a recipe."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise click.BadParameter(f"expected names with commas between them, found {value!r}")
    return tuple(part.strip() for part in parts if part.strip())


def place_or_name(value: Any) -> int | str:
    """The place or the name of an output."""
    text = str(value)
    return int(text) if text.removeprefix("-").isdigit() else text


def arguments(context: click.Context, _parameter: click.Parameter, told: Sequence[str]) -> dict[str, Any]:
    """``name=value`` by name, of the recipe and over it of the command line; values are JSON, or else text."""
    recipe = (context.default_map or {}).get("arguments", ())
    return dict(_argument(entry) for entry in (*recipe, *told))


def _argument(entry: str) -> tuple[str, Any]:
    name, mark, text = entry.partition("=")
    if not mark or not name.isidentifier():
        raise click.BadParameter(f"expected name=value, found {entry!r}")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


precision_option = click.option(
    "--precision", "precisions", type=names, default="fp32,int8", show_default=True, help="Variants to write."
)
holdout_option = click.option(
    "--holdout", type=EXISTING, help="Items to verify on; a part of the data is kept apart otherwise."
)


@dataclass(frozen=True)
class Codec:
    """What `export_codec` is told of a model and its items; see there. None leaves a thing to be found."""

    latent: int | str | None
    latents: str | None
    codebook: int | None
    vectors: Path | None
    planes: int | None
    input_range: tuple[float, float] | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    output_range: tuple[float, float] | None
    channels: str | None
    data_range: tuple[float, float] | None
    range_margin: float | None
    out_of_range: Any
    cast: bool
    steps: float | None
    dynamic: bool
    precisions: tuple[str, ...]
    holdout: Path | None

    def __post_init__(self) -> None:
        if self.codebook is not None and self.vectors is not None:
            raise click.UsageError("expected --codebook or --vectors, found both")

    def told(self) -> dict[str, Any]:
        """The arguments that are told, by name.

        Raises:
            InputFileError: the file of vectors cannot be read.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "vectors"}
        if self.vectors is not None:
            values["codebook"] = read_items(self.vectors)
        return {name: value for name, value in values.items() if value is not None}


codec_options = option_group(
    "codec",
    Codec,
    click.option(
        "--latent", type=place_or_name, help="Which of the encoder's outputs the latents are, if it has several."
    ),
    click.option("--latents", type=click.Choice(["indices"]), help="For encoders that return places in codebooks: VQ."),
    click.option("--codebook", type=click.IntRange(1), metavar="K", help="Of indices: the vectors of a codebook."),
    click.option("--vectors", type=EXISTING, help="Of indices: the codebooks, .npy [K, D] or [planes, K, D]."),
    click.option("--planes", type=int, metavar="AXIS", help="Of indices: the axis of the codebooks."),
    click.option(
        "--range", "input_range", type=numbers(2), metavar="LOW,HIGH", help="Where items lie for the encoder: -1,1."
    ),
    click.option("--mean", type=numbers(), metavar="M,...", help="Subtracted from the encoder's input; with --std."),
    click.option("--std", type=numbers(), metavar="S,...", help="What it is divided by then; one or one a channel."),
    click.option(
        "--output-range",
        type=numbers(2),
        metavar="LOW,HIGH",
        help="Where the decoder's output lies; as --range else.",
    ),
    click.option("--channels", type=click.Choice(CHANNELS), help="Which axis of latents shares tables."),
    click.option("--data-range", type=numbers(2), metavar="LOW,HIGH", help="Smallest and largest value of items."),
    click.option(
        "--range-margin", type=click.FloatRange(0), help="Of floats: how far others may lie beyond the data's."
    ),
    click.option(
        "--out-of-range", type=click.Choice(["error", "clip", "skip"]), help="What becomes of items that lie outside."
    ),
    click.option("--cast", is_flag=True, help="Take items of other dtypes (float64, int64) in one that a codec has."),
    click.option("--steps", type=float, help="One quantization step for all latents; 1 where they are whole numbers."),
    click.option("--dynamic", is_flag=True, help="Items of any size, where the networks take any; [N, C, ...]."),
    precision_option,
    holdout_option,
)


@dataclass(frozen=True)
class Result:
    """What becomes of the codec.

    Attributes:
        out: folder of the bundle.
        name: the codec's; the folder's if None.
        terms: of use, for the card.
        overwrite: replace a bundle that is there.
        check: write nothing.
        as_json: tell it as JSON.
    """

    out: Path | None
    name: str | None
    terms: str | None
    overwrite: bool
    check: bool
    as_json: bool

    def __post_init__(self) -> None:
        if self.out is None and not self.check:
            raise click.UsageError("Missing option '--out'.")


result_options = option_group(
    "result",
    Result,
    click.option("--out", "-o", type=click.Path(path_type=Path), help="Bundle folder to write."),
    click.option("--name", help="The codec's name; the folder's by default."),
    click.option("--terms", help="Terms of use, such as those of the weights, for the card."),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that is there."),
    click.option("--check", is_flag=True, help="Do everything but write, and print the report."),
    json_option(),
)
data_option = click.option(
    "--data", type=EXISTING, required=True, help="Items to fit tables to: .npy, a table, a folder of images."
)
recipe_option = click.option(
    "--recipe",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=take_recipe,
    help="TOML file of these options; the command line goes first.",
)


def shared(*own: Option) -> Option:
    """A command's own options, and after them those of `export_codec`."""
    return together(*own, data_option, codec_options, result_options, recipe_option)


def together(*options: Option) -> Option:
    """Options in the order of the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
