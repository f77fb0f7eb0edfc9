"""LwSF, learning with selective forgetting (Shibata et al. 2021), for one task.

Training. A code ξ_k a class, uniform noise at a quarter of the resolution, normalised
like an image. Every batch is learned twice, raw and as x̃ = l x + (1 - l) ξ_y with
l ~ U(0, 1) a sample, both by the AM-softmax: cosine logits, scale 30, margin 0.35.

Forgetting. The original forgets while it learns a next task, through three terms; with
no next task and no data, what remains of them is, on the codes:

    (i)   10 × the AM-softmax loss of the codes of the *kept* classes,
    (ii)  5 × (sT)² × KL between old and new outputs, softened by sT (scale s = 30,
          T = 2): the kept logits to those of the old network, the forgotten ones to
          uniform; masked logits are 0,
    (iii) 50 Σ F_i (θ_i - θ*_i)², F the Fisher of the kept codes in the old network.

SGD 0.1 (momentum 0.9, weight decay 5e-4), K codes a step. That adaptation is ours: the
mnemonic-code paper compares with LwSF and does not say how it was adapted. The steps of
the learning rate are left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.access import Access
from mnemonic.baselines.distances import kl
from mnemonic.baselines.gradients import descend, sgd
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.fisher.diagonal import diagonal_fisher
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer
from mnemonic.networks.running import copied, seeded
from mnemonic.storage import generator_for

SCALE, MARGIN = 30.0, 0.35
TEMPERATURE = 2.0 * SCALE  # softens the cosines by 2


class CosineLinear(nn.Linear):
    """Logits ``SCALE`` × cosine of features and rows."""

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[N, K]`` of features ``[N, D]``."""
        return SCALE * functional.linear(
            functional.normalize(features), functional.normalize(self.weight)
        )


def am_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the true cosine lowered by ``MARGIN``; mean, nats."""
    margin = functional.one_hot(labels, logits.shape[1]) * (SCALE * MARGIN)
    return functional.cross_entropy(logits - margin, labels)


def code_inputs(access: Access, device: torch.device) -> Tensor:
    """Codes ``[K, C, H, W]``, normalised like images."""
    data, codes = access.data, access.the_codes()
    mean, std = (v.to(device)[:, None, None] for v in (data.mean, data.std))
    return (codes.images.to(device) - mean) / std


def prepared(access: Access, seed: int) -> nn.Module:
    """Train with a cosine classifier, on images and on their mixtures with codes."""
    model = access.fresh(seed)
    device = device_of(model)
    name, layer = last_layer(model, access.data.input_shape)
    with seeded(seed):
        rows = CosineLinear(layer.in_features, layer.out_features, bias=False)
    model.set_submodule(name, rows.to(device))
    images, codes = access.images("forget", "remaining"), code_inputs(access, device)
    generator = generator_for("lwsf-mixtures", seed)

    def loss(model: nn.Module, x: Tensor, labels: Tensor, epoch: int) -> Tensor:
        share = torch.rand((len(x), 1, 1, 1), generator=generator).to(x.device)
        mixed = share * x + (1 - share) * codes.to(x.device)[labels]
        mean = am_softmax(model(x), labels) + am_softmax(model(mixed), labels)
        return mean * len(x)

    return access.trained(images, seed, model, loss=loss)


@method(
    "lwsf",
    title="LwSF",
    reads={"codes"},
    cites=("shibata2021lwsf",),
    space={"learning_rate": Range(1e-3, 0.3), "push": Range(0.5, 200.0)},
    preparation=prepared,
    codes="low-frequency",
)
def lwsf(
    model: nn.Module,
    access: Access,
    *,
    learning_rate: float = 0.1,
    steps: int = 200,
    keep: float = 10.0,
    push: float = 5.0,
    elastic: float = 100.0,
) -> nn.Module:
    """Hold the kept codes, flatten the answer to the others, stay close by."""
    device = device_of(model)
    codes = code_inputs(access, device)
    labels = torch.arange(access.n_classes, device=device)
    forgets = access.forgets(labels)
    old = copied(model).eval()
    fisher = diagonal_fisher(old, codes[~forgets], labels[~forgets])
    old.requires_grad_(False)
    old_logits = old(codes)
    model.eval()  # K codes are no batch to normalise by

    def loss(codes: Tensor, labels: Tensor) -> Tensor:
        logits = model(codes)
        held = kl(old_logits * ~forgets, logits * ~forgets, TEMPERATURE)
        flat = kl(torch.zeros_like(logits), logits * forgets, TEMPERATURE)
        near = sum(
            (f * (model.get_parameter(n) - old.get_parameter(n)).square()).sum()
            for n, f in fisher.items()
        )
        return (
            keep * am_softmax(logits[~forgets], labels[~forgets])
            + push * TEMPERATURE**2 * (held + flat).mean()
            + elastic / 2 * near
        )

    descend(loss, [(codes, labels)] * steps, sgd(model, learning_rate))
    return model
