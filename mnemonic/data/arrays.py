"""Images in three splits, and how they reach a network.

A data set that fits stays in memory as ``uint8`` pixels and is normalised and
augmented batch by batch on the device; one that does not is read from its files
by a ``DataLoader``. Normalisation belongs to the images only: mnemonic codes enter
the network as they are drawn.

Example:
    >>> import torch
    >>> x, y = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
    >>> data = ImageData.from_arrays(train=(x, y), test=(x, y), class_names=["a", "b"])
    >>> data.input_shape, len(data.train), len(data.validation)
    ((1, 8, 8), 18, 2)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mnemonic.checks import (
    checked_classes,
    checked_device,
    checked_number,
    checked_path,
)
from mnemonic.data import files
from mnemonic.data import splits as _splits
from mnemonic.data.files import FileSplit, Split
from mnemonic.data.splits import ArraySplit

Augmentation = Literal["none", "crop-flip"]
MOST_PIXELS = 10_000  # the side of an image; beyond, a slip would fill the memory
VALIDATION_SHARE = 0.1  # of the training images, where a data set brings no split


@dataclass(frozen=True, eq=False)
class ImageData:
    """Training, validation and test images of ``K`` classes.

    Attributes:
        name: What to call it in tables and figures.
        class_names: The ``K`` names, in the order of the labels.
        train: What a network is trained on.
        validation: For every choice that is not made on the codes.
        test: Read once, for reporting.
        mean: Per channel, of pixels in [0, 1]; shape ``[C]``.
        std: Per channel, of pixels in [0, 1]; shape ``[C]``.
        augmentation: What happens to training images: ``"none"`` or ``"crop-flip"``
            (pad by an eighth of the side, cut at random, mirror every other one).
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mean: Tensor
    std: Tensor
    augmentation: Augmentation = "none"

    @property
    def n_classes(self) -> int:
        """``K``."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of what the network is given."""
        if isinstance(self.test, FileSplit):
            return (3, self.test.image_size, self.test.image_size)
        return tuple(self.test.pixels.shape[1:])

    @classmethod
    def from_arrays(
        cls,
        *,
        train: tuple[Tensor | np.ndarray, Tensor | np.ndarray],
        test: tuple[Tensor | np.ndarray, Tensor | np.ndarray],
        validation: tuple[Tensor | np.ndarray, Tensor | np.ndarray] | None = None,
        class_names: Sequence[str],
        name: str = "arrays",
        augmentation: Augmentation = "none",
    ) -> ImageData:
        """Data from images and labels that are already in memory.

        Args:
            train: Images ``[N, C, H, W]`` or ``[N, H, W]``, ``uint8`` or floats in
                [0, 1], and integer labels ``[N]`` in 0 … K-1.
            test: The same, for reporting.
            validation: The same; where missing, a stratified tenth of ``train``.
            class_names: The K names.
            name: What to call the data.
            augmentation: ``"none"`` or ``"crop-flip"``.

        Returns:
            The data, normalised by the mean and deviation of the training images.

        Raises:
            ValueError: If names, images or labels are not what they should be.
        """
        if not isinstance(class_names, Iterable):
            raise ValueError(f"class_names is {class_names!r}; give a list of names")
        names = tuple(str(n) for n in class_names)
        splits = {"train": _splits.from_arrays("train", train)}
        splits["test"] = _splits.from_arrays("test", test)
        if validation is not None:
            splits["validation"] = _splits.from_arrays("validation", validation)
        return cls.from_splits(name, names, splits, augmentation)

    @classmethod
    def from_splits(
        cls,
        name: str,
        class_names: Sequence[str],
        splits: dict[str, Split],
        augmentation: Augmentation,
    ) -> ImageData:
        """Data from checked splits; carves out a validation split if there is none.

        Args:
            name: What to call the data.
            class_names: The K names.
            splits: ``train``, ``test`` and, if there is one, ``validation``.
            augmentation: ``"none"`` or ``"crop-flip"``.

        Returns:
            The data.

        Raises:
            ValueError: If a label is out of range, a class has no image in a split,
                shapes differ between splits, or the augmentation is not known.
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
        for part, split in splits.items():
            files.check_labels(part, split.labels, class_names)
        if "validation" not in splits:
            held = _splits.stratified(splits["train"].labels, VALIDATION_SHARE)
            splits["validation"] = splits["train"].take(held.nonzero()[:, 0])
            splits["train"] = splits["train"].take((~held).nonzero()[:, 0])
            for part in ("train", "validation"):
                files.check_labels(part, splits[part].labels, class_names)
        shapes = {
            part: tuple(split.pixels.shape[1:])
            for part, split in splits.items()
            if isinstance(split, ArraySplit)
        }
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"images differ in shape between splits: {shapes}; give all of one"
            )
        mean, std = files.statistics(splits["train"])
        return cls(
            name,
            tuple(class_names),
            *(splits[part] for part in ("train", "validation", "test")),
            mean,
            std,
            augmentation,
        )

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        image_size: int = 224,
        augmentation: Augmentation = "none",
    ) -> ImageData:
        """Data from image files, one folder a class.

        Args:
            folder: Holds ``train/<class>/`` and ``test/<class>/``, and perhaps
                ``validation/<class>/`` (also called ``val`` or ``valid``). Where there
                is no ``test``, a ``val`` is taken for it.
            image_size: Side of the square images, in pixels.
            augmentation: ``"none"`` or ``"crop-flip"``.

        Returns:
            The data, in memory if its pixels take less than 1 GiB.

        A ``ValueError`` says what of folder, images, size or augmentation does not fit.
        """
        folder, allowed = checked_path("folder", folder), f"pixels, 1 to {MOST_PIXELS}"
        image_size = checked_number(
            "image_size", image_size, lambda s: 1 <= s <= MOST_PIXELS, allowed,
            whole=True,
        )  # fmt: skip
        names, splits = files.class_folders(folder, image_size)
        return cls.from_splits(folder.name, names, splits, augmentation)

    def inputs(self, split: Split, indices: Tensor | slice | None = None) -> Tensor:
        """As ``images``, normalised: what a network is given.

        Args:
            split: As in ``images``.
            indices: As in ``images``.

        Returns:
            Shape ``[n, C, H, W]``.

        A ``ValueError`` says what does not fit, as in ``images``.
        """
        return self._normalised(self.images(split, indices))

    def images(self, split: Split, indices: Tensor | slice | None = None) -> Tensor:
        """Images in [0, 1], to look at.

        Args:
            split: One of this data's splits.
            indices: Positions ``[n]``, a mask or a slice; all by default.

        Returns:
            Shape ``[n, C, H, W]``.

        A ``ValueError`` says what of split or indices does not fit.
        """
        indices = files.positions(split, indices)
        if isinstance(split, FileSplit):
            chosen = torch.arange(len(split))[indices].tolist()
            return _splits.unit(torch.stack([split[i][0] for i in chosen]))
        return _splits.unit(split.pixels[indices])

    def batches(
        self,
        split: Split,
        *,
        batch_size: int = 512,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        augment: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through a split once.

        Args:
            split: One of this data's splits.
            batch_size: Images a batch; the last one may be smaller.
            device: Where the batches are wanted.
            generator: Shuffles, and augments; without it the order is that of the
                split. It lives on ``device``.
            augment: Apply the data's augmentation.

        Yields:
            Inputs ``[B, C, H, W]``, normalised, and labels ``[B]``.

        Raises:
            ValueError: If split, size, device or generator do not fit.
        """
        files.check_split(split)
        device = checked_device(device)
        if not (generator is None or isinstance(generator, torch.Generator)):
            raise ValueError(
                f"generator is {generator!r}; give a torch.Generator on {device}, or "
                "None to keep the order"
            )
        batch_size = checked_number(
            "batch_size", batch_size, lambda n: n >= 1, "1 image or more", whole=True
        )
        batch_size = min(batch_size, max(len(split), 1))  # torch takes 64 bits
        for pixels, labels in _splits.batches(split, batch_size, device, generator):
            inputs = self._normalised(_splits.unit(pixels))
            if augment and self.augmentation == "crop-flip":
                inputs = _splits.crop_and_flip(inputs, generator)
            yield inputs, labels

    def without(self, classes: Sequence[int]) -> ImageData:
        """Take classes out of train and validation, and keep them in test.

        Args:
            classes: Class indices to leave out.

        Returns:
            Data whose labels keep their meaning, so that a network trained on it
            has all ``K`` outputs and can be asked about what it never saw.

        A ``ValueError`` says what of the classes does not fit.
        """
        dropped = torch.tensor(checked_classes(classes, self.n_classes))

        def kept(split: Split) -> Split:
            mask = ~torch.isin(split.labels, dropped.to(split.labels.device))
            return split.take(mask.nonzero()[:, 0])

        return replace(self, train=kept(self.train), validation=kept(self.validation))

    def to(self, device: torch.device | str) -> ImageData:
        """The data with its in-memory splits on another device.

        Args:
            device: Where to.

        Returns:
            The data; splits in files stay where they are.

        A ``ValueError`` says that there is no such device.
        """
        device = checked_device(device)
        return replace(
            self,
            **{p: getattr(self, p).to(device) for p in ("train", "validation", "test")},
        )

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (v.to(images.device)[:, None, None] for v in (self.mean, self.std))
        return (images - mean) / std


def checked_data(data: object) -> ImageData:
    """Make sure that this is data.

    Args:
        data: What was given for data.

    Returns:
        The same.

    Raises:
        ValueError: If it is something else.
    """
    if not isinstance(data, ImageData):
        raise ValueError(
            f"data is a {type(data).__name__}; give ImageData: load_data(name), "
            "ImageData.from_folder or ImageData.from_arrays make it"
        )
    return data
