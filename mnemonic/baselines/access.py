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
from mnemonic.data.splits import belongs
from mnemonic.storage import generator_for
from mnemonic.training.loop import train
from mnemonic.training.recipe import Recipe


@dataclass(eq=False)
class Access:
    """The way to data, codes and fresh networks, for one request to forget.

    Attributes:
        data: Of which only the training images can be had. What a method is given
            has none in it: shapes and names, and ``images`` for the rest.
        classes: The forget classes, given by index or name.
        codes: Those the network was trained with, if it was.
        build: Gives a network of this kind with fresh weights, for a seed.
        recipe: How such a network is trained.
        t_mix: Share of codes in the training of a network with codes.
        built_with: Seed of the network's first weights, for methods that go back to
            them.
        may_read: Kinds that can be had.
        counts: What was read and computed so far.
        seed: Of drawn images and fresh networks; a method's call sets it.
        generator: Of all else that is random in a method, on the network's device; its
            call makes it.

    A ``ValueError`` says what of data, classes or codes does not fit.
    """

    data: ImageData
    classes: Sequence[int | str]
    codes: MnemonicCodes | None = None
    build: Callable[[int], nn.Module] | None = None
    recipe: Recipe | None = None
    t_mix: float = 0.1
    built_with: int | None = None
    may_read: frozenset[str] = frozenset(KINDS)
    counts: Counts = field(default_factory=Counts)
    seed: int = 0
    generator: torch.Generator | None = None
    _had: Tensor | None = field(default=None, repr=False)  # [N], images handed over
    _whole: ImageData | None = field(default=None, repr=False)

    def __post_init__(self):
        self.classes = checked_classes(
            self.classes, checked_data(self.data).class_names
        )
        if self.codes is not None:
            checked_codes(self.codes)
        if self._had is None:
            n = len((self._whole or self.data).train)
            self._had = torch.zeros(n, dtype=torch.bool)

    @property
    def n_classes(self) -> int:
        """``K``."""
        return self.data.n_classes

    def forgets(self, labels: Tensor) -> Tensor:
        """Whether each of some labels ``[N]`` is that of a forget class."""
        return belongs(labels, self.classes)

    def only(self, kinds: Sequence[str] | set[str]) -> Access:
        """Narrower access, with the same counts.

        Args:
            kinds: Of ``"codes"``, ``"forget"``, ``"remaining"``.

        Returns:
            The access that a method with these needs is given, never to more than
            this one.
        """
        data, may_read = _without_images(self.data), self.may_read & frozenset(kinds)
        whole = self._whole or self.data
        return replace(self, data=data, may_read=may_read, _whole=whole)

    def recounted(self) -> Access:
        """The same access with counts of its own."""
        return replace(self, counts=Counts(), _had=None)

    def images(
        self,
        *kinds: Kind,
        per_class: int | None = None,
        share: float = 1.0,
        where: Tensor | None = None,
        seed: int | None = None,
    ) -> Handed:
        """Training images of some kinds.

        Args:
            kinds: ``"forget"``, ``"remaining"``, or both.
            per_class: At most so many of each class, drawn at random.
            share: Of the remaining ones, drawn at random; in (0, 1].
            where: Mask ``[N]`` over all training images.
            seed: Of the draw; the method's by default.

        Returns:
            Data whose ``train`` split holds these images and nothing else.

        Raises:
            ValueError: If a kind is neither of the two, or an argument does not fit.
        """
        allowed = "a number above 0 and up to 1"
        checked_number("share", share, lambda s: 0 < s <= 1, allowed)
        if per_class is not None:
            how = {"allowed": "an integer of 1 or more", "whole": True}
            checked_number("per_class", per_class, lambda n: n >= 1, **how)
        for kind in kinds:
            if kind not in ("forget", "remaining"):
                raise ValueError(
                    f"{kind!r} is no kind of training image; ask for 'forget' or "
                    "'remaining', and for codes by the_codes()"
                )
            self._allowed(kind)
        whole = self._whole or self.data
        labels = whole.train.labels.cpu()
        forgets = self.forgets(labels)
        members = {"forget": forgets, "remaining": ~forgets}
        chosen = torch.zeros_like(forgets)
        for kind in kinds:
            chosen |= members[kind]
        if where is not None:
            if described(where) != described(chosen):
                raise ValueError(
                    f"where is {described(where)}; give a mask, {described(chosen)}"
                )
            chosen &= where.cpu()
        generator = generator_for("draw", self.seed if seed is None else seed)
        order = torch.randperm(len(labels), generator=generator)
        order = order[chosen[order]]
        if per_class is not None:
            of_class = [order[labels[order] == c] for c in range(self.n_classes)]
            order = torch.cat([some[:per_class] for some in of_class])
        rest = order[~forgets[order]]
        rest = rest[: math.ceil(share * len(rest))]
        order = torch.cat([order[forgets[order]], rest]).sort().values
        self._had[order] = True
        for kind, member in members.items():
            self.counts.images[kind] = int((self._had & member).sum())
        parts = {"train": whole.train.take(order)}
        parts |= {"classes": self.classes, "counts": self.counts}
        return Handed(**vars(_without_images(whole)) | parts)

    def the_codes(self) -> MnemonicCodes:
        """The codes; counted once.

        Returns:
            One code a class; a ``ValueError`` says that there are none.
        """
        self._allowed("codes")
        why = "forgets by the codes that the network was trained with; give them"
        codes = self._given("codes", why, "codes")
        self.counts.images["codes"] = len(codes.images)
        self.counts.visits["codes"] += len(codes.images)
        return codes

    def fresh(self, seed: int) -> nn.Module:
        """A network of this kind with fresh weights.

        Args:
            seed: Of the weights.

        Returns:
            What ``build`` gives; a ``ValueError`` says that there is none.
        """
        why = "starts a network from fresh weights; say how one is built"
        how = "lambda seed: mn.build_model(name, data, seed=seed)"
        return self._given("build", why, how)(seed)

    def first_weights(self) -> nn.Module:
        """The network before training; a ``ValueError`` if its seed is not known."""
        why = "goes back to the weights before training; say the seed of these"
        return self.fresh(self._given("built_with", why, "seed"))

    def how_to_train(self) -> Recipe:
        """The recipe of the network; a ``ValueError`` if there is none."""
        return self._given("recipe", "trains; say how", "mn.Recipe(...)")

    def trained(
        self, images: Handed, seed: int, network: nn.Module | None = None, **how: object
    ) -> nn.Module:
        """Train a network by the recipe.

        Args:
            images: All that it sees.
            seed: Of the training, and of fresh weights.
            network: Trained in place; one with fresh weights by default.
            how: Codes, a loss, or what else ``mnemonic.train`` takes.

        Returns:
            The network in evaluation mode.
        """
        network = self.fresh(seed) if network is None else network
        recipe = self.how_to_train()
        train(network, images, recipe=recipe, seed=seed, progress=False, **how)
        return network

    def _allowed(self, kind: str) -> None:
        if kind not in self.may_read:
            raise PermissionError(
                "this method declares that it reads "
                f"{' and '.join(sorted(self.may_read)) or 'nothing'} and asks for "
                f"{kind}; add it to what the method declares"
            )

    def _given(self, name: str, why: str, how: str) -> object:
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"this method {why}: Access(..., {name}={how})")
        return value


def _without_images(data: ImageData) -> ImageData:
    nothing = data.train.take(torch.zeros(0, dtype=torch.int64))
    return replace(data, train=nothing, validation=nothing, test=nothing)
