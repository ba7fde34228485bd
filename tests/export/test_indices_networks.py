"""Networks that choose codewords, trained for a moment, in shapes that people have: from items to packets and back."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from latentwire.export import export_codec
from latentwire.export.errors import ExportError, HalfError, OutputChoiceError
from latentwire.export.indices import IndexReference, export_indices
from latentwire.export.indices.codebooks import codebooks_of
from latentwire.export.indices.halves import Axes, IndexEncoder, VectorDecoder
from latentwire.runtime import Decoder, Encoder
from latentwire.runtime.errors import SettingError

PLANES, CODES, WIDTH = 4, 32, 6


class Residual(nn.Module):
    """Planes of codebooks, each of which codes what those before it left."""

    def __init__(self, planes, codes=CODES, width=WIDTH):
        super().__init__()
        self.codebooks = nn.Parameter(torch.randn(planes, codes, width))

    def forward(self, values):
        """[N, P..., D] -> (quantized, [N, R, P...])."""
        left, chosen = values, []
        for book in self.codebooks:
            distance = book.square().sum(-1) - 2 * left @ book.T
            chosen.append(distance.argmin(-1))
            left = left - book[chosen[-1]]
        return values - left, torch.stack(chosen, 1)


class Vectors(nn.Module):
    """A VQ-VAE of digits [N, 1, 8, 8]: maps of 4 x 4 indices."""

    def __init__(self, planes):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, WIDTH, 1))
        self.quantizer = Residual(planes)
        self.decoder = nn.Sequential(
            nn.Conv2d(WIDTH, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 4, 1), nn.PixelShuffle(2)
        )

    def vectors(self, items):
        return self.encoder(items).permute(0, 2, 3, 1)


@dataclass
class Trained:
    model: Vectors
    items: np.ndarray


def digits():
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.float32)[:, None] / 16
    return np.rint(255 * images).astype(np.uint8)


def train(planes, steps=250):
    """Deterministic, in a second or two."""
    torch.manual_seed(0)
    model, items = Vectors(planes), digits()
    data = torch.tensor(items).float() / 255
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    for step in range(steps):
        batch = data[torch.randint(0, len(data), (96,))]
        values = model.vectors(batch)
        quantized, chosen = model.quantizer(values)
        if step % 25 == 0 and step < 150:
            revive(model, values, chosen)
            quantized, _ = model.quantizer(values)
        through = values + (quantized - values).detach()
        loss = (model.decoder(through.permute(0, 3, 1, 2)) - batch).square().mean()
        loss = loss + 0.2 * (
            (quantized - values.detach()).square().mean() + (quantized.detach() - values).square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Trained(model.eval(), items)


def revive(model, values, chosen):
    """Codewords that nothing chose become what a plane finds."""
    with torch.no_grad():
        left = values.reshape(-1, WIDTH)
        for plane, book in enumerate(model.quantizer.codebooks):
            own = chosen[:, plane].reshape(-1)
            unused = (torch.bincount(own, minlength=CODES) == 0).nonzero().flatten()
            book[unused] = left[torch.randint(0, len(left), (len(unused),))]
            left = left - book[own]


@pytest.fixture(scope="module")
def single():
    return train(1)


@pytest.fixture(scope="module")
def residual():
    return train(PLANES)


class Indices(nn.Module):
    """The encoder: a tuple as VQ-VAEs return it, or the indices alone, with axes as wanted."""

    def __init__(self, model, order=None, squeeze=False):
        super().__init__()
        self.model, self.order, self.squeeze = model, order, squeeze

    def forward(self, items):
        quantized, indices = self.model.quantizer(self.model.vectors(items))
        if self.squeeze:
            return quantized, indices[:, 0], (quantized - quantized).mean()
        return indices if self.order is None else indices.permute(self.order)


class FromIndices(nn.Module):
    """The decoder of indices, with codebooks of its own."""

    def __init__(self, model, order=None):
        super().__init__()
        self.model, self.order = model, order

    def forward(self, indices):
        if self.order is not None:
            indices = indices.permute([self.order.index(axis) for axis in range(4)])
        if indices.ndim == 3:
            indices = indices[:, None]
        vectors = sum(book[indices[:, plane]] for plane, book in enumerate(self.model.quantizer.codebooks))
        return self.model.decoder(vectors.permute(0, 3, 1, 2))


def decoded_by_torch(model, items, planes):
    """What torch makes of the first planes of the items' indices, uint8."""
    with torch.no_grad():
        _, indices = model.quantizer(model.vectors(torch.tensor(items).float() / 255))
        vectors = sum(book[indices[:, plane]] for plane, book in enumerate(model.quantizer.codebooks[:planes]))
        output = model.decoder(vectors.permute(0, 3, 1, 2))
    return torch.clamp(output * 255, 0, 255).numpy(), indices.numpy()


@pytest.fixture(scope="module")
def codec(single, tmp_path_factory):
    path = tmp_path_factory.mktemp("indices") / "digits"
    model = single.model
    export_indices(
        (Indices(model, squeeze=True), FromIndices(model)),
        single.items,
        path,
        codebook=CODES,
        precisions=("fp32", "int8"),
    )
    return path


@pytest.fixture(scope="module")
def planes(residual, tmp_path_factory):
    path = tmp_path_factory.mktemp("planes") / "digits"
    model = residual.model
    export_indices((Indices(model), model.decoder), residual.items, path, codebook=model.quantizer.codebooks.detach())
    return path


def test_a_vq_vae_gives_back_what_torch_decodes(single, codec):
    items = single.items[-100:]
    wanted, indices = decoded_by_torch(single.model, items, 1)
    encoder, decoder = Encoder(codec), Decoder(codec)
    packets = {encoder.encode(items, quality)[9:-4] for quality in (0, 100, 255)}
    packet = encoder.encode(items)
    assert {packet[9:-4]} == packets  # of one plane, whatever the quality
    assert np.array_equal(decoder.symbols(packet), indices)
    assert np.abs(decoder.decode(packet) - wanted).max() <= 0.51
    assert len(packet) < 0.9 * 5 / 8 * indices.size
    one = encoder.encode(items[:1])
    assert np.array_equal(decoder.decode(one), decoder.decode(packet)[:1])


def test_int8_variants_talk_to_any_other(single, codec):
    items = single.items[-64:]
    results = [
        Decoder(codec, variant=target).decode(Encoder(codec, variant=source).encode(items)).astype(float)
        for source in ("fp32", "int8")
        for target in ("fp32", "int8")
    ]
    errors = [np.square(result - items).mean() for result in results]
    assert max(errors) < 1.03 * errors[0]
    assert any(not np.array_equal(result, results[0]) for result in results[1:])


def test_quality_is_the_number_of_planes(residual, planes):
    items = residual.items[-200:]
    encoder, decoder = Encoder(planes), Decoder(planes)
    assert encoder.default_quality == 255
    lengths, errors = [], []
    for count, quality in ((1, 0), (1, 63), (2, 64), (3, 128), (4, 192), (4, 255)):
        packet = encoder.encode(items, quality)
        wanted, indices = decoded_by_torch(residual.model, items, count)
        indices[:, count:] = -1
        assert np.array_equal(decoder.symbols(packet), indices)
        assert np.abs(decoder.decode(packet) - wanted).max() <= 0.51
        lengths.append(len(packet))
        errors.append(np.square(decoder.decode(packet).astype(float) - items).mean())
    assert lengths[0] == lengths[1] < lengths[2] < lengths[3] < lengths[4] == lengths[5]
    assert errors[0] == errors[1] > errors[2] > errors[3] > errors[4] == errors[5]


def test_packets_of_several_qualities_share_a_synthesis(residual, planes):
    items = residual.items[-30:]
    encoder, decoder = Encoder(planes), Decoder(planes)
    packets = [encoder.encode(items[at : at + 10], quality) for at, quality in ((0, 0), (10, 128), (20, 255))]
    together = decoder.decode_many(packets)
    assert all(np.array_equal(found, decoder.decode(packet)) for found, packet in zip(together, packets, strict=True))


def test_the_bundle_says_what_was_found(codec, planes):
    facts = [json.loads((path / "manifest.json").read_text())["provenance"]["calibration"] for path in (codec, planes)]
    assert [fact["codebooks"] for fact in facts] == [[CODES], [CODES] * PLANES]
    assert any("indices: output 1" in note for note in facts[0]["notes"])
    assert any("summed vectors, their channels first" in note for note in facts[1]["notes"])
    bits = [plane["bits"] for plane in facts[1]["indices"]]
    assert len(bits) == PLANES
    assert all(plane["bits"] <= plane["bits_by_position_alone"] for plane in facts[1]["indices"])


def test_commands_work_on_such_a_bundle(single, planes, tmp_path):
    from click.testing import CliRunner

    from latentwire.runtime.cli import main

    np.save(tmp_path / "items.npy", single.items[:20])
    runner = CliRunner()
    for arguments in (
        ["encode", str(planes), str(tmp_path / "items.npy"), "--quality", "0", "--out", str(tmp_path / "items.lw")],
        ["decode", str(planes), str(tmp_path / "items.lw"), "--out", str(tmp_path / "back.npy")],
        ["inspect", str(planes)],
    ):
        result = runner.invoke(main, arguments)
        assert result.exit_code == 0, result.output
    assert np.load(tmp_path / "back.npy").shape == (20, 1, 8, 8)


def test_verification_without_torch_and_with_other_modules(residual, single, planes):
    from latentwire.export import verify_bundle

    report = verify_bundle(planes, residual.items[-50:])
    assert report.passed
    with pytest.raises(ExportError, match="TorchReference"):
        verify_bundle(planes, residual.items[-50:], single.model)


def test_planes_in_front_through_the_door_of_all_codecs(residual, tmp_path):
    model, order = residual.model, [1, 0, 2, 3]
    export_codec(
        (Indices(model, order), FromIndices(model, order)),
        residual.items[:400],
        tmp_path / "codec",
        latents="indices",
        codebook=[CODES] * PLANES,
    )
    items = residual.items[-20:]
    encoder, decoder = Encoder(tmp_path / "codec"), Decoder(tmp_path / "codec")
    packet = encoder.encode(items, 0)
    wanted, indices = decoded_by_torch(model, items, PLANES)
    assert np.array_equal(decoder.symbols(packet), indices)
    assert np.abs(decoder.decode(packet) - wanted).max() <= 0.51
    notes = json.loads((tmp_path / "codec" / "manifest.json").read_text())["provenance"]["calibration"]["notes"]
    assert any("all planes are always sent" in note for note in notes)


def test_what_cannot_be_is_named(single, residual, tmp_path):
    model, items = single.model, single.items[:64]
    halves = (Indices(model, squeeze=True), FromIndices(model))
    with pytest.raises(ExportError, match="a codebook of 8, found 0 to"):
        export_indices(halves, items, tmp_path / "codec", codebook=8)
    with pytest.raises(OutputChoiceError, match="expected the encoder to return integer indices"):
        export_indices((model.encoder, model.decoder), items, tmp_path / "codec", codebook=CODES)
    with pytest.raises(OutputChoiceError, match="latent=7 leads nowhere"):
        export_indices(halves, items, tmp_path / "codec", codebook=CODES, latent=7)
    with pytest.raises(HalfError, match="the decoder makes no items"):
        export_indices((halves[0], model.decoder), items, tmp_path / "codec", codebook=CODES)
    with pytest.raises(ExportError, match="an axis of 3 planes"):
        export_indices(
            (Indices(residual.model), residual.model.decoder), items, tmp_path / "codec", codebook=[CODES] * 3
        )
    for options in ({"latents": "indices"}, {"codebook": 8}, {"latents": "floats", "codebook": 8}):
        with pytest.raises(SettingError, match="together"):
            export_codec(halves, items, tmp_path / "codec", **options)
    with pytest.raises(SettingError, match="none of steps"):
        export_codec(halves, items, tmp_path / "codec", latents="indices", codebook=CODES, steps=1)
    assert not (tmp_path / "codec").exists()


@pytest.mark.parametrize("axes", [Axes(), Axes(0, 1), Axes(1, 0), Axes(0, 3)])
def test_axes_go_there_and_back(axes):
    indices = torch.arange(120).reshape(2, 3, 4, 5)
    there = axes.into(indices)
    assert there.shape[0] == indices.shape[axes.items]
    assert there.shape[1] == (1 if axes.planes is None else indices.shape[axes.planes])
    assert torch.equal(axes.back(there), indices)


def test_codebooks_are_sizes_or_vectors():
    assert codebooks_of(5).sizes == (5,)
    assert codebooks_of([5, 7]).counted
    assert codebooks_of(nn.Embedding(9, 2)).vectors.shape == (1, 9, 2)
    both = codebooks_of(nn.ModuleList([nn.Embedding(9, 2), nn.Embedding(4, 2)]))
    assert both.sizes == (9, 4)
    assert both.vectors.shape == (2, 9, 2)
    assert codebooks_of(np.zeros((3, 8, 2), np.float32)).sizes == (8, 8, 8)
    for wrong in (1, 1 << 17, True, "K", None, [], [5, nn.Embedding(9, 2)], np.zeros(3), np.zeros((2, 2), int)):
        with pytest.raises(ExportError, match="expected"):
            codebooks_of(wrong)


def test_the_torch_side_can_be_made_again(residual, planes):
    from latentwire.export import verify_bundle
    from latentwire.export.factorized import Scaling, Tensors
    from latentwire.export.factorized.scaling import between
    from latentwire.export.indices.layout import Indexed
    from latentwire.runtime import open_bundle

    model = residual.model
    scaling = Scaling(between((0, 255), (0, 1)), between((0, 1), (0, 255)))
    layout = Indexed(Tensors(open_bundle(planes).manifest.input, (1,), scaling=scaling), (PLANES, 4, 4))
    decoder = VectorDecoder(model.decoder, model.quantizer.codebooks.detach(), channels_last=False)
    reference = IndexReference(layout, IndexEncoder(Indices(model), Axes(0, 1)), decoder)
    report = verify_bundle(planes, residual.items[-50:], reference)
    assert report.passed
    assert any(check.name.startswith("torch against ONNX") for check in report.checks)
