"""An image bundle from end to end: exported, verified, opened by the runtime, fed with pictures of every shape."""

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from rate_distortion import similarity
from small_images import picture, small_network

from latentwire.export.assemble import drop_unused
from latentwire.export.errors import ExportError
from latentwire.export.graph.integer import WEIGHT_LIMIT
from latentwire.export.image.codec import export_image
from latentwire.export.image.integers import network_of
from latentwire.export.targets.depthwise import Finder
from latentwire.export.targets.parts import read
from latentwire.runtime.bundle.bundle import open_bundle
from latentwire.runtime.cli.group import main
from latentwire.runtime.decoder import Decoder
from latentwire.runtime.encoder import Encoder
from latentwire.runtime.errors import CorruptPacketError
from latentwire.runtime.selftest import selftest

pytestmark = pytest.mark.slow
HELD = (170, 200)
"""Of the picture that the bundle is verified on: large enough for MS-SSIM."""


def export(network, out, precisions):
    pictures = [picture(128, 192, seed=100 + k) for k in range(4)]
    return export_image(network, pictures, out, holdout=[picture(*HELD, seed=200)], precisions=precisions)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("image") / "small"
    network = small_network()
    network.synthesis.klt.patch.half().float()  # as `latentwire weights` rounds it
    export(network, out, ("fp32", "int8", "fp16"))
    return out


def test_the_bundle_proves_itself(bundle):
    parity = json.loads((bundle / "manifest.json").read_text())["parity"]
    checks = {check["name"]: check["value"] for check in parity["checks"]}
    assert parity["passed"]
    assert len(checks) == 16
    assert all(value == 0 for name, value in checks.items() if "symbols" in name)
    assert checks["int8 encoder, fp32 decoder: rate increase at equal error"] < 0.01


def test_another_synthesis_reads_the_packets_of_encoders_in_use(bundle, tmp_path):
    network = small_network()
    network.synthesis.net[-1].patch.bias.add_(0.01)  # 5 grey levels where two patches overlap, as most pixels do
    export(network, tmp_path / "other", ("fp32", "int8"))
    before, after = open_bundle(bundle), open_bundle(tmp_path / "other")
    assert before.manifest.codec_id == after.manifest.codec_id
    for variant in ("fp32", "int8"):
        assert before.read_model("encoder", variant) == after.read_model("encoder", variant)
    packet = Encoder(bundle).encode(picture(*HELD, seed=200), 128)
    old, new = (Decoder(folder).decode(packet).astype(int) for folder in (bundle, tmp_path / "other"))
    assert 4 <= np.median(new - old) <= 6


def test_rounded_weights_are_stored_as_float16_and_packaged_as_float32(bundle):
    opened, basis = open_bundle(bundle), {(256, 3, 20, 20)}
    for role in ("synthesis", "decoder"):
        shipped = onnx.load_model_from_string(opened.read_model(role, "fp32"))
        assert basis <= shapes(shipped, TensorProto.FLOAT16)
        (packaged,) = read(opened, {role: ["fp32"]}).values()
        assert not shapes(packaged, TensorProto.FLOAT16)
        assert basis <= shapes(packaged, TensorProto.FLOAT)


def shapes(model, kind):
    """Of the initializers of a type."""
    return {tuple(entry.dims) for entry in model.graph.initializer if entry.data_type == kind}


def test_the_card_tells_how_alike_pictures_are(bundle):
    held, decoder = picture(*HELD, seed=200), Decoder(bundle)
    restored = decoder.decode(Encoder(bundle, variant="int8").encode(held, 128))
    card = (bundle / "CARD.md").read_text()
    assert "| MSE (range scaled to 1) | MS-SSIM |" in card
    row = next(line for line in card.splitlines() if line.startswith("| int8 encoder, fp32 decoder | 128 |"))
    assert float(row.split("|")[-2]) == pytest.approx(similarity(restored, held), abs=6e-6)


def test_int8_is_the_encoders_default_and_its_own(bundle):
    manifest = open_bundle(bundle).manifest
    assert manifest.default_variant == {"encoder": "int8", "decoder": "fp32"}
    assert set(manifest.variants("decoder")) == {"fp32", "fp16"}
    assert Encoder(bundle).variant == "int8"


def test_the_web_target_finds_what_it_rewrites(bundle):
    model = onnx.load_model_from_string(open_bundle(bundle).read_model("encoder", "int8"))
    assert len(Finder(model.graph).all()) == 3


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 1), (17, 33, 3), (65, 127, 1), (128, 64, 3)])
@pytest.mark.parametrize("variant", ["fp32", "int8", "fp16"])
def test_pictures_of_every_size_come_back(bundle, shape, variant):
    image = picture(*shape)
    restored = Decoder(bundle).decode(Encoder(bundle, variant=variant).encode(image, 255))
    assert restored.shape == image.shape
    assert np.abs(restored.astype(int) - image).mean() < 8


SHAPES = [(60, 70, 3), (64, 64, 1), (60, 70, 1), (60, 70, 3), (60, 70, 3), (1, 130, 3), (64, 128, 3)]


@pytest.fixture(scope="module")
def mixed(bundle):
    """Packets of pictures of mixed sizes, colours and qualities, with damaged ones in between: (packet, picture)."""
    encoder, decoder = Encoder(bundle), Decoder(bundle)
    found = []
    for at, shape in enumerate(SHAPES):
        packet = encoder.encode(picture(*shape, seed=at), 40 * at)
        found.append((packet, decoder.decode(packet)))
    found.insert(1, (found[0][0][:-1], None))
    found.insert(5, (b"", None))
    return found


@pytest.fixture(scope="module")
def accelerated(bundle):
    """A decoder that works by pieces: the CPU in an accelerator's place."""
    decoder = Decoder(bundle)
    decoder._by_pieces = True
    return decoder


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(range(9)), count=st.integers(0, 9), most=st.sampled_from([1, 2 * 64 * 128 * 3, 3 << 22]))
def test_pictures_of_one_size_share_a_synthesis_on_an_accelerator(accelerated, mixed, order, count, most):
    """Every picture is what it is alone, in its order, and none is unpacked before its turn.

    How many there are at once goes by the whole blocks that are worked on, not by the pixels that remain.
    """
    session, runs, waiting = accelerated._sessions["synthesis"], [], []
    synthesis, unpacked = session.run, accelerated._unpacked
    chosen = [mixed[at] for at in order[:count]]

    def counted(outputs, feed):
        runs.append((*feed["size"], len(feed["latents"])))
        assert len(waiting) == len(feed["latents"])
        waiting.clear()
        return synthesis(outputs, feed)

    def noted(packet):
        waiting.append(unpacked(packet))
        return waiting[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "run", counted)
        patch.setattr(accelerated, "_unpacked", noted)
        patch.setattr("latentwire.runtime.decoder.BATCH_BYTES", most)
        results = accelerated.decode_each([packet for packet, _ in chosen])
    for (_, wanted), result in zip(chosen, results, strict=True):
        if wanted is None:
            assert isinstance(result, CorruptPacketError)
        else:
            assert result.shape == wanted.shape
            assert np.abs(result.astype(int) - wanted).max() <= 1
    assert sum(run[-1] for run in runs) == sum(wanted is not None for _, wanted in chosen)
    for height, width, _, together in runs:
        blocks = -(-height // 64) * -(-width // 64)
        assert together == 1 or together * blocks * 64 * 64 * 3 <= most
    if most == 3 << 22 and count > 1:
        assert len(runs) == len({wanted.shape for _, wanted in chosen if wanted is not None})


def test_more_quality_is_more_bytes_and_less_error(bundle):
    image, encoder, decoder = picture(128, 192, seed=7), Encoder(bundle), Decoder(bundle)
    found = []
    for quality in range(0, 256, 51):
        packet = encoder.encode(image, quality)
        found.append((len(packet), float(np.square(decoder.decode(packet).astype(float) - image).mean())))
    sizes, errors = zip(*found, strict=True)
    assert list(sizes) == sorted(sizes)
    assert errors[0] > 4 * errors[-1]


def test_a_byte_budget_is_kept(bundle):
    image, encoder = picture(128, 192, seed=8), Encoder(bundle)
    packet = encoder.encode(image, max_bytes=1500)
    assert 1200 < len(packet) <= 1500


def test_the_selftest_passes_on_every_variant(bundle):
    assert selftest(bundle).passed


def test_the_commands_take_pictures(bundle, tmp_path):
    from PIL import Image

    source = tmp_path / "photo.png"
    Image.fromarray(picture(70, 90)).save(source)
    for arguments in (
        ["encode", str(bundle), str(source), "--out", str(tmp_path / "photo.lw"), "--quality", "255"],
        ["decode", str(bundle), str(tmp_path / "photo.lw"), "--out", str(tmp_path / "back.npy")],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    back = np.load(tmp_path / "back.npy")
    assert np.abs(back.astype(int) - picture(70, 90)).mean() < 8


def test_exported_weights_do_not_saturate_anywhere(bundle):
    for layer in network_of(small_network().prior).layers:
        assert np.abs(layer.weight.astype(int)).max() <= WEIGHT_LIMIT
    weights = [entry for entry in onnx.load(bundle / "analysis.int8.onnx").graph.initializer if len(entry.dims) > 1]
    quantized = [numpy_helper.to_array(entry) for entry in weights if entry.data_type == TensorProto.INT8]
    assert len(quantized) > 10
    assert max(np.abs(entry.astype(int)).max() for entry in quantized) <= 64


def test_int8_holds_on_full_colours(bundle):
    """Bytes near 255 are where 8-bit weights saturate on x86 without VNNI."""
    y, x = np.mgrid[:128, :192]
    item = np.stack([255 - x // 2, 255 - y, 200 + (x + y) // 8], axis=2).astype(np.uint8)
    decoder = Decoder(bundle)
    found = [decoder.decode(Encoder(bundle, variant=variant).encode(item, 200)) for variant in ("fp32", "int8")]
    whole, quantized = (np.square(output.astype(float) - item).mean() for output in found)
    assert quantized < whole + 3


def test_models_hold_nothing_that_no_node_reads(bundle):
    for path in bundle.glob("*.onnx"):
        model = onnx.load(path)
        before = model.SerializeToString()
        drop_unused(model)
        assert model.SerializeToString() == before, path.name


def test_pictures_that_are_too_small_to_fit_to_are_refused(tmp_path):
    with pytest.raises(ExportError, match="64 x 64"):
        export_image(small_network(), [picture(20, 20)], tmp_path / "none", holdout=[picture(64, 64)])
