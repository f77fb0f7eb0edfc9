"""NegGrad: climb the loss of the forget images; NegGrad+: and hold the others.

- ``neggrad`` (Golatkar et al. 2020; Graves et al. 2021): min -CE on D_F. SGD 1e-4,
  5 epochs, batch 256 (Jia et al. 2023, for one class of CIFAR-10).
- ``neggrad-plus`` (Kurmanji et al. 2023): min α CE(D_R) - (1 - α) CE(D_F), a batch of
  each a step, D_F cycled. α 0.95, SGD 0.01, 10 epochs.

Both go through batches of D_F alone, so that the statistics of BatchNorm are frozen.
"""

from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.gradients import cross_entropy, descend, sgd, training
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range


@method(
    "neggrad",
    title="NegGrad",
    reads={"forget"},
    cites=("golatkar2020eternal", "jia2023sparsity"),
    space={"learning_rate": Range(1e-4, 0.1)},
)
def neggrad(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 1e-4,
    epochs: int = 5,
    batch_size: int = 256,
) -> nn.Module:
    """Ascend on the cross-entropy of the forget images."""
    images = access.images("forget")
    loss = cross_entropy(model)
    batches = images.shuffled(batch_size, access.generator, epochs)
    optimizer = sgd(training(model), learning_rate)
    descend(lambda x, y: -loss(x, y), batches, optimizer)
    return model


@method(
    "neggrad-plus",
    title="NegGrad+",
    reads={"forget", "remaining"},
    cites=("kurmanji2023scrub",),
    space={
        "alpha": Range(0.8, 0.999, share=True),
        "learning_rate": Range(1e-3, 0.1),
    },
)
def neggrad_plus(
    model: nn.Module,
    access: Access,
    *,
    alpha: float = 0.95,
    learning_rate: float = 0.01,
    epochs: int = 10,
    batch_size: int = 256,
) -> nn.Module:
    """Descend on the remaining images while ascending on the forget images."""
    forget, remaining = access.images("forget"), access.images("remaining")
    enough = epochs * len(remaining.train)  # one batch of D_F a batch of D_R
    forget_batches = forget.shuffled(batch_size, access.generator, enough)

    mean = cross_entropy(model)

    def loss(inputs: Tensor, labels: Tensor) -> Tensor:
        kept, lost = mean(inputs, labels), mean(*next(forget_batches))
        return alpha * kept - (1 - alpha) * lost

    batches = remaining.shuffled(batch_size, access.generator, epochs)
    descend(loss, batches, sgd(training(model), learning_rate))
    return model
