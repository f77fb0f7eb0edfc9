"""Splits of images that stay in their files until they are needed.

Example:
    >>> import torch
    >>> FileSplit(("a.jpg", "b.jpg"), torch.tensor([0, 1]), 224).take(torch.tensor([1]))
    FileSplit(files=('b.jpg',), labels=tensor([1]), image_size=224)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mnemonic.splits import ArraySplit

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
