"""What the demo's items take in other clothes: raw, zlib, PNG, lossless WebP, and latents as plain floats."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentwire.export import measure
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.contract import Array
from latentwire.runtime.files import contact_sheet


@dataclass(frozen=True)
class Way:
    """One way to send the same items.

    Args:
        name: what it is.
        alone: bytes an item, each on its own.
        together: bytes an item, 64 at a time.
        mse: mean squared error of items scaled to [0, 1]; 0 for what is lossless.
    """

    name: str
    alone: float
    together: float
    mse: float


def rivals(bundle: Path, items: Array, batch: int) -> list[Way]:
    """All of them, on uint8 items [N, S * S] that are square pictures; ``batch`` items go together."""
    lossless: dict[str, Callable[[Array], bytes]] = {"zlib": deflated, "PNG": png, "WebP lossless": webp}
    found = list(float_latents(bundle, items))
    found.append(Way("pixels as they are", items[0].nbytes, items[0].nbytes, 0.0))
    found += [Way(name, length(code, items, 1), length(code, items, batch), 0.0) for name, code in lossless.items()]
    return found


def float_latents(bundle: Path, items: Array) -> Iterator[Way]:
    """The network without a codec: its latents sent as floats, and what the decoder makes of them."""
    opened = open_bundle(bundle)
    latents = measure.run_batched(measure.session(opened.read_model("analysis", "fp32")), "input", items)
    synthesis = measure.session(opened.read_model("synthesis", "fp32"))
    for dtype in (np.float32, np.float16):
        sent = latents.astype(dtype)
        restored = measure.run_batched(synthesis, "latents", sent.astype(np.float32))
        error = measure.mse(items, restored, opened.manifest.input)
        yield Way(f"{sent.dtype.name} latents", sent[0].nbytes, sent[0].nbytes, error)


def length(code: Callable[[Array], bytes], items: Array, batch: int) -> float:
    """Bytes an item of ``code`` over ``batch`` items at a time."""
    return sum(len(code(part)) for part in measure.batches(items, batch)) / len(items)


def deflated(items: Array) -> bytes:
    """The items' pixels one after another, at zlib's highest level."""
    return zlib.compress(items.tobytes(), 9)


def png(items: Array) -> bytes:
    """The items as one grey PNG, written with Pillow's `optimize`."""
    return written(items, "PNG", optimize=True)


def webp(items: Array) -> bytes:
    """The items as one lossless WebP, at the slowest and smallest setting."""
    return written(items, "WEBP", lossless=True, quality=100, method=6)


def written(items: Array, form: str, **options: Any) -> bytes:
    """A sheet of all items as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(contact_sheet(items)).save(buffer, form, **options)
    return buffer.getvalue()
