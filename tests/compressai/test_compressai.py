"""CompressAI's own classes through us: the same symbols, the same pictures, packets of the same size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_images import picture

from latentwire.export import ExportError
from latentwire.export.compressai import ARCHITECTURES, export_compressai
from latentwire.export.compressai.models import KNOTS
from latentwire.export.compressai.state import CLASSES, State, architecture_named, non_negative
from latentwire.export.compressai.transforms import as_convolution
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.selftest import selftest

PICTURES = [picture(160, 200, seed=k) for k in range(3)]
HEADER = 60
"""Bytes of header, checksum, the length of the escape list, and of a few lanes."""


@pytest.fixture(scope="module")
def bundle_of(case_of, tmp_path_factory):
    """Bundles of the cases, each made once."""
    made = {}

    def make(name):
        if name not in made:
            case = case_of(name)
            out = tmp_path_factory.mktemp("codecs") / name
            export_compressai(
                case.state, [*PICTURES, case.picture], out, architecture=CLASSES[name], holdout=[case.picture]
            )
            made[name] = out
        return made[name]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", ["FactorizedPrior", "FactorizedPriorReLU"])
def test_factorized_has_the_same_symbols_size_and_pixels(name, case_of, bundle_of):
    case, found = case_of(name), case_of(name).results[0]
    encoder, decoder = Encoder(bundle_of(name)), Decoder(bundle_of(name))
    packet = encoder.encode(case.picture)
    latents = decoder.latents(packet)[0]
    medians = case.state["entropy_bottleneck.quantiles"][:, 0, 1].numpy()[:, None, None]
    symbols = np.rint(latents - medians).transpose(1, 2, 0)
    assert np.array_equal(symbols, found["first_symbols"].numpy())
    assert np.abs(symbols).max() > 3
    assert abs(len(packet) - found["bytes"]) <= 0.01 * found["bytes"] + HEADER
    levels = np.clip(found["restored"].numpy(), 0, 1) * 255
    assert np.abs(decoder.decode(packet) - levels).max() <= 0.51


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ScaleHyperprior", "MeanScaleHyperprior"])
def test_hyperpriors_are_within_a_percent_of_floats(name, case_of, bundle_of):
    case, found = case_of(name), case_of(name).results[0]
    encoder, decoder = Encoder(bundle_of(name)), Decoder(bundle_of(name))
    packet = encoder.encode(case.picture)
    assert abs(len(packet) - found["bytes"]) <= 0.02 * found["bytes"] + HEADER
    wanted = np.clip(found["restored"].numpy(), 0, 1) * 255
    assert np.mean(np.abs(decoder.decode(packet) - wanted)) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MeanScaleHyperpriorVbr"])
def test_variable_rates_are_qualities(name, case_of, bundle_of):
    case = case_of(name)
    encoder, decoder = Encoder(bundle_of(name)), Decoder(bundle_of(name))
    for level, found in case.results.items():
        packet = encoder.encode(case.picture, KNOTS[level])
        assert abs(len(packet) - found["bytes"]) <= 0.02 * found["bytes"] + HEADER
        wanted = np.clip(found["restored"].numpy(), 0, 1) * 255
        assert np.mean(np.abs(decoder.decode(packet) - wanted)) < 1.5


@pytest.mark.slow
def test_a_bundle_passes_its_golden_cases_and_takes_any_size(bundle_of):
    path = bundle_of("MeanScaleHyperprior")
    assert selftest(path).passed
    encoder, decoder = Encoder(path), Decoder(path)
    for shape in ((1, 1, 3), (65, 63, 3), (70, 45, 1)):
        small = picture(*shape, seed=5)
        restored = decoder.decode(encoder.encode(small))
        assert restored.shape == shape and restored.dtype == np.uint8


@pytest.mark.parametrize("outputs", [3, 5])
def test_a_transposed_convolution_is_a_convolution_and_a_shuffle(outputs):
    torch.manual_seed(0)
    weight, values = torch.randn(4, outputs, 5, 5), torch.randn(1, 4, 6, 7)
    wanted = F.conv_transpose2d(values, weight, stride=2, padding=2, output_padding=1)
    convolved = F.conv2d(values, torch.tensor(as_convolution(weight.numpy())), padding=1)
    assert torch.allclose(F.pixel_shuffle(convolved, 2), wanted, atol=1e-5)


def test_stored_parameters_of_normalizations_never_fall_below_their_bound():
    assert non_negative(np.array([-1.0, 0.0, 2.0], np.float32), 1e-6) == pytest.approx([1e-6, 1e-6, 4.0], rel=1e-4)


def test_names_are_those_of_the_zoo_with_either_sign():
    assert architecture_named("bmshj2018_hyperprior") is ARCHITECTURES["bmshj2018-hyperprior"]
    with pytest.raises(ExportError, match="expected an architecture of bmshj2018-factorized"):
        architecture_named("mbt2018")


def test_a_state_without_tables_asks_for_update():
    state = State({"entropy_bottleneck._quantized_cdf": torch.zeros(0)}, "mbt2018-mean")
    with pytest.raises(ExportError, match=r"call update\(\)"):
        state.rows("entropy_bottleneck")


def test_numbers_that_are_not_finite_and_missing_entries_are_named():
    state = State({"g_a.0.weight": torch.full((2, 2), torch.nan)}, "mbt2018-mean")
    with pytest.raises(ExportError, match=r"finite numbers in 'g_a.0.weight'"):
        state.array("g_a.0.weight")
    with pytest.raises(ExportError, match=r"'g_s.0.weight' in the state dict"):
        state.array("g_s.0.weight")


def test_a_model_of_another_kind_is_refused_before_any_work(tmp_path):
    with pytest.raises(ExportError, match="expected one of CompressAI's models"):
        export_compressai(torch.nn.Linear(1, 1), PICTURES, tmp_path / "codec")
    assert not list(tmp_path.iterdir())
