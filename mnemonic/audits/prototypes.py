"""The prototype attack: a forgotten class back from five images, without training.

    w_c ← ½ p_c + ½ w_c,    b_c ← ½ b_c

with p_c the l2-normalised mean feature of 5 images of class c, and w_c, b_c the row of
the class in the last linear layer (Ha et al. 2025).
Whether it succeeds depends on the lengths of features and rows, so that the retrained
network and row zeroing must stand beside it. A bias of -10,000, halved, still hides a
class: "levelled" means that a bias below those of all remaining classes is raised to
the lowest of them first.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> found = prototype_attack(mn.build_model("mlp", data), data, [3])
    >>> sorted(found), found["forget_accuracy"].n
    (['forget_accuracy', 'remaining_accuracy'], 100)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.audits.estimates import Estimate, accuracies
from mnemonic.audits.outputs import check_fits, halves, last_inputs, told_apart
from mnemonic.audits.relearning import drawn
from mnemonic.audits.rows import levelled
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import copied


def prototype_attack(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    samples: int = 5,
    draws: int = 20,
    level: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Move the last layer's row of each forget class towards its prototype.

    Args:
        model: Ends in a linear layer; left as it is.
        data: Training images of the forget classes are drawn from, and its test images
            are asked.
        classes: The forget classes.
        samples: Images that a prototype is the mean of.
        draws: How often to draw them.
        level: Level the biases first.
        seed: Of the draws.

    Returns:
        ``"forget_accuracy"`` and ``"remaining_accuracy"`` after the attack: percent of
        test images, mean of the draws, with an interval over images and draws.

    A ``ValueError`` says what of network, data, classes or numbers does not fit.
    """
    forget, _ = told_apart(classes, checked_data(data).class_names)
    check_fits(model, data)
    attacked = levelled(model, data, forget) if level else copied(model)
    _, layer = last_layer(attacked, data.input_shape)
    asked = {
        whose: (last_inputs(attacked, layer, data, part), part.labels.cpu())
        for whose, part in halves(data, forget).items()
    }
    right: dict[str, list[Tensor]] = {whose: [] for whose in asked}
    for part, _ in drawn(data, forget, samples, draws, seed):
        shown = last_inputs(attacked, layer, data, part)
        weight, bias = moved_rows(layer, shown, part.labels.cpu(), forget)
        for whose, (features, labels) in asked.items():
            answers = functional.linear(features, weight, bias).argmax(1)
            right[whose].append(answers == labels)
    return accuracies(right)


def moved_rows(
    layer: nn.Linear, features: Tensor, labels: Tensor, classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a last layer after the attack.

    Args:
        layer: The last layer, of K outputs and D inputs; left as it is.
        features: What it is given for the attacker's images, shape ``[N, D]``.
        labels: Of these images, shape ``[N]``.
        classes: The forget classes, each with an image.

    Returns:
        New tensors of shape ``[K, D]`` and ``[K]``, on the CPU; the bias is 0 where the
        layer has none.
    """
    weight = layer.weight.detach().cpu().clone()
    bias = torch.zeros_like(weight[:, 0])
    if layer.bias is not None:
        bias = layer.bias.detach().cpu().clone()
    for c in classes:
        prototype = functional.normalize(features[labels == c].mean(0), dim=0)
        weight[c] = 0.5 * prototype + 0.5 * weight[c]
        bias[c] = 0.5 * bias[c]
    return weight, bias
