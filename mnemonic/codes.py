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
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.checks import (
    checked_device,
    checked_number,
    checked_path,
    described,
    listed,
)
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.fisher.chunks import each_chunk
from mnemonic.networks import bytes_of_one, check_outputs
from mnemonic.storage import (
    digest,
    generator_for,
    intact,
    read_tensors,
    verify,
    written_aside,
)


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


PROBABILITY = "a probability in [0, 1]"  # what t_mix may be


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
        checked_codes(self)

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
        checked_data(data)
        generator = generator_for("codes", seed)
        shape = (data.n_classes, *data.input_shape)
        images = DISTRIBUTIONS[distribution](shape, generator)
        return cls(images, data.class_names, seed, distribution)

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
        if not (
            isinstance(inputs, Tensor)
            and isinstance(labels, Tensor)
            and labels.dtype == torch.int64
            and inputs.ndim == 4
            and not (inputs.is_meta or labels.is_meta)
            and inputs.shape == (*labels.shape, *self.images.shape[1:])
            and isinstance(generator, torch.Generator)
        ):
            shape = ", ".join(map(str, self.images.shape[1:]))
            raise ValueError(
                f"inputs are {described(inputs)}, labels {described(labels)} and the "
                f"generator a {type(generator).__name__}; give [B, {shape}], int64 [B] "
                "and a torch.Generator"
            )
        drawn = torch.rand(len(labels), generator=generator, device=inputs.device)
        try:
            codes = self.images[labels]
        except IndexError as error:
            raise ValueError(
                f"a label is not in 0..{len(self.images) - 1}; give class indices"
            ) from error
        return torch.where((drawn < t_mix)[:, None, None, None], codes, inputs)

    def to(self, device: torch.device | str | torch.dtype) -> MnemonicCodes:
        """The codes on another device, or in another precision.

        Args:
            device: Where to; or a type of floats, for a network of that precision.

        Returns:
            The same codes.

        A ``ValueError`` says that there is no such device.
        """
        if not isinstance(device, torch.dtype):
            device = checked_device(device)
        return replace(self, images=self.images.to(device))

    def check(self, data: ImageData) -> None:
        """Make sure that the codes belong to this kind of data.

        Args:
            data: What a network is about to be trained on.

        Raises:
            ValueError: If the number of classes, their names, the shape or the type
                differ.
        """
        checked_codes(self)
        checked_data(data)
        expected = (data.n_classes, *data.input_shape)
        if tuple(self.images.shape) != expected:
            raise ValueError(
                f"codes of shape {list(self.images.shape)} do not fit {data.name}, "
                f"which needs [K, C, H, W] = {list(expected)}; draw codes for it with "
                "MnemonicCodes.draw(data)"
            )
        if self.images.dtype != torch.float32:
            raise ValueError(
                f"codes of type {self.images.dtype} do not fit {data.name}, whose "
                "inputs are float32; convert them with codes.to(torch.float32)"
            )
        if self.class_names != data.class_names:
            raise ValueError(
                f"codes drawn for the classes {listed(self.class_names)} do not fit "
                f"{data.name} with the classes {listed(data.class_names)}; load the "
                "codes that were saved with the network, or draw new ones and train"
            )

    def check_model(self, model: nn.Module) -> Tensor:
        """Make sure that a network can be asked about the codes.

        Args:
            model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; on the codes' device.

        Returns:
            Its logits of the codes, ``[K, K]``.

        Raises:
            ValueError: If shape, type or number of classes differ.
        """
        checked_codes(self)
        checked = partial(check_outputs, model, what="codes")
        checked(self.images[:1])
        n_bytes = bytes_of_one(model, self.images)
        logits = torch.cat(list(each_chunk(checked, n_bytes, self.images)))
        if logits.shape[1] != len(self.images):
            raise ValueError(
                f"codes of {len(self.images)} classes do not fit a network with "
                f"{logits.shape[1]} outputs; give the codes that it was trained with"
            )
        return logits

    def save(self, path: str | Path) -> None:
        """Write the codes with their labels, seed and distribution (safetensors).

        Args:
            path: The file; its folder is made if it is missing.

        A ``ValueError`` says that this is no path, an ``OSError`` that it cannot be
        written.
        """
        path = checked_path("path", path)
        metadata = {
            "class_names": json.dumps(self.class_names),
            "seed": str(self.seed),
            "distribution": self.distribution,
        }
        metadata["sha256"] = digest(self.images, metadata)
        tensors = {"images": self.images.contiguous(), "labels": self.labels}
        with written_aside(path) as aside:
            save_file(tensors, aside, metadata)

    @classmethod
    def load(cls, path: str | Path) -> MnemonicCodes:
        """Read codes that ``save`` wrote.

        Args:
            path: The file.

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
        way_out = (
            "without its codes a network cannot forget in one shot: find a copy of the "
            "file"
        )
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
            f"unknown code distribution {distribution!r}; "
            f"choose one of {', '.join(DISTRIBUTIONS)}"
        )


def checked_codes(codes: object) -> MnemonicCodes:
    """Make sure that these are codes, one finite image for each of K class names.

    Args:
        codes: What was given for codes.

    Returns:
        The same codes.

    Raises:
        ValueError: If they are something else.
    """
    if not isinstance(codes, MnemonicCodes):
        raise ValueError(
            f"codes are a {type(codes).__name__}; give MnemonicCodes, drawn with "
            "MnemonicCodes.draw(data) or read with MnemonicCodes.load(path)"
        )
    images, names = codes.images, codes.class_names
    if not (
        isinstance(images, Tensor)
        and images.ndim == 4
        and images.is_floating_point()
        and not images.is_meta
        and bool(torch.isfinite(images).all())
        and isinstance(names, tuple)
        and all(isinstance(n, str) for n in names)
        and len(names) == len(images) > 0
    ):
        what = described(images)
        if isinstance(images, Tensor) and not images.is_meta:
            what += "" if images.isfinite().all() else " with NaN or infinity"
        classes = listed(names) if isinstance(names, tuple) else repr(names)
        raise ValueError(
            f"codes are {what} for the classes {classes}: not one finite code "
            "[C, H, W] of floats per class name; draw them with "
            "MnemonicCodes.draw(data), or find a copy of their file"
        )
    _check_distribution(codes.distribution)
    return codes
