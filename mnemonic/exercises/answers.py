"""What the checks have in common: an answer that is missing, wrong or right."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def attempted(*answers: object) -> None:
    """Refuse an answer that is still the ``...`` of the exercise.

    Args:
        *answers: Of the reader.

    Raises:
        NotImplementedError: If one is ``...`` or ``None``.
    """
    if any(answer is ... or answer is None for answer in answers):
        raise NotImplementedError("your turn: put your answer in place of the dots")


def expect(is_right: bool, hint: str) -> None:
    """Refuse a wrong answer.

    Args:
        is_right: Whether to go on.
        hint: What to look at.

    Raises:
        AssertionError: With the hint, if the answer is wrong.
    """
    if not is_right:
        raise AssertionError(hint)


def one_of(answer: object, allowed: Iterable[str]) -> None:
    """Refuse an answer that is none of those offered.

    Args:
        answer: Of the reader.
        allowed: The choice.

    Raises:
        ValueError: If it is another.
    """
    if answer not in (allowed := tuple(allowed)):
        raise ValueError(f"{answer!r} is no answer here; choose {' or '.join(allowed)}")


def done(what: str) -> None:
    """Say that the exercise is done, and what was found."""
    print(f"Done. {what}")


def close(ours: float, theirs: float, tolerance: float = 1e-6) -> bool:
    """Whether two numbers agree, up to ``tolerance``."""
    return abs(float(ours) - float(theirs)) <= tolerance


def alike(ours: Tensor, theirs: Tensor, rtol: float = 1e-3) -> bool:
    """Whether two tensors agree, relative to each entry and to the largest of all."""
    atol = 1e-6 * float(theirs.detach().abs().max())
    return ours.shape == theirs.shape and torch.allclose(
        ours.detach().to(theirs), theirs.detach(), rtol=rtol, atol=atol
    )


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights, up to rounding."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


def tiny_network(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A network of three classes with twelve images and labels, for brute force."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3)]
        inputs = torch.rand(12, 1, 2, 2)
    return nn.Sequential(*layers), inputs, torch.arange(12) % 3
