"""DAMP (Hatami, Aalishah, Monosov 2026): every layer loses what is the class's own.

In each layer take the class means μ_k of its input (over positions too, where it has
any). What the forget classes have outside the span of the others,

    d_F = μ_F - R R⁺ μ_F,    R = (μ_k of the remaining classes),

spans directions D, and the layer no longer hears them: W ← W (I - s a_l D Dᵀ). Biases
and the statistics of normalisation stay. No gradient.

``damp``: means of images, 100 a class. Only the abstract could be read: there a_l
follows from how well a probe separates the classes, and grows with depth. Here it is
how often the nearest mean tells forget from remaining images, less chance: sensitivity
+ specificity - 1. All means are of the network as it was. s is ours, and 1.
``damp-codes``, a variant of our own: the codes in place of means, and a_l = l / L in
the l-th of L layers, since one code a class says nothing of how well they separate.

A layer with no more input channels than remaining classes has nothing outside their
span and stays as it is; so do those of a network that uses them twice.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.mnemonic_code import prepared
from mnemonic.baselines.space import Range
from mnemonic.baselines.subspaces import pooled_inputs, without
from mnemonic.forgetting.rows import basis, outside
from mnemonic.networks.asked import device_of
from mnemonic.networks.running import double

SPACE = {"strength": Range(0.3, 3.0)}


def separated(rows: Tensor, labels: Tensor, means: Tensor, forget: list[int]) -> float:
    """How well the nearest mean tells forget from remaining samples, less chance.

    Args:
        rows: Samples ``[N, D]``.
        labels: Their classes ``[N]``.
        means: Of the classes ``[K, D]``.
        forget: The forget classes.

    Returns:
        Sensitivity + specificity - 1, and 0 where that is negative.
    """
    marked = torch.isin(torch.arange(len(means)), torch.tensor(forget)).to(rows.device)
    called, of_class = marked[torch.cdist(rows, means).argmin(1)], marked[labels]
    shares = called[of_class], ~called[~of_class]
    return max(float(sum(s.double().mean() for s in shares)) - 1, 0.0)


@torch.no_grad()
def unheard(
    model: nn.Module,
    prototypes: dict[str, Tensor],
    forget: list[int],
    strengths: list[float],
) -> nn.Module:
    """Take the forget prototypes' own directions out of each layer's input.

    Args:
        model: Changed in place.
        prototypes: ``[K, D]`` by layer, in ``float64``.
        forget: The forget classes.
        strengths: How much of them, a layer.

    Returns:
        The same network.
    """
    for (name, each), strength in zip(prototypes.items(), strengths, strict=True):
        if len(own := outside(each, forget)):
            weight = model.get_submodule(name).weight
            weight.copy_(without(double(weight), basis(own), strength))
    return model


@method(
    "damp",
    title="DAMP",
    reads={"forget", "remaining"},
    cites=("hatami2026damp",),
    space=SPACE,
)
def damp(
    model: nn.Module, access: Access, *, strength: float = 1.0, per_class: int = 100
) -> nn.Module:
    """Project by class means of images, the more the better a layer tells the class."""
    images = access.images("forget", "remaining", per_class=per_class)
    forget, means, strengths = list(access.classes), {}, []
    found = pooled_inputs(model.eval(), images.in_order(256, device_of(model)))
    for name, rows in found.items():
        if len(rows) == len(images.train):
            rows, labels = double(rows), images.train.labels.to(rows.device)
            of_each = [rows[labels == k].mean(0) for k in range(access.n_classes)]
            means[name] = torch.stack(of_each)
            told = separated(rows, labels, means[name], forget)
            strengths.append(strength * told)
    return unheard(model, means, forget, strengths)


@method(
    "damp-codes",
    title="DAMP from codes",
    reads={"codes"},
    cites=("hatami2026damp",),
    space=SPACE,
    preparation=prepared,
    codes="uniform",
)
def damp_codes(model: nn.Module, access: Access, *, strength: float = 1.0) -> nn.Module:
    """Project by the codes, the more the deeper."""
    codes = access.the_codes().images.to(device_of(model))
    found = pooled_inputs(model.eval(), [(codes, None)])
    rows = {name: double(r) for name, r in found.items() if len(r) == len(codes)}
    depths = [strength * (i + 1) / len(rows) for i in range(len(rows))]
    return unheard(model, rows, list(access.classes), depths)
