"""Parity of an image bundle, on real pictures; `latentwire.export.verify` says what is exact and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from latentwire.export.image.measure import Pieces, rate_increase, rate_points
from latentwire.export.image.reference import Image, latents_of
from latentwire.export.image.tap import Sent, Tap
from latentwire.export.image.transforms import AnalysisTransform, SynthesisTransform
from latentwire.runtime.contract import Array
from latentwire.train.image.network import ImageNetwork

if TYPE_CHECKING:
    from latentwire.export.verify import Report, Subject

QUALITIES = (0, 32, 64, 96, 128, 160, 192, 224, 255)
EXACT = (0, 64, 128, 192, 255)
RATE_LIMIT = 0.01
"""Another precision of the analysis transform may cost this share of the rate at equal error."""
LATENT_LIMIT = 0.02
"""Largest difference of a latent between torch and ONNX fp32, in grey levels (quantization steps begin at 8)."""
LEVEL_LIMIT = 1.0
"""Largest difference of an output level between torch and ONNX fp32."""


def verify_images(report: Report, subject: Subject, pictures: Sequence[Image], network: ImageNetwork | None) -> None:
    """Add every check of an image bundle to ``report``."""
    for variant in subject.variants("analysis"):
        check_symbols(report, subject, variant, pictures)
    if not report.passed:
        report.notes.append("nothing else was measured: it would measure packets that do not decode")
        return
    check_assemblies(report, subject, pictures)
    check_determinism(report, subject, pictures)
    measure_variants(report, subject, pictures)
    if network is None:
        report.notes.append("the torch network was not at hand: torch against ONNX was not compared again")
    else:
        check_torch(report, subject, pictures, network)


def pieces_of(subject: Subject, analysis: str, synthesis: str = "fp32", **options: Any) -> Pieces:
    """Sessions of the four pieces."""
    return Pieces(
        subject.session("analysis", analysis, **options),
        subject.session("pack", "exact", **options),
        subject.session("unpack", "exact", **options),
        subject.session("synthesis", synthesis, **options),
    )


def check_symbols(report: Report, subject: Subject, variant: str, pictures: Sequence[Image]) -> None:
    """Every symbol that the pack piece sends, read off inside it, comes out of the unpack piece."""
    pieces, wrong = pieces_of(subject, variant), 0
    tap = Tap(subject.bundle.read_model("pack", "exact"))
    for picture in pictures:
        for quality in EXACT:
            sent = tap.send(pieces.latents(picture, quality), picture.shape, quality)
            wrong += symbols_lost(sent, pieces.unpacked(sent.packet))
    report.add(f"symbols decoded differ from symbols encoded, {variant} encoder", wrong, 0)


def symbols_lost(sent: Sent, found: dict[str, Array]) -> int:
    """How many symbols an unpack piece read otherwise than they were sent, and one more if it refused the packet."""
    pairs = ((found["hyper_symbols"], sent.hyper_symbols), (found["symbols"], sent.symbols))
    return sum(differences(*pair) for pair in pairs) + int(found["status"] != 0)


def differences(found: Array, wanted: Array) -> int:
    """How many elements differ; all of them where the shapes do."""
    return int((found != wanted).sum()) if found.shape == wanted.shape else wanted.size


def check_assemblies(report: Report, subject: Subject, pictures: Sequence[Image]) -> None:
    """Every encoder file against every decoder file, in colour and grey: the output is what the pieces make of it."""
    samples = [pictures[0], np.ascontiguousarray(pictures[0][:70, :45, 1:2])]
    for source in subject.variants("encoder"):
        encoder = subject.session("encoder", source)
        for target in subject.variants("decoder"):
            decoder, pieces, worst = subject.session("decoder", target), pieces_of(subject, source, target), 0.0
            for picture in samples:
                packet = encoder.run(["packet"], {"input": picture, "quality": np.asarray(128, np.uint8)})[0]
                output, status = decoder.run(["output", "status"], {"packet": packet})
                wanted = pieces.output(pieces.unpacked(packet))
                gap = (
                    np.abs(output.astype(int) - wanted).max()
                    if output.shape == picture.shape == wanted.shape
                    else np.inf
                )
                worst = max(worst, float(gap) + 1e9 * int(status))
            report.add(
                f"{source} encoder to {target} decoder: levels that the output differs from its pieces'", worst, 1
            )


def check_determinism(report: Report, subject: Subject, pictures: Sequence[Image]) -> None:
    """The same latents give the same bytes, and those the same symbols, whatever the optimisation level and threads."""
    from latentwire.export.verify import LEVELS

    base = pieces_of(subject, "fp32")
    picture = pictures[0]
    latents = base.latents(picture, 128)
    wanted = base.packet(latents, picture.shape, 128)
    symbols = base.unpacked(wanted)["symbols"]
    different = 0
    for level in LEVELS.values():
        for threads in (1, 2):
            other = pieces_of(subject, "fp32", threads=threads, level=level)
            different += not np.array_equal(other.packet(latents, picture.shape, 128), wanted)
            different += not np.array_equal(other.unpacked(wanted)["symbols"], symbols)
    report.add("optimisation levels x threads with other packets or symbols", different, 0)


def measure_variants(report: Report, subject: Subject, pictures: Sequence[Image]) -> None:
    """Rate-distortion curve of each variant, and what each costs against fp32 at equal error."""
    base = rate_points(pieces_of(subject, "fp32"), pictures, QUALITIES)
    report.curves["fp32 encoder, fp32 decoder"] = base
    pairs = [(name, "fp32", f"{name} encoder, fp32 decoder") for name in subject.variants("analysis")[1:]]
    pairs += [("fp32", name, f"fp32 encoder, {name} decoder") for name in subject.variants("synthesis")[1:]]
    for analysis, synthesis, title in pairs:
        found = rate_points(pieces_of(subject, analysis, synthesis), pictures, QUALITIES)
        report.curves[title] = found
        report.add(f"{title}: rate increase at equal error", rate_increase(base, found), RATE_LIMIT)


def check_torch(report: Report, subject: Subject, pictures: Sequence[Image], network: ImageNetwork) -> None:
    """Torch against ONNX fp32: latents, and the picture that decoded latents give."""
    pieces, synthesis = pieces_of(subject, "fp32"), SynthesisTransform(network)
    analysis = AnalysisTransform(network)
    latent_gap = level_gap = trained_gap = 0.0
    with torch.no_grad():
        for picture, quality in zip(pictures[:4], (255, 0, 90, 180), strict=False):
            found = pieces.latents(picture, quality)
            height, width = picture.shape[:2]
            whole = np.pad(picture, [(0, -height % 64), (0, -width % 64), (0, 0)], "edge")
            wanted = analysis(torch.tensor(whole), torch.tensor(quality, dtype=torch.uint8))
            trained_gap = max(trained_gap, float((latents_of(network, picture, quality) - wanted).abs().max()))
            latent_gap = max(latent_gap, float(np.abs(found - wanted.numpy()).max()))
            unpacked = pieces.unpacked(pieces.packet(found, picture.shape, quality))
            restored = synthesis(torch.tensor(unpacked["latents"]), torch.tensor(unpacked["quality"]))
            levels = torch.round(restored)[0, :height, :width].numpy()
            level_gap = max(level_gap, float(np.abs(levels - pieces.output(unpacked)).max()))
    report.add("torch as trained against torch as exported: largest difference of a latent", trained_gap, LATENT_LIMIT)
    report.add("torch against ONNX fp32: largest difference of a latent, in grey levels", latent_gap, LATENT_LIMIT)
    report.add("torch against ONNX fp32: largest difference of an output level", level_gap, LEVEL_LIMIT)
