"""Gradient surgery: one gradient, less its part along another.

With g_F and g_R the gradients of a loss on what shall go and on what shall stay, a step
up g_F harms the rest as far as the two point the same way. Bae et al. 2023 (Gradient
Surgery for One-shot Unlearning on Generative Model) take that part away first:

    w <- w + γ (g_F - (⟨g_F, g_R⟩ / ‖g_R‖²) g_R).

The loss is whatever has a gradient: a generator's, or a classifier's.

Example:
    >>> without(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
    tensor([0., 1.])
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters


def without(gradient: Tensor, along: Tensor) -> Tensor:
    """The part of a gradient at a right angle to another; all of shape ``[W]``."""
    return gradient - (gradient @ along) / (along @ along) * along


# Where to go, from g_F, g_R and the number of the step. All go up the loss on what
# shall go, or down that on what shall stay; the last never asks what shall go.
RULES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "surgery": lambda g_f, g_r, step: without(g_f, g_r),
    "mirror": lambda g_f, g_r, step: -without(g_r, g_f),  # Mandal and Gottwald 2025
    "ascent": lambda g_f, g_r, step: g_f,
    "alternation": lambda g_f, g_r, step: -g_r if step % 2 else g_f,
    "descent": lambda g_f, g_r, step: -g_r,
}


def operated(
    model: nn.Module,
    loss_f: Callable[[], Tensor],
    loss_r: Callable[[], Tensor],
    rule: str,
    rate: float,
    *,
    optimizer: str = "sgd",
) -> Iterator[dict[str, float]]:
    """Take steps by a rule, for as long as one is asked for.

    Args:
        model: Moved in place, but for weights that do not require a gradient.
        loss_f: Gives the mean loss on what shall go.
        loss_r: Gives the mean loss on what shall stay.
        rule: Key of ``RULES``.
        rate: Of the optimiser.
        optimizer: ``"sgd"``; ``"adam"``, which turns the step; or ``"adam,
            projected"``, whose step is turned back: its part along g_R is taken away,
            and by ``"mirror"`` that along g_F.

    Yields:
        Cosines: ``between`` g_F and g_R, and of the step ``to_f`` and ``to_r``.
    """
    weights = [w for w in model.parameters() if w.requires_grad]
    sizes = [w.numel() for w in weights]
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    mover, taken = kind(weights, lr=rate, fused=True), 0
    while True:
        g_f, g_r = (
            parameters_to_vector(torch.autograd.grad(loss(), weights))
            for loss in (loss_f, loss_r)
        )
        before = parameters_to_vector(weights).detach()
        for weight, part in zip(
            weights, RULES[rule](g_f, g_r, taken).split(sizes), strict=True
        ):
            weight.grad = -part.view_as(weight)
        mover.step()
        step = parameters_to_vector(weights).detach() - before
        if optimizer == "adam, projected":
            step = without(step, g_f if rule == "mirror" else g_r)
            vector_to_parameters(before + step, weights)
        taken += 1
        pairs = {"between": (g_f, g_r), "to_f": (step, g_f), "to_r": (step, g_r)}
        yield {
            name: float(torch.cosine_similarity(*pair, dim=0))
            for name, pair in pairs.items()
        }
