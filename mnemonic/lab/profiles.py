"""Profiles: how much a notebook does.

Example:
    >>> Profile.named("smoke").data_name
    'mnist-5k'
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.data.sources import load_data
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.checkpoints import trained
from mnemonic.models import build_model
from mnemonic.training import Recipe


@dataclass(frozen=True)
class Profile:
    """How much a notebook does.

    Attributes:
        name: ``"smoke"`` (for tests: its numbers mean nothing), ``"quick"`` (two CPU
            cores, minutes) or ``"full"`` (the paper's scale, a GPU).
        data_name: What ``load_data`` is given.
        model_name: What ``build_model`` is given.
        recipe: How networks are trained.
        t_mix: Share of codes in training (Eq. 1).
        seeds: For what a chapter is about.
        sweep_seeds: For each point of a sweep.
        forget_class: The class to forget, unless it varies.
        strength: The paper's λ1 and λ2 for this kind of data.
    """

    name: str
    data_name: str
    model_name: str
    recipe: Recipe
    t_mix: float
    seeds: tuple[int, ...]
    sweep_seeds: tuple[int, ...]
    forget_class: int
    strength: Strength

    @classmethod
    def named(cls, name: str) -> Profile:
        """Look a profile up.

        Args:
            name: ``"smoke"``, ``"quick"`` or ``"full"``.

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

    def load(self) -> ImageData:
        """The profile's data."""
        return load_data(self.data_name)

    def trained(
        self,
        data: ImageData,
        seed: int,
        *,
        t_mix: float | None = None,
        distribution: str = "uniform",
        progress: bool = False,
    ) -> tuple[nn.Module, MnemonicCodes]:
        """The profile's network trained on ``data`` with codes, or fetched if done.

        Args:
            data: Training images.
            seed: Of codes, initial weights and training.
            t_mix: Share of codes; the profile's by default.
            distribution: Of the codes.
            progress: Show a bar while training.

        Returns:
            The network in evaluation mode, and its codes, both on the CPU, since after
            training a chapter does small things by hand, tensor by tensor.

        A ``ValueError`` says what of data, seed, share or distribution does not fit; an
        ``OSError`` that the cache cannot be written.
        """
        codes = MnemonicCodes.draw(data, seed=seed, distribution=distribution)
        model = trained(
            build_model(self.model_name, data, seed=seed),
            data,
            recipe=self.recipe,
            codes=codes,
            t_mix=self.t_mix if t_mix is None else t_mix,
            seed=seed,
            progress=progress,
        )
        return model.cpu(), codes


_PAPER_MNIST = {
    "model_name": "mlp",
    "t_mix": 0.1,
    "forget_class": 3,
    "strength": Strength(lambda1=1e-3, lambda2=10.0),
}
PROFILES = {
    "smoke": Profile(
        # Not the paper's recipe: the fewest steps that learn the codes, in a second.
        "smoke", "mnist-5k", recipe=Recipe(epochs=10, learning_rate=0.05),
        seeds=(0,), sweep_seeds=(0,), **_PAPER_MNIST,
    ),
    "quick": Profile(
        # As many steps as the paper's 200 epochs, with half the batch: half the time.
        "quick", "mnist-5k", recipe=Recipe(epochs=100, batch_size=64), seeds=(0, 1, 2),
        sweep_seeds=(0, 1), **_PAPER_MNIST,
    ),
    "full": Profile(
        "full", "mnist", recipe=Recipe(), seeds=(0, 1, 2), sweep_seeds=(0, 1, 2),
        **_PAPER_MNIST,
    ),
}  # fmt: skip
