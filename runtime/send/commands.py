"""The commands `send`, `spool` and `key`. What needs the extra is imported when `send` runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.cli.commands import asked, place_options, refuse_for
from latentwire.runtime.cli.jobs import STDIO
from latentwire.runtime.contract import Array
from latentwire.runtime.encoder import DEFAULT_BATCH, Encoder
from latentwire.runtime.errors import InputFileError, SettingError
from latentwire.runtime.files.items import load_items
from latentwire.runtime.files import PictureOptions, load_picture
from latentwire.runtime.send.errors import RefusedError, UndeliveredError
from latentwire.runtime.send.feed import FileFeed
from latentwire.runtime.send.link import IN_FLIGHT, TIMEOUT, Access
from latentwire.runtime.send.rate import Backoff
from latentwire.runtime.send.sender import CLOSE_SECONDS, DEFAULT_SPOOL, Rate, Sender, Status
from latentwire.runtime.send.sources import finished_files, npy_frames, raw_frames
from latentwire.runtime.send.spool import POLICIES, Bounds, Policy
from latentwire.runtime.send.view import read_refused, read_totals
from latentwire.runtime.wire.seal import Keys, draw_key

FILE = click.Path(dir_okay=False, path_type=Path)
TOKEN = "LATENTWIRE_TOKEN"
BATCH_SECONDS = 1.0


class StoppedError(Exception):
    """A signal ended the wait for input."""


class Stop:
    """SIGINT and SIGTERM: finish what was begun, then end. The second one ends at once; what is stored stays so."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._reading = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """The signals come here."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def read(self, count: int) -> bytes:
        """Bytes from stdin, which may have none for long.

        Raises:
            StoppedError: a signal came.
        """
        self._reading = True
        try:
            if self.asked.is_set():
                raise StoppedError
            return sys.stdin.buffer.read(count)
        finally:
            self._reading = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked.set()
        signal.signal(number, signal.SIG_DFL)
        if self._reading:
            raise StoppedError


@click.command()
@click.argument("codec")
@click.argument("source", type=click.Path(exists=True, allow_dash=True))
@click.option("--to", required=True, envvar="LATENTWIRE_TO", help="Server: https, http, mqtts or mqtt URL.")
@click.option("--spool", type=FILE, default=DEFAULT_SPOOL, show_default=True, help="File for what waits.")
@click.option("--device", help="Name of this sender; the host's otherwise.")
@click.option("--token-file", type=FILE, help=f"File that holds the token; ${TOKEN} otherwise.")
@click.option("--ca", type=FILE, help="Certificates (PEM) to trust instead of the system's.")
@click.option("--insecure-http", is_flag=True, help="Send the token over plain http:// to another machine.")
@click.option("--keys", type=FILE, help="File of keys: seal packets.")
@click.option("--seal", help="Name of the key; the device's otherwise.")
@click.option("--quality", "-q", type=click.IntRange(0, 255), help="While little waits; the codec's default otherwise.")
@click.option("--min-quality", type=click.IntRange(0, 255), default=0, show_default=True, help="When much waits.")
@click.option("--max-bytes", type=click.IntRange(1), help="Of one packet.")
@click.option("--max-bandwidth", type=click.FloatRange(1), help="Bytes a second.")
@click.option("--batch", type=click.IntRange(1), help=f"Items in a packet; {DEFAULT_BATCH}, of pictures 1.")
@click.option("--batch-seconds", type=float, default=BATCH_SECONDS, show_default=True, help="An item waits at most.")
@click.option(
    "--spool-bytes", type=click.IntRange(1), default=Bounds.bytes, show_default=True, help="Bound of the spool."
)
@click.option("--spool-seconds", type=float, help="Packets that are older are dropped.")
@click.option("--when-full", type=click.Choice(POLICIES), default=Bounds.policy, show_default=True, help="What goes.")
@click.option("--in-flight", type=click.IntRange(1, 64), default=IN_FLIGHT, show_default=True, help="Packets at once.")
@click.option("--timeout", type=click.FloatRange(0.1), default=TIMEOUT, show_default=True, help="Seconds to an answer.")
@click.option("--max-backoff", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds between tries.")
@click.option("--settle", type=float, default=1.0, show_default=True, help="A file unchanged so long is finished.")
@click.option("--once", is_flag=True, help="Take the files that are in the folder, and end.")
@click.option("--delete", is_flag=True, help="Remove files when they are in the spool.")
@click.option("--wait", type=click.FloatRange(0), help="Seconds for the server at the end; for ever otherwise.")
@click.option("--raw", is_flag=True, help="Values without a header arrive on stdin.")
@click.option("--background", help="Pictures: the colour behind alpha (white, #204060); refused otherwise.")
@click.option("--depth", type=click.Choice(["8"]), help="Pictures: keep the upper 8 of 16 bits; refused otherwise.")
@click.option("--variant", help="Variant of the transform; the bundle's default otherwise.")
@place_options
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON document.")
def send(
    codec: str,
    source: str,
    to: str,
    spool: Path,
    device: str | None,
    token_file: Path | None,
    ca: Path | None,
    insecure_http: bool,
    keys: Path | None,
    seal: str | None,
    quality: int | None,
    min_quality: int,
    max_bytes: int | None,
    max_bandwidth: float | None,
    batch: int | None,
    batch_seconds: float,
    spool_bytes: int,
    spool_seconds: float | None,
    when_full: Policy,
    in_flight: int,
    timeout: float,
    max_backoff: float,
    settle: float,
    once: bool,
    delete: bool,
    wait: float | None,
    raw: bool,
    background: str | None,
    depth: str | None,
    variant: str | None,
    providers: tuple[str, ...],
    profile: str,
    as_json: bool,
) -> None:
    """Encode SOURCE with CODEC and send the packets to a server; what it has not acknowledged waits on the disk.

    SOURCE is a file, a folder that is watched, or - for stdin: arrays in .npy format one behind the other, or with
    --raw records of values. What was taken from files is remembered in the spool, whatever happens to this process.
    """
    encoder = Encoder(codec, variant=variant, providers=asked(providers), profile=profile)
    if encoder.contract.is_picture:
        refuse_for(raw, "items", "--raw", "values without a size are no picture: send arrays")
    else:
        for name, value in (("--background", background), ("--depth", depth)):
            refuse_for(value is not None, "pictures", name, "this one is of items")
    options = PictureOptions(background, None if depth is None else int(depth))
    stop = Stop()
    sender = Sender(
        encoder,
        to,
        spool=spool,
        device=device,
        batch=batch or (DEFAULT_BATCH if encoder.batches else 1),
        batch_seconds=batch_seconds,
        rate=Rate(quality, min_quality, max_bytes, max_bandwidth),
        bounds=Bounds(spool_bytes, spool_seconds, when_full),
        access=Access(token_of(token_file), ca, insecure_http),
        keys=None if keys is None else Keys.load(keys),
        seal=seal,
        timeout=timeout,
        in_flight=in_flight,
        backoff=Backoff(longest=max_backoff),
    )
    with stop.caught(), sender:
        feed = FileFeed(sender, partial(load, encoder=encoder, options=options), delete=delete)
        if source == STDIO:
            feed_stdin(sender, encoder, stop, raw=raw)
        elif Path(source).is_dir():
            feed_folder(sender, feed, Path(source), stop.asked, settle, once=once)
        elif feed.take(Path(source)) == 0 and not feed.faults:
            click.echo(f"latentwire: {source} was taken before: change it to send it again", err=True)
        idle = finish(sender, stop.asked, wait)
        feed.sweep()
        status = sender.status()
    report(status, as_json)
    if feed.faults:
        raise feed.faults[0]
    raise_on_rest(status, idle or stop.asked.is_set(), spool)


def feed_stdin(sender: Sender, encoder: Encoder, stop: Stop, *, raw: bool) -> None:
    """Put frames until stdin ends, or a signal comes."""
    frames = raw_frames(stop.read, encoder.contract) if raw else npy_frames(stop.read)
    try:
        for items in frames:
            sender.put(items)
    except StoppedError:
        return


def feed_folder(
    sender: Sender, feed: FileFeed, folder: Path, stop: threading.Event, settle: float, *, once: bool
) -> None:
    """Put files until a signal comes."""
    folder = folder.absolute()
    sender.forget_missing(str(folder))
    for path in finished_files(folder, stop, settle, once=once):
        feed.take(path)
        if stop.is_set():
            return


def load(path: Path, encoder: Encoder, options: PictureOptions) -> Array | list[Array]:
    """A file's items, or its picture as the only one of a list."""
    contract = encoder.contract
    return [load_picture(path, options)] if contract.is_picture else load_items(path, contract)


def finish(sender: Sender, stop: threading.Event, wait: float | None) -> bool:
    """Wait for the server, but not much longer once a signal has come; whether nothing is left."""
    left = wait
    while not stop.is_set() and (left is None or left > 0):
        step = CLOSE_SECONDS if left is None else min(CLOSE_SECONDS, left)
        if sender.flush(step):
            return True
        left = None if left is None else left - step
    return sender.flush(CLOSE_SECONDS if stop.is_set() else 0)


def token_of(path: Path | None) -> str | None:
    """The token from a file, or else from the environment.

    Raises:
        SettingError: the file cannot be read.
    """
    if path is None:
        return os.environ.get(TOKEN)
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise SettingError(f"expected a token in {path}, found: {fault}") from fault


def report(status: Status, as_json: bool) -> None:
    """For programs on stdout, for a person on stderr."""
    if as_json:
        click.echo(json.dumps(status.to_json()))
        return
    told = f"{status.sent} packets sent, {status.waiting} wait, {status.refused} refused, {status.dropped} dropped"
    click.echo(f"{status.device}: {told}" + (f"; last: {status.last_error}" if status.last_error else ""), err=True)


def raise_on_rest(status: Status, idle: bool, spool: Path) -> None:
    """Nothing if the server has all.

    Raises:
        UndeliveredError: packets wait.
        RefusedError: packets were refused.
    """
    if not idle and status.waiting:
        raise UndeliveredError(
            f"expected the server to take all packets, found {status.waiting} that wait in {spool}: start again to "
            "send them"
        )
    if status.refused:
        raise RefusedError(
            f"expected the server to take all packets, found {status.refused} that it refused: see "
            f"`latentwire spool {spool}`"
        )


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--export", type=click.Path(file_okay=False, path_type=Path), help="Write refused packets to this folder."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def spool(file: Path, export: Path | None, as_json: bool) -> None:
    """Show what waits in the spool FILE, and what was refused and why; a sender may have it open."""
    name, device, totals = read_totals(file)
    refused = read_refused(file)
    if export is not None:
        export.mkdir(parents=True, exist_ok=True)
        for packet in refused:
            with whole_file(export / f"{packet.parcel.envelope.id}.packet") as sink:
                sink.write(packet.parcel.body)
    listed: list[dict[str, Any]] = [
        packet.parcel.envelope.to_fields()
        | {"bytes": len(packet.parcel.body), "error": packet.error, "message": packet.message}
        for packet in refused
    ]
    if as_json:
        click.echo(json.dumps({"spool": name, "device": device, **asdict(totals), "packets": listed}))
        return
    click.echo(f"{device}, spool {name}")
    for what, count in asdict(totals).items():
        click.echo(f"  {what.replace('_', ' '):14} {count}")
    for packet in refused:
        envelope = packet.parcel.envelope
        click.echo(f"refused {envelope.sequence}, {len(packet.parcel.body)} bytes: {packet.error}: {packet.message}")


@click.command()
@click.argument("name")
@click.option("--keys", type=FILE, required=True, help="File of keys; made if it is not there.")
def key(name: str, keys: Path) -> None:
    """Draw a key to seal packets with, and add it to a file; device and server need the same."""
    try:
        draw_key(keys, name)
    except OSError as fault:
        raise InputFileError(f"expected a file {keys} that can be written, found: {fault}") from fault
