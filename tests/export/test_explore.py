"""Pages of every kind of run, and that what they show is what the codec does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from latentwire.export import export_codec
from latentwire.export.dense.family import FAMILY, layout_of
from latentwire.export.pages import explore
from latentwire.export.pages.drawing import look_of, mosaic, strips_page
from latentwire.export.pages.scene import Labelled, Scene, open_scene
from latentwire.runtime import Decoder, Encoder, ItemContract, open_bundle
from latentwire.runtime.errors import InputFileError, InputRangeError, InputShapeError, InputTypeError
from latentwire.train import dense_recipe, from_array, load_run, split, train

SMALL = {"latent": 6, "hidden": (32,), "decoder_hidden": (32,)}
COMMON = {"reconstructions", "rate_distortion", "latents", "interpolations"}
PAGES = {
    "mse": COMMON,
    "rate": COMMON,
    "denoising": COMMON | {"denoising"},
    "variational": COMMON | {"samples"},
    "adversarial": COMMON | {"samples"},
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits of 8x8 with their labels, as an .npz file."""
    bunch = load_digits()
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, images=bunch.images.astype(np.uint8), labels=bunch.target)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first hundred of them."""
    bunch = load_digits()
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(path, images=bunch.images[:100].astype(np.uint8), labels=bunch.target[:100])
    return path


def trained_bundle(objective: str, folder: Path) -> Path:
    """A bundle of a run that was far too short to be any good."""
    data = split(from_array(load_digits().images[:500].astype(np.uint8), (0, 16)), 0.2, seed=0)
    recipe = dense_recipe(
        objective=objective, item_shape=data.train.item_shape, network=SMALL, loop={"epochs": 3, "batch": 64}
    )
    train(recipe, data, folder / "run")
    trained = load_run(folder / "run")
    modules = trained.encoder, trained.decoder
    settings = {"family": layout_of(trained), "steps": trained.steps, "training": trained.provenance}
    return export_codec(modules, data.train.items, folder / objective, **settings).path


@pytest.mark.parametrize("objective", PAGES)
def test_every_kind_of_run_gets_its_pages(objective: str, few: Path, tmp_path: Path) -> None:
    written = FAMILY.explore(trained_bundle(objective, tmp_path), few, tmp_path / "pages", 1)
    assert {path.stem for path in written} == PAGES[objective]
    assert sorted((tmp_path / "pages").iterdir()) == sorted(written)
    for path in written:
        with Image.open(path) as page:
            assert page.format == "PNG"
            assert 1000 <= page.width <= 2000 and 400 <= page.height <= 1500
            colours = page.convert("RGB").getcolors(page.width * page.height)
        # A page without items would hold the greys of its text, and white on more than nine parts of ten.
        assert len(colours) > 30
        assert 1 - max(colours)[0] / sum(count for count, _ in colours) > 0.02


@pytest.fixture(scope="module")
def scene(bundle: Path, labelled: Path) -> Scene:
    return open_scene(bundle, labelled_items(labelled, bundle), seed=0)


def labelled_items(path: Path, bundle: Path) -> Labelled:
    return FAMILY.read_labelled(path, open_bundle(bundle).manifest.input)


def texts(figure) -> str:
    return " | ".join(text.get_text() for text in figure.texts)


def test_reconstructions_say_what_real_packets_cost(scene: Scene, bundle: Path) -> None:
    items = scene.items[: explore.MEASURED]
    encoder, decoder = Encoder(bundle), Decoder(bundle)
    shown = texts(explore.reconstructions(scene))
    for quality in explore.MARKED:
        packets = [encoder.encode(items[start : start + 64], quality) for start in range(0, len(items), 64)]
        restored = np.concatenate([decoder.decode(packet) for packet in packets])
        error = np.square((restored.astype(float) - items) / 16).mean()
        each = sum(map(len, packets)) / len(items)
        assert f"quality {quality} | {each:.1f} B an item\nMSE {error:.4f}, {-10 * np.log10(error):.1f} dB" in shown


def test_strips_are_originals_above_what_was_decoded(scene: Scene, bundle: Path) -> None:
    strips = [axes.images[0].get_array() for axes in explore.reconstructions(scene).axes]
    originals = scene.items[: explore.SHOWN]
    decoded = Decoder(bundle).decode(Encoder(bundle).encode(scene.items[:64], 255))[: explore.SHOWN]
    for strip, items in ((strips[0], originals), (strips[-1], decoded)):
        assert np.array_equal(strip, mosaic(items / np.float32(16), (8, 8)), equal_nan=True)


def test_interpolations_lead_from_one_reconstruction_to_another(scene: Scene, bundle: Path) -> None:
    figure = explore.interpolations(scene)
    first = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    tiles = [first[:, start : start + 8] for start in range(0, first.shape[1], 9)]
    assert len(tiles) == explore.STEPS + 2
    ends = scene.items[:2]
    decoded = Decoder(bundle).decode(Encoder(bundle).encode(ends))
    wanted = [ends[0], decoded[0], decoded[1], ends[1]]
    for tile, item in zip([*tiles[:2], *tiles[-2:]], wanted, strict=True):
        assert np.array_equal(tile, item.reshape(8, 8) / 16)
    assert not np.array_equal(tiles[1], tiles[5])
    assert texts(figure).count(" to ") == explore.PAIRS


def test_the_map_shows_every_item_in_the_colour_of_its_label(scene: Scene) -> None:
    axes = explore.latent_map(scene).axes[0]
    assert [text.get_text() for text in axes.texts] == list("0123456789")
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == len(scene.items) == 1797
    spread = np.concatenate([dots.get_offsets() for dots in axes.collections]).var(0)
    latents = scene.latents(scene.items)
    assert np.allclose(spread, np.linalg.eigvalsh(np.cov(latents.T, bias=True))[::-1][:2], rtol=1e-3)


def test_every_label_comes_up_in_turn(scene: Scene) -> None:
    assert scene.labels is not None
    assert scene.labels[:20].tolist() == [*range(10), *range(10)]
    pictures = {tuple(item): label for item, label in zip(*load_digits(return_X_y=True), strict=True)}
    assert all(pictures[tuple(item)] == label for item, label in zip(scene.items, scene.labels, strict=True))


def test_packets_of_one_item_cost_more_than_packets_of_many(scene: Scene) -> None:
    together, alone = explore.rate_distortion(scene).axes[0].lines[:2]
    assert np.all(np.diff(together.get_xdata()) > 0) and np.all(np.diff(together.get_ydata()) > 0)
    assert np.all(alone.get_xdata() > together.get_xdata()[::2] + 10)
    assert np.allclose(alone.get_ydata(), together.get_ydata()[::2], atol=0.01)


def test_noise_is_that_of_the_training_and_stays_in_the_contract(scene: Scene) -> None:
    grey = np.full((200, 64), 8, np.uint8)
    noisy = explore.corrupted(grey, 0.1, scene)
    assert noisy.dtype == np.uint8 and noisy.max() <= 16
    assert noisy.std() / 16 == pytest.approx(0.1, rel=0.05)
    assert noisy.mean() == pytest.approx(8, abs=0.1)


def test_one_seed_gives_one_set_of_pages_and_another_another(bundle: Path, few: Path, tmp_path: Path) -> None:
    pages = FAMILY.explore(bundle, few, tmp_path / "first", 0)
    again = FAMILY.explore(bundle, few, tmp_path / "again", 0)
    assert [path.read_bytes() for path in pages] == [path.read_bytes() for path in again]
    chosen = [open_scene(bundle, labelled_items(few, bundle), seed).items for seed in (0, 0, 1)]
    assert np.array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])


@pytest.mark.parametrize(
    ("shape", "picture"),
    [
        ((64,), (8, 8)),
        ((28, 20), (28, 20)),
        ((9, 9, 1), (9, 9)),
        ((9, 9, 3), (9, 9, 3)),
        ((9,), None),
        ((50,), None),
        ((187, 2), None),
        ((4, 8, 8), None),
    ],
)
def test_what_is_a_picture(shape: tuple[int, ...], picture: tuple[int, ...] | None) -> None:
    contract = ItemContract("uint8", ("items", int(np.prod(shape))), (0, 255))
    look = look_of(contract, shape)
    assert look.picture == picture
    items = np.random.default_rng(0).integers(0, 256, (5, int(np.prod(shape))), dtype=np.uint8)
    figure = strips_page("title", "subtitle", [explore.Strip("label", "detail", items)], look, items)
    drawn = figure.axes[0]
    assert len(drawn.images) == (picture is not None)
    assert len(drawn.lines) == (0 if picture else 10)


def test_few_items_without_labels_are_enough(bundle: Path, digits: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", digits[:2])
    assert len(FAMILY.explore(bundle, tmp_path / "two.npy", tmp_path / "pages", 0)) == len(COMMON)


def test_many_different_labels_are_a_scale(bundle: Path, digits: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "scale.npz", images=digits[:50], labels=np.arange(50))
    figure = explore.latent_map(open_scene(bundle, labelled_items(tmp_path / "scale.npz", bundle), 0))
    assert len(figure.axes) == 2  # the map and its scale
    assert len(figure.axes[0].collections) == 1


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        (np.zeros((5, 63), np.uint8), InputShapeError, r"\[items, 64\].*\[5, 63\]"),
        (np.zeros((5, 64), np.uint16), InputTypeError, "uint8.*uint16"),
        (np.full((5, 64), 17, np.uint8), InputRangeError, "17"),
        (np.zeros((1, 64), np.uint8), InputShapeError, "at least 2 items"),
    ],
)
def test_data_that_the_codec_does_not_take_is_refused(
    bundle: Path, tmp_path: Path, items: np.ndarray, error: type[Exception], message: str
) -> None:
    np.save(tmp_path / "wrong.npy", items)
    with pytest.raises(error, match=message):
        FAMILY.explore(bundle, tmp_path / "wrong.npy", tmp_path / "pages", 0)
    assert not (tmp_path / "pages").exists()


def test_data_that_is_not_there_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"nothing\.npy"):
        FAMILY.explore(bundle, tmp_path / "nothing.npy", tmp_path / "pages", 0)
