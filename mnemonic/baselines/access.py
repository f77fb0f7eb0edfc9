"""What a method may read, and what it has read.

A method is given an ``Access`` that lets it have what it declares (codes, images of the
forget classes, images of the remaining ones, or none of these) and raises when it asks
for more. Every image handed over is counted, and so is every visit to it.

Example:
    >>> from mnemonic.data.sources import load_data
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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mnemonic.baselines.counting import KINDS, Counts, Kind
from mnemonic.baselines.handed import Handed
from mnemonic.checks import checked_classes, checked_number, described
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.storage import generator_for
from mnemonic.training import Recipe

_FIELDS = ("name", "class_names", "mean", "std", "augmentation")


@dataclass(eq=False)
class Access:
    """The way to data, codes and fresh networks, for one request to forget.

    Attributes:
        data: Of which only the training images can be had. What a method is given
            has none in it: shapes and names, and ``images`` for the rest.
        classes: The forget classes.
        codes: Those the network was trained with, if it was.
        build: Gives a network of this kind with fresh weights, for a seed.
        recipe: How such a network is trained.
        t_mix: Share of codes in the training of a network with codes.
        built_with: Seed of the network's first weights, for methods that go back to
            them.
        may_read: Kinds that can be had.
        counts: What was read and computed so far.

    A ``ValueError`` says what of data, classes or codes does not fit.
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
    _whole: ImageData | None = field(default=None, repr=False)

    def __post_init__(self):
        n_classes = checked_data(self.data).n_classes
        self.classes = checked_classes(self.classes, n_classes)
        if self.codes is not None:
            checked_codes(self.codes)

    @property
    def n_classes(self) -> int:
        """``K``."""
        return self.data.n_classes

    def only(self, kinds: Sequence[str] | set[str]) -> Access:
        """Narrower access, with the same counts.

        Args:
            kinds: Of ``"codes"``, ``"forget"``, ``"remaining"``.

        Returns:
            The access that a method with these needs is given, never to more than
            this one.
        """
        nothing = self.data.train.take(torch.zeros(0, dtype=torch.int64))
        described = replace(self.data, train=nothing, validation=nothing, test=nothing)
        return replace(
            self,
            data=described,
            may_read=self.may_read & frozenset(kinds),
            _whole=self._whole or self.data,
        )

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
            ValueError: If a kind is neither of the two, or an argument does not fit.
        """
        share = checked_number(
            "share", share, lambda s: 0 < s <= 1, "a number above 0 and up to 1"
        )
        if per_class is not None:
            per_class = checked_number(
                "per_class",
                per_class,
                lambda n: n >= 1,
                "an integer of 1 or more",
                whole=True,
            )
        for kind in kinds:
            if kind not in ("forget", "remaining"):
                raise ValueError(
                    f"{kind!r} is no kind of training image; ask for 'forget' or "
                    "'remaining', and for codes by the_codes()"
                )
            self._allowed(kind)
        everything = self._whole or self.data
        labels = everything.train.labels.cpu()
        if where is not None and (
            not isinstance(where, Tensor)
            or where.shape != labels.shape
            or where.dtype != torch.bool
            or where.is_meta
        ):
            raise ValueError(
                f"where is {described(where)}; give a mask "
                f"of shape [{len(labels)}] and torch.bool, one entry a training image"
            )
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
        nothing = everything.train.take(torch.zeros(0, dtype=torch.int64))
        whole = {name: getattr(everything, name) for name in _FIELDS}
        whole |= {"train": everything.train.take(order)}
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
