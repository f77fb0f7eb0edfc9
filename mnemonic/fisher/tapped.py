"""The diagonal Fisher in one forward and one backward pass, by taps.

What a single sample gives alone is compared with what it gives in a batch; where the
two differ, ``Untapped`` is raised and the caller takes a slower way.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from mnemonic.fisher.chunks import Kept, in_chunks
from mnemonic.fisher.taps import Taps
from mnemonic.networks.asked import check_loss, check_outputs


def tapped(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Mean over samples of squared gradients, by parameter name.

    Args:
        model: In evaluation mode.
        inputs: Network inputs of shape ``[N, C, H, W]``.
        labels: Class indices of shape ``[N]``.

    Returns:
        As ``diagonal_fisher``; ``Untapped`` is raised where taps are not exact.

    Raises:
        ValueError: If a label does not fit.
    """
    # A copy: the bytes of a view would count as those of all inputs.
    single, logits, n_bytes = _run_of_one(model, inputs[:1].clone())
    n_classes = logits.shape[1]
    if not (labels.min() >= 0 and labels.max() < n_classes):
        raise ValueError(
            f"labels range from {int(labels.min())} to {int(labels.max())}, the "
            f"network has outputs 0..{n_classes - 1}; give class indices"
        )
    if len(inputs) == 1 and not single.why_not:
        return single.squares(functional.cross_entropy(logits, labels))
    of_chunk = partial(_of_chunk, model, single, len(inputs) ** -0.5)
    return in_chunks(of_chunk, inputs, labels, 3 * n_bytes)


def check_finite(model: nn.Module, finite: Tensor | bool) -> None:
    """Make sure that a network's logits and squared gradients are finite."""
    if not finite:
        raise ValueError(
            f"the logits of {type(model).__name__}, or the squares of their gradients, "
            "are NaN or infinite for some of the inputs; leave these inputs out, or "
            "train the network again, perhaps with a smaller learning rate"
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


def _of_chunk(model, single, weight, inputs, labels) -> dict[str, Tensor]:
    """All samples in one forward and backward; their losses count ``weight`` each."""
    taps = Taps(model, len(inputs), single)
    with taps:
        logits = model(inputs)
    if logits.shape != (len(inputs), single.logits.shape[1]):
        check_outputs(model, inputs)  # says what is wrong
    check_finite(model, logits.isfinite().all())
    taps.finish(logits)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return taps.squares(weight * loss)
