"""The commands `sign` and `trust`."""

from __future__ import annotations

from pathlib import Path

import click

from latentwire.runtime.bundle import Trust, open_bundle
from latentwire.runtime.cli import FILE, ExampleCommand, json_option, signature_option, tell
from latentwire.runtime.trust.sign import sign_bundle


@click.command(cls=ExampleCommand, example="latentwire sign my-codec --key release.pem")
@click.argument("bundle")
@click.option("--key", type=FILE, required=True, help="Private key of an elliptic curve, PEM.")
def sign(bundle: str, key: Path) -> None:
    """Sign every file of the folder BUNDLE, as OpenSSF model-signing does, into its model.sig."""
    click.echo(f"signed: {sign_bundle(bundle, key)}")


@click.group()
def trust() -> None:
    """Say which bundle is meant, and check that it is that."""


@trust.command(cls=ExampleCommand, example="latentwire trust pin photo")
@click.argument("codec")
def pin(codec: str) -> None:
    """Print the bundle CODEC with the hash of its manifest: a name that is good for this very bundle only.

    Every command takes it in a codec's place.
    """
    click.echo(f"{codec}@{open_bundle(codec).pin}")


@trust.command(cls=ExampleCommand, example="latentwire trust verify my-codec --require-signature release.pub")
@click.argument("codec")
@signature_option
@json_option()
def verify(codec: str, signed_by: Path | None, as_json: bool) -> None:
    """Read every file of the bundle CODEC: its hashes, what the models ask for, its pins, its signature."""
    bundle = open_bundle(codec, Trust(signed_by=signed_by))
    files = bundle.check_files()
    if as_json:
        facts = {"codec_id": bundle.manifest.codec_id, "pin": bundle.pin, "files_intact": files}
        tell(facts | {"signed": signed_by is not None})
        return
    click.echo(f"ok  {files} files have their recorded SHA-256, and no model asks for what no codec needs")
    if signed_by is not None:
        click.echo(f"ok  every file is signed with {signed_by}")
    click.echo(f"codec {bundle.manifest.codec_id}\npin   {bundle.pin}")
