"""The commands `serve` and `token`. What needs the extra is imported when `serve` runs."""

from __future__ import annotations

from pathlib import Path

import click

from latentwire.runtime.cli import FILE, ExampleCommand
from latentwire.runtime.serve.options import Serving, serving_options
from latentwire.runtime.serve.tokens import draw

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


@click.command(cls=ExampleCommand, example="latentwire token gate-3 --tokens tokens.json")
@click.argument("device")
@click.option("--tokens", type=FILE, required=True, help="The server's file of tokens; made if it is not there.")
def token(device: str, tokens: Path) -> None:
    """Draw a new token for DEVICE and print it, once: the file keeps its hash. An older token of DEVICE ends."""
    click.echo(draw(tokens, device))
