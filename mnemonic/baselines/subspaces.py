"""What goes into the layers of a network, and the directions that it takes there.

Layers are linear ones and convolutions without groups; others, and layers whose weight
something else computes with, as in attention, are left alone.

Example:
    >>> without(torch.eye(3), torch.tensor([[1.0], [0.0], [0.0]])).diagonal().tolist()
    [0.0, 1.0, 1.0]
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.networks.layers import last_layer, watched

MAX_COLUMNS = 10_000  # patches are many; this many span their space

Batches = Iterable[tuple[Tensor, object]]


def weighted(model: nn.Module) -> dict[str, nn.Module]:
    """Linear layers and convolutions without groups, by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    }


def layer_inputs(
    model: nn.Module, batches: Batches, generator: torch.Generator
) -> dict[str, Tensor]:
    """Inputs of each layer as columns; of a convolution, the patches under its kernel.

    Args:
        model: As it is to be run.
        batches: Inputs ``[B, C, H, W]`` with whatever goes with them.
        generator: Of the choice where there are more than 10,000 columns.

    Returns:
        ``[features, samples]`` by name; rows as in the layer's flattened weight.
    """
    caught: dict[str, tuple[Tensor, Tensor]] = {}
    layers = weighted(model)

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
        for inputs, _ in batches:
            model(inputs)
    return {name: columns for name, (columns, _) in caught.items()}


def pooled_inputs(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Inputs of each layer, one row a sample: means over positions.

    Args:
        model: As it is to be run.
        batches: Inputs ``[B, C, H, W]`` with whatever goes with them.

    Returns:
        ``[N, D]`` by name, in the order in which the layers run; D channels of a
        convolution.
    """
    rows: dict[str, list[Tensor]] = {}
    layers = weighted(model)

    def catch(name: str, given: tuple[Tensor], _: Tensor) -> None:
        if isinstance(layers[name], nn.Conv2d):
            pooled = given[0].mean((2, 3))
        else:
            pooled = given[0].flatten(1, -2).mean(1) if given[0].ndim > 2 else given[0]
        rows.setdefault(name, []).append(pooled)

    with torch.no_grad(), watched(layers, catch):
        for inputs, _ in batches:
            model(inputs)
    return {name: torch.cat(parts) for name, parts in rows.items()}


def without(weight: Tensor, directions: Tensor, strength: float = 1.0) -> Tensor:
    """A weight that no longer hears some directions of its input: W (I - s D Dᵀ).

    Args:
        weight: ``[out, D]``, or ``[out, D, h, w]`` of a convolution, whose input
            channels are meant.
        directions: Orthonormal columns ``[D, R]``.
        strength: s; 1 projects.

    Returns:
        A new tensor.
    """
    heard = torch.tensordot(weight, directions, dims=([1], [0]))  # [out, h, w, R]
    removed = torch.tensordot(heard, directions, dims=([-1], [1])).movedim(-1, 1)
    return weight - strength * removed


def before_the_head(
    model: nn.Module, input_shape: tuple[int, int, int], change: nn.Linear
) -> nn.Module:
    """Let the features go through a linear map on their way into the last layer.

    Whoever looks at what the last layer is given, or at a module above it, sees the
    changed features; whoever holds the weights finds the map, and those before it.

    Args:
        model: Ends in a linear layer; changed in place.
        input_shape: ``(C, H, W)``.
        change: From D features to D.

    Returns:
        The same network.
    """
    name, layer = last_layer(model, input_shape)
    model.set_submodule(name, nn.Sequential(change.to(layer.weight), layer))
    return model


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Inputs ``[N, C, H, W]`` as the layer pads them."""
    around = []  # left, right, top, bottom
    for i in (1, 0):
        whole = layer.dilation[i] * (layer.kernel_size[i] - 1)
        given = {"valid": (0, 0), "same": (whole // 2, whole - whole // 2)}
        around += given.get(layer.padding) or [layer.padding[i]] * 2
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, around, mode=mode)
