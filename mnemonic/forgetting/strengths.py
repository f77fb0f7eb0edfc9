"""How strong the perturbation is: λ1, λ2 and a sign.

Example:
    >>> Strength(lambda1=1e-3, lambda2=10.0)
    Strength(lambda1=0.001, lambda2=10.0)
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from mnemonic.checks import checked_number

Sign = Literal[1, -1]


@dataclass(frozen=True)
class Strength:
    """How far the weights move (Eq. 7).

    Attributes:
        lambda1: Largest scale α of a layer; it rules where no weight is sensitive.
        lambda2: Largest step of a single weight in a layer.

    A ``ValueError`` says which value is out of its range.
    """

    lambda1: float
    lambda2: float

    def __post_init__(self):
        for name in ("lambda1", "lambda2"):
            value = checked_number(
                name,
                getattr(self, name),
                lambda v: 0 < v <= sys.float_info.max,
                "a finite number above 0, the paper uses 1e-6 … 1 for lambda1 and "
                "0.1 … 1e5 for lambda2",
            )
            object.__setattr__(self, name, value)  # a plain number, if it was numpy's


# The paper's search grids, by decades.
GRID = tuple(
    Strength(10.0**e1, 10.0**e2)
    for e1, e2 in itertools.product(range(-6, 1), range(-1, 6))
)


def step_scales(eta: dict[str, Tensor], strength: Strength) -> dict[str, float]:
    """α_l = min(λ1, λ2 / max_i η_l,i) for each parameter tensor l (Eq. 7).

    Args:
        eta: Amplitudes η by parameter name (Eq. 6).
        strength: λ1 and λ2.

    Returns:
        α by parameter name.

    Raises:
        ValueError: If these are not amplitudes, or not a strength.
    """
    if not isinstance(strength, Strength):
        raise ValueError(f"strength is {strength!r}; give Strength(lambda1, lambda2)")
    if not isinstance(eta, dict) or not all(
        isinstance(v, Tensor)
        and v.numel()
        and v.is_floating_point()
        and not v.is_meta
        and float(v.max()) > 0
        for v in eta.values()
    ):
        raise ValueError(
            f"eta is a {type(eta).__name__}, not one tensor a parameter with a value "
            "above 0; give what amplitude gives"
        )
    return capped({name: float(v.max()) for name, v in eta.items()}, strength)


def capped(largest: dict[str, float], strength: Strength) -> dict[str, float]:
    """α_l = min(λ1, λ2 / largest η_l), from the largest amplitudes by name (Eq. 7)."""
    return {
        name: min(strength.lambda1, strength.lambda2 / value)
        for name, value in largest.items()
    }


def perturbed(
    model: nn.Module, eta: dict[str, Tensor], scales: dict[str, float], sign: Sign
) -> dict[str, Tensor]:
    """Weights w ± α_l η for each parameter in ``eta`` (Eq. 5), as new tensors."""
    return {
        # α η in float64: η alone may not fit into a float32
        name: p.detach() + (sign * scales[name] * eta[name]).to(p.dtype).to(p.device)
        for name, p in model.named_parameters()
        if name in eta
    }
