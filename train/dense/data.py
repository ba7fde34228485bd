"""Items to train on, in their own dtype, and how they become the network's input.

An item keeps the dtype it came in, because that is what the device will have in hand: dtype, width and range become the
input contract of the codec. Items of more than one dimension (images) are flattened to vectors.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentwire.runtime.contract import DTYPES, Array, ItemContract, dtype_range
from latentwire.runtime.errors import InputError, InputFileError, InputRangeError, InputShapeError, InputTypeError
from latentwire.runtime.files import read_idx, read_images, read_labelled

if TYPE_CHECKING:
    from torch import Tensor

READ_AS_FLOAT32 = ("float16", "float32", "float64")
MNIST_NAMES = ("{part}-{kind}-idx{dimensions}-ubyte", "{part}-{kind}.idx{dimensions}-ubyte")


@dataclass(frozen=True)
class Dataset:
    """Items of one contract.

    Attributes:
        items: [N, D] in the contract's dtype.
        item_shape: shape of one item before it was flattened.
        contract: dtype, shape ["items", D] and range.
        labels: one label for each item, [N], or None.
        source: where the items come from, for the record.
    """

    items: Array
    item_shape: tuple[int, ...]
    contract: ItemContract
    labels: Array | None = None
    source: str = ""

    def __len__(self) -> int:
        """The number of items."""
        return len(self.items)

    def batch(self, indices: NDArray[np.int64]) -> "Tensor":
        """The items at these indices as network input: float32 [n, D], (x - low) / (high - low)."""
        import torch  # a codec's items are read like this too, where there is none

        low, high = self.contract.range
        return torch.from_numpy(self.items[indices].astype(np.float32)).sub_(low).div_(high - low)

    def subset(self, indices: NDArray[np.int64]) -> "Dataset":
        """The items at these indices, with their labels."""
        return replace(self, items=self.items[indices], labels=None if self.labels is None else self.labels[indices])

    def digest(self) -> str:
        """SHA-256 over shape, dtype and values: the same items have the same digest, whatever file they came in."""
        head = f"{self.items.dtype.str} {self.items.shape} {self.item_shape} {self.contract.range}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.items).tobytes()).hexdigest()


@dataclass(frozen=True)
class DataRequest:
    """Where the items come from, as a user asks for it and a run records it.

    Attributes:
        path: of the training items, see `load_data`.
        validation: path of held-out items, or the fraction to hold back (0 for none). None takes MNIST's test images
            where `path` is a folder that has them, as the seed programs do, and a tenth of the items elsewhere.
        range: (low, high) of the values; None for that of the dtype or, with floats, of the items.
        limit: number of items to use, the first ones; None for all.
        seed: of the choice of the items that are held back.
    """

    path: str
    validation: str | None = None
    range: tuple[float, float] | None = None
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Split:
    """What to train on, what to measure on (nothing is chosen by it), and the request that both came from."""

    train: Dataset
    validation: Dataset | None
    request: DataRequest | None = None


def load_data(path: str | Path, value_range: tuple[float, float] | None = None, limit: int | None = None) -> Dataset:
    """Items from a file or folder: IDX (plain or .gz), .npy, .npz, an image, images of one size, or MNIST's files.

    A file is what its first bytes say, as for the runtime. A folder that holds MNIST's files gives the training images.
    Labels come with MNIST's names and with an .npz's `labels`. The range is that of the dtype for integers and that of
    the items for floats, unless `value_range` says (low, high). `limit` keeps the first items only. Raises
    InputFileError for a bad file and other InputErrors for items that cannot be used.
    """
    source = _chosen_file(Path(path))
    items, labels = _read(source)
    dataset = from_array(items[:limit], value_range, labels=None if labels is None else labels[:limit])
    return replace(dataset, source=str(source.resolve()))


def from_array(items: Array, value_range: tuple[float, float] | None = None, labels: Array | None = None) -> Dataset:
    """Items [N, ...] as a dataset of vectors; float16 and float64 become float32.

    Raises InputError for an empty array, another dtype, values that are not finite or not in the range, labels that
    do not fit.
    """
    if items.ndim < 2 or items.size == 0:
        raise InputShapeError(f"expected items [N, ...] with at least one element each, found shape {items.shape}")
    if labels is not None and labels.shape != items.shape[:1]:
        raise InputShapeError(
            f"expected one label for each of {len(items)} items, found labels of shape {labels.shape}"
        )
    dtype = "float32" if items.dtype.name in READ_AS_FLOAT32 else items.dtype.name
    if dtype not in DTYPES:
        raise InputTypeError(f"expected items of {', '.join(DTYPES)}, found {items.dtype}: convert them first")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        vectors = items.reshape(len(items), -1).astype(dtype, copy=False)
    contract = ItemContract(dtype, ("items", vectors.shape[1]), _range_of(vectors, value_range))
    return Dataset(vectors, items.shape[1:], contract, labels)


def split(dataset: Dataset, fraction: float, seed: int) -> Split:
    """Holds back a random fraction of the items for validation; 0 for none.

    Raises InputError where nothing would be left on one side.
    """
    if fraction == 0:
        return Split(dataset, None)
    held_back = round(len(dataset) * fraction) if 0 < fraction < 1 else 0
    if not 0 < held_back < len(dataset):
        raise InputError(f"a validation part of {fraction} of {len(dataset)} items leaves no items on one side")
    order = np.random.default_rng(seed).permutation(len(dataset))
    return Split(dataset.subset(np.sort(order[held_back:])), dataset.subset(np.sort(order[:held_back])))


def load_split(request: DataRequest) -> Split:
    """Training and validation items of a request; raises InputError for what cannot be used."""
    train = load_data(request.path, request.range, request.limit)
    validation = request.validation or _usual_validation(Path(request.path))
    if (fraction := _fraction(validation)) is not None:
        return replace(split(train, fraction, request.seed), request=request)
    held_out = load_data(validation, train.contract.range)
    if held_out.contract != train.contract:
        raise InputError(
            f"validation items must be like the training items, {train.contract}, found {held_out.contract}"
        )
    return Split(train, held_out, request)


def _usual_validation(path: Path) -> str:
    test = _mnist_file(path, "t10k", "images") if path.is_dir() else None
    return "0.1" if test is None else str(test)


def _fraction(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _range_of(vectors: Array, given: tuple[float, float] | None) -> tuple[float, float]:
    """The range of the contract, with every value inside it."""
    if vectors.dtype.kind == "f" and not np.isfinite(vectors).all():
        item, element = np.argwhere(~np.isfinite(vectors))[0]
        raise InputRangeError(
            f"expected finite numbers, found {vectors[item, element]} at item {item}, element {element}"
        )
    if given is None and vectors.dtype.kind != "f":
        return dtype_range(vectors.dtype.name)
    measured = float(vectors.min()), float(vectors.max())
    low, high = given or measured
    least, most = dtype_range(vectors.dtype.name)
    if not least <= low < high <= most:
        raise InputRangeError(
            f"expected a range with LOW below HIGH, both in {vectors.dtype}, found {low}, {high}: say --range LOW,HIGH"
        )
    if measured[0] < low or measured[1] > high:
        raise InputRangeError(
            f"expected values in {low}..{high}, found {measured[0]}..{measured[1]}: say --range LOW,HIGH"
        )
    return low, high


def _chosen_file(path: Path) -> Path:
    if not path.exists():
        raise InputFileError(f"{path}: expected a file or a folder of items, found nothing")
    return (_mnist_file(path, "train", "images") or path) if path.is_dir() else path


def _read(path: Path) -> tuple[Array, Array | None]:
    if path.is_dir():
        return read_images(path), None
    items, labels = read_labelled(path)
    beside = _labels_beside(path) if labels is None else None
    return items, labels if beside is None else read_idx(beside)


def _mnist_file(folder: Path, part: str, kind: str) -> Path | None:
    """MNIST's file of a part (train, t10k) and kind (images, labels) in the folder, plain or packed, or None."""
    for pattern in MNIST_NAMES:
        name = pattern.format(part=part, kind=kind, dimensions=3 if kind == "images" else 1)
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def _labels_beside(path: Path) -> Path | None:
    part, separator, _ = path.name.partition("-images")
    return _mnist_file(path.parent, part, "labels") if separator else None


def describe(dataset: Dataset) -> dict[str, Any]:
    """The dataset for the record: source, number of items, digest."""
    return {"source": dataset.source, "items": len(dataset), "sha256": dataset.digest()}
