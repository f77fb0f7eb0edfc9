"""ZS-PAG (Chen, Zhu, Yu, Zhou 2025): UNSC with adversarial images for the remaining.

A reconstruction: the paper gives its three parts in words, and no code; equations and
numbers here are ours.

1. Proxies: from each of 25 forget images a targeted attack towards each remaining class
   (within 0.3 in pixel values, 20 steps of a tenth of that), kept where it succeeds.
2. Steps are kept out of the directions that proxies of each class use (see ``unsc``).
3. Labels by influence. With g the mean gradient of CE on the proxies, F their diagonal
   Fisher information and h = g / (F + mean F), a step on (x, y) changes their loss by
   a_y(x) + const., where a_k(x) is the derivative of the k-th logit along h. So the
   label is argmin_k a_k(x), of the remaining classes: one forward-mode pass for all.
   Of gradients as they are: projected ones would say nothing.

It reads forget images alone. Plain SGD, 10 epochs, batch 256; the statistics of
normalisation are frozen.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.attack import towards
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.baselines.unsc import outside_of, used_by
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.fisher.squares import trainable
from mnemonic.networks.asked import device_of
from mnemonic.networks.running import run_with

BOUND, STEPS = 0.3, 20


def proxies(
    model: nn.Module, images: Handed, n_images: int, targets: list[int]
) -> dict[int, Tensor]:
    """Images that the network takes for each of some classes.

    Args:
        model: In evaluation mode.
        images: To begin from.
        n_images: How many of them, the first.
        targets: The classes.

    Returns:
        By class those attacks ``[n, C, H, W]`` that succeeded; no class without any.
    """
    n = min(n_images, len(images.train))
    start, found = images.inputs(images.train, slice(n)).to(device_of(model)), {}
    for k in targets:
        aim = torch.full((n,), k, device=start.device)
        moved = towards(model, images, start, aim, bound=BOUND, steps=STEPS)
        with torch.no_grad():
            reached = model(moved).argmax(1) == k
        if reached.any():
            found[k] = moved[reached]
    return found


def slopes(model: nn.Module, stand_ins: dict[int, Tensor], images: Handed) -> Tensor:
    """Derivatives ``[N, K]`` of the logits of images along h, of the proxies.

    Args:
        model: In evaluation mode.
        stand_ins: Proxies by class.
        images: N of them.

    Returns:
        a_k(x), in logits per unit along h.
    """
    inputs = torch.cat([*stand_ins.values()])
    labels = torch.cat([torch.full((len(x),), k) for k, x in stand_ins.items()])
    labels, weights = labels.to(inputs.device), trainable(model)
    loss = functional.cross_entropy(model(inputs), labels)
    gradients = torch.autograd.grad(loss, [*weights.values()])
    fisher = diagonal_fisher(model, inputs, labels)
    mean = torch.cat([f.flatten() for f in fisher.values()]).mean()
    h = {n: g / (fisher[n] + mean) for n, g in zip(weights, gradients, strict=True)}
    at = {name: weight.detach() for name, weight in weights.items()}
    found = []
    for given, _ in images.in_order(256, device_of(model)):

        def logits(weights: dict[str, Tensor], given: Tensor = given) -> Tensor:
            return run_with(model, weights, given)

        # Torch's own rules warn when it first reads them.
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            found.append(jvp(logits, (at,), (h,))[1].detach())
    return torch.cat(found)


@method(
    "zs-pag",
    title="ZS-PAG",
    reads={"forget"},
    cites=("chen2025zspag",),
    space={
        "learning_rate": Range(1e-3, 0.3),
        "energy": Range(0.8, 0.999, share=True),
    },
)
def zs_pag(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 0.04,
    epochs: int = 10,
    energy: float = 0.99,
    n_images: int = 25,
    batch_size: int = 256,
) -> nn.Module:
    """Give forget images the label that helps most, outside what proxies use."""
    images, forget = access.images("forget"), list(access.classes)
    remaining = [k for k in range(access.n_classes) if k not in forget]
    stand_ins = proxies(model.eval(), images, n_images, remaining)
    if not stand_ins:
        raise ValueError(
            f"no attack within {BOUND} reached another class than {forget}, so nothing "
            "stands for the remaining images; take another method"
        )
    each = [[(some, None)] for some in stand_ins.values()]
    used = used_by(model, each, energy, access.generator)
    answers = slopes(model, stand_ins, images)
    answers[:, forget] = torch.inf
    how = {"learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size}
    aim = answers.argmin(1)
    return outside_of(used, model, images, aim, access.generator, **how)
