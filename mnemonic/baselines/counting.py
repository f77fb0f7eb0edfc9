"""What a method reads and computes, counted.

Every image handed over is counted, and so is every sample whose gradient flows back
through a classifier, whichever way the method computes it. The columns "data touched"
and "backward passes" of the comparison are these counts: Table 1 of Yamashita et al.
2024, measured.

Example:
    >>> import torch
    >>> network, counts = nn.Linear(2, 3), Counts()
    >>> with counted(counts):
    ...     network(torch.ones(5, 2)).sum().backward()
    >>> counts.backward_passes
    5
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor, nn

Kind = Literal["codes", "forget", "remaining"]
KINDS: tuple[Kind, ...] = ("codes", "forget", "remaining")


@dataclass(eq=False)
class Counts:
    """What was read and computed.

    Attributes:
        images: Different training images (or codes) handed over, by kind.
        visits: Images gone through, by kind: two epochs are two visits each.
        backward_passes: Samples whose gradient flowed back through a classifier:
            forget, remaining and made-up ones alike.
    """

    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    visits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    backward_passes: int = 0


@contextlib.contextmanager
def counted(counts: Counts) -> Iterator[None]:
    """Count samples whose gradient flows back through any classifier.

    A classifier is a module whose outermost call gives ``[N, ·]``; images that come out
    of a generator are not counted. One forward may be followed by several backward
    passes: they are told apart by how often a gradient reaches the same activation.

    Args:
        counts: Where they are added up.

    Yields:
        Nothing.
    """
    here, running, activations = threading.get_ident(), [], []

    def enter(module: nn.Module, inputs: tuple) -> None:
        if threading.get_ident() == here:
            running.append(module)

    def leave(module: nn.Module, inputs: tuple, output: object) -> None:
        if threading.get_ident() != here:
            return
        running.pop()
        if isinstance(output, Tensor) and output.requires_grad:
            activations.append(output)
        if not running:
            if isinstance(output, Tensor) and output.ndim == 2:
                _watch(activations, len(output), counts)
            activations.clear()

    before = nn.modules.module.register_module_forward_pre_hook(enter)
    after = nn.modules.module.register_module_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


def _watch(activations: list[Tensor], n_samples: int, counts: Counts) -> None:
    """Count ``n_samples`` for each backward pass that reaches any activation."""
    arrived = [0] * len(activations)

    def arrive(which: int, gradient: Tensor) -> None:
        if arrived[which] == max(arrived):
            counts.backward_passes += n_samples
        arrived[which] += 1

    for which, activation in enumerate(activations):
        activation.register_hook(partial(arrive, which))
