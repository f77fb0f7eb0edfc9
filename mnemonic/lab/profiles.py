"""Profiles: data, network, recipe and seeds of a notebook or a comparison, by name.

Example:
    >>> Profile.named("smoke").data_name
    'mnist-5k'
    >>> Profile.named("mnist-mlp").recipe.epochs
    13
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import Tensor, nn
from torch.nn import functional

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import SPLITS, ImageData
from mnemonic.data.sources import load_data
from mnemonic.data.splits import ArraySplit, first_of_each, unit
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.checkpoints import trained
from mnemonic.models import build_model
from mnemonic.training.loop import History
from mnemonic.training.recipe import Recipe


@dataclass(frozen=True)
class Profile:
    """How much is done: data, network, recipe and seeds.

    Attributes:
        name: Of the profiles that a notebook is run with, ``"smoke"`` is for tests
            (its numbers mean nothing), ``"quick"`` for two CPU cores (minutes) and
            ``"full"`` for a GPU (the paper's scale). The others are for comparisons.
        data_name: What ``load_data`` is given.
        model_name: What ``build_model`` is given.
        recipe: How every network is trained.
        t_mix: Share of codes in training with codes (Eq. 1).
        classes: To forget, unless they vary.
        seeds: For what a chapter is about.
        sweep_seeds: For each point of a sweep.
        strength: The paper's λ1 and λ2 for this kind of data and network, if any.
        per_class: Training images of each class that are used; all where missing.
        side: Of the images, in pixels, made smaller by averaging squares of pixels; as
            they are where missing.
        settings_of: Profile whose tuned settings are used; its own by default.
    """

    name: str
    data_name: str
    model_name: str
    recipe: Recipe
    t_mix: float
    classes: tuple[int, ...] = (3,)
    seeds: tuple[int, ...] = (0, 1, 2)
    sweep_seeds: tuple[int, ...] = (0, 1, 2)
    strength: Strength | None = None
    per_class: int | None = None
    side: int | None = None
    settings_of: str | None = None

    @classmethod
    def named(cls, name: str) -> Profile:
        """Look a profile up.

        Args:
            name: Such as ``"smoke"``, ``"quick"`` or ``"full"``.

        Returns:
            The profile.

        Raises:
            ValueError: If there is no such profile.
        """
        if not isinstance(name, str) or name not in PROFILES:
            raise ValueError(
                f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}"
            )
        return PROFILES[name]

    @property
    def forget_class(self) -> int:
        """The class to forget, where it is one."""
        (c,) = self.classes
        return c

    def load(self) -> ImageData:
        """The data, cut to ``per_class`` training images of ``side`` pixels."""
        if (self.per_class, self.side) == (None, None):
            return load_data(self.data_name)
        folder = os.environ.get("MNEMONIC_DATA")
        return _smaller(self.data_name, self.per_class, self.side, folder)

    def trained(
        self,
        data: ImageData,
        seed: int,
        *,
        t_mix: float | None = None,
        distribution: str = "uniform",
        with_history: bool = False,
    ) -> tuple:
        """The profile's network trained on ``data`` with codes, or fetched if done.

        Args:
            data: Training images.
            seed: Of codes, initial weights and training.
            t_mix: Share of codes; the profile's by default.
            distribution: Of the codes.
            with_history: Whether the history of the training is given, too.

        Returns:
            The network in evaluation mode, and its codes, both on the CPU, since after
            training a chapter does small things by hand, tensor by tensor; and the
            ``History`` if that is asked for.

        A ``ValueError`` says what of data, seed, share or distribution does not fit; an
        ``OSError`` that the cache cannot be written.
        """
        codes = MnemonicCodes.draw(data, seed=seed, distribution=distribution)
        t_mix = self.t_mix if t_mix is None else t_mix
        model, history = self._trained(data, seed, codes, t_mix)
        return (model, codes, *([history] if with_history else []))

    def never_saw(
        self, classes: Sequence[int], seed: int, codes: MnemonicCodes | None = None
    ) -> nn.Module:
        """A network that never saw some classes: what forgetting is measured against.

        The same recipe, all K outputs, and no image of the classes. Where the original
        was trained with codes, on its very codes of the remaining classes; those of
        ``classes`` stand in for no image, as there is none. Take three seeds or more.

        Args:
            classes: The forget classes.
            seed: Of initial weights and training; not the original's.
            codes: Of the original, if it was trained with codes.

        Returns:
            The network on the CPU, in evaluation mode, from the cache if it is there.

        A ``ValueError`` says what of classes, seed or codes does not fit.
        """
        rest = self.load().without(classes)
        t_mix = 0.0 if codes is None else self.t_mix
        return self._trained(rest, seed, codes, t_mix)[0]

    def _trained(
        self, data: ImageData, seed: int, codes: MnemonicCodes | None, t_mix: float
    ) -> tuple[nn.Module, History]:
        how = {"recipe": self.recipe, "codes": codes, "seed": seed, "progress": False}
        fresh = build_model(self.model_name, data, seed=seed)
        model, history = trained(fresh, data, t_mix=t_mix, with_history=True, **how)
        return model.cpu(), history


@lru_cache(maxsize=1)
def _smaller(
    data_name: str, per_class: int | None, side: int | None, folder: str | None
) -> ImageData:
    data = load_data(data_name)
    if per_class is not None:
        chosen = first_of_each(data.train.labels, per_class)
        data = replace(data, train=data.train.take(chosen))
    if side is None:
        return data

    def smaller(split: ArraySplit) -> tuple[Tensor, Tensor]:
        factor = data.input_shape[-1] // side
        return functional.avg_pool2d(unit(split.pixels), factor), split.labels

    return ImageData.from_arrays(
        **{part: smaller(getattr(data, part)) for part in SPLITS},
        class_names=data.class_names,
        name=data.name,
        augmentation=data.augmentation,
    )


_MLP = {"model_name": "mlp", "t_mix": 0.1, "strength": Strength(1e-3, 10.0)}
_SLIM = {"model_name": "slim-resnet", "t_mix": 0.3}
_SLIM |= {"settings_of": "mnist-5k-resnet"}  # a search takes an hour on two cores
_LARGE = {"model_name": "resnet18", "t_mix": 0.3, "classes": (0,)}
_LARGE |= {"strength": Strength(1e-5, 1e4)}
_CYCLE = Recipe(
    epochs=16, learning_rate=0.1, schedule="one-cycle", nesterov=True, precision="bf16"
)
_FIVE = Recipe(epochs=5, batch_size=64, learning_rate=0.05, schedule="cosine")
_ALL = (
    # Not the paper's recipe: the fewest steps that learn the codes, in a second.
    Profile(
        "smoke", "mnist-5k", recipe=Recipe(epochs=10, learning_rate=0.05), seeds=(0,),
        sweep_seeds=(0,), **_MLP,
    ),
    # Chosen for its time: see the record "recipes".
    Profile(
        "quick", "mnist-5k",
        recipe=Recipe(
            epochs=40, batch_size=128, learning_rate=0.05, schedule="cosine"
        ), **_MLP,
    ),
    Profile("full", "mnist", recipe=Recipe(), **_MLP),
    # Data, network, t_mix and strength are the paper's for CIFAR-10. Its recipe, 200
    # epochs, would take a day; these take two to four hours on two CPU cores.
    Profile("cifar10-resnet18", "cifar10", recipe=replace(_CYCLE, epochs=30), **_LARGE),
    Profile("resnet18", "cifar10-jpeg", recipe=_CYCLE, **_LARGE),
    # Most methods train on, and some train networks of their own.
    Profile(
        "smoke-fast", "mnist-5k", recipe=Recipe(epochs=2, learning_rate=0.1), **_MLP
    ),
    Profile("mnist-5k-resnet", "mnist-5k", recipe=_FIVE, **_SLIM),
    # 5,486 steps, as many as on the 5,000 images, whose settings it takes over.
    Profile(
        "mnist-mlp", "mnist", recipe=Recipe(epochs=13), settings_of="quick",
        **_MLP,
    ),
    Profile(
        "fashion-mnist-resnet", "fashion-mnist", recipe=_FIVE, per_class=500,
        **_SLIM,
    ),
    Profile(
        "cifar10-jpeg-resnet", "cifar10-jpeg", recipe=replace(_FIVE, epochs=15),
        per_class=250, **_SLIM,
    ),
    # 64 pixels would take five hours. Class 23, the dugong, is the one that a network
    # of a seed not reported (1000) knows best on validation images: most are not known
    # well enough to be forgotten.
    Profile(
        "tiny-imagenet-40-resnet", "tiny-imagenet-40",
        recipe=replace(_FIVE, epochs=12, batch_size=32), classes=(23,), per_class=200,
        side=32, **_SLIM,
    ),
    Profile(
        "tiny-imagenet-40-codes", "tiny-imagenet-40", recipe=replace(_FIVE, epochs=15),
        per_class=100, side=32, **_SLIM,
    ),
)  # fmt: skip
PROFILES = {profile.name: profile for profile in _ALL}
