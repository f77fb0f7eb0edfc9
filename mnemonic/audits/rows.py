"""What an attacker does first to the last layer's rows of the forget classes.

Example:
    >>> import mnemonic as mn
    >>> data = mn.load_data("mnist-5k")
    >>> hidden = mn.METHODS["row-zeroing"](mn.build_model("mlp", data),
    ...                                    mn.Access(data, [3])).model
    >>> bool(levelled(hidden, data, [3])[3].bias.min() > -1)
    True
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from mnemonic.audits.outputs import last_linear, told_apart
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import copied
from mnemonic.storage import generator_for


def levelled(model: nn.Module, data: ImageData, classes: Sequence[int]) -> nn.Module:
    """A copy whose forget biases are not below those of all remaining classes.

    Args:
        model: Maps ``[N, C, H, W]`` to logits ``[N, K]``.
        data: Gives the input shape.
        classes: The forget classes.

    Returns:
        The copy; as it was where the logits do not come from a linear layer with a
        bias.
    """
    forget, remaining = told_apart(classes, checked_data(data).class_names)
    made = copied(model)
    layer = last_linear(made, data)
    if layer is not None and layer.bias is not None:
        with torch.no_grad():
            lowest = layer.bias[remaining].min()
            layer.bias[forget] = layer.bias[forget].clamp_min(lowest)
    return made


def with_fresh_rows(
    model: nn.Module, data: ImageData, classes: Sequence[int]
) -> nn.Module:
    """A copy whose forget rows, and their biases, are those of a new linear layer.

    Args:
        model: Ends in a linear layer.
        data: Gives the input shape.
        classes: The forget classes.

    Returns:
        The copy. A ``ValueError`` says that there is no such layer.
    """
    forget, _ = told_apart(classes, checked_data(data).class_names)
    made = copied(model)
    _, layer = last_layer(made, data.input_shape)
    generator = generator_for("fresh rows", 0, layer.weight.device)
    spread = 1 / math.sqrt(layer.in_features)
    with torch.no_grad():
        for rows in layer.parameters():
            new = torch.empty_like(rows[forget])
            rows[forget] = new.uniform_(-spread, spread, generator=generator)
    return made
