"""Chunks of samples: of half a GiB on a CPU, of what is free on a GPU.

Example:
    >>> x, y = torch.arange(10.0), torch.zeros(10)
    >>> in_chunks(lambda x, y: {"sum": x.sum()}, x, y, n_bytes=2**29)
    {'sum': tensor(45.)}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mnemonic.networks.asked import check_outputs, is_out_of_memory

Result = TypeVar("Result")

# Where a chunk takes no more, looking up the free memory would take longer than it.
SMALL_BYTES = 2**24
# A CPU gains nothing from larger chunks, and has this much.
CPU_BYTES = 2**29


def in_chunks(
    sums: Callable[[Tensor, Tensor], dict[str, Tensor]],
    inputs: Tensor,
    labels: Tensor,
    n_bytes: int,
) -> dict[str, Tensor]:
    """Add up ``sums`` over chunks of samples, ``n_bytes`` each, that fit into memory.

    Args:
        sums: Of the samples that it is given.
        inputs: All samples.
        labels: Their classes.
        n_bytes: What one sample takes; where memory runs out all the same, the chunk is
            halved.

    Returns:
        Their sum; or the error of ``each_chunk``.
    """
    total: dict[str, Tensor] = {}
    for new in each_chunk(sums, n_bytes, inputs, labels):
        for name, value in new.items():
            total[name] = total[name].add_(value) if name in total else value
    return total


def each_chunk(
    function: Callable[..., Result], n_bytes: int, *samples: Tensor
) -> Iterator[Result]:
    """What ``function`` gives for one chunk after the other (see ``in_chunks``).

    Args:
        function: Of a chunk of each of ``samples``.
        n_bytes: As in ``in_chunks``.
        samples: Tensors of one length.

    Yields:
        Its results, in order.

    Raises:
        MemoryError: If there is no memory for a single sample.
        RuntimeError: The same, by torch, or whatever ``function`` raises.
    """
    n = size = len(samples[0])
    if size * n_bytes > SMALL_BYTES:
        n_fit = max(free_bytes(samples[0].device) // n_bytes, 1)
        size = -(-size // -(-size // n_fit))  # chunks of equal size
    start = 0
    while start < n:
        try:
            # Copies: a network may change what it is given.
            new = function(*(s[start : start + size].clone() for s in samples))
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
            continue
        yield new
        start += size


class Kept(saved_tensors_hooks):
    """While active, counts the bytes that a forward pass keeps for backward."""

    def __init__(self):
        self._bytes: dict[int, int] = {}  # by address
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> Kept:
        super().__enter__()
        return self

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._bytes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself would keep its graph alive for good

    def besides(self, model: nn.Module) -> int:
        """Bytes, without those of the network's weights."""
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
        return sum(n for at, n in self._bytes.items() if at not in weights)


def bytes_of_one(model: nn.Module, inputs: Tensor, what: str = "inputs") -> int:
    """Bytes that the first input keeps for backward; errors as ``check_outputs``."""
    with Kept() as kept:  # of a copy: a view would count as all inputs
        check_outputs(model, inputs[:1].clone(), what=what, gradients=True)
    return kept.besides(model)


def free_bytes(device: torch.device) -> int:
    """What a chunk may use: half of a GPU's free memory, or ``CPU_BYTES``."""
    if device.type != "cuda":
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    reserved, used = torch.cuda.memory_reserved, torch.cuda.memory_allocated
    return (free + reserved(device) - used(device)) // 2
