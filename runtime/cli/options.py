"""What commands share: groups of options that hand their command one object, and help that opens with an example.

A group is a decorator, as an option is; groups stand in groups, so that the settings of a whole service are one object.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from latentwire.runtime.bundle import Trust
from latentwire.runtime.cli.documents import tell
from latentwire.runtime.contract import OUT_OF_RANGE
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import DEFAULT_BATCH, Encoder
from latentwire.runtime.errors import SettingError, about
from latentwire.runtime.families import STDIO, Decoded, Decoding, Encoded, Encoding, Outcome, Reading
from latentwire.runtime.files import PICTURE_FORMATS
from latentwire.runtime.session import AUTO, Asked, Profiles, parse_provider
from latentwire.runtime.wire import DEFAULT_OVERLAP, MAX_PIXELS

Command = Callable[..., Any]
Option = Callable[[Command], Command]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class ExampleCommand(click.Command):
    """A command whose help opens with an example.

    Args:
        example: a whole command line.
    """

    def __init__(self, *arguments: Any, example: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.example = example

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, then all that click writes."""
        formatter.write(f"Example: {self.example}\n\n")
        super().format_help(ctx, formatter)


def option_group(name: str, make: Callable[..., Any], *options: Option) -> Option:
    """Options whose values reach the command as one object.

    Args:
        name: the command's parameter that gets it.
        make: makes it of the values that are called like its own parameters.
        options: options, arguments and groups, in the order of the help; ``make`` also takes what others bring.
    """
    names = tuple(inspect.signature(make).parameters)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**values: Any) -> Any:
            own = {key: values.pop(key) for key in names if key in values}
            return command(**values, **{name: make(**own)})

        decorated: Command = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def json_option(what: str = "Print one JSON document.") -> Option:
    """``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=what)


@dataclass(frozen=True)
class Place:
    """Where models run.

    Args:
        variant: of the transforms; what the bundle or the provider says if None.
        providers: as an `Encoder` takes them.
        profile: session options.
        signed_by: the public key that their bundle has to be signed with; None for any bundle.
    """

    variant: str | None = None
    providers: Asked = None
    profile: str = "device"
    signed_by: Path | None = None

    @property
    def trust(self) -> Trust:
        """What a bundle has to be."""
        return Trust(signed_by=self.signed_by)

    def encoder(self, codec: str) -> Encoder:
        """The codec's encoder, there."""
        with about(codec):
            return Encoder(
                codec, variant=self.variant, providers=self.providers, profile=self.profile, trust=self.trust
            )

    def decoder(self, codec: str) -> Decoder:
        """The codec's decoder, there."""
        with about(codec):
            return Decoder(
                codec, variant=self.variant, providers=self.providers, profile=self.profile, trust=self.trust
            )


def placed(
    providers: Sequence[str], signed_by: Path | None, variant: str | None = None, profile: str = Place.profile
) -> Place:
    """A place as the options name it."""
    asked: Asked = AUTO if list(providers) == [AUTO] else [parse_provider(text) for text in providers] or None
    return Place(variant, asked, profile, signed_by)


signature_option = click.option(
    "--require-signature",
    "signed_by",
    type=FILE,
    metavar="KEY",
    help="Load only bundles that are signed with this public key, PEM.",
)


def place_options(
    *,
    variant: str | None = "Variant of the transform; the bundle's default otherwise.",
    where: str = "Where the transforms run: cpu, cuda, ..., with options as openvino:device_type=GPU, or auto.",
    profile: bool = True,
) -> Option:
    """``place``, of every command that runs models.

    Args:
        variant: help of the option; None for a command that runs all variants.
        where: help of the option --provider.
        profile: whether the command leaves the profile to its user.
    """
    profiles = click.Choice([profile.name.lower() for profile in Profiles])
    options = [click.option("--provider", "providers", multiple=True, help=where)]
    if variant is not None:
        options.insert(0, click.option("--variant", help=variant))
    if profile:
        options.append(
            click.option("--profile", type=profiles, default=Place.profile, show_default=True, help="Session options.")
        )
    options.append(signature_option)
    return option_group("place", placed, *options)


def reading(raw: bool, background: str | None, depth: str | None, columns: str | None) -> Reading:
    """How what comes in is read, as the options name it."""
    chosen = () if columns is None else tuple(name.strip() for name in columns.split(","))
    return Reading(raw, background, None if depth is None else int(depth), chosen)


out_of_range_option = click.option(
    "--out-of-range",
    type=click.Choice(OUT_OF_RANGE),
    default=OUT_OF_RANGE[0],
    show_default=True,
    help="Items with values out of the codec's range: refuse, move them into it, or leave those items out.",
)
reading_options = option_group(
    "reading",
    reading,
    click.option("--raw", is_flag=True, help="Values without a header arrive on stdin."),
    click.option("--background", help="Pictures: the colour behind alpha (white, #204060); refused otherwise."),
    click.option("--depth", type=click.Choice(["8"]), help="Pictures: keep the upper 8 of 16 bits; refused otherwise."),
    click.option("--columns", metavar="NAME,...", help="Tables: an item's values, by name or place; all otherwise."),
)
encoding_options = option_group(
    "encoding",
    Encoding,
    click.option("--quality", "-q", type=click.IntRange(0, 255), help="Rate knob; the codec's default otherwise."),
    click.option("--max-bytes", type=click.IntRange(1), help="Take the highest quality whose packets are no longer."),
    click.option(
        "--batch", type=click.IntRange(1), default=DEFAULT_BATCH, show_default=True, help="Items in a packet."
    ),
    click.option("--packet", "bare", is_flag=True, help="Write all items as one packet without a frame."),
    click.option(
        "--tile", type=click.IntRange(1), help="Pictures: cut those with a longer side into tiles of this side."
    ),
    click.option(
        "--overlap", type=click.IntRange(0), default=DEFAULT_OVERLAP, show_default=True, help="Of tiles; pixels."
    ),
    out_of_range_option,
    reading_options,
)
decoding_options = option_group(
    "decoding",
    Decoding,
    # Not a choice of click's: which formats there are is for the codec's family to say, which is not known yet.
    click.option(
        "--format", "form", metavar=f"[{'|'.join(PICTURE_FORMATS)}]", help="By OUT's suffix otherwise; npy on stdout."
    ),
    click.option(
        "--max-packet", type=click.IntRange(15), help="Longest packet, in bytes; 16 MiB or the largest picture."
    ),
    click.option(
        "--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Of tiled pictures."
    ),
    click.option("--packet", "bare", is_flag=True, help="One packet without a frame arrives on stdin."),
)


@dataclass(frozen=True)
class Output:
    """Where results go, and how they are told of.

    Raises:
        SettingError: JSON and data would share stdout, or data would go to a terminal.
    """

    out: str
    as_json: bool

    def __post_init__(self) -> None:
        if self.as_json and self.out == STDIO:
            raise SettingError("--json prints on stdout, where the data goes: name a file with --out")
        if is_terminal(self.out):
            raise SettingError(
                "expected a file or a pipe for the result, found a terminal, which does not show bytes: name a file "
                "with --out, or pipe them on"
            )

    def report(self, outcome: Outcome[Encoded] | Outcome[Decoded], facts: dict[str, Any]) -> None:
        """What was done: for programs on stdout, for a person on stderr.

        Raises:
            LatentwireError: not all of it could be done, see `Outcome.raise_on_failure`.
        """
        if self.as_json:
            tell(facts | outcome.to_json())
        elif told := outcome.render():
            click.echo(told, err=True)
        outcome.raise_on_failure()


def is_terminal(target: str) -> bool:
    """Whether a result would be shown on a terminal: stdout is one, also under a name such as /dev/stdout."""
    if not sys.stdout.isatty():
        return False
    try:
        return target == STDIO or os.path.samestat(os.stat(target), os.fstat(sys.stdout.fileno()))
    except OSError:
        return False


def file_options(settings: Option) -> Option:
    """What encode and decode take: CODEC, INPUT, their own settings, where models run and where results go."""
    options = (
        click.argument("codec"),
        click.argument("input", type=click.Path(exists=True, allow_dash=True)),
        settings,
        place_options(),
        output_options,
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


output_options = option_group(
    "output",
    Output,
    click.option("--out", "-o", default=STDIO, help="File, or folder if INPUT is one; stdout by default."),
    json_option("Print what was done as one JSON document on stdout."),
)
