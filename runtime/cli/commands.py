"""The runtime's own commands: encode, decode, inspect, selftest, doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from latentwire.runtime.cli.jobs import STDIO, Decoded, DecodeJob, Encoded, EncodeJob
from latentwire.runtime.cli.picture_jobs import PictureDecodeJob, PictureEncodeJob
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.doctor import diagnose
from latentwire.runtime.encoder import DEFAULT_BATCH, Encoder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.files.formats import PICTURE_FORMATS
from latentwire.runtime.files.images import PictureOptions
from latentwire.runtime.files.results import FORMATS
from latentwire.runtime.inspection import inspect_bytes, inspect_path
from latentwire.runtime.selftest import selftest as run_selftest
from latentwire.runtime.session.profiles import Profiles
from latentwire.runtime.session.providers import AUTO, Asked, parse_provider
from latentwire.runtime.wire.mosaic import MAX_PIXELS
from latentwire.runtime.wire.tiles import DEFAULT_OVERLAP

Command = TypeVar("Command", bound=Callable[..., Any])


def asked(providers: Sequence[str]) -> Asked:
    """Providers as the options name them."""
    if not providers:
        return None
    return AUTO if list(providers) == [AUTO] else [parse_provider(text) for text in providers]


def place_options(command: Command) -> Command:
    """The options of every command that runs models."""
    profiles = click.Choice([profile.name.lower() for profile in Profiles])
    where = "Where the transforms run: cpu, cuda, ..., with options as openvino:device_type=GPU, or auto."
    for option in (
        click.option("--profile", type=profiles, default="device", show_default=True, help="Session options."),
        click.option("--provider", "providers", multiple=True, help=where),
    ):
        command = option(command)
    return command


def codec_options(command: Command) -> Command:
    """The options that encode and decode share."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON document on stdout."),
        place_options,
        click.option("--variant", help="Variant of the transform; the bundle's default otherwise."),
        click.option("--out", "-o", default=STDIO, help="File, or folder if INPUT is one; stdout by default."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("codec")
@click.argument("input", type=click.Path(exists=True, allow_dash=True))
@click.option("--quality", "-q", type=click.IntRange(0, 255), help="Rate knob; the codec's default otherwise.")
@click.option("--max-bytes", type=click.IntRange(1), help="Take the highest quality whose packets are no longer.")
@click.option("--batch", type=click.IntRange(1), default=DEFAULT_BATCH, show_default=True, help="Items in a packet.")
@click.option("--packet", "bare", is_flag=True, help="Write all items as one packet without a frame.")
@click.option("--raw", is_flag=True, help="Values without a header arrive on stdin.")
@click.option("--tile", type=click.IntRange(1), help="Pictures: cut those with a longer side into tiles of this side.")
@click.option("--overlap", type=click.IntRange(0), default=DEFAULT_OVERLAP, show_default=True, help="Of tiles; pixels.")
@click.option("--background", help="Pictures: the colour behind alpha (white, #204060); refused otherwise.")
@click.option("--depth", type=click.Choice(["8"]), help="Pictures: keep the upper 8 of 16 bits; refused otherwise.")
@codec_options
def encode(
    codec: str,
    input: str,
    quality: int | None,
    max_bytes: int | None,
    batch: int,
    bare: bool,
    raw: bool,
    tile: int | None,
    overlap: int,
    background: str | None,
    depth: str | None,
    out: str,
    variant: str | None,
    providers: tuple[str, ...],
    profile: str,
    as_json: bool,
) -> None:
    """Encode INPUT with CODEC into a stream of packets.

    CODEC is a bundle, an encoder's ONNX file or the name of a ready codec. INPUT is .npy, .npz, IDX (.gz too), an
    image, .raw or .bin, a folder of these, or - for stdin. With a codec of pictures each file is one picture.
    """
    check_json(as_json, out)
    encoder = Encoder(codec, variant=variant, providers=asked(providers), profile=profile)
    job: PictureEncodeJob | EncodeJob
    if encoder.contract.is_picture:
        refuse_for(raw, "pictures", "--raw", "values without a size are no picture: send .npy or an image file")
        options = PictureOptions(background, None if depth is None else int(depth))
        job = PictureEncodeJob(encoder, quality, max_bytes, bare, tile, overlap, options)
    else:
        for name, value in (("--tile", tile), ("--background", background), ("--depth", depth)):
            refuse_for(value is not None, "items", name, "it is for codecs of pictures")
        job = EncodeJob(encoder, quality, max_bytes, None if bare else batch, raw)
    outcomes = job.run(input, out)
    fixed = encoder.default_quality if quality is None else quality
    facts = {"codec_id": encoder.codec_id, "quality": fixed if max_bytes is None else None, "max_bytes": max_bytes}
    report(outcomes, as_json, facts)


@click.command()
@click.argument("codec")
@click.argument("input", type=click.Path(exists=True, allow_dash=True))
@click.option("--format", "form", type=click.Choice(PICTURE_FORMATS), help="By OUT's suffix otherwise; npy on stdout.")
@click.option("--max-packet", type=click.IntRange(15), help="Longest packet, in bytes; 16 MiB or the largest picture.")
@click.option("--max-pixels", type=click.IntRange(1), default=MAX_PIXELS, show_default=True, help="Of tiled pictures.")
@click.option("--packet", "bare", is_flag=True, help="One packet without a frame arrives on stdin.")
@codec_options
def decode(
    codec: str,
    input: str,
    form: str | None,
    max_packet: int | None,
    max_pixels: int,
    bare: bool,
    out: str,
    variant: str | None,
    providers: tuple[str, ...],
    profile: str,
    as_json: bool,
) -> None:
    """Decode INPUT with CODEC: a stream, a single packet, a folder of these, or - for a stream on stdin.

    Damaged packets are reported and left out, missing tiles are grey; the exit code tells that there were any.
    """
    check_json(as_json, out)
    decoder = Decoder(codec, variant=variant, providers=asked(providers), profile=profile)
    job: PictureDecodeJob | DecodeJob
    if decoder.contract.is_picture:
        job = PictureDecodeJob(decoder, form, max_packet, max_pixels, bare)
    else:
        refuse_for(form is not None and form not in FORMATS, "items", f"--format {form}", "it is for pictures")
        job = DecodeJob(decoder, form, max_packet, bare)
    outcomes = job.run(input, out)
    report(outcomes, as_json, {"codec_id": decoder.codec_id})
    for outcome in outcomes:
        outcome.raise_on_damage()


@click.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def inspect(target: str, as_json: bool) -> None:
    """Show what TARGET is made of, byte by byte: a bundle, ONNX file, packet or stream; - for stdin."""
    found = inspect_bytes(sys.stdin.buffer.read(), "stdin") if target == STDIO else inspect_path(target)
    click.echo(json.dumps(found.to_json()) if as_json else found.render())
    if found.fault is not None:
        raise found.fault


@click.command()
@click.argument("codec")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def selftest(codec: str, providers: tuple[str, ...], profile: str, as_json: bool) -> None:
    """Run the golden cases of the bundle CODEC on this machine."""
    report = run_selftest(codec, profile=profile, providers=asked(providers))
    if as_json:
        click.echo(json.dumps(report.to_json()))
    else:
        for check in report.checks:
            click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    report.raise_on_failure()


@click.command()
@click.argument("codec")
@click.option("--variant", help="Variant of the transforms; the bundle's defaults otherwise.")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(codec: str, variant: str | None, providers: tuple[str, ...], profile: str, as_json: bool) -> None:
    """Show what this machine has, and where the models of CODEC run on it."""
    found = diagnose(codec, variant=variant, providers=asked(providers), profile=profile)
    click.echo(json.dumps(found.to_json()) if as_json else found.render())


def refuse_for(asked: bool, kind: str, option: str, advice: str) -> None:
    """An option that this kind of codec has no use for.

    Raises:
        SettingError: it was asked for.
    """
    if asked:
        raise SettingError(f"expected options for a codec of {kind}, found {option}: {advice}")


def check_json(as_json: bool, out: str) -> None:
    """JSON and data cannot share stdout."""
    if as_json and out == STDIO:
        raise click.UsageError("--json prints on stdout, where the data goes: name a file with --out")


def report(outcomes: Sequence[Encoded | Decoded], as_json: bool, facts: dict[str, Any]) -> None:
    """What was done: for programs on stdout, for a person on stderr."""
    if as_json:
        click.echo(json.dumps(facts | {"outputs": [outcome.to_json() for outcome in outcomes]}))
        return
    for outcome in outcomes:
        click.echo(outcome.render(), err=True)
