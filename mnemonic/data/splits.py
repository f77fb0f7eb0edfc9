"""Images and labels in memory, and the ways to go through a split.

A split that fits stays as ``uint8`` pixels on the device, where batches are cut,
augmented and normalised; one that does not comes through a ``DataLoader``.

Example:
    >>> import torch
    >>> split = ArraySplit(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 0, 1]))
    >>> len(split.take(torch.tensor([0, 2])))
    2
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset


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

    def take(self, indices: Tensor) -> ArraySplit:
        """The split made of some of its images, in the order of ``indices``."""
        return ArraySplit(self.pixels[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> ArraySplit:
        """The split on another device."""
        return ArraySplit(self.pixels.to(device), self.labels.to(device))


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


def first_of_each(labels: Tensor, n: int) -> Tensor:
    """Positions, in ascending order, of the first ``n`` images of each class."""
    members = [(labels == c).nonzero()[:n, 0] for c in labels.unique()]
    return torch.cat(members).sort().values


def crop_and_flip(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Shift each image at random by up to an eighth of its side, mirror half of them.

    Args:
        images: Normalised images ``[N, C, H, W]``; the border is filled with 0, their
            mean.
        generator: Source of the randomness, on the same device.

    Returns:
        A new tensor of the same shape.
    """
    n, _, height, width = images.shape
    pad, device = max(height // 8, 1), images.device
    padded = functional.pad(images, (pad,) * 4)
    draw = {"generator": generator, "device": device}
    top, left = torch.randint(2 * pad + 1, (2, n, 1), **draw)
    rows = top + torch.arange(height, device=device)  # [N, H]
    columns = left + torch.arange(width, device=device)  # [N, W]
    mirrored = torch.rand((n, 1), **draw) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(n, device=device)[:, None, None]
    # Advanced indices around a slice put the channel axis last.
    cut = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


def batches(
    split: ArraySplit | Dataset,
    batch_size: int,
    device: torch.device | str,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the pixels and labels of a split once; shuffled by a generator."""
    if isinstance(split, ArraySplit):
        home = split.pixels.device
        if generator is None:
            order = torch.arange(len(split), device=home)
        else:
            order = torch.randperm(
                len(split), generator=generator, device=generator.device
            ).to(home)
        for chosen in order.split(batch_size):
            yield split.pixels[chosen].to(device), split.labels[chosen].to(device)
        return
    shuffler = None
    if generator is not None:  # a DataLoader shuffles on the CPU only
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        shuffler = torch.Generator().manual_seed(int(seed))
    loader = DataLoader(
        split,
        batch_size=batch_size,
        shuffle=shuffler is not None,
        generator=shuffler,
        num_workers=min(8, os.cpu_count() or 1) if len(split) > 2000 else 0,
        pin_memory=torch.device(device).type == "cuda",
    )
    for pixels, labels in loader:
        yield (pixels.to(device, non_blocking=True), labels.to(device))


def unit(pixels: Tensor) -> Tensor:
    """Pixels as floats in [0, 1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def from_arrays(part: str, arrays: tuple[Tensor | np.ndarray, ...]) -> ArraySplit:
    """Check images and labels and hold them in memory.

    Args:
        part: What to call the split in an error.
        arrays: Images ``[N, C, H, W]`` or ``[N, H, W]``, ``uint8`` or floats in [0, 1],
            and integer labels ``[N]``.

    Returns:
        The split.

    Raises:
        ValueError: If shape, type or range is wrong.
    """
    try:
        images, labels = (torch.as_tensor(a) for a in arrays)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{part} is no pair of images and labels ({error}); give two tensors or "
            "arrays, with labels that are integers"
        ) from error
    if images.is_meta or labels.is_meta:
        raise ValueError(
            f"{part} images or labels are on the meta device, without values; give "
            "those that hold some"
        )
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{part} images have shape {list(images.shape)}; give [N, C, H, W] with "
            "one or three channels, or [N, H, W] (permute images whose channels are "
            "last)"
        )
    no_integers = labels.is_floating_point() or labels.is_complex()
    if labels.shape != images.shape[:1] or no_integers or labels.dtype == torch.bool:
        raise ValueError(
            f"{part} labels have shape {list(labels.shape)} and type {labels.dtype}; "
            f"give {len(images)} integers, one an image"
        )
    if images.dtype != torch.uint8:
        if images.is_complex():
            raise ValueError(f"{part} images are complex; give uint8, or floats")
        images = images.float()
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise ValueError(
                f"{part} images range from {low:g} to {high:g}; give uint8, or floats "
                "in [0, 1] without NaN (normalisation happens later)"
            )
    return ArraySplit(images.contiguous(), labels.to(torch.int64))
