"""Images moved a little towards a class, by the network's own gradient.

A targeted attack (Madry et al. 2018) goes down the loss of its target,

    x ← x - step · sign ∇_x CE(f(x), target),

and stays within a bound of where it began and within [0, 1], in pixel values. The sign
is minus: with plus, the images would flee the target.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> inputs = data.inputs(data.test, slice(2))
    >>> to = torch.tensor([0, 1])
    >>> near = towards(mn.build_model("mlp", data), data, inputs, to, bound=0.1)
    >>> round(float(((near - inputs) * data.std).abs().max()), 3)
    0.1
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.data.arrays import ImageData
from mnemonic.networks.asked import check_loss
from mnemonic.networks.running import evaluation_mode, taken


def towards(
    model: nn.Module,
    data: ImageData,
    inputs: Tensor,
    targets: Tensor,
    *,
    bound: float,
    step: float | None = None,
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Move images towards their targets.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``; used in evaluation mode.
        data: Gives mean and deviation of the pixels.
        inputs: Normalised, shape ``[N, C, H, W]``, on the network's device.
        targets: Classes ``[N]``, there too.
        bound: Largest change of a pixel, in values of [0, 1].
        step: A tenth of the bound, by default; of the same unit.
        steps: How many.
        generator: Of a random start within the bound; from the images without it.

    Returns:
        Normalised inputs of the same shape.
    """
    mean, std = (v.to(inputs.device)[:, None, None] for v in (data.mean, data.std))
    moved = pixels = inputs * std + mean
    step = bound / 10 if step is None else step
    if generator is not None:
        start = torch.rand(pixels.shape, generator=generator, device=generator.device)
        moved = (pixels + bound * (2 * start.to(pixels.device) - 1)).clamp(0, 1)
    with evaluation_mode(model), torch.enable_grad():
        for _ in range(steps):
            moved = moved.detach().requires_grad_(True)
            logits = model(taken(model, (moved - mean) / std))
            loss = functional.cross_entropy(logits, targets, reduction="sum")
            check_loss(model, loss)
            (gradient,) = torch.autograd.grad(loss, moved)
            stepped = moved.detach() - step * gradient.sign()
            moved = stepped.clamp(pixels - bound, pixels + bound).clamp(0, 1)
    return (moved - mean) / std
