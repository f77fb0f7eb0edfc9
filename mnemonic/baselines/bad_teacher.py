"""Bad teacher (Chundawat et al. 2023, *Can Bad Teaching Induce Forgetting?*).

The network learns from itself on the remaining images and from a network with random
weights on the forget images: over D_F and a random 30 % of D_R,

    min KL(t || p_θ),   t = p_random on D_F, p_θ0 on D_R,

Adam 1e-4, 1 epoch, batch 256, temperature 1.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.distances import kl
from mnemonic.baselines.gradients import adam, descend
from mnemonic.baselines.method import method
from mnemonic.baselines.retrain import another
from mnemonic.baselines.space import Range
from mnemonic.networks.asked import device_of
from mnemonic.networks.running import copied


@method(
    "bad-teacher",
    title="Bad teacher",
    reads={"forget", "remaining"},
    cites=("chundawat2023bad",),
    space={"learning_rate": Range(1e-5, 0.01)},
)
def bad_teacher(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-4,
    epochs: int = 1,
    share: float = 0.3,
    batch_size: int = 256,
) -> nn.Module:
    """Learn from a random network what to say of the forget images."""
    images = access.images("forget", "remaining", share=share)
    good = copied(model).eval()
    bad = access.fresh(another(access.seed, "bad-teacher")).to(device_of(model)).eval()

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        forgets = access.forgets(labels)[:, None]
        with torch.no_grad():
            teacher = torch.where(forgets, bad(inputs), good(inputs))
        return kl(teacher, model(inputs)).mean()

    batches = images.shuffled(batch_size, access.generator, epochs)
    descend(loss, batches, adam(model.train(), learning_rate))
    return model
