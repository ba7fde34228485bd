"""What it costs to refuse packets that claim much: processor time and memory of each file, in a process that is warm.

    python benchmarks/refusals.py tests/corpus/packets --out benchmarks/results/refusals.json

Each file is judged by the ready codec whose id its header begins with, once as it is and once with header fields as
narrow as they can be, which is another packet. Memory is how far the process grew beyond what it held before, that of
ONNX Runtime included; Linux only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from latentwire.artifacts import names
from latentwire.runtime import Decoder
from latentwire.runtime.errors import RemoteError
from latentwire.runtime.wire import CODEC_BYTES, PREFIX_BYTES, WIDTHS
from latentwire.runtime.wire.packet import write_packet


def narrowed(packet: bytes) -> bytes:
    """The same claims and body with the narrowest fields."""
    layout = packet[8]
    width, dimensions = WIDTHS[layout >> 4 & 3], (layout >> 6) + 1
    end = PREFIX_BYTES + width * (dimensions + 1)
    fields = [int.from_bytes(packet[at : at + width], "little") for at in range(PREFIX_BYTES, end, width)]
    return write_packet(packet[3:7], packet[7], 1 << (layout & 15), tuple(fields[:-1]), packet[end:-4])


def memory(entry: str) -> int:
    """Bytes by a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{entry}:"))


@dataclass(frozen=True)
class Spent:
    """What a piece of work took."""

    ms: float
    """Processor time."""
    MiB: float
    """Growth of the process at its largest."""


def spent_on(work: Callable[[], object]) -> Spent:
    """Do it, and say what it took."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from what is held now
    held, began = memory("VmHWM"), time.process_time()
    work()
    ms = 1e3 * (time.process_time() - began)
    return Spent(round(ms, 3), round((memory("VmHWM") - held) / 2**20, 3))


def measure(decoder: Decoder, packet: bytes) -> tuple[str, Spent]:
    """(Name of the error, or "decoded"; what it took) of decoding a packet."""
    outcome = ["decoded"]

    def decode() -> None:
        try:
            decoder.decode(packet)
        except RemoteError as fault:
            outcome.append(type(fault).__name__)

    spent = spent_on(decode)
    return outcome[-1], spent


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file; stdout if it is not given.")
def main(folder: Path, out: Path | None) -> None:
    """Measure every packet of FOLDER."""
    decoders = {decoder.identity.codec_digest[:CODEC_BYTES]: decoder for decoder in map(Decoder, names())}
    for decoder in decoders.values():
        warm(decoder)
    results: dict[str, dict[str, object]] = {}
    for path in sorted(folder.iterdir()):
        packet = path.read_bytes()
        for form, data in {"as it is": packet, "narrow": narrowed(packet)}.items():
            outcome, spent = measure(decoders[data[3:7]], data)
            results.setdefault(path.name, {})[form] = {"outcome": outcome, **asdict(spent)}
    text = json.dumps(results, indent=2)
    if out is None:
        click.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


def warm(decoder: Decoder) -> None:
    """The first refusal of a process also imports and allocates what all others share."""
    try:
        decoder.decode(write_packet(decoder.identity.codec_digest[:4], 0, 1, (1,) * len(decoder.limits.size), bytes(4)))
    except RemoteError:
        return


if __name__ == "__main__":
    main()
