"""JiT, Lipschitz unlearning (Foster et al. 2024, *Zero-Shot Unlearning at Scale*).

Make the network flat around the forget images: for each batch of D_F,

    min mean_n Σ_b ‖f(x_b) - f(x_b^n)‖ / ‖x_b - x_b^n‖,   n = 1 … 25,

with x^n = clip(x + σ ε, min x, max x), ε ~ N(0, 1), and no gradient through f(x^n).
SGD 3e-4, σ 0.5, 1 epoch, batch 64. The public code never sets gradients to zero between
batches; here they are, and ``accumulate=True`` shows the difference.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


@method(
    "lipschitz",
    title="JiT",
    reads={"forget"},
    cites=("foster2024jit",),
    space={"learning_rate": Range(1e-6, 0.01), "sigma": Range(0.1, 2.0)},
)
def lipschitz(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 3e-4,
    sigma: float = 0.5,
    epochs: int = 1,
    n_copies: int = 25,
    batch_size: int = 64,
    accumulate: bool = False,
) -> nn.Module:
    """Flatten the outputs around the forget images."""
    images = access.images("forget")

    def steepness(inputs: Tensor, _: Tensor) -> Tensor:
        low, high = inputs.min(), inputs.max()
        outputs, total = model(inputs), 0.0
        for _ in range(n_copies):
            noise = torch.empty_like(inputs).normal_(generator=access.generator)
            moved = (inputs + sigma * noise).clamp(low, high)
            with torch.no_grad():
                other = model(moved)
            rise = (outputs - other).norm(dim=1)
            total = total + (rise / (inputs - moved).flatten(1).norm(dim=1)).sum()
        return total / n_copies

    # gradients that add up are a momentum of 1
    how = {"momentum": float(accumulate), "weight_decay": 0.0}
    batches = images.shuffled(batch_size, access.generator, epochs)
    descend(steepness, batches, sgd(model.eval(), learning_rate, **how))
    return model
