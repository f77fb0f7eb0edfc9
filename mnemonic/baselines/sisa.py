"""SISA (Bourtoule et al. 2021): train in shards, retrain the shards that are touched.

The training images are dealt into M shards, one network each; the answer is the mean
of their softmax outputs. To forget, the shards that hold a forget image are trained
again without it. A class lies in every shard, so nothing is saved in total: one shard's
N_R / M images an epoch is the cost only where M machines retrain at once.
"""

import torch
from torch import Tensor, nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.retrain import another
from mnemonic.networks.asked import device_of
from mnemonic.storage import generator_for

SHARDS = 3


class Shards(nn.Module):
    """Networks that answer by the mean of their softmax outputs."""

    def __init__(self, networks: list[nn.Module], shard_of: Tensor):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("shard_of", shard_of)  # [N], of each training image

    def forward(self, inputs: Tensor) -> Tensor:
        """Logarithms ``[N, K]`` of the mean probabilities."""
        each = torch.stack([n(inputs).log_softmax(1) for n in self.networks])
        return each.logsumexp(0) - torch.tensor(float(len(self.networks))).log()


def prepared(access: Access, seed: int) -> nn.Module:
    """Deal the images, and train a network a shard."""
    n = len(access.data.train)
    shard_of = torch.randperm(n, generator=generator_for("shards", seed)) % SHARDS
    networks = []
    for s in range(SHARDS):
        images = access.images("forget", "remaining", where=shard_of == s)
        networks.append(access.trained(images, another(seed, f"shard-{s}")))
    return Shards(networks, shard_of).to(device_of(networks[0]))


@method(
    "sisa",
    title="SISA",
    reads={"remaining"},
    cites=("bourtoule2021sisa",),
    preparation=prepared,
)
def sisa(model: nn.Module, access: Access) -> nn.Module:
    """Train every shard again without the class."""
    if not isinstance(model, Shards):
        raise ValueError(
            f"SISA retrains shards, and {type(model).__name__} has none; train with "
            'METHODS["sisa"].prepare(access, seed=seed)'
        )
    for s in range(len(model.networks)):
        images = access.images("remaining", where=model.shard_of == s)
        again = another(access.seed, f"shard-{s}-again")
        model.networks[s] = access.trained(images, again)
    return model
