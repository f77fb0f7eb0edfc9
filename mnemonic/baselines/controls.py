"""What every method is shown beside: nothing done, and two ways to do nothing well.

- ``original``: the network as it was.
- ``row-zeroing``: the weights of the forget classes in the last layer become 0, and
  their biases so low that they never win. Everything below the last layer stays, so
  nothing is forgotten; E_F is 100 and A_R intact by construction.
- ``random-noise``: Gaussian noise, in each parameter tensor with the norm of the step
  that the mnemonic codes would take. Is it the direction that forgets?
"""

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.mnemonic_code import prepared, quietly_forget
from mnemonic.networks import last_layer

NEVER = -1e4  # a bias that no logit of the others falls below


@method("original", title="original")
def original(model: nn.Module, access: Access) -> nn.Module:
    """The network as it was."""
    return model


@method("row-zeroing", title="row zeroing")
def row_zeroing(model: nn.Module, access: Access) -> nn.Module:
    """Switch the outputs of the forget classes off."""
    _, layer = last_layer(model, access.data.input_shape)
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
        layer.weight[list(access.classes)] = 0
        layer.bias[list(access.classes)] = NEVER
    return model


@method(
    "random-noise",
    title="random noise",
    reads={"codes"},
    preparation=prepared,
    codes="uniform",
)
def random_noise(model: nn.Module, access: Access) -> nn.Module:
    """A random step, in each parameter tensor as long as that of the codes."""
    forgot = quietly_forget(model, access.the_codes(), access.classes).model
    with torch.no_grad():
        for w, new in zip(model.parameters(), forgot.parameters(), strict=True):
            noise = torch.empty_like(w).normal_(generator=access.generator)
            w += noise * (new - w).norm() / noise.norm()
    return model
