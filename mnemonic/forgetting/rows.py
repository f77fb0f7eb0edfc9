"""Forgetting at the last layer, in closed form: two rules of our own.

The last layer's row w_c says how much speaks for class c. Prototypes p_k [D], one a
class, stand for what its images look like there: the features of the codes, or the rows
themselves. With Q an orthonormal basis of the remaining prototypes and D one of what
the forget prototypes have outside of it,

    W ← W (I − s D Dᵀ),                                             ("turn")

leaves the outputs on all remaining prototypes as they were. s = 1 projects, s = 2
mirrors, and s = Σ_F ‖w_c‖² / Σ_F ‖Dᵀw_c‖², the default, puts the new rows at a right
angle to the old ones.

A class that a network never saw has a row that only ever learned to say no. Training
moves it against the mean feature h, and it moves the sum of all rows not at all, since
the gradients of the logits sum to 0. So

    w_F ← −β ‖w_R‖ h / ‖h‖,   w_R ← w_R − (Σ_k w_k) / n              ("unseen")

where ‖w_R‖ is the mean length of the n remaining rows. The second step moves all
remaining logits alike, so no image changes its class by it; without it the row that
was replaced could be read off the others, as minus their sum.

Neither changes a feature: what the layers below have learned of a class stays there.

Example:
    >>> w = torch.eye(3, dtype=torch.float64)
    >>> turned(w, None, w, [2], s=2.0)[0][2].tolist()
    [0.0, 0.0, -1.0]
"""

import torch
from torch import Tensor

# Length of the row, in that of the others, of a class that a network never saw: 0.32 to
# 0.68 in networks of six of the kinds of ``lab.kinds``, on seeds that are not reported
# (``lab.panel.row_of``).
BETA = 0.5
TINY = 1e-6  # of the largest: below it a direction is rounding, not a direction


def turned(
    weight: Tensor,
    bias: Tensor | None,
    prototypes: Tensor,
    classes: list[int],
    s: float | None = None,
) -> tuple[Tensor, Tensor | None, float]:
    """Turn the rows of some classes away from their prototypes.

    Args:
        weight: Rows ``[K, D]``, in ``float64``.
        bias: ``[K]``, or none.
        prototypes: ``[K, D]``.
        classes: Whose prototype is won by the class; the others' rows move only by
            what they have along the directions of these.
        s: How far; a right angle by default.

    Returns:
        New rows and bias, and s. A bias is lowered by as much as its class won its
        prototype by.

    Raises:
        ValueError: If the prototypes of these classes have nothing of their own.
    """
    own = outside(prototypes, classes)
    if len(own) < len(classes):
        raise ValueError(
            f"the prototypes of {classes} lie in the span of the "
            f"{len(weight) - len(classes)} others (there are {weight.shape[1]} "
            "features), so no direction is their own; "
            'take rule="unseen", which needs none'
        )
    directions = basis(own)
    parts = weight @ directions
    if s is None:
        s = float(weight[classes].square().sum() / parts[classes].square().sum())
    if bias is not None:
        bias = bias.clone()
        bias[classes] -= margins(weight, bias, prototypes, classes).clamp(min=0)
    return weight - s * parts @ directions.T, bias, s


def unseen(
    weight: Tensor,
    bias: Tensor | None,
    features: Tensor,
    classes: list[int],
    beta: float = BETA,
) -> tuple[Tensor, Tensor | None]:
    """Give some classes the row of a class that the network never saw.

    Args:
        weight: Rows ``[K, D]``, in ``float64``.
        bias: ``[K]``, or none.
        features: What the layer gets ``[N, D]`` of inputs of other classes.
        classes: Whose rows are replaced.
        beta: Their length, in the mean length of the others.

    Returns:
        New rows and bias. A bias is so low that no input of this size wins by it.
    """
    remaining = [k for k in range(len(weight)) if k not in classes]
    length = beta * weight[remaining].norm(dim=1).mean()
    mean = features.mean(0)
    new = weight.clone()
    new[classes] = -length * mean / mean.norm()
    new[remaining] -= new.sum(0) / len(remaining)
    if bias is not None:
        lowest = (features @ new[remaining].T + bias[remaining]).min()
        bias = bias.clone()
        bias[classes] = lowest - length * features.norm(dim=1).max()
    return new, bias


def from_rows(weight: Tensor, features: Tensor) -> Tensor:
    """Prototypes from the rows: centred, as long as features, around their mean.

    Args:
        weight: Rows ``[K, D]``.
        features: Of any inputs ``[N, D]``, such as noise.

    Returns:
        ``[K, D]``.
    """
    centred = weight - weight.mean(0)
    length = features.norm(dim=1).mean() / centred.norm(dim=1).mean()
    return length * centred + features.mean(0)


def margins(
    weight: Tensor, bias: Tensor | None, prototypes: Tensor, classes: list[int]
) -> Tensor:
    """By how many logits each of some classes wins its prototype over all others."""
    logits = prototypes[classes] @ weight.T + (0 if bias is None else bias)
    own = logits[range(len(classes)), classes]
    logits[:, classes] = -torch.inf
    return own - logits.amax(1)


def outside(prototypes: Tensor, classes: list[int]) -> Tensor:
    """What the prototypes of some classes have outside the span of the others.

    Args:
        prototypes: ``[K, D]``, in ``float64``.
        classes: Whose.

    Returns:
        Rows ``[n, D]``, without those that are rounding: n is 0 where nothing is their
        own.
    """
    remaining = [k for k in range(len(prototypes)) if k not in classes]
    shared = basis(prototypes[remaining])
    own = prototypes[classes] - prototypes[classes] @ shared @ shared.T
    return own[own.norm(dim=1) > TINY * prototypes.norm(dim=1).max()]


def basis(rows: Tensor) -> Tensor:
    """An orthonormal basis ``[D, R]`` of what rows ``[N, D]`` span."""
    _, sizes, vectors = torch.linalg.svd(rows, full_matrices=False)
    return vectors[sizes > TINY * sizes.max()].T
