"""What is asked of images and labels before they become data.

Example:
    >>> import torch
    >>> split = array_split("train", (torch.rand(4, 8, 8), torch.tensor([0, 1, 0, 1])))
    >>> list(split.pixels.shape)
    [4, 1, 8, 8]
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnemonic.checks import checked_whole, described, listed
from mnemonic.data import splits
from mnemonic.data.files import class_folders
from mnemonic.data.splits import ArraySplit, FileSplit, Split

ROUNDING = 1e-3  # above 1 and below 0, from half precision: a quarter of a gray level
MOST_PIXELS = 10_000  # the side of an image; beyond, a slip would fill the memory
VALIDATION_SHARE = 0.1  # of the training images, where a data set brings no split


def array_splits(
    arrays: dict[str, tuple | None], class_names: object
) -> tuple[list[str], dict[str, Split]]:
    """Class names, and splits of one shape, from images and labels by split."""
    if not isinstance(class_names, Iterable):
        raise ValueError(f"class_names is {class_names!r}; give a list of names")
    names = [str(n) for n in class_names]
    made = {
        part: array_split(part, a, names)
        for part, a in arrays.items()
        if part != "validation" or a is not None
    }
    shapes = {part: tuple(split.pixels.shape[1:]) for part, split in made.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"images differ in shape between splits: {shapes}; give all of one"
        )
    return names, made


def array_split(
    part: str, arrays: tuple[object, object], names: Sequence[str] = ()
) -> ArraySplit:
    """Check images and labels and hold them in memory.

    Args:
        part: What to call the split in an error.
        arrays: Images ``[N, C, H, W]`` or ``[N, H, W]``, ``uint8`` or floats in [0, 1],
            and labels ``[N]``, integers or names.
        names: Those that labels may be.

    Returns:
        The split, of its own memory.

    Raises:
        ValueError: If shape, type or range is wrong.
    """
    try:
        images, labels = arrays
        images, labels = _copied(images), _copied(labels, names)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{part} is no pair of images and labels ({error}); give two tensors or "
            "arrays, with labels that are integers or class names"
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
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # also false for NaN
            raise ValueError(
                f"{part} images range from {low:g} to {high:g}; give uint8, or floats "
                "in [0, 1] without NaN (normalisation happens later, by mean= and std=)"
            )
        images.clamp_(0, 1)
    return ArraySplit(images, labels.to(torch.int64))


def _copied(values: object, names: Sequence[str] = ()) -> Tensor:
    """A tensor of its own memory; words become their places among the names."""
    if isinstance(values, Tensor):
        return values.detach().clone(memory_format=torch.contiguous_format)
    values = np.array(values, order="C")
    if values.dtype == object:  # such as a column of pandas: numbers or words of Python
        values = np.array(values.tolist())
    if values.dtype.kind == "U":
        where = {n: i for i, n in enumerate(names) if names.count(n) == 1}
        strange = sorted({*values.flat} - {*where})
        if strange:
            raise ValueError(f"{listed(strange)}: not the name of one class")
        values = np.array([where[v] for v in values.flat]).reshape(values.shape)
    native = values.dtype.newbyteorder("=")
    return torch.from_numpy(values.astype(native, copy=False))


def normalisation(mean: object, std: object, train: Split) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel: those given, or those of the training images."""
    if mean is None and std is None:
        return splits.statistics(train)
    channels = 3 if isinstance(train, FileSplit) else train.pixels.shape[1]
    try:
        means, deviations = (
            _copied(value).flatten().expand(channels) for value in (mean, std)
        )
        fits = 0 <= means.min() <= means.max() <= 1
        fits = fits and 0 < deviations.min() <= deviations.max() <= 1
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(
            f"mean is {mean!r} and std {std!r}; give both, as one number or one for "
            f"each of {channels} channels, for pixels in [0, 1]: mean from 0 to 1, std "
            "above 0 and up to 1 (what is made for pixels to 255 is divided by 255)"
        )
    return tuple(v.to(torch.float32, copy=True) for v in (means, deviations))


def folder_splits(
    folder: Path, image_size: object
) -> tuple[list[str], dict[str, Split]]:
    """Class names and splits of ``<folder>/<split>/<class>/<image>``."""
    size = checked_whole("image_size", image_size, 1, MOST_PIXELS)
    names, rows = class_folders(folder)
    return names, {part: splits.file_split(r, size) for part, r in rows.items()}


def completed(
    parts: dict[str, Split], class_names: Sequence[str], augmentation: object
) -> dict[str, Split]:
    """Splits in which each class has images.

    Args:
        parts: ``train``, ``test`` and, if there is one, ``validation``.
        class_names: The K names.
        augmentation: Of the training images.

    Returns:
        The same with a validation split: where missing, a tenth of ``train``.

    Raises:
        ValueError: If a label is out of range, a class has no image in a split (or one
            where two splits need it), there is but one class, or the augmentation is
            not known.
    """
    if augmentation not in ("none", "crop-flip"):
        raise ValueError(
            f"unknown augmentation {augmentation!r}; choose 'none' or 'crop-flip'"
        )
    if len(class_names) < 2:
        raise ValueError(
            f"{len(class_names)} class is too few: forgetting one needs another "
            "to remember; give at least two"
        )
    if "validation" not in parts:
        whole = parts["train"]
        counts = torch.bincount(whole.labels.clamp_min(0), minlength=len(class_names))
        single = [n for n, c in zip(class_names, counts, strict=False) if c == 1]
        if single:
            raise ValueError(
                f"there is a single training image of {listed(single)}, and validation "
                "needs one of each class too: add images, or give a validation split"
            )
        held = splits.stratified(whole.labels, VALIDATION_SHARE)
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
