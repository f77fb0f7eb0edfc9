"""Training images in a method's hands: whoever goes through them is counted.

Example:
    >>> from mnemonic.baselines.access import Access
    >>> from mnemonic.data.sources import load_data
    >>> images = Access(load_data("mnist-5k"), classes=[3]).images("forget")
    >>> inputs = images.inputs(images.train, slice(5))
    >>> images.counts.visits["forget"]
    5
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mnemonic.baselines.counting import Counts
from mnemonic.data.arrays import ImageData


@dataclass(frozen=True, eq=False)
class Handed(ImageData):
    """Training images handed to a method; going through them is counted.

    Its ``validation`` and ``test`` are empty: no method reads those.

    Attributes:
        classes: The forget classes.
        counts: Where visits are added up.
        by_position: The classes ``[n]``, where the labels are positions (``numbered``).
    """

    classes: tuple[int, ...] = ()
    counts: Counts = field(default_factory=Counts)
    by_position: Tensor | None = None

    def numbered(self) -> Handed:
        """The same images, each labelled with its position, to look things up by."""
        labels = self.train.labels
        positions = torch.arange(len(labels), device=labels.device)
        train = replace(self.train, labels=positions)
        return replace(self, train=train, by_position=labels)

    def shuffled(
        self, batch_size: int, generator: torch.Generator, epochs: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented batches on the generator's device, each epoch in a new order."""
        how = {"device": generator.device, "generator": generator, "augment": True}
        for _ in range(epochs):
            yield from self.batches(self.train, batch_size=batch_size, **how)

    def in_order(
        self, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation, in the order of the split."""
        return self.batches(self.train, batch_size=batch_size, device=device)

    def inputs(self, split, indices=None) -> Tensor:
        """As ``ImageData.inputs``, counted."""
        labels = split.labels if indices is None else split.labels[indices]
        self._count(labels)
        return super().inputs(split, indices)

    def batches(self, split, **how) -> Iterator[tuple[Tensor, Tensor]]:
        """As ``ImageData.batches``, counted."""
        for inputs, labels in super().batches(split, **how):
            self._count(labels)
            yield inputs, labels

    def _count(self, labels: Tensor) -> None:
        if self.by_position is not None:
            labels = self.by_position.to(labels.device)[labels]
        forget = sum(int((labels == c).sum()) for c in self.classes)
        self.counts.visits["forget"] += forget
        self.counts.visits["remaining"] += len(labels) - forget
