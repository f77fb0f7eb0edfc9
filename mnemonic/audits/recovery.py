"""Does a class come back where weights are made coarser, as for a small device?

- Quantised: the weights of each output are rounded to 2ᵇ - 1 even steps between minus
  and plus their largest; biases and scales stay. In language models 8 bits bring
  nothing back, and 4 bits much of what was forgotten (Khan and Sohel 2026).
- Pruned: of all weights together, a share of the smallest becomes 0.

A forgetting that is a small change to many weights may be lost in rounding.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> list(quantised(mn.build_model("mlp", data), data, [3], bits=4))
    ['forget_accuracy', 'remaining_accuracy']
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from mnemonic.audits.estimates import Estimate
from mnemonic.audits.outputs import check_fits, told_apart
from mnemonic.audits.relearning import accuracies_of
from mnemonic.checks import checked_number, checked_whole
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.running import copied, in_float32

BITS, SHARE = (8, 4), 0.5  # of the table of all audits


def quantised(
    model: nn.Module, data: ImageData, classes: Sequence[int], *, bits: int = 8
) -> dict[str, Estimate]:
    """Ask a network whose weights are rounded.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; a copy is rounded.
        data: Its test images are asked.
        classes: The forget classes.
        bits: Of each weight, 2 to 8.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"``, percent of test images.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    told_apart(classes, checked_data(data).class_names)
    check_fits(model, data)
    most = 2 ** (checked_whole("bits", bits, 2, 8) - 1) - 1
    rounded = in_float32(copied(model))
    with torch.no_grad():
        for weight in _weights(rounded):
            rows = weight.float()
            steps = rows.flatten(1).abs().amax(1).clamp_min(1e-30) / most
            zeros = torch.zeros_like(steps, dtype=torch.int32)
            weight.copy_(
                torch.fake_quantize_per_channel_affine(
                    rows, steps, zeros, 0, -most, most
                )
            )
    return accuracies_of([rounded], data, classes)


def pruned(
    model: nn.Module, data: ImageData, classes: Sequence[int], *, share: float = SHARE
) -> dict[str, Estimate]:
    """Ask a network without its smallest weights.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; a copy is pruned.
        data: Its test images are asked.
        classes: The forget classes.
        share: Of all weights, in (0, 1); those of the smallest size become 0.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"``, percent of test images.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    told_apart(classes, checked_data(data).class_names)
    check_fits(model, data)
    share = checked_number("share", share, lambda s: 0 < s < 1, "a share in (0, 1)")
    smaller = copied(model)
    weights = _weights(smaller)
    with torch.no_grad():
        flat = torch.cat([w.flatten() for w in weights])
        kept = prune.L1Unstructured(amount=share).prune(flat)
        parts = kept.split([w.numel() for w in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.copy_(part.view_as(weight))
    return accuracies_of([smaller], data, classes)


def _weights(model: nn.Module) -> list[Tensor]:
    """Matrices and kernels, without biases and scales."""
    return [p for p in model.parameters() if p.ndim > 1 and p.is_floating_point()]
