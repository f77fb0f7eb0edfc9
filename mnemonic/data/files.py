"""Splits of images that stay in their files until they are needed, and of either kind.

Example:
    >>> import torch
    >>> FileSplit(("a.jpg", "b.jpg"), torch.tensor([0, 1]), 224).take(torch.tensor([1]))
    FileSplit(files=('b.jpg',), labels=tensor([1]), image_size=224)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mnemonic.checks import listed
from mnemonic.data.splits import ArraySplit, unit

IN_MEMORY_LIMIT = 2**30  # bytes of uint8 pixels: CIFAR-10 has 0.18 GB, ImageNet 190
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".gif"}


@dataclass(frozen=True, eq=False)
class FileSplit(Dataset):
    """A split read from image files whenever it is needed.

    Attributes:
        files: One path an image.
        labels: Class indices of shape ``[N]``, ``int64``.
        image_size: Side of the square images that the network sees, in pixels.
    """

    files: tuple[str, ...]
    labels: Tensor
    image_size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Pixels ``[3, S, S]`` (``uint8``, resized, cut in the middle) and label."""
        return read_image(self.files[index], self.image_size), self.labels[index]

    def take(self, indices: Tensor) -> FileSplit:
        """The split made of some of its files, in the order of ``indices``."""
        files = tuple(self.files[i] for i in indices.tolist())
        return FileSplit(files, self.labels[indices.cpu()], self.image_size)

    def to(self, device: torch.device | str) -> FileSplit:
        """The split itself: its images move batch by batch."""
        return self


Split = ArraySplit | FileSplit


def check_split(split: object) -> None:
    """Refuse what is no split."""
    if not isinstance(split, Split):
        raise ValueError(
            f"split is a {type(split).__name__}; give one of the data's splits, such "
            "as data.train"
        )


def positions(split: Split, indices: object) -> slice | Tensor:
    """Which images are meant, if this is a split and has them."""
    check_split(split)
    if indices is None:
        return slice(None)
    chosen = None
    # Indices without values give whatever was in memory.
    if not (isinstance(indices, Tensor) and indices.is_meta):
        with contextlib.suppress(Exception):  # whatever torch raises at no index
            chosen = torch.arange(len(split), device=split.labels.device)[indices]
    if chosen is None or chosen.ndim != 1 or chosen.is_meta:
        raise ValueError(
            f"indices are {indices!r}; give positions from 0 to {len(split) - 1}, a "
            "mask or a slice"
        )
    return indices if isinstance(indices, slice) else chosen  # a slice copies nothing


def check_labels(part: str, labels: Tensor, class_names: Sequence[str]) -> None:
    """Refuse labels that are no classes, and classes without an image."""
    last = len(class_names) - 1
    wrong = labels[(labels < 0) | (labels > last)]
    if len(wrong):
        raise ValueError(
            f"{part} label {int(wrong[0])} is not in 0..{last}; number the "
            f"{len(class_names)} classes from 0, in the order of their names, and get "
            "files anew that may be damaged"
        )
    counts = torch.bincount(labels, minlength=len(class_names))
    if (counts == 0).any():
        empty = [class_names[i] for i in (counts == 0).nonzero()[:, 0]]
        raise ValueError(
            f"the {part} split has no image of {listed(empty)}; every class needs "
            "one: add images or leave the class out"
        )


def statistics(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and deviation of pixels in [0, 1], per channel."""
    if isinstance(split, FileSplit):  # the usual constants of ImageNet
        return torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    count = split.pixels[:, 0].numel()
    total, squares = 0.0, 0.0
    for part in split.pixels.split(4096):  # a float64 copy of the whole is too large
        part = unit(part).double()
        total = total + part.sum((0, 2, 3))
        squares = squares + part.square().sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))  # a blank channel
    return mean.float(), std.float()


def decode(file: str | Path | BinaryIO) -> Tensor:
    """Pixels ``[3, H, W]`` (``uint8``, RGB) of an image file, a name or an open one."""
    with Image.open(file) as image:
        return v2.functional.pil_to_tensor(image.convert("RGB"))


def read_image(path: str | Path, size: int) -> Tensor:
    """Read one image file as RGB, shorter side resized to ``size``, cut to a square.

    Args:
        path: A file that Pillow can decode.
        size: Side of the square, in pixels.

    Returns:
        Pixels of shape ``[3, size, size]``, ``uint8``.

    Raises:
        ValueError: If the file is missing or cannot be decoded.
    """
    try:
        image = decode(path)
    except (
        OSError, SyntaxError, ValueError, Image.DecompressionBombError,
    ) as error:  # fmt: skip  # Pillow raises all of them for damaged files
        raise ValueError(
            f"cannot read the image {path} ({error}); it may be cut short: fetch it "
            "again or remove it"
        ) from error
    if image.shape[1:] == (size, size):
        return image
    return v2.functional.center_crop(
        v2.functional.resize(image, [size], antialias=True), [size, size]
    )


def file_split(files: list[tuple[str, int]], image_size: int) -> Split:
    """Make a split of ``(path, label)`` pairs: in memory where it is small enough."""
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    split = FileSplit(tuple(path for path, _ in files), labels, image_size)
    if len(files) * 3 * image_size**2 > IN_MEMORY_LIMIT or not files:
        return split
    return ArraySplit(torch.stack([split[i][0] for i in range(len(split))]), labels)


def class_folders(folder: Path, image_size: int) -> tuple[list[str], dict[str, Split]]:
    """Read ``<folder>/<split>/<class>/<image>``.

    Args:
        folder: Holds ``train`` and ``test``, perhaps ``validation`` (or ``val``,
            ``valid``); where there is no ``test``, a ``val`` is taken for it.
        image_size: Side of the square images, in pixels.

    Returns:
        Class names in alphabetical order, and the splits found.

    Raises:
        ValueError: If a split is missing, or has classes that ``train`` lacks.
    """
    found = {p.name: p for p in folder.iterdir()} if os.path.isdir(folder) else {}
    held = next((found[n] for n in ("validation", "val", "valid") if n in found), None)
    parts = {"train": found.get("train"), "test": found.get("test", held)}
    if held and "test" in found:
        parts["validation"] = held
    if not all(parts.values()):
        raise ValueError(
            f"{folder} needs train/<class>/ and test/<class>/ with image files; "
            f"found {sorted(found) or 'nothing'} there"
        )
    names = sorted(p.name for p in parts["train"].iterdir() if p.is_dir())
    splits = {}
    for part, path in parts.items():
        strange = {p.name for p in path.iterdir() if p.is_dir()} - set(names)
        if strange:
            raise ValueError(
                f"{path} has classes that train lacks: {sorted(strange)}; "
                "every split needs the same class folders"
            )
        files = [
            (str(file), label)
            for label, name in enumerate(names)
            for file in sorted((path / name).glob("*"))
            if file.suffix.lower() in IMAGE_ENDINGS
        ]
        splits[part] = file_split(files, image_size)
    return names, splits
