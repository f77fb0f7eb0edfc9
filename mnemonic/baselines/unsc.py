"""UNSC (Chen, Zhu, Yu, Zhou 2024): steps that what remains cannot feel.

Class by class of the remaining ones, and in each layer: inputs (of a convolution: the
patches under its kernel) as columns A, and an orthonormal Q of the classes before.
Directions of the residual A - Q Qᵀ A are added to Q until both explain a share g of
‖A‖². Then the forget images learn the network's runner-up, the likeliest class that is
not to be forgotten, with each weight's gradient kept out of Q:

    min CE(f(x), runner-up),    G ← G (I - Q Qᵀ).

An input within Q is answered as before. Plain SGD 0.04 without momentum or decay, 25
epochs, batch 256 (CIFAR-10); g 0.99 (SVHN, CIFAR-100; for CIFAR-10 it rises from 0.97
to 0.997 with the class). 100 images a class are ours. It sees forget images alone in
training: the statistics of normalisation are frozen, and so is everything that is no
weight of a linear layer or convolution (their one-dimensional parameters, and more).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, training
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.baselines.subspaces import Batches, layer_inputs
from mnemonic.networks.asked import device_of


def with_more(q: Tensor | None, columns: Tensor, energy: float) -> Tensor:
    """Add directions until a share of the columns' energy is explained.

    Args:
        q: Orthonormal ``[D, R]``, or none yet.
        columns: ``[D, N]``.
        energy: g, in (0, 1).

    Returns:
        Orthonormal ``[D, R + more]``.
    """
    q = columns[:, :0] if q is None else q
    rest = columns - q @ (q.T @ columns)
    missing = rest.square().sum() - (1 - energy) * columns.square().sum()
    if missing <= 0:
        return q
    if rest.shape[1] > rest.shape[0]:  # the same directions, of a smaller matrix
        sizes, found = (v.flip(-1) for v in torch.linalg.eigh(rest @ rest.T))
    else:
        found, sizes, _ = torch.linalg.svd(rest, full_matrices=False)
        sizes = sizes.square()
    n = int((sizes.cumsum(0) < missing).sum()) + 1
    return torch.cat([q, found[:, :n]], 1)


def used_by(
    model: nn.Module,
    classes: Iterable[Batches],
    energy: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Q of each layer that some classes use.

    Args:
        model: In evaluation mode.
        classes: Batches of each class's inputs.
        energy: g.
        generator: Of the choice among many patches.

    Returns:
        Orthonormal ``[D, R]`` by layer; D as in the flattened weight.
    """
    used: dict[str, Tensor] = {}
    for batches in classes:
        for name, columns in layer_inputs(model, batches, generator).items():
            used[name] = with_more(used.get(name), columns, energy)
    return used


def outside_of(
    used: dict[str, Tensor],
    model: nn.Module,
    images: Handed,
    answers: Tensor,
    generator: torch.Generator,
    *,
    learning_rate: float,
    epochs: int,
    batch_size: int,
) -> nn.Module:
    """Learn answers by steps that inputs within the used directions do not feel.

    Args:
        used: Of ``used_by``.
        model: Trained in place.
        images: To learn.
        answers: For each of them, ``[N]``.
        generator: Of the order.
        learning_rate: Of plain SGD.
        epochs: Over the images.
        batch_size: Of them.

    Returns:
        The same network.
    """
    weights = {name: model.get_submodule(name).weight for name in used}
    optimizer = torch.optim.SGD(weights.values(), lr=learning_rate)

    def project(*_: object) -> None:
        for name, weight in weights.items():
            flat = weight.grad.flatten(1)
            flat -= flat @ used[name] @ used[name].T

    def loss(inputs: Tensor, at: Tensor) -> Tensor:
        return functional.cross_entropy(model(inputs), answers[at])

    optimizer.register_step_pre_hook(project)
    batches = images.numbered().shuffled(batch_size, generator, epochs)
    training(model)
    descend(loss, batches, optimizer)
    return model


@torch.no_grad()
def runner_up(model: nn.Module, images: Handed, classes: tuple[int, ...]) -> Tensor:
    """The likeliest class ``[N]`` of each image that is not to be forgotten."""
    found = []
    for inputs, _ in images.in_order(256, device_of(model)):
        logits = model(inputs)
        logits[:, list(classes)] = -torch.inf
        found.append(logits.argmax(1))
    return torch.cat(found)


@method(
    "unsc",
    title="UNSC",
    reads={"forget", "remaining"},
    cites=("chen2024unsc",),
    space={
        "learning_rate": Range(1e-3, 0.3),
        "energy": Range(0.8, 0.999, share=True),
    },
    economy={"epochs": 10},
)
def unsc(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 0.04,
    epochs: int = 25,
    energy: float = 0.99,
    per_class: int = 100,
    batch_size: int = 256,
) -> nn.Module:
    """Give forget images their runner-up, outside what remaining images use."""
    images, remaining = access.images("forget"), []
    some = access.images("remaining", per_class=per_class)
    for k in [k for k in range(access.n_classes) if k not in access.classes]:
        of_class = some.without([c for c in range(access.n_classes) if c != k])
        remaining.append(of_class.in_order(256, device_of(model)))
    used = used_by(model.eval(), remaining, energy, access.generator)
    answers = runner_up(model, images, access.classes)
    how = {"learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size}
    return outside_of(used, model, images, answers, access.generator, **how)
