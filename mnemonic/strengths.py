"""How strong the perturbation is, and how the codes choose it.

A setting is a pair (λ1, λ2) and a sign. Every setting of the paper's search grids is
tried on the codes of all classes; the one with the largest A_R + E_F there wins. With
one code a class many settings tie, and the tie goes to the smallest loss on the codes:
cross-entropy of the remaining ones plus -log(1 - p_c) of those to be forgotten. (The
loss of the remaining codes alone picks the weakest setting that just tips the code
over, and its class often survives.) No image is looked at: choosing on test data, as is
often done, would report how well the test data was fitted.

Example:
    >>> Strength(lambda1=1e-3, lambda2=10.0)
    Strength(lambda1=0.001, lambda2=10.0)
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from mnemonic.checks import checked_number
from mnemonic.models import evaluation_mode

Sign = Literal[1, -1]


@dataclass(frozen=True)
class Strength:
    """How far the weights move (Eq. 7).

    Attributes:
        lambda1: Largest scale α of a layer; it rules where no weight is sensitive.
        lambda2: Largest step of a single weight in a layer.
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
    """α_l = min(λ1, λ2 / max_i η_l,i) for each parameter tensor l (Eq. 7)."""
    return _capped({name: float(v.max()) for name, v in eta.items()}, strength)


def _capped(largest: dict[str, float], strength: Strength) -> dict[str, float]:
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
        name: p.detach() + (sign * scales[name] * eta[name]).to(p.dtype)
        for name, p in model.named_parameters()
        if name in eta
    }


def try_strengths(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    eta: dict[str, Tensor],
    strengths: Sequence[Strength],
    signs: Sequence[Sign],
) -> list[dict[str, float]]:
    """Score settings on the codes; those that scale all layers alike share a run.

    Args:
        model: Trained with the codes; left as it is.
        inputs: The codes ``[N, C, H, W]``, on the model's device.
        labels: Their classes ``[N]``.
        classes: Forget classes.
        eta: Amplitudes η by parameter name (Eq. 6).
        strengths: Pairs (λ1, λ2).
        signs: +1, -1 or both.

    Returns:
        One row a setting, with ``lambda1``, ``lambda2``, ``sign``,
        ``remaining_accuracy`` and ``forgetting_error`` (percent), ``remaining_loss``
        (mean cross-entropy) and ``forgetting_loss`` (mean of -log(1 - p_c)), in nats
        and infinite where any logit is not finite.
    """
    largest = {name: float(values.max()) for name, values in eta.items()}
    tried = _Tried(model, eta, largest)
    forgets = torch.isin(labels, torch.tensor(list(classes), device=labels.device))
    scored: dict[tuple, dict[str, float]] = {}
    rows = []
    with evaluation_mode(model), torch.no_grad():
        for strength, sign in itertools.product(strengths, signs):
            scales = _capped(largest, strength)
            key = (*scales.values(), sign)
            if key not in scored:
                weights = tried.moved(scales, sign)
                logits = functional_call(model, weights, (inputs,))
                scored[key] = _code_scores(logits, labels, forgets)
            setting = {"lambda1": strength.lambda1, "lambda2": strength.lambda2}
            rows.append({**setting, "sign": sign, **scored[key]})
    return rows


class _Tried:
    """Weights to try, in memory that all settings share.

    η over its largest value fits into the weights' own type, so that a step is one
    multiplication and one addition a weight. The network that is kept in the end is
    computed in float64, by ``perturbed``.
    """

    def __init__(
        self, model: nn.Module, eta: dict[str, Tensor], largest: dict[str, float]
    ):
        self.weights = {n: p.detach() for n, p in model.named_parameters() if n in eta}
        self.largest = largest
        self.eta = {
            n: (eta[n] / largest[n]).to(p.dtype) for n, p in self.weights.items()
        }
        self.buffers = {n: torch.empty_like(p) for n, p in self.weights.items()}

    def moved(self, scales: dict[str, float], sign: Sign) -> dict[str, Tensor]:
        """As ``perturbed``, up to rounding; the next call overwrites it."""
        for name, buffer in self.buffers.items():
            step = sign * scales[name] * self.largest[name]
            torch.add(self.weights[name], self.eta[name], alpha=step, out=buffer)
        return self.buffers


def _code_scores(logits: Tensor, labels: Tensor, forgets: Tensor) -> dict[str, float]:
    right = logits.argmax(1) == labels
    remaining_loss = functional.cross_entropy(logits[~forgets], labels[~forgets])
    # log(1 - p_c) as the log-probability of all other classes together
    others = logits[forgets].scatter(1, labels[forgets][:, None], -math.inf)
    log_rest = others.logsumexp(1) - logits[forgets].logsumexp(1)
    finite = bool(torch.isfinite(logits).all())  # NaN would pass for forgetting
    return {
        "remaining_accuracy": 100 * float(right[~forgets].double().mean()),
        "forgetting_error": 100 * float((~right[forgets]).double().mean()),
        "remaining_loss": float(remaining_loss) if finite else math.inf,
        "forgetting_loss": -float(log_rest.mean()) if finite else math.inf,
    }


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """Pick the largest A_R + E_F on the codes; a tie goes to the smallest loss there.

    Args:
        rows: As ``try_strengths`` gives them.

    Returns:
        One of the rows.

    Raises:
        ValueError: If no setting keeps the network's outputs finite.
    """
    usable = [row for row in rows if math.isfinite(row["remaining_loss"])]
    if not usable:
        raise ValueError(
            "every setting tried makes the network's outputs infinite or NaN; give a "
            "smaller strength, such as Strength(lambda1=1e-6, lambda2=0.1)"
        )
    return max(
        usable,
        key=lambda row: (
            round(row["remaining_accuracy"] + row["forgetting_error"], 9),
            -row["remaining_loss"] - row["forgetting_loss"],
        ),
    )
