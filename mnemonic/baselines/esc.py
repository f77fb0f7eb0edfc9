"""ESC, erasing space concept (Lee and others 2025): features lose the class's space.

Features h of the forget images, what the last layer is given, as columns of a matrix
U S Vᵀ, U whole. Its first ⌈p D⌉ directions go:

    h ← U_p U_pᵀ h = (I - U_1 U_1ᵀ) h.

The projection stands in the network, before the last layer, so that the features that
it gives out are projected too: the rule aims at whoever reads features. No training;
p is searched between 0.5 and 10 %, and 1 % is ours. The abstract and the authors' pages
could be read; that U is whole, so that what no forget image uses stays, is our reading.
ESC-T, which learns a mask, is not here.
"""

import math

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.baselines.subspaces import before_the_head, pooled_inputs, without
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer


@method(
    "esc",
    title="ESC",
    reads={"forget"},
    cites=("lee2025esc",),
    space={"share": Range(0.005, 0.1, share=True)},
)
@torch.no_grad()
def esc(model: nn.Module, access: Access, *, share: float = 0.01) -> nn.Module:
    """Project the features off the first directions of the forget images'."""
    name, layer = last_layer(model, access.data.input_shape)
    batches = access.images("forget").in_order(256, device_of(model))
    features = pooled_inputs(model.eval(), batches)[name]
    _, _, directions = torch.linalg.svd(features, full_matrices=False)
    first = directions[: math.ceil(share * layer.in_features)].T  # [D, ⌈p D⌉]
    change = nn.Linear(layer.in_features, layer.in_features, bias=False)
    change.weight.copy_(without(torch.eye(len(first)).to(first), first))
    return before_the_head(model, access.data.input_shape, change)
