"""What the checks have in common: an answer that is missing, wrong or right."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import Scores, evaluate
from mnemonic.networks.layers import last_layer


def attempted(answer: Any, *more: object) -> Any:
    """Refuse an answer that is still the ``...`` of the exercise.

    Args:
        answer: Of the reader.
        *more: Further answers.

    Returns:
        The first.

    Raises:
        NotImplementedError: If one is ``...`` or ``None``.
    """
    if any(a is ... or a is None for a in (answer, *more)):
        raise NotImplementedError("your turn: put your answer in place of the dots")
    return answer


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


def chosen(allowed: Sequence[str], *answers: object) -> None:
    """Refuse answers that are missing, or none of those offered.

    Args:
        allowed: The choice.
        *answers: Of the reader.

    Raises:
        ValueError: If one is another.
    """
    attempted(*answers)
    choice = " or ".join(allowed)
    for answer in answers:
        if answer not in allowed:
            raise ValueError(f"{answer!r} is no answer here; choose {choice}")


def done(what: str) -> None:
    """Say that the exercise is done, and what was found."""
    print(f"Done. {what}")


def near(ours: float, theirs: float, tolerance: float, hint: str) -> None:
    """Refuse a number that is further than ``tolerance`` from another."""
    expect(abs(float(ours) - float(theirs)) <= tolerance, hint)


def validated(model: nn.Module, data: ImageData, classes: Sequence[int]) -> Scores:
    """A_R and E_F on validation images: what is tried is not tried on test images."""
    return evaluate(model, data, classes, split="validation")


def both(model: nn.Module, data: ImageData, classes: Sequence[int]) -> float:
    """A_R + E_F on validation images, of 200."""
    scores = validated(model, data, classes)
    return scores.remaining_accuracy + scores.forgetting_error


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


def with_last_layer(model: nn.Module, data: ImageData) -> tuple[nn.Module, nn.Linear]:
    """A copy of a network, and the last layer of the copy."""
    copied = copy.deepcopy(model)
    return copied, last_layer(copied, data.input_shape)[1]
