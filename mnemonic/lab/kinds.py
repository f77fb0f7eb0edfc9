"""Networks of many kinds, each with data and a recipe that suits it.

A rule that holds on one network may break on another: these differ in depth, in
normalisation and in how long they are trained. All are trained with codes.

Example:
    >>> network, data, codes = of_kind("mlp, 10 x 128, 0.05", seed=1000)
    >>> bool((network(codes.images).argmax(1) == codes.labels).all())
    True
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.lab.checkpoints import trained
from mnemonic.lab.profiles import Profile
from mnemonic.models import build_model
from mnemonic.networks.running import seeded
from mnemonic.training.recipe import Recipe


@dataclass(frozen=True)
class Kind:
    """A network, its data and its training.

    Attributes:
        profile: Gives the data, and all that is not named here.
        build: Makes the network for the data; the profile's by default.
        recipe: In place of the profile's.
    """

    profile: str = "quick"
    build: Callable[[ImageData], nn.Module] | None = None
    recipe: Recipe | None = None


class SmallViT(nn.Module):
    """Three blocks of attention on 7×7 patches of 4×4 pixels, with LayerNorm."""

    def __init__(self, data: ImageData, width: int = 64):
        super().__init__()
        channels, height, _ = data.input_shape
        self.patches = nn.Conv2d(channels, width, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(1, (height // 4) ** 2, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, data.n_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``[N, K]`` of inputs ``[N, C, H, W]``."""
        tokens = self.patches(inputs).flatten(2).mT + self.places
        return self.head(self.norm(self.blocks(tokens).mean(1)))


def _convolutions(data: ImageData, norm: Callable[[int], nn.Module]) -> nn.Module:
    channels, height, width = data.input_shape
    layers: list[nn.Module] = []
    for wider in (16, 32, 64):
        layers += [nn.Conv2d(channels, wider, 3, padding=1), norm(wider), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        channels, height, width = wider, height // 2, width // 2
    hidden = [nn.Flatten(), nn.Linear(channels * height * width, 128), nn.ReLU()]
    return nn.Sequential(*layers, *hidden, nn.Linear(128, data.n_classes))


def _lenet(data: ImageData) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(data.input_shape[0], 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.LazyLinear(120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, data.n_classes),
    )  # fmt: skip


def _short(epochs: int, rate: float) -> Recipe:
    return Recipe(epochs, batch_size=64, learning_rate=rate, schedule="cosine")


LARGE = {  # by profile; hours each
    "cifar10-resnet18": "ResNet-18, CIFAR-10",
    "resnet18": "ResNet-18, CIFAR-10 (JPEG)",
}
KINDS = {
    **{
        f"mlp, {epochs} x {batch}, {rate:g}{', cosine' * (schedule == 'cosine')}": Kind(
            recipe=Recipe(epochs, batch, rate, schedule=schedule)
        )
        for epochs, batch, rate, schedule in (
            (10, 128, 0.05, "constant"), (20, 128, 0.05, "constant"),
            (40, 128, 0.05, "constant"), (40, 128, 0.05, "cosine"),
            (20, 128, 0.1, "constant"), (40, 128, 0.1, "constant"),
        )
    },
    "LeNet, tanh": Kind(build=_lenet, recipe=_short(20, 0.05)),
    "convolutions": Kind(
        build=lambda data: _convolutions(data, lambda _: nn.Identity()),
        recipe=_short(12, 0.03),
    ),
    "convolutions, GroupNorm": Kind(
        build=lambda data: _convolutions(data, lambda n: nn.GroupNorm(4, n)),
        recipe=_short(12, 0.03),
    ),
    "slim ResNet": Kind("mnist-5k-resnet"),
    "slim ResNet, Fashion-MNIST": Kind("fashion-mnist-resnet"),
    "small ViT": Kind(build=SmallViT, recipe=_short(25, 0.03)),
    **{kind: Kind(profile) for profile, kind in LARGE.items()},
}  # fmt: skip


def of_kind(
    kind: str,
    seed: int,
    *,
    codes: MnemonicCodes | None = None,
    without: tuple[int, ...] = (),
) -> tuple[nn.Module, ImageData, MnemonicCodes]:
    """A network of the panel, trained with codes, or fetched.

    Args:
        kind: Key of ``KINDS``.
        seed: Of first weights and training, and of the codes where these are missing.
        codes: Of another network.
        without: Classes that it shall not see.

    Returns:
        The network on the CPU, the data with all classes, and the codes.
    """
    named = KINDS[kind]
    profile = Profile.named(named.profile)
    data = profile.load()
    if codes is None:
        codes = MnemonicCodes.draw(data, seed=seed)
    if named.build is None:
        network = build_model(profile.model_name, data, seed=seed)
    else:
        with seeded(seed):
            network = named.build(data)
            network(torch.zeros(2, *data.input_shape))  # gives lazy layers their shape
    seen = data.without(without) if without else data
    how = {"recipe": named.recipe or profile.recipe, "t_mix": profile.t_mix}
    how |= {"codes": codes, "seed": seed, "progress": False}
    return trained(network, seen, **how).cpu(), data, codes
