"""The diagonal of the empirical Fisher information, and how far two of them differ.

F_i = mean over samples of (∂L/∂w_i)², with L the cross-entropy of one sample and the
network in evaluation mode. Each sample's gradient is squared before the mean is taken:
the square of a batch's mean gradient is another quantity.

Example:
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> f = diagonal_fisher(model, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]))
    >>> {name: list(value.shape) for name, value in f.items()}
    {'1.weight': [2, 4], '1.bias': [2]}
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.models import check_loss, check_outputs, check_trainable, evaluation_mode


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Mean over samples of the squared gradient of each sample's loss.

    One backward pass a sample, right for every kind of layer and for tied weights.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode and
            left as it was.
        inputs: Network inputs of shape ``[N, C, H, W]``, on the model's device.
        labels: Class indices of shape ``[N]``.

    Returns:
        For each trainable parameter, by name, a tensor of its shape, in nats² per
        squared unit of the weight, a mean over the N samples.

    Raises:
        ValueError: If there is no sample, no trainable weight, a label that the network
            has no output for, or the logits are not ``[N, K]``, or they or the squared
            gradients are not finite.
    """
    check_trainable(model)
    if not (isinstance(inputs, Tensor) and isinstance(labels, Tensor)):
        raise ValueError(
            f"inputs and labels are {type(inputs).__name__} and "
            f"{type(labels).__name__}; give two tensors"
        )
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if labels.dtype != torch.int64:
        raise ValueError(f"labels are {labels.dtype}; give class indices, torch.int64")
    if inputs.ndim == 0 or len(inputs) == 0 or labels.shape != (len(inputs),):
        raise ValueError(
            f"inputs of shape {list(inputs.shape)} with labels of shape "
            f"{list(labels.shape)}; give at least one input and one label for each"
        )
    with evaluation_mode(model):
        n_classes = check_outputs(model, inputs[:2]).shape[1]
        if not (labels.min() >= 0 and labels.max() < n_classes):
            raise ValueError(
                f"labels range from {int(labels.min())} to {int(labels.max())}, "
                f"the network has outputs 0..{n_classes - 1}"
            )
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        with torch.enable_grad():
            finite = torch.ones((), dtype=torch.bool, device=inputs.device)
            for x, y in zip(inputs.split(1), labels.split(1), strict=True):
                logits = model(x)
                loss = functional.cross_entropy(logits, y)
                check_loss(model, loss)
                finite &= logits.isfinite().all()  # read once, after the last sample
                gradients = torch.autograd.grad(
                    loss, list(parameters.values()), materialize_grads=True
                )
                for summed, g in zip(total.values(), gradients, strict=True):
                    summed.addcmul_(g, g, value=1 / len(inputs))
    if not (finite and all(f.isfinite().all() for f in total.values())):
        raise ValueError(
            f"the logits of {type(model).__name__}, or the squares of their gradients, "
            "are NaN or infinite for some of the inputs; leave these inputs out, or "
            "train the network again, perhaps with a smaller learning rate"
        )
    return total


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
        if not (fisher and isinstance(fisher, dict)) or not all(
            isinstance(v, Tensor) and v.numel() for v in fisher.values()
        ):
            raise ValueError(
                f"a Fisher is {type(fisher).__name__}, not one tensor a parameter; "
                "give what diagonal_fisher gives"
            )
    shapes = [{n: tuple(v.shape) for n, v in f.items()} for f in (estimate, reference)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"the two Fishers are of different networks: {shapes[0]} and {shapes[1]}"
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
