"""Finetune: go on training on the remaining images, and hope.

min CE on D_R, by SGD 0.01 (momentum 0.9, weight decay 5e-4), 10 epochs, batch 256:
the settings of Jia et al. 2023 (*Model Sparsity Can Simplify Machine Unlearning*).
"""

from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import cross_entropy, descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


@method(
    "finetune",
    title="Finetune",
    reads={"remaining"},
    cites=("jia2023sparsity",),
    space={"learning_rate": Range(1e-3, 1.0)},
)
def finetune(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 0.01,
    epochs: int = 10,
    batch_size: int = 256,
) -> nn.Module:
    """Descend on the cross-entropy of the remaining images."""
    images = access.images("remaining")
    batches = images.shuffled(batch_size, access.generator, epochs)
    descend(cross_entropy(model), batches, sgd(model.train(), learning_rate))
    return model
