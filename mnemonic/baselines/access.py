"""What a method may read, and what it has read.

A method is given an ``Access`` that lets it have what it declares (codes, images of the
forget classes, images of the remaining ones, or none of these) and raises when it asks
for more. Every image handed over is counted, and so is every sample whose gradient
flows back through a classifier, whichever way the method computes it. The
columns "data touched" and "backward passes" of the comparison are these counts: Table 1
of Yamashita et al. 2024, measured.

Example:
    >>> from mnemonic.sources import load_data
    >>> access = Access(load_data("mnist-5k"), classes=[3])
    >>> images = access.only({"forget"}).images("forget")
    >>> len(images.train), access.counts.images["forget"]
    (350, 350)
    >>> try:
    ...     access.only({"forget"}).images("remaining")
    ... except PermissionError:
    ...     print("refused")
    refused
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data import ImageData, checked_classes
from mnemonic.storage import generator_for
from mnemonic.training import Recipe

Kind = Literal["codes", "forget", "remaining"]
KINDS: tuple[Kind, ...] = ("codes", "forget", "remaining")


@dataclass(eq=False)
class Counts:
    """What was read and computed.

    Attributes:
        images: Different training images (or codes) handed over, by kind.
        visits: Images gone through, by kind: two epochs are two visits each.
        backward_passes: Samples whose gradient flowed back through a classifier:
            forget, remaining and made-up ones alike.
    """

    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    visits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    backward_passes: int = 0


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
        self, batch_size: int, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: augmented batches in random order, on the generator's device."""
        return self.batches(
            self.train,
            batch_size=batch_size,
            device=generator.device,
            generator=generator,
            augment=True,
        )

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


@dataclass(eq=False)
class Access:
    """The way to data, codes and fresh networks, for one request to forget.

    Attributes:
        data: Of which only the training images can be had.
        classes: The forget classes.
        codes: Those the network was trained with, if it was.
        build: Gives a network of this kind with fresh weights, for a seed.
        recipe: How such a network is trained.
        t_mix: Share of codes in the training of a network with codes.
        built_with: Seed of the network's first weights, for methods that go back to
            them.
        may_read: Kinds that can be had.
        counts: What was read and computed so far.
    """

    data: ImageData
    classes: Sequence[int]
    codes: MnemonicCodes | None = None
    build: Callable[[int], nn.Module] | None = None
    recipe: Recipe | None = None
    t_mix: float = 0.1
    built_with: int | None = None
    may_read: frozenset[str] = frozenset(KINDS)
    counts: Counts = field(default_factory=Counts)
    _had: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.classes = checked_classes(self.classes, self.data.n_classes)

    @property
    def n_classes(self) -> int:
        """``K``."""
        return self.data.n_classes

    def only(self, kinds: Sequence[str] | set[str]) -> Access:
        """Narrower access, with the same counts.

        Args:
            kinds: Of ``"codes"``, ``"forget"``, ``"remaining"``.

        Returns:
            The access that a method with these needs is given: never to more than
            this one.
        """
        return replace(self, may_read=self.may_read & frozenset(kinds))

    def recounted(self) -> Access:
        """The same access with counts of its own."""
        return replace(self, counts=Counts(), _had={})

    def images(
        self,
        *kinds: Kind,
        per_class: int | None = None,
        share: float = 1.0,
        where: Tensor | None = None,
        seed: int = 0,
    ) -> Handed:
        """Training images of some kinds.

        Args:
            kinds: ``"forget"``, ``"remaining"``, or both.
            per_class: At most so many of each class, drawn at random.
            share: Of the remaining ones, drawn at random; in (0, 1].
            where: Mask ``[N]`` over all training images.
            seed: Of the draw.

        Returns:
            Data whose ``train`` split holds these images and nothing else.

        Raises:
            ValueError: If a kind is neither of the two.
        """
        for kind in kinds:
            if kind not in ("forget", "remaining"):
                raise ValueError(
                    f"{kind!r} is no kind of training image; ask for 'forget' or "
                    "'remaining', and for codes by the_codes()"
                )
            self._allowed(kind)
        labels = self.data.train.labels.cpu()
        forgets = torch.isin(labels, torch.tensor(self.classes))
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        for kind in kinds:
            chosen |= forgets if kind == "forget" else ~forgets
        if where is not None:
            chosen &= where.cpu()
        order = torch.randperm(len(labels), generator=generator_for("draw", seed))
        order = order[chosen[order]]
        if per_class is not None:
            of_class = [order[labels[order] == c] for c in range(self.n_classes)]
            order = torch.cat([members[:per_class] for members in of_class])
        rest = order[~forgets[order]]
        rest = rest[: math.ceil(share * len(rest))]
        order = torch.cat([order[forgets[order]], rest]).sort().values
        for kind, member in (("forget", forgets), ("remaining", ~forgets)):
            had = self._had.setdefault(kind, torch.zeros(len(labels), dtype=torch.bool))
            had[order[member[order]]] = True
            self.counts.images[kind] = int(had.sum())
        nothing = self.data.train.take(torch.zeros(0, dtype=torch.int64))
        whole = {name: getattr(self.data, name) for name in _FIELDS}
        whole |= {"train": self.data.train.take(order)}
        whole |= {"validation": nothing, "test": nothing}
        return Handed(**whole, classes=self.classes, counts=self.counts)

    def the_codes(self) -> MnemonicCodes:
        """The codes; counted once.

        Returns:
            One code a class.

        Raises:
            ValueError: If there are none.
        """
        self._allowed("codes")
        if self.codes is None:
            raise ValueError(
                "this method forgets by the codes that the network was trained with; "
                "give them: Access(..., codes=codes)"
            )
        self.counts.images["codes"] = len(self.codes.images)
        self.counts.visits["codes"] += len(self.codes.images)
        return self.codes

    def fresh(self, seed: int) -> nn.Module:
        """A network of this kind with fresh weights.

        Args:
            seed: Of the weights.

        Returns:
            What ``build`` gives.

        Raises:
            ValueError: If there is no ``build``.
        """
        if self.build is None:
            raise ValueError(
                "this method starts a network from fresh weights; say how one is "
                "built: Access(..., build=lambda seed: mn.build_model(name, data, "
                "seed=seed))"
            )
        return self.build(seed)

    def first_weights(self) -> nn.Module:
        """The network as it was before training.

        Returns:
            What ``build`` gives for the seed of the network.

        Raises:
            ValueError: If that seed is not known.
        """
        if self.built_with is None:
            raise ValueError(
                "this method goes back to the weights before training; say the seed "
                "they were built with: Access(..., built_with=seed)"
            )
        return self.fresh(self.built_with)

    def how_to_train(self) -> Recipe:
        """The recipe of the network.

        Returns:
            What the access was given.

        Raises:
            ValueError: If there is none.
        """
        if self.recipe is None:
            raise ValueError(
                "this method trains; say how: Access(..., recipe=mn.Recipe(...))"
            )
        return self.recipe

    def _allowed(self, kind: str) -> None:
        if kind not in self.may_read:
            raise PermissionError(
                "this method declares that it reads "
                f"{' and '.join(sorted(self.may_read)) or 'nothing'} and asks for "
                f"{kind}; add it to what the method declares"
            )


_FIELDS = ("name", "class_names", "mean", "std", "augmentation")


@contextlib.contextmanager
def counted(counts: Counts) -> Iterator[None]:
    """Count samples whose gradient flows back through any classifier.

    A classifier is a module whose outermost call gives ``[N, ·]``; images that come out
    of a generator are not counted. One forward may be followed by several backward
    passes: they are told apart by how often a gradient reaches the same activation.

    Args:
        counts: Where they are added up.

    Yields:
        Nothing.
    """
    here, running, activations = threading.get_ident(), [], []

    def enter(module: nn.Module, inputs: tuple) -> None:
        if threading.get_ident() == here:
            running.append(module)

    def leave(module: nn.Module, inputs: tuple, output: object) -> None:
        if threading.get_ident() != here:
            return
        running.pop()
        if isinstance(output, Tensor) and output.requires_grad:
            activations.append(output)
        if not running:
            if isinstance(output, Tensor) and output.ndim == 2:
                _watch(activations, len(output), counts)
            activations.clear()

    before = nn.modules.module.register_module_forward_pre_hook(enter)
    after = nn.modules.module.register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _watch(activations: list[Tensor], n_samples: int, counts: Counts) -> None:
    """Count ``n_samples`` for each backward pass that reaches any activation."""
    arrived = dict.fromkeys(range(len(activations)), 0)
    passes = [0]

    def hook(which: int) -> Callable[[Tensor], None]:
        def arrive(gradient: Tensor) -> None:
            arrived[which] += 1
            if arrived[which] > passes[0]:
                passes[0] = arrived[which]
                counts.backward_passes += n_samples

        return arrive

    for which, activation in enumerate(activations):
        activation.register_hook(hook(which))
