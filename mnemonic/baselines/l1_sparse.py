"""ℓ1-sparse finetuning (Jia et al. 2023, *Model Sparsity Can Simplify Unlearning*).

min CE(D_R) + γ_t ‖θ‖_1 over all parameters, γ_t = γ (1 - epoch / epochs) with epochs
counted from 0. SGD 0.01 (momentum 0.9, weight decay 5e-4), 10 epochs, batch 256. The
paper's γ is not in its instructions; it is searched.
"""

from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


@method(
    "l1-sparse",
    title="ℓ1-sparse",
    reads={"remaining"},
    cites=("jia2023sparsity",),
    space={"gamma": Range(1e-6, 1e-3), "learning_rate": Range(0.003, 0.5)},
)
def l1_sparse(
    model: nn.Module,
    access: Access,
    *,
    gamma: float = 1e-5,
    learning_rate: float = 0.01,
    epochs: int = 10,
    batch_size: int = 256,
) -> nn.Module:
    """Finetune while all weights are pulled to 0."""
    images = access.images("remaining")
    optimizer = sgd(model.train(), learning_rate)

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        norm = sum(p.abs().sum() for p in model.parameters())
        return functional.cross_entropy(model(inputs), labels) + now * norm

    for epoch in range(epochs):
        now = gamma * (1 - epoch / epochs)
        descend(loss, images.shuffled(batch_size, access.generator), optimizer)
    return model
