"""Images in three splits, and how they reach a network.

A data set that fits stays in memory as ``uint8`` pixels and is normalised and
augmented batch by batch on the device; one that does not is read from its files, a
batch ahead. Normalisation belongs to the images only: mnemonic codes enter the network
as they are drawn.

Example:
    >>> import torch
    >>> x, y = torch.rand(20, 1, 8, 8), torch.arange(20) % 2
    >>> data = ImageData.from_arrays(train=(x, y), test=(x, y), class_names=["a", "b"])
    >>> data.input_shape, len(data.train), len(data.validation)
    ((1, 8, 8), 18, 2)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from mnemonic.checks import checked_classes, checked_device, checked_path
from mnemonic.data import batches, incoming, splits
from mnemonic.data.splits import FileSplit, Split, belongs

Arrays = tuple[Tensor | np.ndarray, Tensor | np.ndarray | Sequence]  # images, labels
Channels = float | Sequence[float] | Tensor | None  # one number, or one a channel
Augmentation = Literal["none", "crop-flip"]
SPLITS = ("train", "validation", "test")


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
        train: Arrays,
        test: Arrays,
        validation: Arrays | None = None,
        class_names: Sequence[str],
        name: str = "arrays",
        augmentation: Augmentation = "none",
        mean: Channels = None,
        std: Channels = None,
    ) -> Self:
        """Data from images and labels that are already in memory, which are copied.

        Args:
            train: Images ``[N, C, H, W]`` or ``[N, H, W]``, ``uint8`` or floats in
                [0, 1], and labels ``[N]``: integers in 0 … K-1, or class names.
            test: The same, for reporting.
            validation: The same; where missing, a stratified tenth of ``train``.
            class_names: The K names, in the order of the labels.
            name: What to call the data.
            augmentation: ``"none"`` or ``"crop-flip"``.
            mean: Of pixels in [0, 1], one number or one a channel, such as a network
                was trained with; by default that of the training images.
            std: Their deviation, likewise; mean 0 and std 1 leave pixels as they are.

        Returns:
            The data, whose inputs are ``(pixels - mean) / std``.

        A ``ValueError`` says what of names, images, labels or numbers does not fit.
        """
        given = {"train": train, "test": test, "validation": validation}
        names, made = incoming.array_splits(given, class_names)
        return cls.from_splits(name, names, made, augmentation, mean, std)

    @classmethod
    def from_splits(
        cls,
        name: str,
        class_names: Sequence[str],
        parts: dict[str, Split],
        augmentation: Augmentation,
        mean: Channels = None,
        std: Channels = None,
    ) -> Self:
        """Data from splits named ``train``, ``test`` and perhaps ``validation``."""
        parts = incoming.completed(parts, class_names, augmentation)
        mean, std = incoming.normalisation(mean, std, parts["train"])
        three = (parts[part] for part in SPLITS)
        return cls(name, tuple(class_names), *three, mean, std, augmentation)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        image_size: int = 224,
        augmentation: Augmentation = "none",
        mean: Channels = None,
        std: Channels = None,
    ) -> Self:
        """Data from image files, one folder a class, with what lies deeper in it.

        Read is what Pillow reads, as ``mnemonic.data.files`` says (turned by EXIF). One
        warning counts other files; hidden names and systems' leavings are passed over.

        Args:
            folder: Holds ``train/<class>/`` and ``test/<class>/``, and perhaps
                ``validation/<class>/`` (also called ``val`` or ``valid``). Where there
                is no ``test``, a ``val`` is taken for it. Labels follow the names in
                alphabetical order, that of ``sorted``: class 10 before class 2.
            image_size: Side of the square images, in pixels.
            augmentation: ``"none"`` or ``"crop-flip"``.
            mean: As in ``from_arrays``; by default all training files are read for it.
            std: Likewise.

        Returns:
            The data, in memory if its pixels take less than 1 GiB.

        A ``ValueError`` says what of folder, images, size or augmentation does not fit.
        """
        folder = checked_path("folder", folder)
        names, parts = incoming.folder_splits(folder, image_size)
        return cls.from_splits(folder.name, names, parts, augmentation, mean, std)

    def inputs(self, split: Split, indices: Tensor | slice | None = None) -> Tensor:
        """``images``, normalised: what a network is given; ``ValueError`` as there."""
        return self._normalised(splits.unit(splits.some_of(split, indices).read()))

    def images(self, split: Split, indices: Tensor | slice | None = None) -> Tensor:
        """Images in [0, 1], to look at: a copy.

        Args:
            split: One of this data's splits.
            indices: Positions ``[n]``, a mask or a slice; all by default.

        Returns:
            Shape ``[n, C, H, W]``.

        A ``ValueError`` says what of split or indices does not fit.
        """
        pixels = splits.some_of(split, indices).read()
        return splits.unit(pixels.clone() if pixels.is_floating_point() else pixels)

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

        A ``ValueError`` says what of split, size, device or generator does not fit.
        """
        for pixels, labels in batches.batches(split, batch_size, device, generator):
            inputs = self._normalised(splits.unit(pixels))
            if augment and self.augmentation == "crop-flip":
                inputs = batches.crop_and_flip(inputs, generator)
            yield inputs, labels

    def without(self, classes: Sequence[int | str]) -> Self:
        """Take classes out of train and validation, and keep them in test.

        Args:
            classes: Indices or names of classes to leave out.

        Returns:
            Data whose labels keep their meaning, so that a network trained on it
            has all ``K`` outputs and can be asked about what it never saw.

        A ``ValueError`` says what of the classes does not fit.
        """
        classes = checked_classes(classes, self.class_names)
        train = self.train.take(~belongs(self.train.labels, classes))
        validation = self.validation.take(~belongs(self.validation.labels, classes))
        return replace(self, train=train, validation=validation)

    def to(self, device: torch.device | str) -> Self:
        """With its splits in memory on a device; a ``ValueError`` where it is none."""
        device = checked_device(device)
        return replace(self, **{p: getattr(self, p).to(device) for p in SPLITS})

    def _normalised(self, images: Tensor) -> Tensor:
        mean, std = (v.to(images.device)[:, None, None] for v in (self.mean, self.std))
        return (images - mean) / std


def checked_data(data: object) -> ImageData:
    """The same, or a ``ValueError`` where it is no data."""
    if not isinstance(data, ImageData):
        raise ValueError(
            f"data is a {type(data).__name__}; give ImageData: load_data(name), "
            "ImageData.from_folder or ImageData.from_arrays make it"
        )
    return data


def named_split(data: object, name: object) -> Split:
    """One of the data's splits by its name."""
    if name not in SPLITS:
        raise ValueError(
            f"unknown split {name!r}; choose 'train', 'validation' or 'test'"
        )
    return getattr(checked_data(data), name)
