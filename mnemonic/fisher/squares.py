"""Sums of squared per-sample gradients, one for each weight.

Example:
    >>> sums = Squares({"w": torch.zeros(2)})
    >>> sums.add_each("w", torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    >>> sums.of("w").tolist()
    [10.0, 4.0]
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Squares:
    """Σ_n g_n² of gradients that come in for one sample or for many.

    Args:
        weights: By name; the sums have their shapes, in at least float32.
    """

    def __init__(self, weights: dict[str, Tensor]):
        self._weights = weights
        self._sums: dict[str, Tensor] = {}

    def names(self) -> set[str]:
        """Weights that something was added for."""
        return set(self._sums)

    def of(self, name: str) -> Tensor:
        """The sum so far, of the weight's shape."""
        if name not in self._sums:
            weight = self._weights[name]
            self._sums[name] = zeros_like({name: weight})[name]
        return self._sums[name]

    def add(self, name: str, squares: Tensor) -> None:
        """Add squares that are summed over samples, whatever their shape."""
        squares = squares.reshape(self._weights[name].shape)
        if name in self._sums:
            self._sums[name] += squares
        else:
            self._sums[name] = squares

    def add_each(self, name: str, gradients: Tensor) -> None:
        """Add the squares of gradients ``[N, *shape]``."""
        gradients = wide(gradients)
        if len(gradients) == 1 and name in self._sums:
            self._sums[name].addcmul_(gradients[0], gradients[0])
        else:
            self.add(name, gradients.square().sum(0))

    def add_products(self, name: str, left: Tensor, right: Tensor) -> None:
        """Add squares of products ``[N, G, R, L]`` · ``[N, G, L, C]`` of G groups."""
        if not left.is_cpu or left.shape[1] > 1:
            size = max(2**26 // self._weights[name].numel(), 1)
            for a, b in zip(left.split(size), right.split(size), strict=True):
                self.add_each(name, (a @ b).flatten(1))
            return
        left, right = left[:, 0], right[:, 0]
        total = self.of(name).view(left.shape[1], -1)
        rows = max(2**19 // total.shape[1], 1)  # what the cache holds
        product = left.new_empty(rows, total.shape[1])
        for a, block in zip(left.split(rows, 1), total.split(rows), strict=True):
            for a_n, b_n in zip(a, right, strict=True):
                g = wide(torch.mm(a_n, b_n, out=product[: len(block)]))
                block.addcmul_(g, g)


def squared_gradients(
    weights: dict[str, Tensor], losses: Iterable[tuple[Tensor, float]]
) -> dict[str, Tensor]:
    """Σ share (∂loss/∂w)² over some losses.

    Args:
        weights: By name; the sums have their shapes, in at least float32.
        losses: Scalars in nats, each with its share in the sum.

    Returns:
        A sum for each weight, by name.
    """
    total = zeros_like(weights)
    for loss, share in losses:
        gradients = torch.autograd.grad(
            loss, list(weights.values()), retain_graph=True, materialize_grads=True
        )
        for summed, g in zip(total.values(), gradients, strict=True):
            g = g.to(summed.dtype)
            summed.addcmul_(g, g, value=share)
        del loss  # and its graph, before the next one is built
    return total


def wide(values: Tensor) -> Tensor:
    """Half precision as float32: a square would fall below its smallest number."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The weights that may move, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def zeros_like(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A sum of squares for each weight, to begin with."""
    return {
        name: torch.zeros(w.shape, dtype=wide(w.new_empty(0)).dtype, device=w.device)
        for name, w in weights.items()
    }
