"""The bundle's CARD.md: what the codec is, what it was made from, what it was measured to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentwire.runtime.bundle import Manifest


def write_card(path: Path, manifest: Manifest) -> None:
    """Write the card of ``manifest`` to ``path``."""
    parts = [head(manifest), files(manifest), curves(manifest), origin(manifest)]
    path.write_text("\n".join(parts), encoding="utf-8")


def head(manifest: Manifest) -> str:
    """Name, contract and how to call it."""
    contract = manifest.input
    return f"""# {manifest.name}

A Latentwire codec of the family `{manifest.family}`. Codec id `{manifest.codec_id[:16]}...`, packet version
{manifest.packet_version}.

- Input and output: {contract.dtype} {contract.describe_shape()}, values {contract.range[0]:g} to {contract.range[1]:g}.
- Quality: 0 to 255, {manifest.default_quality} by default; an input of the encoder.
- Any encoder variant works with any decoder variant: the precision of a transform is not part of the codec id.

```python
from latentwire.runtime import Decoder, Encoder

codec = "{manifest.name}"  # this folder's path, or the name of a codec that ships with Latentwire
packet = Encoder(codec).encode(items, quality={manifest.default_quality})
items = Decoder(codec).decode(packet)
```
"""


def files(manifest: Manifest) -> str:
    """A table of the ONNX files."""
    rows = [f"| `{file.file}` | {file.role} | {file.precision} | {file.size / 1000:.0f} |" for file in manifest.files]
    return "\n".join(["## Files", "", "| file | role | precision | kB |", "|---|---|---|---|", *rows, ""])


def curves(manifest: Manifest) -> str:
    """Rate, distortion and the parity verdict, from the manifest's report."""
    parity: dict[str, Any] = dict(manifest.parity or {})
    lines = [f"## Measured on {parity.get('items', 0)} items that it was not fitted to", ""]
    curves = parity.get("rate_distortion", {})
    pictures = any(point.get("ms_ssim") for points in curves.values() for point in points)
    lines += ["| variants | quality | bytes an item | MSE (range scaled to 1) |" + pictures * " MS-SSIM |"]
    lines += ["|---|---|---|---|" + pictures * "---|"]
    alone = parity.get("networks_alone_mse")
    if alone is not None:
        lines += [f"| networks alone, no quantization | | | {alone:.6f} |" + pictures * " |"]
    for name, points in curves.items():
        lines += [f"| {name} | {p['quality']} | {p['bits'] / 8:.2f} | {p['mse']:.6f} |{similarity(p)}" for p in points]
    checks = parity.get("checks", [])
    passed = sum(bool(check["passed"]) for check in checks)
    return "\n".join([*lines, "", f"Parity: {passed} of {len(checks)} checks passed.", ""])


def similarity(point: dict[str, Any]) -> str:
    """The cell that pictures have more than other items."""
    found = point.get("ms_ssim")
    return f" {found:.5f} |" if found else ""


def origin(manifest: Manifest) -> str:
    """Training, calibration, tools."""
    provenance = manifest.provenance
    terms = provenance.training.get("terms")
    lines = ["## Terms", "", str(terms), ""] if terms else []
    lines += ["## Made from", ""]
    for title, facts in (("Training", provenance.training), ("Calibration", provenance.calibration)):
        lines += [f"{title}:", "", "```json", json.dumps(facts, indent=1), "```", ""]
    tools = ", ".join(f"{name} {version}" for name, version in provenance.tools.items())
    return "\n".join([*lines, f"Tools: {tools}.", ""])
