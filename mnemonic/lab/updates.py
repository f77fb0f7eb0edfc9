"""What each class's images have done to the weights of a network, kept while it trains.

SGD with momentum is linear in the gradients, and the gradient of a batch is the sum of
those of its classes. So the path of the weights is a sum of paths, one a class,

    v_k ← μ v_k + g_k + λ Δ_k,   Δ_k ← Δ_k - r v_k,

with g_k the gradient of the images of class k, divided by the size of the whole batch,
λ the weight decay and r the rate, and one of the first weights, with no gradient and
Δ the weights. Their sum is the trained network. To forget class k, subtract Δ_k.

Graves, Nagisetty and Ganesh 2021 keep the updates of the batches that hold what may
have to go. Where all classes are in every batch that is all of them; the split by class
is ours. Images of the others would have moved elsewhere without the class, so what is
left is not the network that never saw it.

Example:
    >>> from mnemonic.data.sources import load_data
    >>> from mnemonic.models import build_model
    >>> data = load_data("mnist-5k")
    >>> network = build_model("mlp", data)
    >>> kept = recorded(network, data, Recipe(epochs=1), seed=0, classes=[3])
    >>> list(kept[3]) == [name for name, _ in network.named_parameters()]
    True
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.data.arrays import ImageData
from mnemonic.training.loop import train
from mnemonic.training.recipe import Recipe

Updates = dict[str, Tensor]  # by parameter


def recorded(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    classes: Sequence[int],
) -> dict[int, Updates]:
    """Train a network, and keep what some classes did to it.

    Args:
        model: Trained in place.
        data: Its training images.
        recipe: With momentum that does not look ahead.
        seed: Of the training.
        classes: Whose updates are kept; each costs two copies of the weights while it
            trains, one afterwards, and a backward pass through its own images.

    Returns:
        Δ_k of each.
    """
    weights = dict(model.named_parameters())
    moved = {k: {n: torch.zeros_like(w) for n, w in weights.items()} for k in classes}
    speed = {k: {n: torch.zeros_like(w) for n, w in weights.items()} for k in classes}
    steps = recipe.epochs * math.ceil(len(data.train) / recipe.batch_size)
    step = 0

    def loss(network: nn.Module, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
        nonlocal step
        rate = recipe.rate_at(step / steps)
        each = functional.cross_entropy(network(inputs), labels, reduction="none")
        for k in classes:
            own = each[labels == k].sum() / len(labels)
            gradients = torch.autograd.grad(own, [*weights.values()], retain_graph=True)
            for (name, v), g in zip(speed[k].items(), gradients, strict=True):
                delta = moved[k][name]
                v.mul_(recipe.momentum).add_(g).add_(delta, alpha=recipe.weight_decay)
                delta.sub_(v, alpha=rate)
        step += 1
        return each.sum()

    train(model, data, recipe=recipe, loss=loss, seed=seed, progress=False)
    return moved
