"""Readings of the paper's step: does one of them end where the paper does?

In networks with normalisation our step ends far from the published figures. So each
reading changes one thing in Algorithm 2 that its text may leave open, and nothing else.

Example:
    >>> from mnemonic.data.sources import load_data
    >>> from mnemonic.models import build_model
    >>> data = load_data("mnist-5k")
    >>> model, codes = build_model("mlp", data).eval(), MnemonicCodes.draw(data)
    >>> len([name for name, _, _ in amplitudes(model, codes, c=3)])
    12
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.codes import MnemonicCodes
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.fisher.squares import trainable
from mnemonic.forgetting.choice import best_row, try_strengths
from mnemonic.forgetting.step import FLOOR
from mnemonic.forgetting.strengths import GRID, Perturbation, Strength
from mnemonic.lab.ladder import MNISTS
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import two_numbers
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import copied

Weights = dict[str, Tensor]


def amplitudes(
    model: nn.Module, codes: MnemonicCodes, c: int
) -> Iterator[tuple[str, Weights, Weights]]:
    """Every reading: its name, its amplitudes η, and where each weight goes.

    Args:
        model: Trained with the codes, in evaluation mode.
        codes: One a class.
        c: The forget class.

    Yields:
        Name; η by parameter name; and +1 or -1 of the same shape, which the one sign
        of the step (Eq. 5) still multiplies.
    """
    goes = codes.labels == c
    forget, rest = (
        diagonal_fisher(model, codes.images[p], codes.labels[p]) for p in (goes, ~goes)
    )
    slope = _gradients(model, codes, goes)
    one = {n: torch.ones_like(w) for n, w in forget.items()}

    def ratio(above: Weights, below: Weights, floor: float = FLOOR) -> Weights:
        return {n: (f.double() + floor) / (below[n] + floor) for n, f in above.items()}

    def part(names: list[str]) -> Weights:
        return {n: eta[n] for n in names}

    eta = ratio(forget, rest)
    yield "as written", eta, one
    for floor in (1e-20, 1e-12):
        yield f"a floor of {floor:g}", ratio(forget, rest, floor), one
    whole = _gradients(model, codes, ~goes)
    squared = {n: g**2 for n, g in whole.items()}
    yield "square of the mean gradient", ratio(forget, squared), one
    yield "Fishers in training mode", ratio(*_in_training(model, codes, goes)), one
    mean = {n: torch.full_like(w, float(w.mean())) for n, w in rest.items()}
    yield "over the mean of the layer", ratio(forget, mean), one
    above = {n: (f - rest[n]).double().clamp_min(FLOOR) for n, f in forget.items()}
    yield "difference of the Fishers", above, one
    each = {n: torch.where(g < 0, -1.0, 1.0) for n, g in slope.items()}
    yield "a sign for each weight", eta, each
    of_layer = {
        n: math.copysign(1, float((g * eta[n]).sum())) for n, g in slope.items()
    }
    yield "a sign for each layer", eta, {n: s * one[n] for n, s in of_layer.items()}
    wide = [n for n, w in forget.items() if w.ndim > 1]
    yield "no biases, no normalisation", part(wide), one
    head, _ = last_layer(model, tuple(codes.images.shape[1:]))
    last = [n for n in eta if n.startswith(f"{head}.")]
    yield "the last layer", part(last), one
    yield "all but the last layer", part([n for n in eta if n not in last]), one


def readings(seed: int, setup: str, c: int) -> list[dict]:
    """Take the step by every reading: a cell of a grid.

    Args:
        seed: Of codes, weights and training.
        setup: Name of a profile.
        c: The forget class.

    Returns:
        One row a reading and choice (the paper's λ for such data, or the codes'), with
        ``remaining_accuracy`` and ``forgetting_error`` on test images, both also
        ``before_…``, percent; λ, and whether the network ``diverged``.
    """
    profile = Profile.named(setup)
    data, rows = profile.load(), []
    model, codes = profile.trained(data, seed)
    before = two_numbers(model, data, [c])
    given = codes.images, codes.labels, [c]
    choices = {"the paper's": [profile.strength or MNISTS], "codes": GRID}
    for reading, eta, towards in amplitudes(model, codes, c):
        step = Perturbation(model, eta)
        for name, (_, rest, _) in step.layers.items():
            rest *= towards[name]
        for choice, grid in choices.items():
            row = {"reading": reading, "choice": choice}
            row |= {f"before_{name}": value for name, value in before.items()}
            try:
                best = best_row(try_strengths(step, *given, grid, (1, -1)))
            except ValueError:  # no setting keeps the outputs finite
                rows.append(row | two_numbers(None, data, [c]))
                continue
            chosen = {name: best[name] for name in ("lambda1", "lambda2")}
            step.move(step.scaled(Strength(**chosen), best["sign"]))
            rows.append(row | two_numbers(step.moved(), data, [c]) | chosen)
    return rows


def _gradients(model: nn.Module, codes: MnemonicCodes, part: Tensor) -> Weights:
    """Of the mean loss on some codes."""
    weights = trainable(model)
    loss = functional.cross_entropy(model(codes.images[part]), codes.labels[part])
    found = torch.autograd.grad(loss, [*weights.values()])
    return dict(zip(weights, found, strict=True))


def _in_training(model: nn.Module, codes: MnemonicCodes, goes: Tensor) -> list[Weights]:
    """Both Fishers, with the statistics of all codes in one batch."""
    network = copied(model).train()  # its running statistics go with it
    weights = trainable(network)
    losses = functional.cross_entropy(
        network(codes.images), codes.labels, reduction="none"
    )
    sums = [{n: torch.zeros_like(w) for n, w in weights.items()} for _ in range(2)]
    for loss, own in zip(losses, goes.tolist(), strict=True):
        found = torch.autograd.grad(loss, [*weights.values()], retain_graph=True)
        for n, g in zip(weights, found, strict=True):
            sums[not own][n] += g**2 / (goes == own).sum()
    return sums
