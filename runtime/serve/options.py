"""The options of `latentwire serve`, in groups that make the settings of a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from latentwire.runtime.cli import FILE, FOLDER, Option, Place, option_group, place_options
from latentwire.runtime.serve.settings import FORMS, Bounds, Settings


@dataclass(frozen=True)
class Address:
    """Where the service listens.

    Args:
        host: address of this machine.
        port: 0 for any free one.
        mqtt: URL of a broker to listen to as well.
    """

    host: str
    port: int
    mqtt: str | None


address_options = option_group(
    "address",
    Address,
    click.option("--host", default=Settings.host, show_default=True, help="Address to listen at."),
    click.option(
        "--port", type=click.IntRange(0, 65535), default=Settings.port, show_default=True, help="0 for any free one."
    ),
    click.option(
        "--mqtt",
        envvar="LATENTWIRE_MQTT",
        help="Broker to listen to as well: mqtt://user:password@host:1883, or mqtts://.",
    ),
)


@dataclass(frozen=True)
class Trust:
    """Who may send, and how both sides know each other.

    Args:
        tokens: file of the devices' tokens.
        no_auth: nobody needs one.
        readers: file of the tokens of those who may read metrics and codecs.
        allowed_hosts: names under which the service is asked.
        keys: file of the keys that packets are sealed with.
        certificate: of TLS.
        key: of the certificate.
    """

    tokens: Path | None
    no_auth: bool
    readers: Path | None
    allowed_hosts: tuple[str, ...]
    keys: Path | None
    certificate: Path | None
    key: Path | None


trust_options = option_group(
    "trust",
    Trust,
    click.option("--tokens", type=FILE, help="File of the devices' tokens, see `latentwire token`."),
    click.option("--no-auth", is_flag=True, help="Take packets from everybody; only on a loopback address."),
    click.option(
        "--readers", type=FILE, help="File of the tokens of those who may read /metrics and /v1/codecs; else everybody."
    ),
    click.option(
        "--allowed-host",
        "allowed_hosts",
        multiple=True,
        metavar="NAME",
        help="Name under which the service is asked, beside localhost; with --no-auth and --demo others are refused.",
    ),
    click.option("--keys", type=FILE, help="File of the keys that packets are sealed with."),
    click.option("--certificate", type=FILE, help="TLS: certificate chain, PEM."),
    click.option("--key", type=FILE, help="TLS: private key, PEM."),
)


def bounds(
    batch: int, max_packet: int, max_output: int, max_inbox: int, max_waiting: int, max_connections: int
) -> Bounds:
    """How much of everything; what is not asked for is as large as what is asked for needs."""
    body = max(Bounds.body_bytes, max_packet)
    return Bounds(
        packet_bytes=max_packet,
        body_bytes=body,
        memory_bytes=max(Bounds.memory_bytes, body, max_output),
        work_bytes=max(Bounds.work_bytes, max_output),
        output_bytes=max_output,
        inbox_bytes=max_inbox,
        inbox_packets=max_waiting,
        batch_packets=batch,
        connections=max_connections,
    )


def _bound(flag: str, least: int, most: int | None, default: int, what: str) -> Option:
    return click.option(flag, type=click.IntRange(least, most), default=default, show_default=True, help=what)


bounds_options = option_group(
    "bounds",
    bounds,
    _bound("--batch", 1, 1024, Bounds.batch_packets, "Most packets of one synthesis."),
    _bound("--max-packet", 32, None, Bounds.packet_bytes, "Longest packet, in bytes."),
    _bound("--max-output", 1, None, Bounds.output_bytes, "Most bytes that a packet may decode to."),
    _bound("--max-inbox", 1, None, Bounds.inbox_bytes, "Most bytes that may wait."),
    _bound("--max-waiting", 1, None, Bounds.inbox_packets, "Most packets that may wait."),
    _bound("--max-connections", 1, None, Bounds.connections, "Most connections; who only waits gives way beyond."),
)


@dataclass(frozen=True)
class Page:
    """The page in which a browser is the device.

    Args:
        demo: whether it is served.
        page_assets: folder of onnxruntime-web's files.
    """

    demo: bool
    page_assets: Path


page_options = option_group(
    "page",
    Page,
    click.option(
        "--demo", is_flag=True, help="Serve a page too, in which a browser is the device; takes --no-auth with it."
    ),
    click.option(
        "--page-assets",
        type=FOLDER,
        default=Path("build/page"),
        show_default=True,
        help="Folder of onnxruntime-web's files for that page, see `make page`.",
    ),
)


@dataclass(frozen=True)
class Serving:
    """Everything that the service is told at its start.

    Args:
        bundles: codecs that are served.
        sink: folder or URL for what is decoded.
        inbox: folder for what waits, and what was refused.
        new_inbox: begin anew where it is lost or damaged.
        form: of pictures in the sink.
        workers: threads that decode.
    """

    bundles: tuple[str, ...]
    sink: str
    inbox: Path
    new_inbox: bool
    address: Address
    trust: Trust
    form: str
    place: Place
    workers: int
    bounds: Bounds
    page: Page

    def settings(self) -> Settings:
        """As the service takes them.

        Raises:
            SettingError: they contradict each other.
        """
        return Settings(
            bundles=self.bundles,
            sink=self.sink,
            inbox=self.inbox,
            new_inbox=self.new_inbox,
            host=self.address.host,
            port=self.address.port,
            tokens=self.trust.tokens,
            open_to_all=self.trust.no_auth or self.page.demo,
            readers=self.trust.readers,
            allowed_hosts=self.trust.allowed_hosts,
            keys=self.trust.keys,
            mqtt=self.address.mqtt,
            certificate=self.trust.certificate,
            key=self.trust.key,
            form=self.form,
            variant=self.place.variant,
            providers=self.place.providers,
            signed_by=self.place.signed_by,
            workers=self.workers,
            bounds=self.bounds,
        )


serving_options = option_group(
    "serving",
    Serving,
    click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE..."),
    click.option("--sink", required=True, help="Folder or fsspec URL for what is decoded."),
    click.option(
        "--inbox",
        type=FOLDER,
        default=Settings.inbox,
        show_default=True,
        help="Folder for what waits, and what was refused.",
    ),
    click.option(
        "--new-inbox", is_flag=True, help="Where the inbox is lost or damaged, begin anew; what is left of it stays."
    ),
    address_options,
    trust_options,
    click.option(
        "--format", "form", type=click.Choice(FORMS), default=Settings.form, show_default=True, help="Of pictures."
    ),
    place_options(
        variant="Variant of the synthesis transform; the bundle's default otherwise.",
        where="Where it runs: cpu, cuda, ..., or auto.",
        profile=False,
    ),
    click.option(
        "--workers",
        type=click.IntRange(0),
        default=Settings.workers,
        help="Threads that decode; one a core, at least two.",
    ),
    bounds_options,
    page_options,
)
