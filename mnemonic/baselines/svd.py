"""Activation subspaces (Kodge, Saha, Roy 2024, *Deep Unlearning*).

For each linear and convolutional layer, collect its inputs (of a convolution: the
patches under its kernel) on some remaining and some forget images as columns of R.
With R = U S Vᵀ, the share s_i = S_i² / Σ S² of each direction becomes a weight

    Λ_i = a s_i / ((a - 1) s_i + 1),   P = U Λ Uᵀ,

P_r with a_r for the remaining and P_f with a_f for the forget images. The weights lose
what only the forget images use: W ← W (I - P_f (I - P_r)). a_r 100, a_f 3; 100 images a
remaining class, as many forget images in all. No gradients. Layers with groups are left
as they are.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.baselines.subspaces import layer_inputs
from mnemonic.networks.asked import device_of


def projection(r: Tensor, scale: float) -> Tensor:
    """P = U Λ Uᵀ of the columns of ``r`` [d, n]; shape ``[d, d]``."""
    u, s, _ = torch.linalg.svd(r, full_matrices=False)
    share = s.square() / s.square().sum()
    weight = scale * share / ((scale - 1) * share + 1)
    return (u * weight) @ u.T


@method(
    "svd",
    title="Activation SVD",
    reads={"forget", "remaining"},
    cites=("kodge2024deep",),
    space={
        "remaining_scale": Range(1.0, 1000.0),
        "forget_scale": Range(1.0, 300.0),
    },
)
def svd(
    model: nn.Module,
    access: Access,
    *,
    remaining_scale: float = 100.0,
    forget_scale: float = 3.0,
    per_class: int = 100,
) -> nn.Module:
    """Project what only the forget images use out of every layer's input."""
    n_forget = per_class * (access.n_classes - len(access.classes))
    each = max(n_forget // len(access.classes), 1)
    forget = access.images("forget", per_class=each)
    remaining = access.images("remaining", per_class=per_class)
    model.eval()
    of_forget, of_remaining = (
        layer_inputs(model, part.in_order(256, device_of(model)), access.generator)
        for part in (forget, remaining)
    )
    with torch.no_grad():
        for name, r in of_forget.items():
            p_f = projection(r, forget_scale)
            p_r = projection(of_remaining[name], remaining_scale)
            weight = model.get_submodule(name).weight
            flat = weight.flatten(1)
            weight.copy_((flat - flat @ (p_f - p_f @ p_r)).view_as(weight))
    return model
