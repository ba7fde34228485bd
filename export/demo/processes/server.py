"""The demo's server: takes one connection, decodes every packet that arrives on it, and keeps what came.

It prints the port that it listens on, writes the packets to a stream file and the items to an .npy file, both in the
order of arrival, and leaves a JSON file that says how long each decode took and which modules this process imported.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from latentwire.runtime import Damaged, Decoder, LatentwireError, parse_header, read_stream, write_stream


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codec", help="bundle, or one decoder's ONNX file")
    parser.add_argument("items", type=Path, help=".npy file to write")
    parser.add_argument("packets", type=Path, help="stream file to write")
    parser.add_argument("report", type=Path, help="JSON file to write")
    parser.add_argument("--variant", help="of the decoder")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the device")
    return parser.parse_args()


def receive(settings: argparse.Namespace, connection: socket.socket, decoder: Decoder) -> dict[str, Any]:
    """Decode until the device hangs up; returns the report."""
    items, packets, entries = [], [], []
    with connection.makefile("rb") as source:
        for record in read_stream(source):
            if isinstance(record, Damaged):
                raise record.error
            began = time.perf_counter()
            decoded = decoder.decode(record.data)
            seconds = time.perf_counter() - began
            items.append(decoded)
            packets.append(record.data)
            quality = parse_header(record.data).quality
            entries.append({"quality": quality, "items": len(decoded), "seconds": seconds})
    if not items:
        raise ConnectionError("expected packets, found that the device hung up without sending one")
    np.save(settings.items, np.concatenate(items))
    with settings.packets.open("wb") as sink:
        write_stream(sink, packets)
    return {"variant": decoder.variant, "packets": entries, "modules": sorted(sys.modules)}


def work(settings: argparse.Namespace) -> dict[str, Any]:
    """Load the codec, listen, say where, take one device; returns the report."""
    decoder = Decoder(settings.codec, variant=settings.variant)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(settings.timeout)
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(settings.timeout)
        return receive(settings, connection, decoder)


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
