"""Labels as words: a network that is asked with the names of its classes.

As in CLIP (Radford et al. 2021), an image and a name are vectors, and the network says
which name is nearest. With g(x) what the image tower gives and v_k the vector of the
name of class k, the logits are

    z_k(x) = cos(g(x), v_k) / τ,

trained by cross-entropy. The vectors v_k are fixed, so that a network can be asked with
names that it was not trained on (Table 8 of Yamashita et al. 2024).

The names here are those of the digits, in four phrasings. Their vectors were made once,
by ``name_vectors.mjs`` in this folder, with Universal Sentence Encoder Lite (Cer et al.
2018; Apache License 2.0).

Example:
    >>> import torch
    >>> from torch import nn
    >>> tower = nn.Sequential(nn.Flatten(), nn.Linear(784, 512))
    >>> model = TextClassifier(tower, name_vectors(["one", "two"]))
    >>> list(model(torch.rand(5, 1, 28, 28)).shape)
    [5, 2]
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.checks import checked_number, described
from mnemonic.storage import read_tensors

TEMPERATURE = 0.07  # where CLIP's begins
_FILE = Path(__file__).with_name("name_vectors.safetensors")


def name_vectors(names: Sequence[str]) -> Tensor:
    """Look up the vectors of some names.

    Args:
        names: Such as ``["zero", "the digit one", "a handwritten two", "3"]``.

    Returns:
        Unit vectors ``[len(names), 512]``.

    Raises:
        ValueError: If there is no vector of a name.
    """
    known = _vectors()
    names = [names] if isinstance(names, str) else list(names)
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise ValueError(
            f"no vector of {', '.join(map(repr, strange)) or 'no name'}; there are "
            f"{', '.join(known)}: make others with name_vectors.mjs"
        )
    return torch.stack([known[name] for name in names])


@functools.cache
def _vectors() -> dict[str, Tensor]:
    tensors, kept = read_tensors(_FILE)
    return dict(zip(json.loads(kept["names"]), tensors["vectors"], strict=True))


class TextClassifier(nn.Module):
    """An image tower, and fixed vectors to compare its outputs with.

    Args:
        tower: Maps ``[N, C, H, W]`` to ``[N, D]``.
        vectors: One a class, shape ``[K, D]``; only their directions count.
        temperature: τ, above 0; it is not trained.

    Raises:
        ValueError: If the vectors are not finite, not ``[K, D]`` or one is zero, or the
            temperature is not above 0.
    """

    def __init__(
        self, tower: nn.Module, vectors: Tensor, *, temperature: float = TEMPERATURE
    ):
        super().__init__()
        self.tower = tower
        self.temperature = checked_number(
            "temperature", temperature, lambda t: t > 0, "a number above 0"
        )
        self.register_buffer("vectors", _directions(vectors))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[N, K]``, cosines over τ, of inputs ``[N, C, H, W]``."""
        images = functional.normalize(self.tower(inputs), dim=1)  # [N, D]
        return images @ self.vectors.T / self.temperature

    def asked_with(self, vectors: Tensor) -> TextClassifier:
        """A copy that is asked with other vectors.

        Args:
            vectors: One a class, shape ``[K, D]``.

        Returns:
            The copy; its image tower is the same, number for number.
        """
        other = copy.deepcopy(self)
        other.vectors = _directions(vectors).to(self.vectors.device)
        return other

    def extra_repr(self) -> str:
        """The temperature: it is in no weight, and tells two networks apart."""
        return f"temperature={self.temperature:g}"


def _directions(vectors: Tensor) -> Tensor:
    if (
        not isinstance(vectors, Tensor)
        or vectors.ndim != 2
        or not bool(torch.isfinite(vectors).all())
        or not bool((vectors != 0).any(1).all())
    ):
        raise ValueError(
            f"vectors are {described(vectors)}; give finite ones of shape [K, D], none "
            "of them zero, such as name_vectors(['zero', 'one'])"
        )
    return functional.normalize(vectors.float(), dim=1)
