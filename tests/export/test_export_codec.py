"""The door from torch modules to a bundle, with closed-form networks on real digits: nothing is trained here."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from linear import principal_components
from sklearn.datasets import load_digits
from torch import nn

from latentwire.export import ExportError, QuantizationError, export_codec
from latentwire.export.dense.family import layout_of
from latentwire.export.factorized import Dense
from latentwire.export.transforms import check_finite
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.contract import ItemContract, dtype_range
from latentwire.runtime.errors import InputRangeError, SettingError

CHANNELS = 20


def digit_images() -> np.ndarray:
    """1797 digits of 8x8, their 17 grey levels spread over 0..240."""
    return (load_digits().images.reshape(-1, 64) * 15).astype(np.uint8)


def pca_modules(network_items: np.ndarray, channels: int = CHANNELS) -> tuple[nn.Module, nn.Module]:
    return principal_components(network_items, channels)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    items = digit_images()
    out = tmp_path_factory.mktemp("export") / "digits"
    return export_codec(pca_modules(items / 255), items, out, precisions=("fp32", "int8", "fp16"))


def test_the_bundle_holds_every_piece_and_says_so(exported):
    bundle = open_bundle(exported.path)
    files = {(entry.role, entry.variant) for entry in bundle.manifest.files}
    roles = ("encoder", "decoder", "analysis", "synthesis")
    assert files == {("pack", "exact"), ("unpack", "exact")} | {
        (role, variant) for role in roles for variant in ("fp32", "int8", "fp16")
    }
    assert bundle.check_files() == len(files) + 1 + 4 * len(bundle.manifest.golden.cases)
    assert {(entry.opset, entry.ir_version) for entry in bundle.manifest.files} == {(20, 9)}
    assert sorted(path.name for path in exported.path.iterdir() if path.suffix != ".onnx") == [
        "CARD.md",
        "golden",
        "manifest.json",
    ]
    assert "MS-SSIM" not in (exported.path / "CARD.md").read_text()  # pictures have it


def test_every_file_is_a_valid_model_without_foreign_operators_or_sidecars(exported):
    for path in exported.path.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain for entry in model.opset_import} == {""}
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        assert [entry.key for entry in model.metadata_props] == ["latentwire"]


def test_parity_was_measured_on_held_out_items(exported):
    assert exported.parity["passed"]
    assert exported.parity["items"] == int(1797 * 0.2)
    names = [check["name"] for check in exported.parity["checks"]]
    assert sum(name.startswith("torch against ONNX fp32") for name in names) == 3
    assert sum("encoder to" in name for name in names) == 9
    curve = exported.parity["rate_distortion"]["fp32 encoder, fp32 decoder"]
    assert [point["quality"] for point in curve] == sorted(point["quality"] for point in curve)
    assert all(a["bits"] < b["bits"] and a["mse"] > b["mse"] for a, b in itertools.pairwise(curve))


def test_quality_255_costs_next_to_nothing_over_the_transforms_alone(exported):
    items = digit_images()[-300:]
    encoder, decoder = pca_modules(digit_images() / 255)
    with torch.no_grad():
        alone = decoder(encoder(torch.tensor(items / 255, dtype=torch.float32))).clamp(0, 1).numpy()
    restored = Decoder(exported.path).decode(Encoder(exported.path).encode(items, 255))
    error = np.square(restored / 255 - items / 255).mean()
    assert error <= 1.01 * np.square(alone - items / 255).mean()


def test_the_codec_id_follows_from_tables_not_from_weights(exported, tmp_path):
    items = digit_images()
    again = export_codec(pca_modules(items / 255), items, tmp_path / "again")
    assert again.codec_id == exported.codec_id
    fewer = export_codec(pca_modules(items / 255, 10), items, tmp_path / "fewer")
    assert fewer.codec_id != exported.codec_id


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16"])
def test_other_dtypes(tmp_path, dtype):
    digits = digit_images() / 15
    if dtype == "float32":
        items, network = (digits / 4 - 2).astype(np.float32), digits / 4 - 2
    else:
        info = np.iinfo(dtype)
        items = np.round(info.min + digits / 16 * (info.max - info.min)).astype(dtype)
        network = digits / 16
    path = export_codec(pca_modules(network), items, tmp_path / "codec", precisions=("fp32", "fp16")).path
    restored = Decoder(path).decode(Encoder(path).encode(items[-50:], 255))
    assert restored.dtype == items.dtype
    span = float(items.max()) - float(items.min())
    assert np.sqrt(np.square((restored.astype(np.float64) - items[-50:]) / span).mean()) < 0.12


class Failing(nn.Module):
    """A layer with data-dependent control flow, which ONNX export refuses."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if bool(x.square().sum() >= 0) else -x


def float_digits() -> np.ndarray:
    return (load_digits().images.reshape(-1, 64) / 4 - 2).astype(np.float32)


@pytest.mark.slow
def test_a_codec_of_floats_takes_values_a_little_beyond_those_it_was_fitted_to(tmp_path):
    items = float_digits()
    modules = pca_modules(items)
    narrow = export_codec(modules, items, tmp_path / "narrow", range_margin=0)
    wide = export_codec(modules, items, tmp_path / "wide")
    assert narrow.codec_id == wide.codec_id, "tables and packets are the same"
    encoders = [Encoder(exported.path) for exported in (narrow, wide)]
    assert [encoder.contract.range for encoder in encoders] == [(-2, 2), (-2.2, 2.2)]
    assert encoders[0].encode(items[:9]) == encoders[1].encode(items[:9])
    items[3] = np.where(items[3] > 1, 2.15, items[3])
    with pytest.raises(InputRangeError, match="item 3"):
        encoders[0].encode(items[:9])
    outside = Decoder(wide.path).decode(encoders[1].encode(items[:9], 255))[3]
    assert np.abs(outside - items[3]).mean() < 0.3 and outside.max() > 2
    with pytest.raises(SettingError, match="margin"):
        export_codec(modules, items, tmp_path / "none", range_margin=-1)


def test_a_wider_range_means_the_same_to_the_networks():
    values = torch.tensor([[-3.0, 0.25, 5.0]])
    for seen in ((0.0, 1.0), (-1.0, 1.0), None):
        layout = Dense(ItemContract("float32", ("items", 3), (-3.0, 5.0)), 2, network_range=seen)
        wider = layout.widened(0.25)
        assert wider.contract.range == (-5.0, 7.0)
        torch.testing.assert_close(wider.normalize(values), layout.normalize(values))
        torch.testing.assert_close(wider.scale(layout.normalize(values)), values)
    whole = Dense(ItemContract("float32", ("items", 3), dtype_range("float32")), 2, network_range=None)
    assert whole.widened() == whole, "there is nothing beyond"
    digits = Dense(ItemContract("uint8", ("items", 3), (0, 16)), 2)
    assert digits.widened() is digits, "grey levels end where they end"


@pytest.mark.parametrize(
    ("request_of", "expected"),
    [({"range": None}, (-2.2, 2.2)), ({"range": [-2, 2]}, (-2, 2)), (None, (-2, 2))],
    ids=["measured", "said", "from memory"],
)
def test_of_a_run_only_a_range_that_was_measured_is_widened(request_of, expected):
    contract = ItemContract("float32", ("items", 3), (-2.0, 2.0))
    provenance = {"data": {"request": request_of}, "network": {"latent": 2}}
    assert layout_of(SimpleNamespace(contract=contract, provenance=provenance)).contract.range == expected


def test_a_module_that_cannot_be_exported_is_named(tmp_path):
    items = digit_images()
    encoder, decoder = pca_modules(items / 255)
    with pytest.raises(ExportError, match=r"analysis transform .*1"):
        export_codec((nn.Sequential(encoder, Failing()), decoder), items, tmp_path / "codec")
    assert not list(tmp_path.iterdir())


def test_parameters_that_are_not_finite_are_named(tmp_path):
    items = digit_images()
    encoder, decoder = pca_modules(items / 255)
    with torch.no_grad():
        decoder.bias[3] = torch.nan
    with pytest.raises(ExportError, match="decoder's parameter 'bias'"):
        export_codec((encoder, decoder), items, tmp_path / "codec")


def test_a_mask_of_infinities_is_no_weight():
    class Masked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.register_buffer("mask", torch.full((4,), -torch.inf))

    check_finite(Masked(), "encoder")
    layer = nn.BatchNorm1d(4)
    layer.running_mean[0] = torch.nan
    with pytest.raises(ExportError, match="encoder's parameter 'running_mean'"):
        check_finite(layer, "encoder")


def test_what_cannot_be_quantized_says_which_layers_cost_how_much(tmp_path):
    items = digit_images()
    encoder, decoder = pca_modules(items / 255)
    with torch.no_grad():  # one huge input direction, cancelled again: eight bits cannot hold both
        encoder.weight[0] *= 1e4
        encoder.bias[0] *= 1e4
        decoder.weight[:, 0] /= 1e4
    with pytest.raises(QuantizationError, match=r"synthesis transform .* limit"):
        export_codec((encoder, decoder), items, tmp_path / "codec", precisions=("fp32", "int8"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": np.ones((256, 3), np.float32)}, "steps"),
        ({"data": digit_images()[:10]}, "at least 32"),
        ({"data": digit_images()[:, :-1]}, r"given \[4, 63\], fails .*expected \[..., 64\]"),
    ],
)
def test_wrong_arguments_are_named_errors(tmp_path, change, message):
    items = digit_images()
    arguments = {"data": items, "out": tmp_path / "codec"} | change
    with pytest.raises(ExportError, match=message):
        export_codec(pca_modules(items / 255), **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precisions", [("int8",), ("fp32", "int4"), ("fp32", "fp32"), ()])
def test_unknown_precisions_are_a_usage_error(tmp_path, precisions):
    items = digit_images()
    with pytest.raises(SettingError, match="fp32, int8, fp16"):
        export_codec(pca_modules(items / 255), items, tmp_path / "codec", precisions=precisions)


def test_an_existing_folder_is_kept_unless_told_otherwise(exported):
    before = (exported.path / "manifest.json").read_bytes()
    items = digit_images()
    with pytest.raises(ExportError, match="exists already"):
        export_codec(pca_modules(items / 255), items, exported.path)
    assert (exported.path / "manifest.json").read_bytes() == before


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    items = digit_images()
    with pytest.raises(ExportError, match="not a bundle"):
        export_codec(pca_modules(items / 255), items, tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_the_manifest_is_strict_json(exported):
    document = json.loads((exported.path / "manifest.json").read_text())
    assert document["provenance"]["tools"]["torch"] == torch.__version__
    assert document["provenance"]["calibration"]["items"] == 1797 - int(1797 * 0.2)
