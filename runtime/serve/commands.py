"""The commands `serve`, `token` and `quarantine`. What needs the extra is imported when `serve` runs."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import click

from latentwire.runtime.cli import FILE, FOLDER, ExampleCommand, json_option
from latentwire.runtime.errors import SettingError
from latentwire.runtime.serve import tokenfile
from latentwire.runtime.serve.options import Serving, serving_options
from latentwire.runtime.serve.quarantine import FOLDER as QUARANTINE
from latentwire.runtime.serve.quarantine import ask, export_kept, read_kept

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


@click.command(cls=ExampleCommand, example="latentwire quarantine inbox --reason CodecError --again")
@click.argument("inbox", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("inbox"))
@click.option("--id", "ids", multiple=True, help="Only the packet of that name; several times for several.")
@click.option("--reason", "reasons", multiple=True, help="Only what was refused with that error, such as CodecError.")
@click.option("--export", type=FOLDER, help="Write them, and their reasons, to this folder.")
@click.option("--again", is_flag=True, help="Have the service take them in again: now, or when it starts.")
@json_option()
def quarantine(
    inbox: Path, ids: tuple[str, ...], reasons: tuple[str, ...], export: Path | None, again: bool, as_json: bool
) -> None:
    """List what a service's INBOX refused, and what did not decode; a service may have it open.

    INBOX is the folder that `serve` was given. Packets that are taken in again pass all checks as if they came anew, or
    go back to where they were.
    """
    held = list(read_kept(inbox / QUARANTINE))
    chosen = [kept for kept in held if (not ids or kept.id in ids) and (not reasons or kept.error in reasons)]
    missing = sorted(set(ids) - {kept.id for kept in chosen})
    if missing:
        raise SettingError(f"expected packets of {inbox}, found none of {', '.join(missing)}: list all without --id")
    if export is not None:
        export_kept(export, chosen)
    taken = [kept for kept in chosen if ask(inbox, kept)] if again else []
    if as_json:
        told = {"quarantine": str(inbox / QUARANTINE), "again": len(taken)}
        click.echo(json.dumps(told | {"packets": [kept.to_json() for kept in chosen]}))
        return
    for kept in chosen:
        told_of = kept.to_json()
        how = "did not decode" if kept.accepted else "refused"
        click.echo(f"{kept.id}  {told_of['time']}  {kept.size} bytes  {how}: {kept.error or 'unknown'}: {kept.message}")
    click.echo(
        f"{len(chosen)} of {len(held)} packets" + (f", {len(taken)} to be taken in again" if again else ""), err=True
    )
