"""SalUn (Fan et al. 2024): random labels for the weights that matter to D_F.

g = sum over batches of D_F of the gradient of CE, in evaluation mode; m marks the half
of all weights with the largest absolute g. Then random labels, drawn anew each epoch
from all K classes: one pass over D_F, one over D_R, SGD 0.013 (momentum 0.9, weight
decay 5e-4), 10 epochs, batch 256. The mask is hard: after each step the weights outside
m go back to θ0 and their momentum to 0, else both leak through weight decay.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import cross_entropy, descend, sgd
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of


def salient(
    model: nn.Module, images: Handed, share: float, batch_size: int
) -> dict[str, Tensor]:
    """Mark the share of all weights with the largest summed gradient on ``images``."""
    model.zero_grad()
    loss = cross_entropy(model)
    for inputs, labels in images.in_order(batch_size, device_of(model)):
        loss(inputs, labels).backward()  # they add up
    total = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    sizes = torch.cat([v.abs().flatten() for v in total.values()])
    kept = max(int(share * len(sizes)), 1)
    marked = torch.zeros_like(sizes, dtype=torch.bool)
    marked[sizes.topk(kept).indices] = True  # no more than that where zeros tie
    parts = marked.split([v.numel() for v in total.values()])
    return {n: m.view_as(total[n]) for n, m in zip(total, parts, strict=True)}


@method(
    "salun",
    title="SalUn",
    reads={"forget", "remaining"},
    cites=("fan2024salun",),
    space={
        "learning_rate": Range(1e-3, 0.3),
        "share": Range(0.1, 0.9, share=True),
    },
)
def salun(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 0.013,
    epochs: int = 10,
    share: float = 0.5,
    batch_size: int = 256,
    soft: bool = False,
) -> nn.Module:
    """Random labels on a hard mask of salient weights, or one on gradients (soft)."""
    forget, remaining = access.images("forget"), access.images("remaining")
    mask = salient(model.eval(), forget, share, batch_size)
    weights = [(model.get_parameter(name), m) for name, m in mask.items()]
    masked = [(p, m, p.detach().clone()) for p, m in weights]
    optimizer = sgd(model.train(), learning_rate)

    def mask_gradients(*_: object) -> None:
        for p, m, _ in masked:
            p.grad.mul_(m)

    @torch.no_grad()
    def restore(*_: object) -> None:
        for p, m, start in masked:
            p.copy_(torch.where(m, p, start))
            optimizer.state[p]["momentum_buffer"].mul_(m)

    if soft:
        optimizer.register_step_pre_hook(mask_gradients)
    else:
        optimizer.register_step_post_hook(restore)

    loss, generator = cross_entropy(model), access.generator

    def random_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        drawn = torch.empty_like(labels).random_(access.n_classes, generator=generator)
        return loss(inputs, drawn)

    for _ in range(epochs):
        descend(random_loss, forget.shuffled(batch_size, generator), optimizer)
        descend(loss, remaining.shuffled(batch_size, generator), optimizer)
    return model
