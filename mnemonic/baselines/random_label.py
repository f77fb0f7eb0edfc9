"""Random labels: teach a wrong answer for every forget image.

Each image of D_F gets one label drawn uniformly from the K - 1 other classes, once;
then CE on the relabelled D_F together with D_R: Adam 1e-4, 3 epochs, batch 128. This is
what Foster et al. 2024 compare with under the name "Amnesiac". Amnesiac unlearning of
Graves et al. 2021 also subtracts stored updates; that needs a log of the training and
is not what is done here.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import adam, cross_entropy, descend
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


def other_labels(labels: Tensor, n_classes: int, generator: torch.Generator) -> Tensor:
    """For each label ``[N]`` one of the K - 1 others, all equally likely."""
    shift = torch.empty_like(labels).random_(1, n_classes, generator=generator)
    return (labels + shift) % n_classes


@method(
    "random-label",
    title="Random label",
    reads={"forget", "remaining"},
    cites=("graves2021amnesiac", "foster2024ssd"),
    space={"learning_rate": Range(1e-5, 0.01)},
)
def random_label(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-4,
    epochs: int = 3,
    batch_size: int = 128,
) -> nn.Module:
    """Train on wrong labels for the forget images and true ones for the others."""
    images = access.images("forget", "remaining")
    true = images.train.labels.to(access.generator.device)
    wrong = other_labels(true, access.n_classes, access.generator)
    targets = torch.where(access.forgets(true), wrong, true)
    loss, optimizer = cross_entropy(model), adam(model.train(), learning_rate)
    batches = images.numbered().shuffled(batch_size, access.generator, epochs)
    descend(lambda x, position: loss(x, targets[position]), batches, optimizer)
    return model
