"""The demo's device: encodes items and sends the packets to a server, framed, over TCP.

Every item goes out alone and then again in packets of several, at each quality. What it did and how long each encode
took is left in a JSON file, together with the names of all modules that this process has imported.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.runtime import Encoder, LatentwireError, frame


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", help="bundle, or one encoder's ONNX file")
    parser.add_argument("items", type=Path, help=".npy of items like the codec takes")
    parser.add_argument("report", type=Path, help="JSON file to write")
    parser.add_argument("--port", type=int, required=True, help="of the server on this machine")
    parser.add_argument("--variant", help="of the encoder")
    parser.add_argument("--quality", type=int, action="append", required=True, help="repeat for several")
    parser.add_argument("--batch", type=int, action="append", required=True, help="items in a packet; repeatable")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the server")
    return parser.parse_args()


def plan(count: int, settings: argparse.Namespace) -> Iterator[tuple[int, int, slice]]:
    """(quality, batch, items) of each packet, in the order in which they go out."""
    for quality in settings.quality:
        for batch in settings.batch:
            for start in range(0, count, batch):
                yield quality, batch, slice(start, min(start + batch, count))


def send(
    items: np.ndarray[Any, Any], encoder: Encoder, settings: argparse.Namespace, connection: socket.socket
) -> list[dict[str, Any]]:
    """Encode and send everything; returns what the report says of each packet."""
    packets = []
    for quality, batch, part in plan(len(items), settings):
        began = time.perf_counter()
        packet = encoder.encode(items[part], quality)
        seconds = time.perf_counter() - began
        connection.sendall(frame(packet))
        packets.append({"quality": quality, "batch": batch, "bytes": len(packet), "seconds": seconds})
    return packets


def work(settings: argparse.Namespace) -> dict[str, Any]:
    """Load the codec, connect, send, hang up; returns the report."""
    items = np.load(settings.items, allow_pickle=False)
    began = time.perf_counter()
    encoder = Encoder(settings.codec, variant=settings.variant)
    started = time.perf_counter() - began
    encoder.encode(items[0])  # the first run of a session prepares what later runs reuse
    with socket.create_connection(("127.0.0.1", settings.port), settings.timeout) as connection:
        packets = send(items, encoder, settings, connection)
        connection.shutdown(socket.SHUT_WR)
    return {"variant": encoder.variant, "start_seconds": started, "packets": packets, "modules": sorted(sys.modules)}


def main() -> None:
    """Do the work and leave the report; a fault that has a name ends in one line."""
    settings = arguments()
    try:
        report = work(settings)
    except (LatentwireError, OSError) as fault:
        sys.exit(f"{type(fault).__name__}: {fault}")
    settings.report.write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main()
