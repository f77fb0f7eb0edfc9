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
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import watched

MAX_COLUMNS = 10_000  # patches are many; this many span their space


def layer_inputs(
    model: nn.Module, images: Handed, generator: torch.Generator
) -> dict[str, Tensor]:
    """Inputs of each layer as the columns of a matrix ``[features, samples]``."""
    caught: dict[str, tuple[Tensor, Tensor]] = {}
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    }

    def catch(name: str, given: tuple[Tensor], _: Tensor) -> None:
        layer, inputs = layers[name], given[0]
        if isinstance(layer, nn.Conv2d):
            padded = _padded(layer, inputs)
            patches = functional.unfold(
                padded, layer.kernel_size, layer.dilation, stride=layer.stride
            )
            columns = patches.transpose(0, 1).flatten(1)
        else:
            columns = inputs.flatten(0, -2).T
        keys = torch.empty(columns.shape[1], dtype=torch.float64, device=columns.device)
        keys.uniform_(generator=generator)
        if name in caught:
            before, old_keys = caught[name]
            columns, keys = torch.cat([before, columns], 1), torch.cat([old_keys, keys])
        if len(keys) > MAX_COLUMNS:  # those with the smallest keys: all are as likely
            kept = keys.topk(MAX_COLUMNS, largest=False).indices.sort().values
            columns, keys = columns[:, kept], keys[kept]
        caught[name] = columns, keys

    with torch.no_grad(), watched(layers, catch):
        for inputs, _ in images.in_order(256, device_of(model)):
            model(inputs)
    return {name: columns for name, (columns, _) in caught.items()}


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Inputs ``[N, C, H, W]`` as the layer pads them."""
    around = []  # left, right, top, bottom
    for i in (1, 0):
        whole = layer.dilation[i] * (layer.kernel_size[i] - 1)
        given = {"valid": (0, 0), "same": (whole // 2, whole - whole // 2)}
        around += given.get(layer.padding) or [layer.padding[i]] * 2
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, around, mode=mode)


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
    of_forget = layer_inputs(model, forget, access.generator)
    of_remaining = layer_inputs(model, remaining, access.generator)
    with torch.no_grad():
        for name, r in of_forget.items():
            p_f = projection(r, forget_scale)
            p_r = projection(of_remaining[name], remaining_scale)
            weight = model.get_submodule(name).weight
            flat = weight.flatten(1)
            weight.copy_((flat - flat @ (p_f - p_f @ p_r)).view_as(weight))
    return model
