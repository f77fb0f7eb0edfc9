"""Steps down a loss: what most of the rules are made of.

Example:
    >>> model = nn.Linear(1, 1, bias=False)
    >>> optimizer = sgd(model, 0.1, momentum=0.0, weight_decay=0.0)
    >>> before = model.weight.item()
    >>> descend(lambda x, y: (model(x) - y).sum(), [(torch.ones(2, 1), 0.0)], optimizer)
    >>> round(before - model.weight.item(), 4)
    0.2
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.networks.layers import norms


def sgd(model: nn.Module, learning_rate: float, **how: float) -> torch.optim.SGD:
    """SGD at a constant rate, with the momentum and decay of most of the methods."""
    how = {"momentum": 0.9, "weight_decay": 5e-4} | how
    return torch.optim.SGD(model.parameters(), lr=learning_rate, **how)


def adam(model: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam at a constant rate, as torch has it."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate)


def training(model: nn.Module) -> nn.Module:
    """Training mode, but for the statistics of normalisation, which stay as they are.

    For methods that see images of forget classes alone, or made-up ones: by their
    statistics a network with BatchNorm forgets, whatever the loss.

    Args:
        model: Changed in place.

    Returns:
        The same network.
    """
    model.train()
    for layer in norms(model):
        layer.eval()
    return model


def cross_entropy(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of ordinary training, of inputs and labels; mean, nats."""
    return lambda inputs, labels: functional.cross_entropy(model(inputs), labels)


def descend(
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
) -> None:
    """One step down ``loss(inputs, labels)`` for each batch."""
    for inputs, labels in batches:
        optimizer.zero_grad()
        loss(inputs, labels).backward()
        optimizer.step()
