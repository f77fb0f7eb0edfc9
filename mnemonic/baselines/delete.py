"""DELETE (Zhou et al. 2025, *Decoupled Distillation to Erase*).

What would the network say of a forget image if the class did not exist? q is the
softmax of f_θ0 with the logits of the forget classes at -∞, and min KL(q || p_θ) over
D_F. The authors' learning rate does not transfer; it is searched. SGD (momentum 0.9,
weight decay 5e-4), 10 epochs, batch 64. It sees D_F alone, so that the statistics of
BatchNorm are frozen.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.distances import kl
from mnemonic.baselines.gradients import descend, sgd, training
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.networks.running import copied


def to_second_choice(
    model: nn.Module, classes: tuple[int, ...]
) -> Callable[[Tensor, object], Tensor]:
    """The loss: mean KL(q || p), in nats, with q of the network as it is now."""
    first = copied(model).eval()

    def loss(inputs: Tensor, _: object) -> Tensor:
        with torch.no_grad():
            aim = first(inputs)
            aim[:, list(classes)] = -torch.inf
        return kl(aim, model(inputs)).mean()

    return loss


@method(
    "delete",
    title="DELETE",
    reads={"forget"},
    cites=("zhou2025delete",),
    space={"learning_rate": Range(1e-5, 0.1)},
)
def delete(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-3,
    epochs: int = 10,
    batch_size: int = 64,
) -> nn.Module:
    """Learn the network's own second choice on the forget images."""
    loss = to_second_choice(model, access.classes)
    batches = access.images("forget").shuffled(batch_size, access.generator, epochs)
    descend(loss, batches, sgd(training(model), learning_rate))
    return model
