"""How far the weights move: λ1 and λ2 (Eq. 7), a sign, and the moved weights (Eq. 5).

Example:
    >>> Strength(lambda1=1e-3, lambda2=10.0)
    Strength(lambda1=0.001, lambda2=10.0)
"""

import itertools
import math
import sys
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mnemonic.checks import checked_number
from mnemonic.fisher.chunks import Kept
from mnemonic.fisher.taps import weights_below
from mnemonic.networks.asked import check_outputs
from mnemonic.networks.running import HALF, copied

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
        allowed = "a finite number above 0, such as 1e-3 for lambda1, 10 for lambda2"
        for name, value in tuple(vars(self).items()):
            value = checked_number(
                name, value, lambda v: 0 < v <= sys.float_info.max, allowed
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
        largest = _largest(eta)
        if not all(value > 0 for value in largest.values()):
            raise ValueError("some are not above 0")
        return _scales(largest, strength)
    except Exception as error:
        raise ValueError(
            f"eta is a {type(eta).__name__} and strength {strength!r} ({error}); give "
            "what amplitude gives, and Strength(lambda1, lambda2)"
        ) from error


class Perturbation:
    """A copy of a network with weights w ± α η (Eq. 5), for one α after the other.

    η is kept as its largest value times the rest, which fits into the weights' own
    type, or into float32 where that is half precision. There the copy computes in
    float32, with weights as half precision rounds them.

    Args:
        model: With the weights w; those that ``eta`` does not name stay.
        eta: Amplitudes η by parameter name (Eq. 6).

    Attributes:
        network: The copy, in evaluation mode.
        layers: By parameter name: w, η / max η, and the weights of the copy.
        alphas: ±α_l by parameter name, where the copy is now.
    """

    def __init__(self, model: nn.Module, eta: dict[str, Tensor]):
        self._model, self.network = model, copied(model).eval()
        if any(p.dtype in HALF for p in model.parameters()):
            self.network.float()
        self._largest = _largest(eta)
        self.layers: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self.alphas: dict[str, float] = {}
        self._norms: dict[str, float] = {}
        named = dict(self.network.named_parameters())
        for name, w in model.named_parameters():
            if name in eta:
                wide = torch.promote_types(w.dtype, torch.float32)
                rest = torch.empty(w.shape, dtype=wide, device=eta[name].device)
                torch.div(eta[name], self._largest[name], out=rest)
                rest = rest.to(w.device)
                self.layers[name] = w.detach(), rest, named[name].detach()
                self._norms[name] = float(rest.norm()) * self._largest[name]

    def scaled(self, strength: Strength, sign: Sign) -> dict[str, float]:
        """±α_l by name (Eq. 7), of a setting."""
        scales = _scales(self._largest, strength)
        return {name: sign * scale for name, scale in scales.items()}

    def move(self, alphas: dict[str, float]) -> None:
        """Move the copy to w ± α η, for ±α_l by name."""
        for name, (w, rest, moved) in self.layers.items():
            if self.alphas.get(name) != alphas[name]:
                scale = alphas[name] * self._largest[name]
                if moved.dtype == w.dtype:
                    torch.add(w, rest, alpha=scale, out=moved)  # Eq. 5, in one pass
                else:
                    moved.copy_(torch.add(w, rest, alpha=scale).to(w.dtype))
        self.alphas = alphas

    def length(self, alphas: dict[str, float]) -> float:
        """‖α η‖ over all layers, for ±α_l by name."""
        return math.hypot(*(alphas[name] * self._norms[name] for name in self.layers))

    def bytes_of_one(self, inputs: Tensor) -> int:
        """As ``fisher.chunks.bytes_of_one``, of a copy that runs on its own weights."""
        with Kept() as kept:
            logits = check_outputs(self.network, inputs[:1], gradients=True)
        of_given = {p.data_ptr() for p in self._model.parameters() if p.numel()}
        if any(w.data_ptr() in of_given for w in weights_below(logits)):
            raise ValueError(
                f"a copy of {type(self._model).__name__} runs on the weights of the "
                "network itself; let forward and hooks take layers from self alone"
            )
        return kept.besides(self.network)

    def moved(self) -> nn.Module:
        """The copy, where it is now, in the type of the network given."""
        if all(w.dtype == moved.dtype for w, _, moved in self.layers.values()):
            return self.network
        network = copied(self._model).eval()
        named = dict(network.named_parameters())
        with torch.no_grad():
            for name, (_, _, moved) in self.layers.items():
                named[name].copy_(moved)
        return network


def _largest(eta: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(values.amax()) for name, values in eta.items()}


def _scales(largest: dict[str, float], strength: Strength) -> dict[str, float]:
    l1, l2 = strength.lambda1, strength.lambda2
    return {name: min(l1, l2 / value) for name, value in largest.items()}  # Eq. 7
