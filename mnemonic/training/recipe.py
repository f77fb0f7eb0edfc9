"""How to train: a few numbers and names.

Example:
    >>> Recipe(learning_rate=0.1, schedule="cosine").rate_at(0.5)
    0.05
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mnemonic.checks import checked_number

CHOICES = {"schedule": ("constant", "cosine", "one-cycle"), "nesterov": (False, True)}
CHOICES |= {"precision": ("32", "bf16")}


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the paper's for MNIST.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Images a step.
        learning_rate: Of SGD, at the start.
        momentum: Of SGD.
        weight_decay: Of SGD, on all parameters.
        schedule: ``"constant"``; ``"cosine"`` down to 0 over all steps; ``"one-cycle"``
            from 0 up to ``learning_rate`` in a quarter of the steps, and down to 0.
        nesterov: Whether momentum looks ahead.
        precision: ``"32"``, or ``"bf16"``: products in bfloat16, weights in float32.

    A ``ValueError`` says which value is out of its range.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    nesterov: bool = False
    precision: Literal["32", "bf16"] = "32"

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            self._check(name, lambda n: n >= 1, "an integer of 1 or more", whole=True)
        for name in ("learning_rate", "momentum", "weight_decay"):
            self._check(name, lambda v: 0 <= v < math.inf, "a number of 0 or more")
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                choices = ", ".join(map(repr, known))
                raise ValueError(f"unknown {name} {value!r}; choose one of {choices}")

    def _check(self, name: str, *allowed: object, whole: bool = False) -> None:
        value = checked_number(name, getattr(self, name), *allowed, whole=whole)
        object.__setattr__(self, name, value)  # a plain number, if it was numpy's

    def rate_at(self, done: float) -> float:
        """The learning rate when a share ``done`` in [0, 1] of all steps is done."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "one-cycle":
            return self.learning_rate * min(4 * done, (1 - done) * 4 / 3)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
