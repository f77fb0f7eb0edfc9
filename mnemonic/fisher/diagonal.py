"""The diagonal of the empirical Fisher information (Eq. 4 of the paper, on codes).

F_i = mean over samples of (∂L/∂w_i)², with L the cross-entropy of one sample and the
network in evaluation mode. Each sample's gradient is squared before the mean is taken:
the square of a batch's mean gradient is another quantity.

Three ways lead to it, and the first that is exact for the network is taken: one batched
pass with taps where each weight serves one linear layer, convolution or normalisation
(``mnemonic.fisher.taps``); ``torch.func.vmap`` over samples, for attention, weights
that are shared or stand alone; one backward pass a sample, right for everything.

Example:
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> f = diagonal_fisher(model, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]))
    >>> {name: list(value.shape) for name, value in f.items()}
    {'1.weight': [2, 4], '1.bias': [2]}
"""

import warnings
from collections.abc import Iterator
from functools import partial

from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional

from mnemonic.checks import check_samples
from mnemonic.fisher.chunks import bytes_of_one, in_chunks
from mnemonic.fisher.rules import Untapped
from mnemonic.fisher.squares import squared_gradients, trainable, zeros_like
from mnemonic.fisher.tapped import check_finite, tapped
from mnemonic.networks.asked import check_outputs, check_trainable
from mnemonic.networks.running import (
    evaluation_mode,
    in_float32,
    run_with,
    taken,
    undisturbed,
)


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Mean over samples of the squared gradient of each sample's loss.

    Right for every kind of layer and for tied weights, fast for most (see above).
    Samples are taken in chunks (``mnemonic.fisher.chunks``). Of a network in half
    precision it is that of a copy in ``float32``.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode and
            left as it was.
        inputs: Network inputs of shape ``[N, C, H, W]``, on the model's device.
        labels: Class indices of shape ``[N]``.

    Returns:
        For each trainable parameter, by name, a tensor of its shape, in nats² per
        squared unit of the weight, a mean over the N samples; of the parameter's type,
        and ``float32`` where that is half precision.

    A ``ValueError`` says that there is no sample, no trainable weight, a label that the
    network has no output for, that the logits are not ``[N, K]``, or that they or the
    squared gradients are not finite.
    """
    check_trainable(model)
    check_samples(inputs, labels)
    with undisturbed(), evaluation_mode(model := in_float32(model)):
        inputs = taken(model, inputs)
        try:
            fisher = tapped(model, inputs, labels)
        except (Untapped, RuntimeError, MemoryError):  # what is slower is right for all
            fisher = _one_by_one(model, inputs, labels)
    # Squares are at least 0, and a NaN is passed on as the largest.
    check_finite(model, all(f.amax().isfinite() for f in fisher.values()))
    return fisher


def _one_by_one(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Each sample as if it were alone: many at a time by vmap, else in a loop."""
    weights = trainable(model)
    n_bytes = 3 * bytes_of_one(model, inputs)
    n_bytes += 2 * sum(p.nbytes for p in weights.values())
    mapped = partial(_mapped, model, weights, len(inputs) ** -0.5)
    try:
        with warnings.catch_warnings():  # of attention on a CPU; it pays all the same
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return in_chunks(mapped, inputs, labels, n_bytes)
    except Exception:  # vmap does not know every operation that a layer may use
        return _looped(model, weights, inputs, labels)


def _mapped(model, weights, weight, inputs, labels) -> dict[str, Tensor]:
    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = run_with(model, weights, x[None])
        return weight * functional.cross_entropy(logits, y[None]), logits

    of_each = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0))
    detached = {name: p.detach() for name, p in weights.items()}
    gradients, logits = of_each(detached, inputs, labels)
    check_finite(model, logits.isfinite().all())
    total = zeros_like(weights)
    while gradients:  # each is freed once it is added
        name, each = gradients.popitem()
        for g in each:  # not squared in place: gradients may share their memory
            total[name].addcmul_(g.to(total[name].dtype), g)
    return total


def _looped(model, weights, inputs, labels) -> dict[str, Tensor]:
    """One backward pass a sample: the definition, F_i = mean of (∂L/∂w_i)²."""

    def losses() -> Iterator[tuple[Tensor, float]]:
        for x, y in zip(inputs.split(1), labels.split(1), strict=True):
            logits = check_outputs(model, x, gradients=True)
            yield functional.cross_entropy(logits, y), 1 / len(inputs)

    return squared_gradients(weights, losses())
