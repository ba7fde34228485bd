"""What the service is told at its start."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from latentwire.runtime.errors import SettingError
from latentwire.runtime.net import is_loopback
from latentwire.runtime.serve.quarantine import FOLDER
from latentwire.runtime.session import Asked
from latentwire.runtime.wire import MIN_PACKET_BYTES

NAME = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
"""Of a host, or an IPv6 address without its brackets."""
FORMS = ("png", "npy")
MIB = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """How much of everything; each is a number from 1.

    Raises:
        SettingError: one is below 1, or one packet could take more than what is for all.
    """

    packet_bytes: int = 16 * MIB
    body_bytes: int = 32 * MIB
    """One request: a packet or a stream of packets."""
    body_packets: int = 4096
    output_bytes: int = 48 * MIB
    """What one packet may decode to: pictures of 16 megapixels in colour."""
    memory_bytes: int = 256 * MIB
    """Bodies that are being received or checked."""
    work_bytes: int = 48 * MIB
    """Items that are worked on at the same time, pictures as whole blocks in colour, for the sink and for answers each;
    `photo` takes about 32 times as much memory for it."""
    inbox_bytes: int = 1024 * MIB
    inbox_packets: int = 100_000
    quarantine_bytes: int = 64 * MIB
    quarantine_packets: int = 10_000
    batch_packets: int = 64
    """Packets of one synthesis."""
    latency_ms: int = 500
    """How long one batch may take, by what the packets before took: larger ones would let the next packet wait."""
    connections: int = 512
    handshake_seconds: int = 5
    """For a TLS handshake."""
    header_seconds: int = 10
    body_seconds: int = 20
    """For a body to arrive, and a second more for every 4 KiB of it."""
    drain_seconds: int = 60
    """For what is in work to be finished at the end."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) < 1:
                raise SettingError(f"expected {entry.name} from 1, found {getattr(self, entry.name)}")
        if not MIN_PACKET_BYTES <= self.packet_bytes <= self.body_bytes <= self.memory_bytes:
            raise SettingError(
                f"expected packets of {MIN_PACKET_BYTES} bytes or more, no longer than a body ({self.body_bytes}), "
                f"no longer than the memory for bodies ({self.memory_bytes}), found {self.packet_bytes}"
            )
        if not self.output_bytes <= min(self.work_bytes, self.memory_bytes):
            raise SettingError(
                f"expected packets that decode to no more than what may be in work ({self.work_bytes}) and in memory "
                f"({self.memory_bytes}), found {self.output_bytes}"
            )


@dataclass(frozen=True)
class Settings:
    """The whole service.

    Args:
        bundles: codecs that are served: folders, zips, decoder files, names of ready codecs.
        sink: a folder, or any URL that fsspec opens.
        inbox: folder of the inbox and, unless told otherwise, the quarantine.
        new_inbox: where the inbox is lost or damaged, begin anew; what is left of it stays. Otherwise that is an error.
        tokens: file of the devices' tokens; None for none, see ``open_to_all``.
        open_to_all: nobody needs a token. Only on a loopback address, and under a name of this machine.
        readers: file of the tokens of those who may read metrics, codecs and obstacles; None for everybody.
        allowed_hosts: names, beside those of this machine, under which the service is asked. Where there are none,
            and devices have tokens, any name will do.
        keys: file of the keys that packets are sealed with.
        mqtt: URL of a broker.
        form: of pictures in the sink: "png" or "npy".
        signed_by: the public key that every bundle has to be signed with; None for any.
        workers: threads that decode and write; 0 for one a core, at least two.

    Raises:
        SettingError: settings that contradict each other.
    """

    bundles: tuple[str | Path, ...]
    sink: str
    inbox: Path = Path("inbox")
    new_inbox: bool = False
    host: str = "127.0.0.1"
    port: int = 8470
    tokens: Path | None = None
    open_to_all: bool = False
    readers: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    keys: Path | None = None
    mqtt: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    form: str = "png"
    variant: str | None = None
    providers: Asked = None
    signed_by: Path | None = None
    workers: int = 0
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        if not self.bundles:
            raise SettingError("expected one codec or more, found none: name a bundle, or a ready codec such as photo")
        if self.form not in FORMS:
            raise SettingError(f"expected pictures as {' or '.join(FORMS)}, found {self.form!r}")
        if (self.certificate is None) != (self.key is None):
            raise SettingError("expected a certificate and its key, found one of them: name both")
        if self.open_to_all == (self.tokens is not None):
            raise SettingError("expected either a tokens file or --no-auth: `latentwire token DEVICE --tokens FILE`")
        if self.open_to_all and not is_loopback(self.host):
            raise SettingError(f"expected a loopback address with --no-auth, found {self.host}: use tokens")
        for name in self.allowed_hosts:
            if not NAME.fullmatch(name):
                raise SettingError(f"expected a name or address without a port as an allowed host, found {name!r}")

    @property
    def checks_hosts(self) -> bool:
        """Whether it matters under which name the service is asked."""
        return self.open_to_all or bool(self.allowed_hosts)

    @property
    def quarantine(self) -> Path:
        """The folder of what was refused."""
        return self.inbox / FOLDER

    @property
    def threads(self) -> int:
        """Workers as a number."""
        return self.workers or max(2, os.cpu_count() or 1)
