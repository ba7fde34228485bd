"""The commands `import torch`, `import onnx` and `import compressai`. Heavy imports wait until a command runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentwire.export.bring.options import (
    EXISTING,
    Codec,
    Result,
    arguments,
    holdout_option,
    precision_option,
    recipe_option,
    result_options,
    shared,
    together,
)
from latentwire.export.bring.recipe import FOLDER, effective, kind_of
from latentwire.export.cli import show_stage
from latentwire.runtime.cli import ExampleCommand, tell

if TYPE_CHECKING:
    from latentwire.export.bring.work import Brought
    from latentwire.export.family import Exported


class RecipeGroup(click.Group):
    """A group whose command may be named by a recipe: ``import --recipe import.toml``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The recipe's kind is put first, where a recipe stands in a command's place."""
        if args and args[0].split("=")[0] == "--recipe":
            _, mark, path = args[0].partition("=")
            if mark or len(args) > 1:
                args = [kind_of(Path(path if mark else args[1]), self.list_commands(ctx)), *args]
        return super().parse_args(ctx, args)


@click.group("import", cls=RecipeGroup)
def bring() -> None:
    """Make a bundle of an autoencoder from elsewhere: a program's, or ONNX files.

    With --recipe FILE in a command's place, the command is the kind that the recipe names.
    """


@bring.command(
    "torch",
    cls=ExampleCommand,
    example="latentwire import torch networks:autoencoder --weights w.pt --data items.npy --range -1,1 --out codec",
)
@click.argument("model", metavar="MODULE:FACTORY")
@shared(
    click.option("--weights", type=EXISTING, help=".safetensors, or .pt, .pth, .pth.tar, .ckpt without any code."),
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        callback=arguments,
        metavar="NAME=VALUE",
        help="Of the factory; JSON.",
    ),
)
@click.pass_context
def from_torch(
    context: click.Context,
    model: str,
    weights: Path | None,
    arguments: Mapping[str, Any],
    data: Path,
    codec: Codec,
    result: Result,
    recipe: Path | None,
) -> None:
    """Call MODULE:FACTORY, a function or class of torch modules, and make a bundle of what it makes.

    MODULE is imported from the current directory, the recipe's folder or an installed package. The factory makes one
    model with both halves, or returns a pair (encoder, decoder).
    """
    from latentwire.export.bring.factory import importable, make_model
    from latentwire.export.bring.weights import load_weights
    from latentwire.export.bring.work import bring as run
    from latentwire.export.bring.work import exporter

    with importable([context.meta.get(FOLDER, Path()), Path()]):
        made = make_model(model, arguments)
        notes = load_weights(made, weights) if weights is not None else ("weights: those that the factory gave",)
        files = {} if weights is None else {"weights": weights}
        export = exporter(made, data, codec, result, show_stage)
        done = run(export, result, effective(context), files, notes)
    report(done, result)


@bring.command(
    "onnx",
    cls=ExampleCommand,
    example="latentwire import onnx --encoder e.onnx --decoder d.onnx --data items.npy --out codec",
)
@shared(
    click.option("--encoder", type=EXISTING, required=True, help="ONNX file, items to latents."),
    click.option("--decoder", type=EXISTING, required=True, help="ONNX file, latents to items."),
)
@click.pass_context
def from_onnx(
    context: click.Context,
    encoder: Path,
    decoder: Path,
    data: Path,
    codec: Codec,
    result: Result,
    recipe: Path | None,
) -> None:
    """Make a bundle of two ONNX files; needs no torch."""
    from latentwire.export.bring.work import bring as run
    from latentwire.export.bring.work import exporter

    export = exporter((encoder, decoder), data, codec, result, show_stage)
    done = run(export, result, effective(context), {"encoder": encoder, "decoder": decoder})
    report(done, result)


@bring.command(
    "compressai",
    cls=ExampleCommand,
    example="latentwire import compressai bmshj2018_hyperprior --weights w.pth.tar --data photos/ --out codec",
)
@click.argument("architecture")
@together(
    click.option("--weights", type=EXISTING, required=True, help="State dict of a model on which update() was called."),
    click.option("--data", type=EXISTING, required=True, help="Pictures, of at least 64 x 64: a folder of files."),
    precision_option,
    holdout_option,
    result_options,
    recipe_option,
)
@click.pass_context
def from_compressai(
    context: click.Context,
    architecture: str,
    weights: Path,
    data: Path,
    precisions: tuple[str, ...],
    holdout: Path | None,
    result: Result,
    recipe: Path | None,
) -> None:
    """Make a bundle of weights of CompressAI's: ARCHITECTURE is called as in its zoo. Needs no CompressAI.

    Architectures: bmshj2018_factorized (and _relu), bmshj2018_hyperprior, mbt2018_mean, and their _vbr forms.
    """
    from latentwire.export.bring.weights import read_state, unwrapped
    from latentwire.export.bring.work import bring as run
    from latentwire.export.compressai import export_compressai
    from latentwire.export.publish import Publication
    from latentwire.runtime.files import read_pictures

    state, notes = read_state(weights)

    def export(out: Path, name: str, training: Mapping[str, Any]) -> Exported:
        return export_compressai(
            unwrapped(state),
            read_pictures(data),
            out,
            architecture=architecture.replace("_", "-"),
            holdout=None if holdout is None else read_pictures(holdout),
            precisions=precisions,
            publication=Publication(name, training, {"data": data.name}, result.overwrite, show_stage),
        )

    report(run(export, result, effective(context), {"weights": weights}, notes), result)


def report(done: Brought, result: Result) -> None:
    """What was made, on stdout."""
    if result.as_json:
        tell(done.to_json())
    else:
        click.echo(done.render())
