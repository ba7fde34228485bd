"""The commands `serve` and `token`. What needs the extra is imported when `serve` runs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from latentwire.runtime.cli import FILE, ExampleCommand
from latentwire.runtime.serve import tokenfile
from latentwire.runtime.serve.options import Serving, serving_options

LEVELS = ("debug", "info", "warning", "error")


@click.command(cls=ExampleCommand, example="latentwire serve photo mnist --sink decoded --tokens tokens.json")
@serving_options
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def serve(serving: Serving, log_level: str) -> None:
    """Take packets of the codecs BUNDLE... over HTTP, and MQTT, and decode them into a sink.

    BUNDLE is a folder, zip, decoder's ONNX file or the name of a ready codec. What was answered 202 is on the disk and
    gets to the sink, whatever happens to this process. SIGTERM finishes what is in work and ends.
    """
    settings, page = serving.settings(), serving.page
    from latentwire.runtime.serve import logs, server
    from latentwire.runtime.serve.demo import page_routes

    logs.to_stderr(log_level)
    server.run(settings, page_routes(serving.bundles, page.page_assets) if page.demo else ())


@click.command(cls=ExampleCommand, example="latentwire token gate-3 --tokens tokens.json --expires 365d")
@click.argument("device", required=False)
@click.option("--tokens", type=FILE, required=True, help="The server's file of tokens; made if it is not there.")
@click.option("--expires", metavar="DAYSd|DATE", help="The token's end: 90d, or its last day, 2027-06-30 (UTC).")
@click.option("--list", "listing", is_flag=True, help="Print who has a token, and until when.")
@click.option("--revoke", metavar="DEVICE", help="End the token of DEVICE.")
def token(device: str | None, tokens: Path, expires: str | None, listing: bool, revoke: str | None) -> None:
    """Draw a new token for DEVICE and print it, once: the file keeps its hash. An older token of DEVICE ends.

    The file gets mode 0600 and is replaced as a whole; a running server counts by it from the next request on.
    """
    if [device is not None, listing, revoke is not None].count(True) != 1:
        raise click.UsageError("expected one of DEVICE, --list and --revoke DEVICE")
    if expires is not None and device is None:
        raise click.UsageError("expected --expires with the DEVICE that gets a token")
    now = datetime.now(timezone.utc)
    if listing:
        for name, grant in sorted(tokenfile.read(tokens).items()):
            click.echo(f"{name}\t{_until(grant, now)}")
        return
    was_open = tokenfile.is_open(tokens)
    if revoke is not None:
        tokenfile.revoke(tokens, revoke)
    elif device is not None:
        click.echo(tokenfile.draw(tokens, device, None if expires is None else tokenfile.end_of(expires, now)))
    if was_open:
        click.echo(f"{tokens}: others than its owner could read it; it has mode 0600 now", err=True)


def _until(grant: tokenfile.Grant, now: datetime) -> str:
    if grant.expires is None:
        return "does not end"
    return f"{'ended' if grant.has_ended(now) else 'until'} {tokenfile.said(grant.expires)}"
