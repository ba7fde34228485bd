"""Sizes of maps of indices: our packets, and the same indices packed tightly, and compressed by lzma and zstd.

    python benchmarks/indices.py indices.npy --codebook 512 --out sizes.json

The file has integers [N, P...], or [N, R, P...] with --planes. Tables are fitted to all items but the last ones, which
are encoded, all in one packet; the others see the same bytes, in the best order of two.
"""

from __future__ import annotations

import functools
import json
import lzma
import shutil
import subprocess
import time
from pathlib import Path

import click
import numpy as np

from latentwire.export import measure
from latentwire.export.factorized import Tensors
from latentwire.export.indices.fit import fit_tables
from latentwire.export.indices.layout import Indexed
from latentwire.export.indices.pack import build_pack
from latentwire.export.indices.tables import planes_by_quality
from latentwire.export.indices.unpack import build_unpack
from latentwire.runtime.contract import ItemContract


def packed(indices: np.ndarray, size: int) -> bytes:
    """As many bits an index as the codebook needs, most significant first."""
    width = max(1, (size - 1).bit_length())
    bits = indices.reshape(-1, 1) >> np.arange(width - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def compressors() -> dict[str, object]:
    """Each takes bytes and returns how many are left."""
    found = {"lzma": lambda data: len(lzma.compress(data, preset=9))}
    if shutil.which("zstd"):
        command = ["zstd", "--ultra", "-22", "-c"]
        run = functools.partial(subprocess.run, command, capture_output=True, check=True)
        found["zstd -22"] = lambda data: len(run(input=data).stdout)
    return found


def rivals(indices: np.ndarray, size: int) -> dict[str, int]:
    """Bytes of all compressors, of tightly packed indices and of whole bytes, the smaller."""
    whole = indices.astype(np.uint8 if size <= 256 else np.uint16).tobytes()
    tight = packed(indices, size)
    return {"packed": len(tight)} | {
        name: min(compress(whole), compress(tight))  # type: ignore[operator]
        for name, compress in compressors().items()
    }


@click.command(help=__doc__)
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--codebook", type=int, required=True)
@click.option("--planes", is_flag=True, help="the second axis is the planes")
@click.option("--held", default=400, show_default=True, help="items that are encoded")
@click.option("--out", type=click.Path(path_type=Path))
def main(file: Path, codebook: int, planes: bool, held: int, out: Path | None) -> None:
    """See the module."""
    indices = np.load(file).astype(np.int64)
    indices = indices if planes else indices[:, None]
    shape = indices.shape[1:]
    begin = time.perf_counter()
    fitted = fit_tables(
        indices[:-held].reshape(-1, shape[0], int(np.prod(shape[1:]))),
        (codebook,) * shape[0],
        shape[1:],
        planes_by_quality(shape[0], all_of_them=True),
    )
    seconds = time.perf_counter() - begin
    layout = Indexed(Tensors(ItemContract("float32", ("items", 1), (0.0, 1.0)), (1,)), shape)
    identity = fitted.tables.codec_id(layout.name, shape)
    pack, unpack = (build(layout, fitted.tables, identity) for build in (build_pack, build_unpack))
    coder = measure.Coder(measure.session(pack), measure.session(unpack), (0,))
    source = indices[-held:]
    packet = coder.packet(source.astype(np.float32), (held,), 255)
    begin = time.perf_counter()
    restored = coder.restore(packet)
    decoding = time.perf_counter() - begin
    if not np.array_equal(restored["symbols"], source):
        raise click.ClickException("the packet does not decode to the indices")
    found = {
        "indices": source.size,
        "plans": fitted.plans,
        "fit_seconds": round(seconds, 1),
        "decode_ms": round(1e3 * decoding, 1),
        "unpack_bytes": unpack.ByteSize(),
        "bytes": {"latentwire": len(packet), **rivals(source, codebook)},
    }
    found["bits_an_index"] = {name: round(8 * size / source.size, 3) for name, size in found["bytes"].items()}
    click.echo(json.dumps(found, indent=1))
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
