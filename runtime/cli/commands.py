"""The runtime's own commands: encode, decode, inspect, selftest, doctor."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any, Protocol

import click

from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.cli.documents import tell
from latentwire.runtime.cli.options import (
    ExampleCommand,
    Output,
    Place,
    decoding_options,
    encoding_options,
    file_options,
    json_option,
    place_options,
)
from latentwire.runtime.doctor import diagnose
from latentwire.runtime.errors import about
from latentwire.runtime.families import STDIO, Decoding, Encoding, check_form, family_for, refuse_others
from latentwire.runtime.inspection import inspect_bytes, inspect_path
from latentwire.runtime.selftest import selftest as run_selftest


@click.command(cls=ExampleCommand, example="latentwire encode photo cat.png --quality 100 --out cat.lw")
@file_options(encoding_options)
def encode(codec: str, input: str, encoding: Encoding, place: Place, output: Output) -> None:
    """Encode INPUT with CODEC into a stream of packets.

    CODEC is a bundle, an encoder's ONNX file or the name of a ready codec. INPUT is .npy, .npz, IDX (.gz too), an
    image, .raw or .bin, a folder of these, or - for stdin. With a codec of pictures each file is one picture.

    Of a folder, files that fail are listed, and the others are encoded; packets in it are left out.
    """
    encoder = place.encoder(codec)
    family = family_for(encoder.identity)
    refuse_others(family, encoding.asked)
    outcome = family.encode_job(encoder, encoding).run(input, output.out)
    most, fixed = encoding.max_bytes, encoder.default_quality if encoding.quality is None else encoding.quality
    facts = {"codec_id": encoder.codec_id, "quality": fixed if most is None else None, "max_bytes": most}
    output.report(outcome, facts)


@click.command(cls=ExampleCommand, example="latentwire decode photo cat.lw --out cat.png")
@file_options(decoding_options)
def decode(codec: str, input: str, decoding: Decoding, place: Place, output: Output) -> None:
    """Decode INPUT with CODEC: a stream, a single packet, a folder of these, or - for a stream on stdin.

    Damaged packets are reported and left out, missing tiles are grey; the exit code tells that there were any. Of a
    folder, files that fail are listed, and the others are decoded; pictures and arrays in it are left out.
    """
    decoder = place.decoder(codec)
    family = family_for(decoder.identity)
    check_form(family, decoding.form)
    outcome = family.decode_job(decoder, decoding).run(input, output.out)
    output.report(outcome, {"codec_id": decoder.codec_id})


@click.command(cls=ExampleCommand, example="latentwire inspect cat.lw")
@click.argument("target")
@json_option()
def inspect(target: str, as_json: bool) -> None:
    """Show what TARGET is made of, byte by byte: a bundle, ONNX file, packet or stream; - for stdin."""
    with about("stdin" if target == STDIO else target):
        found = inspect_bytes(sys.stdin.buffer.read(), "stdin") if target == STDIO else inspect_path(target)
        show(found, as_json)
        if found.fault is not None:
            raise found.fault


@click.command(cls=ExampleCommand, example="latentwire selftest photo --profile server")
@click.argument("codec")
@place_options(variant=None)
@json_option()
def selftest(codec: str, place: Place, as_json: bool) -> None:
    """Run the golden cases of the bundle CODEC on this machine."""
    with about(codec):
        report = run_selftest(open_bundle(codec, place.trust), profile=place.profile, providers=place.providers)
        if as_json:
            tell(report.to_json())
        else:
            for check in report.checks:
                click.echo(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
        report.raise_on_failure()


@click.command(cls=ExampleCommand, example="latentwire doctor photo --provider auto")
@click.argument("codec", required=False)
@place_options(variant="Variant of the transforms; the bundle's defaults otherwise.")
@json_option()
def doctor(codec: str | None, place: Place, as_json: bool) -> None:
    """Show what this machine has, and, where a CODEC is named, where its models run on it."""
    with about(codec) if codec else nullcontext():
        bundle = open_bundle(codec, place.trust) if codec else None
        found = diagnose(bundle, variant=place.variant, providers=place.providers, profile=place.profile)
    show(found, as_json)


class Shown(Protocol):
    """What was found out."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""

    def render(self) -> str:
        """For a person."""


def show(found: Shown, as_json: bool) -> None:
    """On stdout, since it is what was asked for."""
    if as_json:
        tell(found.to_json())
    else:
        click.echo(found.render())
