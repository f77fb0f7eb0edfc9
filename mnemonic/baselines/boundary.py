"""Boundary unlearning (Chen et al. 2023): move, or add, a decision boundary.

- ``boundary-shrink``: the nearest wrong answer to each forget image, found by one step
  up its loss, y' = argmax f_θ0(clip(x + ε sign ∇_x CE(f_θ0(x), c))) with ε = 0.1 in
  pixel values of [0, 1]; images whose y' is still a forget class are left out. Then
  min CE(f(x), y'). SGD 1e-5 (momentum 0.9), 10 epochs, batch 64.
- ``boundary-expand``: one more output with random weights takes all forget images
  (label K), and is cut off afterwards. Same optimiser.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.networks import device_of, last_layer
from mnemonic.storage import generator_for

SPACE = {
    "learning_rate": (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "epochs": (2, 10),
}


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
    seed: int,
    *,
    learning_rate: float = 1e-5,
    epochs: int = 10,
    bound: float = 0.1,
    batch_size: int = 64,
) -> nn.Module:
    """Give each forget image to the class across its nearest boundary."""
    images = access.images("forget")
    generator = generator_for("boundary-shrink", seed, device_of(model))
    answers = nearest_wrong(model.eval(), images, bound, batch_size)
    wrong = ~access.forgets(answers)

    def loss(inputs: Tensor, positions: Tensor) -> Tensor:
        each = functional.cross_entropy(
            model(inputs), answers[positions], reduction="none"
        )
        used = wrong[positions]
        return (each * used).sum() / used.sum().clamp_min(1)

    batches = images.numbered().shuffled(batch_size, generator, epochs)
    descend(loss, batches, sgd(model.train(), learning_rate, weight_decay=0.0))
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
    seed: int,
    *,
    learning_rate: float = 1e-5,
    epochs: int = 10,
    batch_size: int = 64,
) -> nn.Module:
    """Give all forget images to a new class, then cut its output off."""
    images = access.images("forget")
    generator = generator_for("boundary-expand", seed, device_of(model))
    name, layer = last_layer(model, access.data.input_shape)
    k = access.n_classes
    wider = resized(layer, k + 1)
    spread = 1 / math.sqrt(layer.in_features)  # as a fresh linear layer is drawn
    with torch.no_grad():
        for new in (wider.weight[k:], wider.bias[k:] if layer.bias is not None else ()):
            if len(new):
                new.uniform_(-spread, spread, generator=generator)
    model.set_submodule(name, wider)
    descend(
        lambda x, y: functional.cross_entropy(model(x), torch.full_like(y, k)),
        images.shuffled(batch_size, generator, epochs),
        sgd(model.train(), learning_rate, weight_decay=0.0),
    )
    model.set_submodule(name, resized(wider, k))
    return model


def resized(layer: nn.Linear, rows: int) -> nn.Linear:
    """A copy of ``layer`` with its first ``rows`` outputs, or with rows of 0 added."""
    new = nn.Linear(
        layer.in_features, rows, bias=layer.bias is not None,
        device=layer.weight.device, dtype=layer.weight.dtype,
    )  # fmt: skip
    n = min(rows, layer.out_features)
    with torch.no_grad():
        for to, start in zip(new.parameters(), layer.parameters(), strict=True):
            to.zero_()
            to[:n] = start[:n]
    return new
