"""Autoencoders of other people, as they stand, through `export_codec` in one line: what they make comes back."""

import numpy as np
import pytest
from architectures import ARCHITECTURES

from latentwire.export import export_codec
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle.bundle import open_bundle

ALIKE = {"vae_distributions", "shuffle", "denoising", "gdn", "nested", "channels_last_data", "gru", "table"}
"""Left to `benchmarks/own_autoencoders.py`: another kind here has the same layers. test_adopt.py takes all of them."""

LIMITS = {"fp32": 0.01, "int8": 0.015}
"""What the codec may lose at quality 255, of the squared error of the networks alone."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [entry for entry in ARCHITECTURES if entry.name not in ALIKE], ids=lambda entry: entry.name
)
def test_the_codec_restores_what_the_networks_alone_do(entry, tmp_path):
    case = entry.case()
    exported = export_codec(case.model, case.items, tmp_path / "codec", precisions=("fp32", "int8"), **entry.options)
    held = case.items[-96:]
    alone = np.square(case.networks(held) - held).mean()
    assert alone < 0.95 * held.astype(np.float64).var(), "the networks have learned nothing"
    files = {(file.role, file.variant) for file in open_bundle(exported.path).manifest.files}
    # A variant in which nothing could be quantized is not written.
    assert files & {("encoder", "int8"), ("decoder", "int8")}
    for variant in ("fp32", "int8"):
        encoder, decoder = (variant if (role, variant) in files else "fp32" for role in ("encoder", "decoder"))
        packet = Encoder(exported.path, variant=encoder).encode(held, 255)
        restored = Decoder(exported.path, variant=decoder).decode(packet)
        assert restored.shape == held.shape and restored.dtype == held.dtype
        assert np.square(restored.astype(np.float64) - held).mean() <= (1 + LIMITS[variant]) * alone
        assert len(packet) < held.nbytes


def test_there_are_enough_kinds():
    kept = [entry for entry in ARCHITECTURES if entry.name not in ALIKE]
    assert len(kept) >= 14
    assert {entry.name for entry in ARCHITECTURES} >= ALIKE
    assert len({entry.what for entry in ARCHITECTURES}) == len(ARCHITECTURES)
    assert all(entry.code.count("\n") < 3 for entry in ARCHITECTURES)
