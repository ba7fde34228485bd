"""Any autoencoder in its natural shape: what is found on the items, what is told, and what contradicts what is told."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import patch_components, principal_components
from sklearn.datasets import load_digits
from torch import nn

from latentwire.export import ExportError, Tensors, export_codec
from latentwire.export.factorized import Affine
from latentwire.export.factorized.found import Told, with_channels
from latentwire.export.factorized.grids import Grids
from latentwire.export.factorized.scaling import between, standardized
from latentwire.export.graph import FLOAT, INT64, build_model, value
from latentwire.export.measure import session
from latentwire.export.notes import quiet
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.bundle import open_bundle
from latentwire.runtime.contract import ItemContract
from latentwire.runtime.errors import InputRangeError, SettingError
from latentwire.runtime.files import load_items


def pictures(count: int = 600) -> np.ndarray:
    """Digits as grey pictures uint8 [N, 1, 8, 8], values 0..240."""
    return (load_digits().images[:count, None] * 15).astype(np.uint8)


def patches(items: np.ndarray) -> tuple[nn.Module, nn.Module]:
    """Networks of patches for bytes that were mapped to [0, 1]."""
    return patch_components(items / 255, 4, 8)


def bent(items: np.ndarray, low: float, high: float) -> tuple[nn.Module, nn.Module]:
    """Networks that work in the range that they were trained in, and in no other as well."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 24, 4, 4), nn.ReLU(), nn.Conv2d(24, 8, 1))
    decoder = nn.Sequential(nn.Conv2d(8, 24, 1), nn.ReLU(), nn.ConvTranspose2d(24, 1, 4, 4))
    seen = torch.tensor(low + items / 255 * (high - low), dtype=torch.float32)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
    for _ in range(150):
        loss = (decoder(encoder(seen)) - seen).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder, decoder


def notes_of(path: Path) -> str:
    return " ".join(open_bundle(path).manifest.provenance.calibration.get("notes", ()))


def error_of(path: Path, items: np.ndarray, quality: int = 255) -> float:
    """Mean squared error, in units of the items."""
    restored = Decoder(path).decode(Encoder(path).encode(items, quality))
    assert restored.shape == items.shape and restored.dtype == items.dtype
    return float(np.square(restored.astype(float) - items).mean())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of pictures as they are."""
    out = tmp_path_factory.mktemp("natural") / "codec"
    return export_codec(patches(pictures()), pictures(), out).path


def test_the_contract_keeps_the_natural_shape_and_positions_share_tables(exported):
    manifest = open_bundle(exported).manifest
    assert manifest.input.shape == ("items", 1, 8, 8) and manifest.family == "tensors"
    model = onnx.load(exported / "pack.exact.onnx")
    shapes = {entry.name: list(entry.dims) for entry in model.graph.initializer}
    assert shapes["index"] == [256, 8], "a table a channel, not one a latent"
    assert "8 channels along the first axis" in notes_of(exported)


def test_the_networks_alone_are_in_the_report_and_quality_255_is_as_good(exported):
    items = pictures()[-100:]
    encoder, decoder = patches(pictures())
    with torch.no_grad():
        alone = decoder(encoder(torch.tensor(items / 255, dtype=torch.float32))).numpy()
    wanted = np.square(np.rint(np.clip(alone * 255, 0, 255)) - items).mean()
    parity = json.loads((exported / "manifest.json").read_text())["parity"]
    assert parity["networks_alone_mse"] == pytest.approx(wanted / 255**2, rel=0.1)
    assert "networks alone, no quantization" in (exported / "CARD.md").read_text()
    assert error_of(exported, items) <= 1.01 * wanted


def test_a_range_that_is_not_told_is_found(tmp_path):
    """Networks for [-1, 1] once gave a codec of twice their error, in silence."""
    items = pictures()
    modules = bent(items, -1, 1)
    path = export_codec(modules, items, tmp_path / "codec").path
    assert "[-1, 1], found by the error of the networks alone" in notes_of(path)
    told = export_codec(modules, items, tmp_path / "told", input_range=(-1, 1)).path
    assert error_of(path, items[-50:]) == error_of(told, items[-50:])


def test_a_range_that_is_told_wrong_stops_the_export(tmp_path):
    items = pictures()
    with pytest.raises(ExportError, match=r"mean squared error of .* with items in \[-1, 1\]: give input_range"):
        export_codec(bent(items, -1, 1), items, tmp_path / "codec", input_range=(0, 1))
    assert not (tmp_path / "codec").exists()


def test_mean_and_deviation_of_channels(tmp_path):
    grey = pictures(400)
    items = np.concatenate([grey, grey // 2, 255 - grey], 1)
    mean, std = [0.2, 0.1, 0.8], [0.4, 0.2, 0.3]
    seen = (items / 255 - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    path = export_codec(patch_components(seen, 4, 16), items, tmp_path / "codec", mean=mean, std=std).path
    assert error_of(path, items[-50:]) < 40
    with pytest.raises(SettingError, match="one a channel, found 5"):
        export_codec(patch_components(seen, 4, 16), items, tmp_path / "none", mean=[0] * 5, std=[1] * 5)


def test_networks_that_were_not_trained_are_said(tmp_path):
    items = pictures(200)
    torch.manual_seed(0)
    modules = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 1, 4, 4)
    path = export_codec(modules, items, tmp_path / "codec").path
    assert "are they trained" in notes_of(path)


def test_one_step_for_latents_that_are_whole_numbers(tmp_path):
    """steps=1 once ended in a KeyError, since gains of 1 are stored in half the bytes."""
    items = pictures(300).reshape(-1, 64)
    encoder, decoder = principal_components(items / 255, 12)
    with torch.no_grad():
        encoder.weight *= 20
        encoder.bias *= 20
        decoder.weight /= 20
    rounded = nn.Sequential(encoder, Rounded())
    exported = export_codec((rounded, decoder), items, tmp_path / "codec", steps=1)
    curve = exported.parity["rate_distortion"]["fp32 encoder, fp32 decoder"]
    assert {point["mse"] for point in curve} == {curve[0]["mse"]}
    assert curve[-1]["mse"] <= 1.03 * exported.parity["networks_alone_mse"]
    for wrong in (0, -1, float("nan"), np.ones((256, 3))):
        with pytest.raises(ExportError, match="steps must be positive"):
            export_codec((rounded, decoder), items, tmp_path / "none", steps=wrong)


class Rounded(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.round(values)


@pytest.mark.parametrize("policy", ["clip", "skip"])
def test_items_out_of_the_range_by_policy(tmp_path, policy):
    items = load_digits().data[:400].astype(np.float32) * 0.9
    modules = principal_components(items, 16)
    items[::7, 20] = 16
    with pytest.raises(InputRangeError, match=r"expected values in \[0, 15\], found 16"):
        export_codec(modules, items, tmp_path / "none", data_range=(0, 15))
    path = export_codec(modules, items, tmp_path / "codec", data_range=(0, 15), out_of_range=policy).path
    assert open_bundle(path).manifest.input.range == (0, 15)
    assert ("were clipped" if policy == "clip" else "left out") in notes_of(path)


CONTRADICTIONS = {"mean": [1.0]}, {"input_range": (1, 0)}, {"channels": "middle"}, {"std": 0, "mean": 0}


@pytest.mark.parametrize("told", CONTRADICTIONS)
def test_settings_that_contradict_themselves(told):
    with pytest.raises(SettingError):
        Told(**told)


class Tokens(nn.Module):
    """Windows [N, T, C] -> tokens [N, T / 4, D], each a projection of four samples."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layer(windows.reshape(len(windows), -1, self.layer.in_features))


class Windows(Tokens):
    """And back."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.layer(tokens).reshape(len(tokens), -1, 2)


def windows(count: int = 500) -> np.ndarray:
    """Two channels of sines with noise: float32 [N, 32, 2]."""
    rng = np.random.default_rng(0)
    phase = np.arange(32) * rng.uniform(0.1, 0.5, (count, 1)) + rng.uniform(0, 6, (count, 1))
    waves = np.stack([np.sin(phase), np.cos(phase) / 2], 2)
    return (waves + 0.1 * rng.normal(size=waves.shape)).astype(np.float32)


def test_tokens_have_their_channels_last_and_lengths_may_vary(tmp_path):
    items = windows()
    encoder, decoder = principal_components(items.reshape(-1, 8), 4)
    model = Tokens(encoder), Windows(decoder)
    path = export_codec(model, items, tmp_path / "codec", dynamic=(1,), precisions=("fp32", "int8")).path
    assert "4 channels along the last axis" in notes_of(path)
    assert open_bundle(path).manifest.input.shape == ("items", "length", 2)
    encoder_half, decoder_half = Encoder(path, variant="int8"), Decoder(path, variant="int8")
    long = np.concatenate([items[0], items[1]])[None]
    for source in (items[:3], long, items[:2, :30], items[:1, :1]):
        restored = decoder_half.decode(encoder_half.encode(source, 255))
        assert restored.shape == source.shape
        assert np.square(restored - source).mean() < 0.02


def test_pictures_of_any_size(tmp_path):
    items = pictures(300)
    encoder, decoder = patches(items)
    path = export_codec((encoder, decoder), items, tmp_path / "codec", dynamic=True).path
    manifest = open_bundle(path).manifest
    assert manifest.input.shape == ("items", 1, "height", "width") and manifest.size_axes == (0, 2, 3)
    wide = np.concatenate(list(items[:5]), 2)[None]
    for source in (items[:4], wide, wide[..., :6, :37], items[:2, :, :1, :1]):
        height, width = source.shape[2:]
        whole = np.pad(source, [(0, 0), (0, 0), (0, -height % 4), (0, -width % 4)], mode="edge")
        with torch.no_grad():
            alone = decoder(encoder(torch.tensor(whole / 255, dtype=torch.float32))).numpy()[..., :height, :width]
        restored = Decoder(path).decode(Encoder(path).encode(source, 255))
        assert restored.shape == source.shape
        gap = np.abs(restored - np.clip(alone * 255, 0, 255))
        assert gap.mean() < 3, "quantization at the highest quality, not the networks' own error"


def test_networks_of_one_size_are_no_dynamic_ones(tmp_path):
    items = pictures(200)
    encoder, decoder = principal_components(items.reshape(-1, 64) / 255, 16)
    model = nn.Sequential(nn.Flatten(), encoder), nn.Sequential(decoder, nn.Unflatten(1, (1, 8, 8)))
    with pytest.raises(ExportError, match="dynamic"):
        export_codec(model, items, tmp_path / "codec", dynamic=True)


def test_channels_are_the_axis_that_takes_fewer_bits():
    rng = np.random.default_rng(0)
    contract = ItemContract("uint8", ("items", 4), (0, 255))
    spread = np.geomspace(0.01, 10, 6).reshape(1, 6, 1).astype(np.float32)
    latents = (rng.normal(size=(500, 6, 5)) * spread).astype(np.float32)
    first, said = with_channels(Tensors(contract, (6, 5)), latents, None)
    assert not first.channels_last and (first.channels, first.places) == (6, 5) and "first axis" in said[0]
    last, _ = with_channels(Tensors(contract, (5, 6)), latents.swapaxes(1, 2), None)
    assert last.channels_last and (last.channels, last.places) == (6, 5)
    told, said = with_channels(Tensors(contract, (6, 5)), latents, "last")
    assert told.channels_last and not said


LAYOUTS = st.builds(
    Tensors,
    st.just(ItemContract("uint8", ("items", 4), (0, 255))),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(LAYOUTS, st.integers(1, 5))
def test_rows_in_arrays_tensors_and_graphs_are_the_same_and_come_back(layout, items):
    latents = np.random.default_rng(0).normal(size=(items, *layout.latents)).astype(np.float32)
    rows = layout.rows(latents)
    assert rows.shape == (items * layout.places, layout.channels)
    channel = latents[..., 0] if layout.channels_last else latents[:, 0]
    np.testing.assert_array_equal(rows[:, 0], channel.ravel())
    np.testing.assert_array_equal(rows, layout.rows(torch.tensor(latents)).numpy())
    shape = list(layout.latent_shape)
    there = build_model(
        lambda op, given: [layout.to_rows(op, given)],
        [value("latents", FLOAT, shape)],
        [value("rows", FLOAT, ["positions", layout.channels])],
        "rows",
    )
    np.testing.assert_array_equal(session(there).run(None, {"latents": latents})[0], rows)
    back = build_model(
        lambda op, given, size: [layout.from_rows(op, given, size), layout.positions(op, size)],
        [value("rows", FLOAT, ["positions", layout.channels]), value("size", INT64, [1])],
        [value("latents", FLOAT, shape), value("count", INT64, [])],
        "latents",
    )
    restored, count = session(back).run(None, {"rows": rows, "size": np.array([items])})
    np.testing.assert_array_equal(restored, latents)
    assert count == len(rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.sampled_from([1, 2, 3]))
def test_grids_of_any_size_come_back(items, height, width, channels_last, block):
    contract = ItemContract("uint8", ("items", 1, "height", "width"), (0, 255))
    one = (9, 9, 2) if channels_last else (2, 9, 9)
    layout = Grids(contract, one, channels_last, size_axes=(0, 2, 3), axes=(2, 3), block=block, cells=(1, 2))
    places = -(-height // block), -(-width // block) * 2
    shape = (items, *places, 2) if channels_last else (items, 2, *places)
    latents = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows = layout.rows(latents)
    back = build_model(
        lambda op, given, size: [layout.from_rows(op, given, size), layout.positions(op, size)],
        [value("rows", FLOAT, ["positions", 2]), value("size", INT64, [3])],
        [value("latents", FLOAT, list(layout.latent_shape)), value("count", INT64, [])],
        "latents",
    )
    restored, count = session(back).run(None, {"rows": rows, "size": np.array([items, height, width])})
    np.testing.assert_array_equal(restored, latents)
    assert count == len(rows)
    filled = layout.padded(np.arange(items * height * width, dtype=np.uint8).reshape(items, 1, height, width))
    assert filled.shape[2] % block == filled.shape[3] % block == 0
    assert (filled[:, :, height:] == filled[:, :, height - 1 : height]).all()


NUMBERS = st.floats(-10, 10).map(lambda number: round(number, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NUMBERS, st.floats(0.1, 10)), min_size=1, max_size=3), st.sampled_from([1, -1]))
def test_scalings_in_arrays_tensors_and_graphs_are_the_same_and_can_be_undone(pairs, axis):
    means, deviations = zip(*pairs, strict=True)
    affine = standardized(means, deviations, axis).after(between((0, 255), (-1, 1)))
    shape = (2, len(pairs), 3, len(pairs))
    items = np.linspace(0, 255, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    seen = affine(items)
    np.testing.assert_allclose(seen, affine(torch.tensor(items)).numpy(), rtol=1e-6)
    model = build_model(
        lambda op, given: [affine.in_graph(op, given, 4, "into")],
        [value("items", FLOAT, list(shape))],
        [value("seen", FLOAT, list(shape))],
        "scaling",
    )
    np.testing.assert_allclose(session(model).run(None, {"items": items})[0], seen, rtol=1e-6)
    np.testing.assert_allclose(affine.inverse()(seen), items, atol=0.05)
    assert affine.after(Affine()) == affine or len(pairs) == 1


def test_a_cast_that_was_asked_for_is_in_the_contract(tmp_path):
    items = load_digits().data[:300]  # float64
    modules = principal_components(items, 16)
    path = export_codec(modules, items, tmp_path / "codec", cast=True).path
    assert open_bundle(path).manifest.input.casts == ("float64",)
    encoder = Encoder(path)
    assert encoder.encode(items[:4]) == encoder.encode(items[:4].astype(np.float32))
    np.save(tmp_path / "items.npy", items[:4])
    assert load_items(tmp_path / "items.npy", encoder.contract).dtype == np.float32


def test_onnx_halves_of_any_size(tmp_path):
    items = pictures(200)
    halves = dict(zip(("encoder", "decoder"), patches(items), strict=True))
    for name, example in (("encoder", torch.rand(2, 1, 8, 8)), ("decoder", torch.rand(2, 8, 2, 2))):
        axes = {0: torch.export.Dim("items"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
        with quiet():
            torch.onnx.export(
                halves[name], (example,), tmp_path / f"{name}.onnx", dynamo=True, dynamic_shapes=(axes,), verbose=False
            )
    pair = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"
    path = export_codec(pair, items, tmp_path / "codec", dynamic=True).path
    same = export_codec(tuple(halves.values()), items, tmp_path / "same", dynamic=True).path
    wide = np.concatenate(list(items[:5]), 2)[None, ..., :6, :37]
    assert error_of(path, wide) == pytest.approx(error_of(same, wide), rel=0.02)
