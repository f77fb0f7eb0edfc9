"""The diagonal of the empirical Fisher information, and how far two of them differ.

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

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from mnemonic.checks import described
from mnemonic.fisher.chunks import Kept, in_chunks
from mnemonic.fisher.squares import zeros_like
from mnemonic.fisher.taps import Taps, Untapped
from mnemonic.networks import (
    check_loss,
    check_outputs,
    check_trainable,
    evaluation_mode,
)

Squares = dict[str, Tensor]  # by parameter, Σ (∂L/∂w)² over some samples


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Mean over samples of the squared gradient of each sample's loss.

    Right for every kind of layer and for tied weights, fast for most (see above).
    Samples are taken in chunks that fit into the free memory. Half precision works,
    with its own rounding: in a trial ``bfloat16`` moved the Fisher by a quarter.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode and
            left as it was.
        inputs: Network inputs of shape ``[N, C, H, W]``, on the model's device.
        labels: Class indices of shape ``[N]``.

    Returns:
        For each trainable parameter, by name, a tensor of its shape, in nats² per
        squared unit of the weight, a mean over the N samples; of the parameter's type,
        and ``float32`` where that is half precision.

    Raises:
        ValueError: If there is no sample, no trainable weight, a label that the network
            has no output for, or the logits are not ``[N, K]``, or they or the squared
            gradients are not finite.
    """
    check_trainable(model)
    check_samples(inputs, labels)
    with evaluation_mode(model), torch.enable_grad():
        # A copy: the bytes of a view would count as those of all inputs.
        single, logits, n_bytes = _run_of_one(model, inputs[:1].clone())
        n_classes = logits.shape[1]
        if not (labels.min() >= 0 and labels.max() < n_classes):
            raise ValueError(
                f"labels range from {int(labels.min())} to {int(labels.max())}, "
                f"the network has outputs 0..{n_classes - 1}; give class indices"
            )
        try:
            if len(inputs) == 1 and not single.why_not:
                total = single.squares(functional.cross_entropy(logits, labels))
            else:
                tapped = partial(_tapped, model, single, len(inputs) ** -0.5)
                total = in_chunks(tapped, inputs, labels, 3 * n_bytes)
        except (Untapped, RuntimeError, MemoryError):  # what is slower is right for all
            total = _one_by_one(model, inputs, labels, n_bytes)
    # Squares are at least 0, and a NaN is passed on as the largest.
    _check_finite(model, all(f.amax().isfinite() for f in total.values()))
    return total


def check_samples(inputs: Tensor, labels: Tensor) -> None:
    """Make sure that there are inputs ``[N, ...]`` and class indices ``[N]``.

    Args:
        inputs: At least one.
        labels: One for each.

    Raises:
        ValueError: If not.
    """
    if not all(isinstance(t, Tensor) and not t.is_meta for t in (inputs, labels)):
        raise ValueError(
            f"inputs and labels are {described(inputs)} and {described(labels)}; give "
            "two tensors"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"labels are {labels.dtype}; give class indices, torch.int64")
    if inputs.ndim == 0 or len(inputs) == 0 or labels.shape != (len(inputs),):
        raise ValueError(
            f"inputs of shape {list(inputs.shape)} with labels of shape "
            f"{list(labels.shape)}; give at least one input and one label for each"
        )


def _run_of_one(model: nn.Module, first: Tensor) -> tuple[Taps, Tensor, int]:
    """Taps and logits of the first sample, and the bytes it keeps for backward."""
    single = Taps(model, 1)
    with Kept() as kept:
        try:
            with single:
                logits = check_outputs(model, first, gradients=True)
        except ValueError:  # from the network, if it comes again
            logits = check_outputs(model, first, gradients=True)
            single.why_not = "it fails with taps"
    check_loss(model, logits)
    single.finish(logits)
    return single, logits, kept.besides(model)


def _tapped(
    model: nn.Module, single: Taps, weight: float, inputs: Tensor, labels: Tensor
) -> Squares:
    """All samples in one forward and backward; losses count ``weight``."""
    taps = Taps(model, len(inputs), single)
    with taps:
        logits = model(inputs)
    if logits.shape != (len(inputs), single.logits.shape[1]):
        check_outputs(model, inputs)  # says what is wrong
    _check_finite(model, logits.isfinite().all())
    taps.finish(logits)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return taps.squares(weight * loss)


def _one_by_one(
    model: nn.Module, inputs: Tensor, labels: Tensor, n_bytes: int
) -> Squares:
    """Each sample as if it were alone: many at a time by vmap, else in a loop."""
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    n_bytes = 3 * n_bytes + 2 * sum(p.nbytes for p in weights.values())
    mapped = partial(_mapped, model, weights, len(inputs) ** -0.5)
    try:
        with warnings.catch_warnings():  # of attention on a CPU; it pays all the same
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return in_chunks(mapped, inputs, labels, n_bytes)
    except Exception:  # vmap does not know every operation that a layer may use
        return _looped(model, weights, inputs, labels)


def _mapped(
    model: nn.Module,
    weights: Squares,
    weight: float,
    inputs: Tensor,
    labels: Tensor,
) -> Squares:
    def loss(weights: Squares, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = functional_call(model, weights, (x[None],))
        return weight * functional.cross_entropy(logits, y[None]), logits

    of_each = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0))
    detached = {name: p.detach() for name, p in weights.items()}
    gradients, logits = of_each(detached, inputs, labels)
    _check_finite(model, logits.isfinite().all())
    total = zeros_like(weights)
    while gradients:  # each is freed once it is added
        name, each = gradients.popitem()
        for g in each:  # not squared in place: gradients may share their memory
            total[name].addcmul_(g.to(total[name].dtype), g)
    return total


def _looped(
    model: nn.Module, weights: Squares, inputs: Tensor, labels: Tensor
) -> Squares:
    """One backward pass a sample."""
    total = zeros_like(weights)
    finite = torch.ones((), dtype=torch.bool, device=inputs.device)
    for x, y in zip(inputs.split(1), labels.split(1), strict=True):
        logits = model(x)
        finite &= logits.isfinite().all()  # read once, after the last sample
        gradients = torch.autograd.grad(
            functional.cross_entropy(logits, y),
            list(weights.values()),
            materialize_grads=True,
        )
        for summed, g in zip(total.values(), gradients, strict=True):
            g = g.to(summed.dtype)
            summed.addcmul_(g, g, value=1 / len(inputs))
    _check_finite(model, finite)
    return total


def _check_finite(model: nn.Module, finite: Tensor | bool) -> None:
    if not finite:
        raise ValueError(
            f"the logits of {type(model).__name__}, or the squares of their gradients, "
            "are NaN or infinite for some of the inputs; leave these inputs out, or "
            "train the network again, perhaps with a smaller learning rate"
        )


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
            isinstance(v, Tensor) and v.numel() and not v.is_meta
            for v in fisher.values()
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
