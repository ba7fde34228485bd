"""Do blocks show? The gradient across block borders over the gradient elsewhere, where the original is flat.

1 is a picture without seams. Originals and AVIF are measured in the same run. The gradients are shown too: a codec that
blurs everything has no seams either.

    python benchmarks/seams.py --data kodak/ --codec photo --codec photo-ms-ssim --out seams.json
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.files import read_pictures

PERIOD = 16
"""Pixels from border to border."""
WINDOW = 17
"""Pixels along a line over which a place is judged."""
FLAT = 2.5
"""Mean gradient in grey levels below which a place is flat."""
QUALITIES = (0, 20, 60, 120)
AVIF_QUALITIES = (20, 40, 60)
LUMA = np.array([0.299, 0.587, 0.114])
Picture = npt.NDArray[np.uint8]
Grey = npt.NDArray[np.float64]


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--codec", action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.data)
    found = [{"codec": name, **measured(pictures, restore)} for name, restore in ways(arguments.codec)]
    for row in found:
        print(f"{row['codec']:32} {row['ratio']:.3f}   {row['across']:.2f} / {row['elsewhere']:.2f} levels")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def ways(codecs: list[str]) -> Iterator[tuple[str, Callable[[Picture], Picture]]]:
    """What may happen to a picture, by name."""
    yield "original", lambda picture: picture
    for quality in AVIF_QUALITIES:
        yield f"AVIF, speed 10, quality {quality}", lambda picture, quality=quality: through_avif(picture, quality)
    for codec in codecs:
        encoder, decoder = Encoder(codec, profile="server"), Decoder(codec, profile="server")
        for quality in QUALITIES:
            yield f"{Path(codec).name}, quality {quality}", through(encoder, decoder, quality)


def through(encoder: Encoder, decoder: Decoder, quality: int) -> Callable[[Picture], Picture]:
    """The way through a packet."""
    return lambda picture: decoder.decode(encoder.encode(picture, quality))


def through_avif(picture: Picture, quality: int) -> Picture:
    """The way through Pillow's AVIF."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "AVIF", quality=quality, speed=10)
    return np.asarray(Image.open(buffer).convert("RGB"))


def measured(pictures: list[Picture], restore: Callable[[Picture], Picture]) -> dict[str, Any]:
    """Mean gradients over all flat places of all pictures, both ways, and their ratio."""
    sums = np.zeros(4)
    for picture in pictures:
        before, after = picture @ LUMA, restore(picture) @ LUMA
        sums += gradients(before, after) + gradients(before.T, after.T)
    across, elsewhere = sums[0] / sums[1], sums[2] / sums[3]
    return {"ratio": round(across / elsewhere, 4), "across": round(across, 4), "elsewhere": round(elsewhere, 4)}


def gradients(original: Grey, restored: Grey) -> Grey:
    """(Sum and number of the restored gradients across borders, the same elsewhere), along rows, in flat places."""
    flat = smooth(np.abs(np.diff(original, axis=1))) < FLAT
    found = np.abs(np.diff(restored, axis=1))
    border = np.arange(found.shape[1]) % PERIOD == PERIOD - 1
    parts = [(found[:, columns], flat[:, columns]) for columns in (border, ~border)]
    return np.array([value for values, places in parts for value in (values[places].sum(), places.sum())])


def smooth(values: Grey) -> Grey:
    """Means over windows of both directions, edges repeated."""
    half = WINDOW // 2
    for axis in (0, 1):
        margins = [(half, half) if own == axis else (0, 0) for own in (0, 1)]
        values = sliding_window_view(np.pad(values, margins, "edge"), WINDOW, axis).mean(-1)
    return values


if __name__ == "__main__":
    main()
