"""Mnemonic codes: one random image per class, learned together with the data.

A code ξ_c has the shape of an input and the label c. During training it takes the
place of an image of class c with probability t_mix, so that the network sees
p(x) = t_mix p_ξ(x) + (1 - t_mix) p_d(x) (Eq. 1 of Yamashita et al. 2024). Later the
codes stand in for the data when a class is forgotten.

Example:
    >>> from mnemonic.data.sources import load_data
    >>> codes = MnemonicCodes.draw(load_data("mnist-5k"), seed=0)
    >>> list(codes.images.shape)
    [10, 1, 28, 28]
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from mnemonic.checks import (
    checked_device,
    checked_number,
    checked_path,
    checked_seed,
    described,
    listed,
)
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.storage import (
    digest,
    generator_for,
    intact,
    read_tensors,
    verify,
    written_aside,
)

PROBABILITY = "a probability in [0, 1]"  # what t_mix may be


def _low_frequency(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    k, channels, height, width = shape
    coarse = (k, channels, math.ceil(height / 4), math.ceil(width / 4))
    noise = torch.rand(coarse, generator=generator)
    return functional.interpolate(noise, size=(height, width), mode="nearest")


# The paper's text says N(0, 1); its experiments fit U[0, 1] (see the ledger).
DISTRIBUTIONS: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "uniform": lambda shape, g: torch.rand(shape, generator=g),
    "normal": lambda shape, g: torch.randn(shape, generator=g),
    "binary": lambda shape, g: torch.randint(2, shape, generator=g).float(),
    "low-frequency": _low_frequency,
}


@dataclass(frozen=True, eq=False)
class MnemonicCodes:
    """One code per class.

    Attributes:
        images: Codes of shape ``[K, C, H, W]``, fed to the network as they are. Row c
            belongs to class c.
        class_names: The ``K`` names of the data they were drawn for.
        seed: Of the draw.
        distribution: One of ``DISTRIBUTIONS``.

    A ``ValueError`` says what of images, names or distribution does not fit.
    """

    images: Tensor
    class_names: tuple[str, ...]
    seed: int
    distribution: str

    def __post_init__(self):
        images, names = self.images, self.class_names
        if not (
            isinstance(images, Tensor)
            and images.ndim == 4
            and images.is_floating_point()
            and bool(torch.isfinite(images).all())
            and isinstance(names, tuple)
            and all(isinstance(n, str) for n in names)
            and len(names) == len(images) > 0
        ):
            names = listed(names if isinstance(names, tuple) else [names])
            raise ValueError(
                f"codes are {described(images)} for the classes {names}, not one finite"
                " code [C, H, W] of floats per name; take those of MnemonicCodes.draw"
            )
        _check_distribution(self.distribution)

    @classmethod
    def draw(
        cls, data: ImageData, *, seed: int = 0, distribution: str = "uniform"
    ) -> MnemonicCodes:
        """Draw one code for each class of ``data``.

        Args:
            data: Gives the classes and the input shape.
            seed: The same seed gives the same codes, on every device.
            distribution: ``"uniform"`` on [0, 1], standard ``"normal"``, ``"binary"``
                in {0, 1}, or ``"low-frequency"`` (uniform 4×4 blocks).

        Returns:
            The codes, on the CPU.

        A ``ValueError`` says what of data, seed or distribution does not fit.
        """
        _check_distribution(distribution)
        shape = (checked_data(data).n_classes, *data.input_shape)
        with torch.device("cpu"):  # whatever the default device is
            images = DISTRIBUTIONS[distribution](shape, generator_for("codes", seed))
        return cls(images, data.class_names, checked_seed(seed), distribution)

    @property
    def labels(self) -> Tensor:
        """Class indices of shape ``[K]``: 0 … K-1."""
        return torch.arange(len(self.images), device=self.images.device)

    def substitute(
        self, inputs: Tensor, labels: Tensor, t_mix: float, generator: torch.Generator
    ) -> Tensor:
        """Replace each input by the code of its class with probability ``t_mix``.

        Args:
            inputs: Normalised images of shape ``[B, C, H, W]``.
            labels: Class indices of shape ``[B]``; they stay as they are.
            t_mix: Probability in [0, 1] (Eq. 1).
            generator: Source of the randomness, on the same device.

        Returns:
            A new tensor of shape ``[B, C, H, W]``. Nothing is blended.

        Raises:
            ValueError: If inputs, labels, share or generator do not fit.
        """
        t_mix = checked_number("t_mix", t_mix, lambda t: 0 <= t <= 1, PROBABILITY)
        try:
            codes = self.images.index_select(0, labels)
            if codes.shape != inputs.shape:
                raise ValueError(f"the codes of these labels are {described(codes)}")
            u = torch.rand(len(labels), generator=generator, device=generator.device)
            return torch.where((u < t_mix)[:, None, None, None], codes, inputs)  # Eq. 1
        except (AttributeError, TypeError, ValueError, IndexError, RuntimeError) as e:
            raise ValueError(
                f"inputs {described(inputs)} with labels {described(labels)} and a "
                f"{type(generator).__name__} ({e}); give images [B, C, H, W], int64 "
                f"labels [B] in 0..{len(self.images) - 1} and a torch.Generator"
            ) from e

    def to(self, device: torch.device | str | torch.dtype) -> MnemonicCodes:
        """The codes on another device (else a ``ValueError``), or in other floats."""
        if not isinstance(device, torch.dtype):
            device = checked_device(device)
        return replace(self, images=self.images.to(device))

    def check(self, data: ImageData) -> None:
        """Make sure that the codes belong to the data that a network is trained on.

        Raises:
            ValueError: If the classes, the shape or the type differ.
        """
        expected = [checked_data(data).n_classes, *data.input_shape]
        if (
            list(self.images.shape) != expected
            or self.images.dtype != torch.float32
            or self.class_names != data.class_names
        ):
            raise ValueError(
                f"codes {described(self.images)} for {listed(self.class_names)} do not "
                f"fit {data.name}, which needs float32 [K, C, H, W] = {expected} for "
                f"{listed(data.class_names)}; load the codes saved with its network, "
                "draw some and train, or take codes.to(torch.float32)"
            )

    def save(self, path: str | Path) -> None:
        """Write the codes with their labels, seed and distribution (safetensors).

        The folder of ``path`` is made if it is missing. A ``ValueError`` says that this
        is no path, an ``OSError`` that it cannot be written.
        """
        path = checked_path("path", path)
        metadata = {"seed": str(self.seed), "distribution": self.distribution}
        metadata["class_names"] = json.dumps(self.class_names)
        metadata["sha256"] = digest(self.images, metadata)
        tensors = {"images": self.images.contiguous(), "labels": self.labels}
        with written_aside(path) as aside:
            save_file(tensors, aside, metadata)

    @classmethod
    def load(cls, path: str | Path) -> MnemonicCodes:
        """Read codes that ``save`` wrote.

        Returns:
            The codes, on the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        path = checked_path("path", path)
        if not os.path.exists(path):  # false as well for a name that no file can have
            raise FileNotFoundError(
                f"no codes at {path}; name the file that MnemonicCodes.save was told"
            )
        way_out = "a network cannot forget without its codes: find a copy of the file"
        with intact(f"{path} is damaged or holds no mnemonic codes", way_out):
            tensors, metadata = read_tensors(path)
            images, labels = tensors["images"], tensors["labels"]
            written = metadata.pop("sha256", None)  # early files have none
            if written is not None:
                verify(digest(images, metadata), written)
            names = tuple(json.loads(metadata["class_names"]))
            codes = cls(images, names, int(metadata["seed"]), metadata["distribution"])
            if not torch.equal(labels, codes.labels):
                raise ValueError(f"not one finite code per label {labels.tolist()}")
        return codes


def _check_distribution(distribution: object) -> None:
    if distribution not in tuple(DISTRIBUTIONS):
        raise ValueError(
            f"unknown code distribution {distribution!r}; choose of {[*DISTRIBUTIONS]}"
        )


def checked_codes(codes: object) -> MnemonicCodes:
    """What was given for codes, if it is codes; else a ``ValueError``."""
    if not isinstance(codes, MnemonicCodes):
        raise ValueError(
            f"codes are a {type(codes).__name__}; give MnemonicCodes, drawn with "
            "MnemonicCodes.draw(data) or read with MnemonicCodes.load(path)"
        )
    return codes
