"""What every method is shown beside: nothing done, and ways to do nothing well.

- ``original``: the network as it was.
- ``row-zeroing``: the weights of the forget classes in the last layer become 0, and
  their biases so low that they never win. Everything below the last layer stays, so
  nothing is forgotten; E_F is 100 and A_R intact by construction.
- ``one-bias``: b_c ← min over the remaining classes of b, less a margin, and nothing
  else. One number, that another number takes back. As far as its abstract tells, the
  BiasShift of Zheng and others 2026, who show by it what the usual numbers are worth.
- ``random-noise``: Gaussian noise, in each parameter tensor with the norm of the step
  that the mnemonic codes would take. Is it the direction that forgets?

Others answer, by construction, what is asked of the class's own output, and change
nothing below it: ``deleted`` (what row zeroing means: no number is large enough),
``copied-row`` (the likest row of a remaining class, less a margin), ``mean-row`` (mean
of the remaining rows), ``random-row`` (a direction at random, as long as the row was).
"""

import torch
from torch import nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.mnemonic_code import prepared, quietly_forget
from mnemonic.networks.layers import last_layer

NEVER = -1e4  # a bias that no logit of the others falls below
DELETED = -1e38  # near the least that float32 holds


@method("original", title="original")
def original(model: nn.Module, access: Access) -> nn.Module:
    """The network as it was."""
    return model


def _last(model: nn.Module, access: Access) -> tuple[nn.Linear, list[int], list[int]]:
    """The last layer with a bias, the forget classes and the remaining ones."""
    _, layer = last_layer(model, access.data.input_shape)
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    forget = list(access.classes)
    return layer, forget, [c for c in range(access.n_classes) if c not in forget]


@torch.no_grad()
def _switched_off(model: nn.Module, access: Access, bias: float) -> nn.Module:
    layer, forget, _ = _last(model, access)
    layer.weight[forget] = 0
    layer.bias[forget] = bias
    return model


@method("row-zeroing", title="row zeroing")
def row_zeroing(model: nn.Module, access: Access) -> nn.Module:
    """Switch the outputs of the forget classes off."""
    return _switched_off(model, access, NEVER)


@method("deleted", title="output deleted")
def deleted(model: nn.Module, access: Access) -> nn.Module:
    """Switch the outputs of the forget classes off for good."""
    return _switched_off(model, access, DELETED)


@method("one-bias", title="one bias", cites=("zheng2026bias",))
@torch.no_grad()
def one_bias(model: nn.Module, access: Access, *, margin: float = 100.0) -> nn.Module:
    """Lower the biases of the forget classes."""
    layer, forget, remaining = _last(model, access)
    layer.bias[forget] = layer.bias[remaining].min() - margin
    return model


@method("copied-row", title="row copied")
@torch.no_grad()
def copied_row(model: nn.Module, access: Access, *, margin: float = 1.0) -> nn.Module:
    """Give each forget class the likest row of a remaining one, a little lower."""
    layer, forget, remaining = _last(model, access)
    rows = functional.normalize(layer.weight)
    nearest = (rows[forget] @ rows[remaining].T).argmax(1).tolist()
    source = [remaining[i] for i in nearest]
    layer.weight[forget] = layer.weight[source]
    layer.bias[forget] = layer.bias[source] - margin
    return model


@method("mean-row", title="mean of rows")
@torch.no_grad()
def mean_row(model: nn.Module, access: Access) -> nn.Module:
    """Give the forget classes the mean of the remaining rows."""
    layer, forget, remaining = _last(model, access)
    layer.weight[forget] = layer.weight[remaining].mean(0)
    layer.bias[forget] = layer.bias[remaining].mean()
    return model


@method("random-row", title="random row")
@torch.no_grad()
def random_row(model: nn.Module, access: Access) -> nn.Module:
    """Turn each forget row to a random direction."""
    layer, forget, _ = _last(model, access)
    noise = torch.empty_like(layer.weight[forget]).normal_(generator=access.generator)
    length = layer.weight[forget].norm(dim=1, keepdim=True)
    layer.weight[forget] = functional.normalize(noise) * length
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
