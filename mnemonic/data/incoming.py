"""What is asked of images and labels before they become data.

Example:
    >>> import torch
    >>> split = array_split("train", (torch.rand(4, 8, 8), torch.tensor([0, 1, 0, 1])))
    >>> list(split.pixels.shape)
    [4, 1, 8, 8]
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnemonic.checks import checked_whole, described, listed
from mnemonic.data.files import class_folders
from mnemonic.data.splits import ArraySplit, Split, file_split, stratified

MOST_PIXELS = 10_000  # the side of an image; beyond, a slip would fill the memory
VALIDATION_SHARE = 0.1  # of the training images, where a data set brings no split


def array_split(part: str, arrays: tuple[Tensor | np.ndarray, ...]) -> ArraySplit:
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
    if images.ndim == 3:
        images = images[:, None]
    fits = images.ndim == 4 and 0 not in images.shape and images.shape[1] in (1, 3)
    if images.is_complex() or not fits:
        raise ValueError(
            f"{part} images are {described(images)}; give [N, C, H, W] with one or "
            "three channels, or [N, H, W] (permute images whose channels are last), of "
            "uint8 or floats"
        )
    whole = not (labels.is_floating_point() or labels.is_complex())
    if not whole or labels.dtype == torch.bool or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{part} labels are {described(labels)}; give {len(images)} integers, one "
            "an image"
        )
    if images.dtype != torch.uint8:
        images = images.float()
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise ValueError(
                f"{part} images range from {low:g} to {high:g}; give uint8, or floats "
                "in [0, 1] without NaN (normalisation happens later)"
            )
    return ArraySplit(images.contiguous(), labels.to(torch.int64))


def folder_splits(
    folder: Path, image_size: object
) -> tuple[list[str], dict[str, Split]]:
    """Class names and splits of ``<folder>/<split>/<class>/<image>``."""
    size = checked_whole("image_size", image_size, 1, MOST_PIXELS)
    names, rows = class_folders(folder)
    return names, {part: file_split(r, size) for part, r in rows.items()}


def completed(parts: dict[str, Split], class_names: Sequence[str]) -> dict[str, Split]:
    """Splits in which each class has images.

    Args:
        parts: ``train``, ``test`` and, if there is one, ``validation``.
        class_names: The K names.

    Returns:
        The same with a validation split: where missing, a tenth of ``train``.

    Raises:
        ValueError: If a label is out of range, a class has no image in a split, or
            there is but one class.
    """
    if len(class_names) < 2:
        raise ValueError(
            f"{len(class_names)} class is too few: forgetting one needs another "
            "to remember; give at least two"
        )
    if "validation" not in parts:
        whole = parts["train"]
        held = stratified(whole.labels, VALIDATION_SHARE)
        parts = parts | {"train": whole.take(~held), "validation": whole.take(held)}
    last = len(class_names) - 1
    for part, split in parts.items():
        wrong = split.labels[(split.labels < 0) | (split.labels > last)]
        if len(wrong):
            raise ValueError(
                f"{part} label {int(wrong[0])} is not in 0..{last}; number the "
                f"{len(class_names)} classes from 0, in the order of their names, and "
                "get files anew that may be damaged"
            )
        counts = torch.bincount(split.labels, minlength=len(class_names))
        empty = [n for n, c in zip(class_names, counts, strict=True) if c == 0]
        if empty:
            raise ValueError(
                f"the {part} split has no image of {listed(empty)}; every class needs "
                "one: add images or leave the class out"
            )
    return parts
