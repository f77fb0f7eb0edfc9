"""How far two diagonal Fishers of one network differ.

Example:
    >>> import torch
    >>> f = {"w": torch.tensor([1.0, 2.0])}
    >>> compare_fishers(f, f).relative_norm
    0.0
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FisherError:
    """How far an estimated Fisher is from a reference.

    Attributes:
        mean_squared: Mean of the squared difference; it has the unit of the Fisher
            squared, so a small Fisher has a small error whatever it looks like.
        relative_norm: Norm of the difference over the norm of the reference.
        rank_correlation: Spearman's, over all weights, in [-1, 1].
        top_overlap: Share of the reference's largest 1 % of weights that are also in
            the estimate's largest 1 %, in [0, 1].
    """

    mean_squared: float
    relative_norm: float
    rank_correlation: float
    top_overlap: float


def compare_fishers(
    estimate: dict[str, Tensor], reference: dict[str, Tensor]
) -> FisherError:
    """Compare two Fishers of one network over all weights at once.

    Args:
        estimate: By parameter name, as ``diagonal_fisher`` gives it.
        reference: The same names and shapes.

    Returns:
        One error with a scale and three without.

    Raises:
        ValueError: If names or shapes differ.
    """
    for fisher in (estimate, reference):
        if not (isinstance(fisher, dict) and fisher) or not all(
            isinstance(v, Tensor) and v.numel() for v in fisher.values()
        ):
            raise ValueError(
                f"a Fisher is {type(fisher).__name__}, not one tensor a parameter; "
                "give what diagonal_fisher gives"
            )
    shapes = [{n: tuple(v.shape) for n, v in f.items()} for f in (estimate, reference)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the two Fishers are of different networks: {shapes[0]} and {shapes[1]}; "
            "give two of one"
        )
    a, b = (
        torch.cat([v.flatten().double() for v in f.values()])
        for f in (estimate, reference)
    )
    top = max(len(b) // 100, 1)
    largest = [set(v.topk(top).indices.tolist()) for v in (a, b)]
    ranks = torch.stack([_ranks(v) for v in (a, b)])
    return FisherError(
        mean_squared=float((a - b).square().mean()),
        relative_norm=float((a - b).norm() / b.norm()),
        rank_correlation=float(torch.corrcoef(ranks)[0, 1]),
        top_overlap=len(largest[0] & largest[1]) / top,
    )


def _ranks(values: Tensor) -> Tensor:
    """Ranks of ``values`` [N], ties at their mean rank."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[inverse]
