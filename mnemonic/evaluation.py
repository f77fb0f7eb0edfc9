"""How well a network forgot, on data that it never saw.

A_R is the accuracy on the test images of the remaining classes, E_F the error on those
of the forgotten classes, both in percent, each image counted once.

Example:
    >>> import torch
    >>> scores = scores_of(torch.tensor([[4, 1], [3, 2]]), classes=[1])
    >>> scores.remaining_accuracy, scores.forgetting_error
    (80.0, 60.0)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mnemonic.checks import checked_classes
from mnemonic.data.arrays import ImageData, checked_data, named_split
from mnemonic.networks.asked import check_outputs, device_of


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network gets right, class by class.

    Attributes:
        remaining_accuracy: A_R, percent.
        forgetting_error: E_F, percent.
        accuracy: Of all classes together, percent.
        class_accuracies: Percent, shape ``[K]``.
        confusion: Counts, shape ``[K, K]``; row: true class, column: answer.
        n: Images.
    """

    remaining_accuracy: float
    forgetting_error: float
    accuracy: float
    class_accuracies: Tensor
    confusion: Tensor
    n: int


def evaluate(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int | str],
    *,
    split: Literal["train", "validation", "test"] = "test",
    batch_size: int = 256,
) -> Scores:
    """Measure A_R and E_F of a network.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: Of the same classes.
        classes: The forget classes, by index or name.
        split: ``"test"`` to report, ``"validation"`` to choose.
        batch_size: Images at a time.

    Returns:
        The scores, with tensors on the CPU.

    Raises:
        ValueError: If the classes, the split or the network do not fit; among them a
            network that gives NaN for any image.
    """
    k, device = checked_data(data).n_classes, device_of(model)
    classes = checked_classes(classes, data.class_names)
    asked = named_split(data, split)
    forgets = sum(asked.labels == c for c in classes).count_nonzero()
    if not 0 < forgets < len(asked):
        raise ValueError(
            f"{int(forgets)} of {len(asked)} {split} images are of the forget classes "
            f"{list(classes)}; give data with one of them and one of the others"
        )
    confusion = torch.zeros(k * k, dtype=torch.int64, device=device)
    for inputs, labels in data.batches(asked, batch_size=batch_size, device=device):
        answers = check_outputs(model, inputs, k, logits=False).argmax(1)
        confusion += torch.bincount(labels * k + answers, minlength=k * k)
    return scores_of(confusion.reshape(k, k).cpu(), classes)


def scores_of(confusion: Tensor, classes: Sequence[int]) -> Scores:
    """A_R and E_F from counts.

    Args:
        confusion: Counts of shape ``[K, K]``; row: true class, column: answer.
        classes: The forget classes.

    Returns:
        The scores. A class without images has accuracy NaN.
    """
    right, counts = confusion.diagonal().double(), confusion.sum(1).double()
    forgets = torch.zeros(len(confusion), dtype=torch.bool, device=counts.device)
    forgets[list(classes)] = True

    def percent(chosen: Tensor | slice) -> float:
        return float(100 * right[chosen].sum() / counts[chosen].sum())

    return Scores(
        remaining_accuracy=percent(~forgets),
        forgetting_error=100 - percent(forgets),
        accuracy=percent(slice(None)),
        class_accuracies=100 * right / counts,
        confusion=confusion,
        n=int(counts.sum()),
    )
