"""The commands `serve` and `token`. What needs the extra is imported when `serve` runs."""

from __future__ import annotations

from pathlib import Path

import click

from latentwire.runtime.cli.commands import asked
from latentwire.runtime.serve.settings import FORMS, Bounds, Settings
from latentwire.runtime.serve.tokens import draw

FILE = click.Path(dir_okay=False, path_type=Path)
LEVELS = ("debug", "info", "warning", "error")


@click.command()
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--sink", required=True, help="Folder or fsspec URL for what is decoded.")
@click.option(
    "--inbox",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("inbox"),
    show_default=True,
    help="Folder for what waits, and what was refused.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8470, show_default=True, help="0 for any free one.")
@click.option(
    "--mqtt", envvar="LATENTWIRE_MQTT", help="Broker to listen to as well: mqtt://user:password@host:1883, or mqtts://."
)
@click.option("--tokens", type=FILE, help="File of the devices' tokens, see `latentwire token`.")
@click.option("--no-auth", is_flag=True, help="Take packets from everybody; only on a loopback address.")
@click.option("--keys", type=FILE, help="File of the keys that packets are sealed with.")
@click.option("--certificate", type=FILE, help="TLS: certificate chain, PEM.")
@click.option("--key", type=FILE, help="TLS: private key, PEM.")
@click.option("--format", "form", type=click.Choice(FORMS), default="png", show_default=True, help="Of pictures.")
@click.option("--variant", help="Variant of the synthesis transform; the bundle's default otherwise.")
@click.option("--provider", "providers", multiple=True, help="Where it runs: cpu, cuda, ..., or auto.")
@click.option("--workers", type=click.IntRange(0), default=0, help="Threads that decode; one a core, at least two.")
@click.option(
    "--batch",
    type=click.IntRange(1, 1024),
    default=Bounds.batch_packets,
    show_default=True,
    help="Most packets of one synthesis.",
)
@click.option(
    "--max-packet",
    type=click.IntRange(32),
    default=Bounds.packet_bytes,
    show_default=True,
    help="Longest packet, in bytes.",
)
@click.option(
    "--max-output",
    type=click.IntRange(1),
    default=Bounds.output_bytes,
    show_default=True,
    help="Most bytes that a packet may decode to.",
)
@click.option(
    "--max-inbox",
    type=click.IntRange(1),
    default=Bounds.inbox_bytes,
    show_default=True,
    help="Most bytes that may wait.",
)
@click.option(
    "--max-waiting",
    type=click.IntRange(1),
    default=Bounds.inbox_packets,
    show_default=True,
    help="Most packets that may wait.",
)
@click.option(
    "--demo", is_flag=True, help="Serve a page too, in which a browser is the device; takes --no-auth with it."
)
@click.option(
    "--page-assets",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/page"),
    show_default=True,
    help="Folder of onnxruntime-web's files for that page, see `make page`.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def serve(
    bundles: tuple[str, ...],
    sink: str,
    inbox: Path,
    host: str,
    port: int,
    mqtt: str | None,
    tokens: Path | None,
    no_auth: bool,
    keys: Path | None,
    certificate: Path | None,
    key: Path | None,
    form: str,
    variant: str | None,
    providers: tuple[str, ...],
    workers: int,
    batch: int,
    max_packet: int,
    max_output: int,
    max_inbox: int,
    max_waiting: int,
    demo: bool,
    page_assets: Path,
    log_level: str,
) -> None:
    """Take packets of the codecs BUNDLE... over HTTP, and MQTT, and decode them into a sink.

    BUNDLE is a folder, zip, decoder's ONNX file or the name of a ready codec. What was answered 202 is on the disk and
    gets to the sink, whatever happens to this process. SIGTERM finishes what is in work and ends.
    """
    body = max(Bounds.body_bytes, max_packet)
    bounds = Bounds(
        packet_bytes=max_packet,
        body_bytes=body,
        memory_bytes=max(Bounds.memory_bytes, body, max_output),
        work_bytes=max(Bounds.work_bytes, max_output),
        output_bytes=max_output,
        inbox_bytes=max_inbox,
        inbox_packets=max_waiting,
        batch_packets=batch,
    )
    settings = Settings(
        bundles=bundles,
        sink=sink,
        inbox=inbox,
        host=host,
        port=port,
        tokens=tokens,
        open_to_all=no_auth or demo,
        keys=keys,
        mqtt=mqtt,
        certificate=certificate,
        key=key,
        form=form,
        variant=variant,
        providers=asked(providers),
        workers=workers,
        bounds=bounds,
    )
    from latentwire.runtime.serve import logs, server
    from latentwire.runtime.serve.demo import page_routes

    logs.to_stderr(log_level)
    server.run(settings, page_routes(bundles, page_assets) if demo else ())


@click.command()
@click.argument("device")
@click.option("--tokens", type=FILE, required=True, help="The server's file of tokens; made if it is not there.")
def token(device: str, tokens: Path) -> None:
    """Draw a new token for DEVICE and print it, once: the file keeps its hash. An older token of DEVICE ends."""
    click.echo(draw(tokens, device))
