"""SCRUB (Kurmanji et al. 2023, *Towards Unbounded Machine Unlearning*).

A student starts from the trained teacher. Epoch e: if e ≤ msteps, one pass over D_F
that climbs the distance to the teacher, min -T² KL(p_T || p_S); then one pass over D_R,
min γ CE + α T² KL(p_T || p_S), both at temperature T. SGD 5e-4 (momentum 0.9, weight
decay 5e-4), 3 epochs, msteps 2, γ 0.99, α 0.001, T 4, batch 128 (D_F: 32): the authors'
settings for large data. Written from the paper's objective alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.distances import kl
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.running import copied


@method(
    "scrub",
    title="SCRUB",
    reads={"forget", "remaining"},
    cites=("kurmanji2023scrub",),
    space={"learning_rate": Range(1e-4, 0.03), "alpha": Range(1e-4, 1.0)},
)
def scrub(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 5e-4,
    epochs: int = 3,
    max_steps: int = 2,
    gamma: float = 0.99,
    alpha: float = 0.001,
    temperature: float = 4.0,
    batch_size: int = 128,
    forget_batch_size: int = 32,
) -> nn.Module:
    """Leave the teacher on the forget images, stay with it on the others."""
    forget, remaining = access.images("forget"), access.images("remaining")
    teacher = copied(model).eval()
    optimizer = sgd(model.train(), learning_rate)

    def distance(inputs: Tensor, outputs: Tensor) -> Tensor:
        with torch.no_grad():
            aim = teacher(inputs)
        return temperature**2 * kl(aim, outputs, temperature).mean()

    def keep(inputs: Tensor, labels: Tensor) -> Tensor:
        outputs = model(inputs)
        hard = functional.cross_entropy(outputs, labels)
        return gamma * hard + alpha * distance(inputs, outputs)

    for epoch in range(1, epochs + 1):
        if epoch <= max_steps:
            descend(
                lambda x, _: -distance(x, model(x)),
                forget.shuffled(forget_batch_size, access.generator),
                optimizer,
            )
        descend(keep, remaining.shuffled(batch_size, access.generator), optimizer)
    return model
