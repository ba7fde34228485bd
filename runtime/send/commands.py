"""The commands `send`, `spool` and `key`. What needs the extra is imported when `send` runs."""

from __future__ import annotations

import json
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
from latentwire.runtime.cli import FILE, FOLDER, ExampleCommand, Place, json_option, place_options, reading_options
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import InputFileError, LocalError
from latentwire.runtime.families import STDIO, Reading, family_for, refuse_others
from latentwire.runtime.files import conform
from latentwire.runtime.send.errors import RefusedError, UndeliveredError
from latentwire.runtime.send.feed import FileFeed, LeftOut
from latentwire.runtime.send.options import (
    Sending,
    Telling,
    Watching,
    sending_options,
    telling_options,
    watching_options,
)
from latentwire.runtime.send.retry import put_back
from latentwire.runtime.send.sender import CLOSE_SECONDS, Sender
from latentwire.runtime.send.sources import finished_files, npy_frames, raw_frames
from latentwire.runtime.send.view import Status, read_refused, read_totals
from latentwire.runtime.wire import draw_key


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


@click.command(
    cls=ExampleCommand, example="latentwire send photo camera/ --to https://host:8470 --token-file token --delete"
)
@click.argument("codec")
@click.argument("source", type=click.Path(exists=True, allow_dash=True))
@sending_options
@watching_options
@reading_options
@place_options()
@telling_options
def send(
    codec: str, source: str, sending: Sending, watching: Watching, reading: Reading, place: Place, telling: Telling
) -> None:
    """Encode SOURCE with CODEC and send the packets to a server; what it has not acknowledged waits on the disk.

    SOURCE is a file, a folder that is watched, or - for stdin: arrays in .npy format one behind the other, or with
    --raw records of values. What was taken from files is remembered in the spool, whatever happens to this process.

    That sending fails, and that it works again, is said on stderr when it happens.
    """
    encoder = place.encoder(codec)
    family = family_for(encoder.identity)
    refuse_others(family, reading.asked)
    stop = Stop()
    with (
        telling.logging(),
        stop.caught(),
        sending.sender(encoder, lambda event: telling.say(event.to_json())) as sender,
    ):
        load = partial(family.load, contract=encoder.contract, reading=reading)
        feed = FileFeed(sender, load, delete=watching.delete)
        if source == STDIO:
            feed.faults += feed_stdin(sender, encoder, stop, raw=reading.raw)
        elif Path(source).is_dir():
            feed_folder(sender, feed, Path(source), stop.asked, watching.settle, once=watching.once)
        elif feed.take(Path(source)) == 0 and not feed.faults:
            click.echo(f"latentwire: {source} was taken before: change it to send it again", err=True)
        idle = finish(sender, stop.asked, watching.wait)
        feed.sweep()
        status = sender.status()
    report(status, telling)
    if feed.faults:
        raise feed.faults[0]
    raise_on_rest(status, idle or stop.asked.is_set(), sending.spool)


def feed_stdin(sender: Sender, encoder: Encoder, stop: Stop, *, raw: bool) -> list[LocalError]:
    """Put frames until stdin ends, or a signal comes; returns what was wrong with the first item that was left out."""
    frames = raw_frames(stop.read, encoder.contract) if raw else npy_frames(stop.read)
    left_out, place = LeftOut("stdin"), 0
    try:
        for items in frames:
            known = left_out.first
            left_out.add(sender.offer(items, first=place))
            place += len(conform(items, encoder.contract, "stdin")) if encoder.batches else 1
            if known is None:
                left_out.say()  # the first one at once: a stream may have no end
    except StoppedError:
        pass
    if left_out.number > 1:
        left_out.say()
    return [] if left_out.first is None else [left_out.first]


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


def finish(sender: Sender, stop: threading.Event, wait: float | None) -> bool:
    """Wait for the server, but not much longer once a signal has come; whether nothing is left."""
    left = wait
    while not stop.is_set() and (left is None or left > 0):
        step = CLOSE_SECONDS if left is None else min(CLOSE_SECONDS, left)
        if sender.flush(step):
            return True
        left = None if left is None else left - step
    return sender.flush(CLOSE_SECONDS if stop.is_set() else 0)


def report(status: Status, telling: Telling) -> None:
    """For programs on stdout, for a person on stderr."""
    telling.say({"event": "status"} | status.to_json())
    if telling.as_json:
        return
    told = f"{status.sent} packets sent, {status.waiting} wait, {status.refused} refused, {status.dropped} dropped"
    items = {"clipped": status.clipped, "left out": status.skipped}
    told += "".join(f", {count} items {what}" for what, count in items.items() if count)
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


@click.command(cls=ExampleCommand, example="latentwire spool latentwire.spool --export refused")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--export", type=FOLDER, help="Write refused packets to this folder.")
@click.option(
    "--retry",
    metavar="[ID|--all]",
    is_flag=False,
    flag_value="",
    help="Put a refused packet, or all of them, back among those that wait; no sender may have FILE open.",
)
@click.option("--all", "every", is_flag=True, help="With --retry: all refused packets.")
@json_option()
def spool(file: Path, export: Path | None, retry: str | None, every: bool, as_json: bool) -> None:
    """Show what waits in the spool FILE, and what was refused and why; a sender may have it open.

    ID is a packet's name, or its number alone. What is put back keeps its name and is sent when a sender next opens
    FILE.
    """
    back = retried(file, retry, every=every)
    name, device, totals = read_totals(file)
    refused = read_refused(file)
    if export is not None:
        export.mkdir(parents=True, exist_ok=True)
        for packet in refused:
            with whole_file(export / f"{packet.parcel.envelope.id}.packet") as sink:
                sink.write(packet.parcel.body)
    listed: list[dict[str, Any]] = [
        packet.parcel.envelope.to_fields()
        | {"id": packet.parcel.envelope.id, "bytes": len(packet.parcel.body)}
        | {"error": packet.error, "message": packet.message}
        for packet in refused
    ]
    if as_json:
        click.echo(json.dumps({"spool": name, "device": device, **asdict(totals), "packets": listed, "retried": back}))
        return
    click.echo(f"{device}, spool {name}")
    for what, count in asdict(totals).items():
        click.echo(f"  {what.replace('_', ' '):14} {count}")
    for packet in refused:
        click.echo(f"refused {packet.parcel.envelope.id}, {len(packet.parcel.body)} bytes: ", nl=False)
        click.echo(f"{packet.error}: {packet.message}")
    for packet_name in back:
        click.echo(f"put back {packet_name}")


def retried(file: Path, wanted: str | None, *, every: bool) -> list[str]:
    """Names of the packets that wait again, as the options ask for it.

    Raises:
        click.UsageError: neither a packet nor all of them, or both.
        SpoolError: as `put_back`.
    """
    if wanted is None and not every:
        return []
    if wanted is None or bool(wanted) == every:
        raise click.UsageError("expected --retry ID or --retry --all, found another combination")
    return put_back(file, wanted or None)


@click.command(cls=ExampleCommand, example="latentwire key gate-3 --keys keys.json")
@click.argument("name")
@click.option("--keys", type=FILE, required=True, help="File of keys; made if it is not there.")
def key(name: str, keys: Path) -> None:
    """Draw a key to seal packets with, and add it to a file; device and server need the same."""
    try:
        draw_key(keys, name)
    except OSError as fault:
        raise InputFileError(f"expected a file {keys} that can be written, found: {fault}") from fault
