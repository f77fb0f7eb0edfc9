"""What a network answers to its codes."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mnemonic.checks import checked_classes
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.fisher.chunks import bytes_of_one, each_chunk
from mnemonic.networks.asked import check_outputs, device_of


def code_logits(model: nn.Module, codes: MnemonicCodes) -> Tensor:
    """What a network answers to its codes.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        codes: K of them.

    Returns:
        Logits ``[K, K]``, on the network's device.

    Raises:
        ValueError: If shape, type or number of classes differ.
    """
    images = checked_codes(codes).images.to(device_of(model))
    n_bytes = bytes_of_one(model, images, "codes")
    checked = partial(check_outputs, model, what="codes")
    logits = torch.cat([*each_chunk(checked, n_bytes, images)])
    if logits.shape[1] != len(images):
        raise ValueError(
            f"codes of {len(images)} classes do not fit a network with "
            f"{logits.shape[1]} outputs; give the codes that it was trained with"
        )
    return logits


def on_codes(
    model: nn.Module, codes: MnemonicCodes, classes: Sequence[int | str]
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Logits, images and labels of the codes, and the forget classes in order."""
    logits = code_logits(model, codes)
    there = codes.images.to(logits.device), codes.labels.to(logits.device)
    return logits, *there, checked_classes(classes, codes.class_names)
