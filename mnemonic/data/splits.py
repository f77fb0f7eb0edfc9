"""Images with their labels, in memory or in files, and ways to choose some of them.

Example:
    >>> import torch
    >>> split = ArraySplit(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    >>> len(split.take(torch.tensor([0, 2])))
    2
    >>> FileSplit(("a.jpg", "b.jpg"), torch.tensor([0, 1]), 224).take(torch.tensor([1]))
    FileSplit(files=('b.jpg',), labels=tensor([1]), image_size=224)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemonic.data.files import read_images

IN_MEMORY_LIMIT = 2**30  # bytes of uint8 pixels: CIFAR-10 has 0.18 GB, ImageNet 190


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """A split held in memory.

    Attributes:
        pixels: Images of shape ``[N, C, H, W]``: ``uint8``, or floats in [0, 1].
        labels: Class indices of shape ``[N]``, ``int64``.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def read(self) -> Tensor:
        """All pixels."""
        return self.pixels

    def take(self, indices: Tensor | slice) -> ArraySplit:
        """The split made of some of its images, in the order of ``indices``."""
        return ArraySplit(self.pixels[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> ArraySplit:
        """The split on another device."""
        return ArraySplit(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class FileSplit:
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

    def read(self) -> Tensor:
        """All pixels, ``[N, 3, S, S]`` (``uint8``, resized, cut in the middle)."""
        return read_images(self.files, self.image_size)

    def take(self, indices: Tensor | slice) -> FileSplit:
        """The split made of some of its files, in the order of ``indices``."""
        chosen = torch.arange(len(self))[indices]
        files = tuple(self.files[i] for i in chosen.tolist())
        return FileSplit(files, self.labels[chosen], self.image_size)

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


def some_of(split: Split, indices: object) -> Split:
    """The images that are meant, if this is a split and has them; all by default."""
    check_split(split)
    if indices is None:
        return split
    chosen = None
    with contextlib.suppress(Exception):  # whatever torch raises at no index
        chosen = torch.arange(len(split), device=split.labels.device)[indices]
    if chosen is None or chosen.ndim != 1:
        raise ValueError(
            f"indices are {indices!r}; give positions from 0 to {len(split) - 1}, a "
            "mask or a slice"
        )
    # A slice copies nothing.
    return split.take(indices if isinstance(indices, slice) else chosen)


def file_split(files: list[tuple[str, int]], image_size: int) -> Split:
    """Make a split of ``(path, label)`` pairs: in memory where it is small enough."""
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    split = FileSplit(tuple(path for path, _ in files), labels, image_size)
    if len(files) * 3 * image_size**2 > IN_MEMORY_LIMIT or not files:
        return split
    return ArraySplit(split.read(), labels)


def stratified(labels: Tensor, share: float, *, seed: int = 0) -> Tensor:
    """Mark a share of each class.

    Args:
        labels: Class indices of shape ``[N]``.
        share: Of each class, rounded down, but at least one image.
        seed: Of the draw.

    Returns:
        Mask of shape ``[N]``, true for the images drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        drawn = torch.randperm(len(members), generator=generator)
        mask[members[drawn[: max(int(share * len(members)), 1)]]] = True
    return mask


def belongs(labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Which samples are of some classes: true or false, the shape of ``labels``."""
    return torch.isin(labels, torch.tensor(list(classes), device=labels.device))


def first_of_each(labels: Tensor, n: int) -> Tensor:
    """Positions, in ascending order, of the first ``n`` images of each class."""
    members = [(labels == c).nonzero()[:n, 0] for c in labels.unique()]
    return torch.cat(members).sort().values


def unit(pixels: Tensor) -> Tensor:
    """Pixels as floats in [0, 1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def statistics(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and deviation of pixels in [0, 1], per channel; reads all files once."""
    count, total, squares = 0, 0.0, 0.0
    for part in _parts(split):  # a float64 copy of the whole is too large
        part = unit(part).double()
        count += part[:, 0].numel()
        total = total + part.sum((0, 2, 3))
        squares = squares + part.square().sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))  # a blank channel
    return mean.float(), std.float()


def _parts(split: Split) -> Iterator[Tensor]:
    """Pixels of some images at a time, or of some rows of a large one."""
    if isinstance(split, ArraySplit):
        yield from split.pixels.split(4096)
        return
    n = max(2**24 // (3 * split.image_size**2), 1)
    for first in range(0, len(split), n):
        yield from split.take(slice(first, first + n)).read().split(1024, 2)
