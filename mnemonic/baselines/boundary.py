"""Boundary unlearning (Chen et al. 2023): move, or add, a decision boundary.

- ``boundary-shrink``: the nearest wrong answer to each forget image, found by one step
  up its loss, y' = argmax f_θ0(clip(x + ε sign ∇_x CE(f_θ0(x), c))) with ε = 0.1 in
  pixel values of [0, 1]; images whose y' is still a forget class are left out. Then
  min CE(f(x), y'). SGD 1e-5 (momentum 0.9), 10 epochs, batch 64.
- ``boundary-expand``: one more output with random weights takes all forget images
  (label K), and is cut off afterwards. Same optimiser.

Both see D_F alone, so that the statistics of BatchNorm are frozen.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, sgd, training
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer

SPACE = {"learning_rate": Range(1e-5, 0.03)}


def nearest_wrong(
    model: nn.Module, images: Handed, bound: float, batch_size: int
) -> Tensor:
    """The answers ``[N]`` after one step of ``bound`` up the loss of each image."""
    device, answers = device_of(model), []
    mean, std = (v.to(device)[:, None, None] for v in (images.mean, images.std))
    for inputs, labels in images.in_order(batch_size, device):
        inputs = inputs.requires_grad_(True)
        loss = functional.cross_entropy(model(inputs), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
        pixels = inputs.detach() * std + mean + bound * gradient.sign()
        with torch.no_grad():
            answers.append(model((pixels.clamp(0, 1) - mean) / std).argmax(1))
    return torch.cat(answers)


@method(
    "boundary-shrink",
    title="Boundary shrink",
    reads={"forget"},
    cites=("chen2023boundary",),
    space=SPACE,
)
def boundary_shrink(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-5,
    epochs: int = 10,
    bound: float = 0.1,
    batch_size: int = 64,
) -> nn.Module:
    """Give each forget image to the class across its nearest boundary."""
    images = access.images("forget")
    answers = nearest_wrong(model.eval(), images, bound, batch_size)
    wrong = ~access.forgets(answers)

    def loss(inputs: Tensor, at: Tensor) -> Tensor:
        each = functional.cross_entropy(model(inputs), answers[at], reduction="none")
        return (each * wrong[at]).sum() / wrong[at].sum().clamp_min(1)

    batches = images.numbered().shuffled(batch_size, access.generator, epochs)
    descend(loss, batches, sgd(training(model), learning_rate, weight_decay=0.0))
    return model


@method(
    "boundary-expand",
    title="Boundary expand",
    reads={"forget"},
    cites=("chen2023boundary",),
    space=SPACE,
)
def boundary_expand(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-5,
    epochs: int = 10,
    batch_size: int = 64,
) -> nn.Module:
    """Give all forget images to a new class, then cut its output off."""
    images = access.images("forget")
    _, layer = last_layer(model, access.data.input_shape)
    k, spread = access.n_classes, 1 / math.sqrt(layer.in_features)  # as of fresh layers
    for name, rows in list(layer.named_parameters()):
        new = torch.empty_like(rows[:1])
        new.uniform_(-spread, spread, generator=access.generator)
        setattr(layer, name, nn.Parameter(torch.cat([rows.detach(), new])))

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(inputs), torch.full_like(labels, k))

    batches = images.shuffled(batch_size, access.generator, epochs)
    descend(loss, batches, sgd(training(model), learning_rate, weight_decay=0.0))
    for name, rows in list(layer.named_parameters()):
        setattr(layer, name, nn.Parameter(rows[:k].detach().clone()))
    return model
