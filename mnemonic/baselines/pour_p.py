"""POUR-P (Le, Peng, Liu, Noble 2025): off the direction that a collapsed class has.

Where training has gone far, the class means of the features, less their own mean μ,
form a simplex (neural collapse): they point as far apart as they can, and their sum is
0. Projected off one of them, the others form a simplex again. With V an orthonormal
basis of the forget classes' μ_k - μ,

    h ← h - s V Vᵀ (h - μ).

At the collapse all logits of the class then are about the same, and an image of it is
answered by whatever bias is highest. Only the abstract and the introduction could be
read: that the means are centred, that they are of 100 images a class, and that the
projection stands in the network before the last layer (as in ``esc``), are our reading;
s = 1 is a projection, other values are ours. POUR-D, the variant that distils, is not
here. DAMP and ``forget(..., rule="turn")`` take the class's direction outside the span
of the others instead, which a simplex does not have.
"""

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.baselines.subspaces import before_the_head, pooled_inputs, without
from mnemonic.forgetting.rows import basis
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import double


@method(
    "pour-p",
    title="POUR-P",
    reads={"forget", "remaining"},
    cites=("le2025pour",),
    space={"strength": Range(0.3, 3.0)},
)
@torch.no_grad()
def pour_p(
    model: nn.Module, access: Access, *, strength: float = 1.0, per_class: int = 100
) -> nn.Module:
    """Project the features off the centred class means of the forget classes."""
    name, layer = last_layer(model, access.data.input_shape)
    images = access.images("forget", "remaining", per_class=per_class)
    batches = images.in_order(256, device_of(model))
    features = double(pooled_inputs(model.eval(), batches)[name])
    labels = images.train.labels.to(features.device)
    means = [features[labels == k].mean(0) for k in range(access.n_classes)]
    centred = torch.stack(means) - (middle := torch.stack(means).mean(0))
    whole = torch.eye(len(middle)).to(middle)
    kept = without(whole, basis(centred[list(access.classes)]), strength)
    change = nn.Linear(layer.in_features, layer.in_features)
    change.weight.copy_(kept)
    change.bias.copy_(middle - kept @ middle)
    return before_the_head(model, access.data.input_shape, change)
