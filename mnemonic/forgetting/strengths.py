"""How far the weights move: λ1 and λ2 (Eq. 7), a sign, and the moved weights (Eq. 5).

Example:
    >>> Strength(lambda1=1e-3, lambda2=10.0)
    Strength(lambda1=0.001, lambda2=10.0)
"""

import itertools
import sys
from dataclasses import dataclass
from typing import Literal

import torch
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
    try:
        largest = {name: float(values.max()) for name, values in eta.items()}
        if not all(value > 0 for value in largest.values()):
            raise ValueError("some are not above 0")
        return {name: _scale(value, strength) for name, value in largest.items()}
    except Exception as error:
        raise ValueError(
            f"eta is a {type(eta).__name__} and strength {strength!r} ({error}); give "
            "what amplitude gives, and Strength(lambda1, lambda2)"
        ) from error


def _scale(largest: float, strength: Strength) -> float:
    return min(strength.lambda1, strength.lambda2 / largest)  # Eq. 7


class Perturbation:
    """Weights w ± α_l η (Eq. 5), for one strength after the other in the same memory.

    η is kept as its largest value times the rest, which fits into the weights' own
    type, or into float32 where that is half precision.

    Args:
        model: With the weights w; those that ``eta`` does not name stay.
        eta: Amplitudes η by parameter name (Eq. 6).
    """

    def __init__(self, model: nn.Module, eta: dict[str, Tensor]):
        self.model = model
        self._weights = {n: p.detach() for n, p in model.named_parameters() if n in eta}
        self.largest = {name: float(eta[name].max()) for name in self._weights}
        self._eta, self._moved, self._alphas = {}, {}, {}
        for name, p in self._weights.items():
            wide = torch.promote_types(p.dtype, torch.float32)
            self._eta[name] = (eta[name] / self.largest[name]).to(wide).to(p.device)
            self._moved[name] = torch.empty_like(p)

    def alphas(self, strength: Strength, sign: Sign) -> dict[str, float]:
        """±α_l by name."""
        return {n: sign * _scale(value, strength) for n, value in self.largest.items()}

    def weights(self, alphas: dict[str, float]) -> dict[str, Tensor]:
        """The weights for ±α_l by name; the next call overwrites them."""
        for name, alpha in alphas.items():
            if self._alphas.get(name) != alpha:
                torch.add(  # w ± α η, in one pass
                    self._weights[name],
                    self._eta[name],
                    alpha=alpha * self.largest[name],
                    out=self._moved[name],
                )
        self._alphas = alphas
        return {name: self._moved[name] for name in alphas}


def perturbed(
    model: nn.Module, eta: dict[str, Tensor], scales: dict[str, float], sign: Sign
) -> dict[str, Tensor]:
    """Weights w ± α_l η for each parameter in ``eta`` (Eq. 5), as new tensors.

    Args:
        model: With the weights w.
        eta: Amplitudes η by parameter name (Eq. 6).
        scales: α by parameter name (Eq. 7).
        sign: +1 or -1.

    Returns:
        By parameter name, of the parameter's type and on its device.
    """
    alphas = {name: sign * alpha for name, alpha in scales.items()}
    return Perturbation(model, eta).weights(alphas)
