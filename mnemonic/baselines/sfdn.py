"""SFDN, Fisher forgetting (Golatkar, Achille, Soatto 2020, *Eternal Sunshine*).

F_i = mean over x in D_R of Σ_y p(y|x) (∂ CE(f(x), y) / ∂w_i)², one sample at a time,
evaluation mode. Noise of variance v_i, large where D_R does not care:

    v = α min(1 / (F + 1e-8), 1e3);  in the last layer  v = α min(1 / (F + 1e-8), 1e2)
    more than one dimension: v becomes its mean over the second
    last layer: the rows c to forget have mean 0 and v = 1e-4
    v ← 10 v in the last layer and in all one-dimensional tensors
    w = μ + sqrt(v) N(0, 1)

α 1e-6 (1e-8 … 1e-5 are usual). The last layer is found by what it computes, not by
having K rows: a hidden layer may have as many. D_R costs K backward passes a sample, so
``per_class`` can take a part of it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.handed import Handed
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.fisher.squares import squared_gradients, trainable
from mnemonic.networks.asked import device_of
from mnemonic.networks.layers import last_layer


def expected_fisher(model: nn.Module, images: Handed) -> dict[str, Tensor]:
    """F_i = mean over x of Σ_y p(y|x) (∂ -log p(y|x) / ∂w_i)²."""

    def losses() -> Iterator[tuple[Tensor, float]]:
        for x, _ in images.in_order(1, device_of(model)):
            log_p = model(x).log_softmax(1)[0]
            for y, p_y in enumerate(log_p.exp().tolist()):
                yield -log_p[y], p_y / len(images.train)

    return squared_gradients(trainable(model), losses())


@method(
    "sfdn",
    title="SFDN",
    reads={"remaining"},
    cites=("golatkar2020eternal",),
    space={"alpha": Range(1e-10, 1e-4)},
    economy={"per_class": 50},
)
def sfdn(
    model: nn.Module,
    access: Access,
    *,
    alpha: float = 1e-6,
    per_class: int | None = None,
) -> nn.Module:
    """Add noise where the remaining images do not care."""
    images = access.images("remaining", per_class=per_class)
    last, _ = last_layer(model, access.data.input_shape)
    classes = list(access.classes)
    for name, fisher in expected_fisher(model.eval(), images).items():
        p = model.get_parameter(name)
        is_last = name.rpartition(".")[0] == last
        v = alpha * (1 / (fisher + 1e-8)).clamp_max(1e2 if is_last else 1e3)
        if v.ndim > 1:
            v = v.mean(1, keepdim=True).expand_as(v).clone()
        with torch.no_grad():
            if is_last:
                p[classes] = 0
                v[classes] = 1e-4
            if is_last or v.ndim == 1:
                v *= 10
            noise = torch.randn(v.shape, generator=access.generator, device=p.device)
            p += v.sqrt() * noise
    return model
