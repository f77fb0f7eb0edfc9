"""SSD, selective synaptic dampening (Foster, Schoepf, Brintrup 2024).

I_S,i = mean over mini-batches of (gradient of the batch's mean loss)_i², evaluation
mode, batch 64, taken on D_F and on all of D. Where I_F,i > α I_D,i,

    w_i ← w_i min(λ I_D,i / I_F,i, 1).

α 10, λ 1 for a class and a ResNet-18. This I is not the Fisher of single samples:
batches of D_F hold one class, so their gradients add up where those of D cancel, and α
is tied to the batch size. ``per_sample=True`` takes the Fisher in its place.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.data.arrays import ImageData
from mnemonic.fisher.squares import squared_gradients, trainable


def importance(
    model: nn.Module, images: ImageData, batch_size: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Mean over shuffled batches of the squared gradient of each batch's mean loss."""
    how = {"device": generator.device, "generator": generator}
    batches = images.batches(images.train, batch_size=batch_size, **how)
    losses = ((functional.cross_entropy(model(x), y), 1.0) for x, y in batches)
    total = squared_gradients(trainable(model), losses)
    n_batches = math.ceil(len(images.train) / batch_size)
    return {name: v / n_batches for name, v in total.items()}


@torch.no_grad()
def dampened(
    model: nn.Module,
    i_forget: dict[str, Tensor],
    i_whole: dict[str, Tensor],
    alpha: float,
    dampening: float,
) -> nn.Module:
    """The network, its weights shrunk where I_F > α I_D."""
    for name, i_f in i_forget.items():
        ratio = dampening * i_whole[name] / i_f.clamp_min(1e-30)
        matters = i_f > alpha * i_whole[name]
        factor = torch.where(matters, ratio.clamp_max(1.0), 1.0)
        model.get_parameter(name).mul_(factor)
    return model


@method(
    "ssd",
    title="SSD",
    reads={"forget", "remaining"},
    cites=("foster2024ssd",),
    space={"alpha": Range(1.0, 100.0), "dampening": Range(0.03, 10.0)},
)
def ssd(
    model: nn.Module,
    access: Access,
    *,
    alpha: float = 10.0,
    dampening: float = 1.0,
    batch_size: int = 64,
    per_sample: bool = False,
) -> nn.Module:
    """Shrink the weights that matter far more to D_F than to D."""
    forget, whole = access.images("forget"), access.images("forget", "remaining")
    size = 1 if per_sample else batch_size
    i_forget = importance(model.eval(), forget, size, access.generator)
    i_whole = importance(model, whole, size, access.generator)
    return dampened(model, i_forget, i_whole, alpha, dampening)
