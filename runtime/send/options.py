"""The options of `latentwire send`, in groups that make the settings of a sender."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from latentwire.runtime.cli import FILE, json_option, option_group, out_of_range_option
from latentwire.runtime.contract import OutOfRange
from latentwire.runtime.encoder import DEFAULT_BATCH, Encoder
from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.events import Event
from latentwire.runtime.send.link import IN_FLIGHT, TIMEOUT, Access
from latentwire.runtime.send.rate import Backoff, Rate
from latentwire.runtime.send.sender import DEFAULT_SPOOL, Sender
from latentwire.runtime.send.spool import POLICIES, Bounds
from latentwire.runtime.wire import Keys

TOKEN = "LATENTWIRE_TOKEN"
BATCH_SECONDS = 1.0
LEVELS = ("debug", "info", "warning", "error")


def access(token_file: Path | None, ca: Path | None, insecure_http: bool) -> Access:
    """How to reach the server; the token comes from the environment where no file is named.

    Raises:
        SettingError: the file cannot be read, or holds no token.
    """
    return Access(token_of(token_file), ca, insecure_http)


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


access_options = option_group(
    "access",
    access,
    click.option("--token-file", type=FILE, help=f"File that holds the token; ${TOKEN} otherwise."),
    click.option("--ca", type=FILE, help="Certificates (PEM) to trust instead of the system's."),
    click.option("--insecure-http", is_flag=True, help="Send the token over plain http:// to another machine."),
)


@dataclass(frozen=True)
class Sealing:
    """What packets are sealed with.

    Args:
        keys: file of keys; None seals nothing.
        seal: name of the key; the device's if None.
    """

    keys: Path | None
    seal: str | None

    def load(self) -> Keys | None:
        """The keys.

        Raises:
            KeyFileError: the file cannot be read.
        """
        return None if self.keys is None else Keys.load(self.keys)


sealing_options = option_group(
    "sealing",
    Sealing,
    click.option("--keys", type=FILE, help="File of keys: seal packets."),
    click.option("--seal", help="Name of the key; the device's otherwise."),
)


def rate(quality: int | None, min_quality: int, max_bytes: int | None, max_bandwidth: float | None) -> Rate:
    """How much is sent, and how well, as the options name it."""
    return Rate(quality, min_quality, max_bytes, max_bandwidth)


QUALITY = click.IntRange(0, 255)
rate_options = option_group(
    "rate",
    rate,
    click.option("--quality", "-q", type=QUALITY, help="While little waits; the codec's default otherwise."),
    click.option("--min-quality", type=QUALITY, default=Rate.lowest, show_default=True, help="When much waits."),
    click.option("--max-bytes", type=click.IntRange(1), help="Of one packet."),
    click.option("--max-bandwidth", type=click.FloatRange(1), help="Bytes a second."),
)


@dataclass(frozen=True)
class Batching:
    """How items are gathered to packets.

    Args:
        batch: items in a packet; as many as the encoder says if None.
        batch_seconds: that an item waits at most.
        out_of_range: what becomes of items with values out of the codec's range.
    """

    batch: int | None
    batch_seconds: float
    out_of_range: OutOfRange


batching_options = option_group(
    "batching",
    Batching,
    click.option("--batch", type=click.IntRange(1), help=f"Items in a packet; {DEFAULT_BATCH}, of pictures 1."),
    click.option(
        "--batch-seconds", type=float, default=BATCH_SECONDS, show_default=True, help="An item waits at most."
    ),
    out_of_range_option,
)
bounds_options = option_group(
    "bounds",
    Bounds,
    click.option(
        "--spool-bytes", "bytes", type=click.IntRange(1), default=Bounds.bytes, show_default=True,
        help="Bound of the spool.",
    ),
    click.option("--spool-seconds", "seconds", type=float, help="Packets that are older are dropped."),
    click.option(
        "--when-full", "policy", type=click.Choice(POLICIES), default=Bounds.policy, show_default=True,
        help="What goes.",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """How packets go to the server.

    Args:
        in_flight: packets on their way at once.
        timeout: seconds to an answer.
        max_backoff: seconds between tries, at most.
    """

    in_flight: int
    timeout: float
    max_backoff: float


delivery_options = option_group(
    "delivery",
    Delivery,
    click.option(
        "--in-flight", type=click.IntRange(1, 64), default=IN_FLIGHT, show_default=True, help="Packets at once."
    ),
    click.option(
        "--timeout", type=click.FloatRange(0.1), default=TIMEOUT, show_default=True, help="Seconds to an answer."
    ),
    click.option(
        "--max-backoff", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds between tries."
    ),
)


@dataclass(frozen=True)
class Sending:
    """Everything that a sender is told.

    Args:
        to: the server's URL.
        spool: file for what waits.
        device: name of the sender; the host's if None.
    """

    to: str
    spool: Path
    device: str | None
    access: Access
    sealing: Sealing
    rate: Rate
    batching: Batching
    bounds: Bounds
    delivery: Delivery

    def sender(self, encoder: Encoder, on_event: Callable[[Event], None] | None = None) -> Sender:
        """The sender, which begins to send what waits in its spool.

        Args:
            encoder: of the items.
            on_event: is told each change of state.

        Raises:
            LatentwireError: as `Sender` says, and `KeyFileError` for the file of keys.
        """
        return Sender(
            encoder,
            self.to,
            spool=self.spool,
            device=self.device,
            batch=self.batching.batch or encoder.default_batch,
            batch_seconds=self.batching.batch_seconds,
            out_of_range=self.batching.out_of_range,
            rate=self.rate,
            bounds=self.bounds,
            access=self.access,
            keys=self.sealing.load(),
            seal=self.sealing.seal,
            timeout=self.delivery.timeout,
            in_flight=self.delivery.in_flight,
            backoff=Backoff(longest=self.delivery.max_backoff),
            on_event=on_event,
        )


sending_options = option_group(
    "sending",
    Sending,
    click.option("--to", required=True, envvar="LATENTWIRE_TO", help="Server: https, http, mqtts or mqtt URL."),
    click.option("--spool", type=FILE, default=DEFAULT_SPOOL, show_default=True, help="File for what waits."),
    click.option("--device", help="Name of this sender; the host's otherwise."),
    access_options,
    sealing_options,
    rate_options,
    batching_options,
    bounds_options,
    delivery_options,
)


@dataclass(frozen=True)
class Watching:
    """How files are taken, and when it ends.

    Args:
        settle: seconds without a change after which a file is finished.
        once: take the files that are there, and end.
        delete: remove files when they are in the spool.
        wait: seconds for the server at the end; for ever if None.
    """

    settle: float
    once: bool
    delete: bool
    wait: float | None


watching_options = option_group(
    "watching",
    Watching,
    click.option("--settle", type=float, default=1.0, show_default=True, help="A file unchanged so long is finished."),
    click.option("--once", is_flag=True, help="Take the files that are in the folder, and end."),
    click.option("--delete", is_flag=True, help="Remove files when they are in the spool."),
    click.option(
        "--wait",
        type=click.FloatRange(0),
        help="When all is taken: seconds until the server must have it; what waits then stays in the spool, exit code "
        "1. For ever otherwise; 0 ends at once.",
    ),
)


@dataclass(frozen=True)
class Telling:
    """What is said while packets are sent.

    Args:
        verbose: whether the first acknowledgement and every refusal are said as well.
        level: the least that is said; overrules ``verbose``.
        as_json: one JSON object a line on stdout: each change of state, at the end the status.
    """

    verbose: bool
    level: str | None
    as_json: bool

    def say(self, document: Mapping[str, Any]) -> None:
        """A line for programs, at once."""
        if self.as_json:
            click.echo(json.dumps(document))
            sys.stdout.flush()

    @contextmanager
    def logging(self) -> Iterator[None]:
        """What the sender logs is said on stderr."""
        logger, handler = logging.getLogger("latentwire.send"), _Stderr()
        level, before = self.level or ("info" if self.verbose else "warning"), logger.level
        handler.setLevel(level.upper())
        logger.setLevel(level.upper())
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _Stderr(logging.Handler):
    """Messages as all others that this command writes for a person."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        click.echo(f"latentwire: {record.getMessage()}", err=True)


telling_options = option_group(
    "telling",
    Telling,
    click.option("--verbose", "-v", is_flag=True, help="Also say when sending works at first, and each refusal."),
    click.option(
        "--log-level", "level", type=click.Choice(LEVELS), help="The least that is said on stderr; warning otherwise."
    ),
    json_option("Print one JSON object a line: each change of state, at the end the status."),
)
