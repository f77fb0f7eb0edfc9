"""Retrain: what forgetting is measured against.

Fresh weights everywhere (a new seed), the same recipe, the remaining images only. The
network never reads an image of the forget classes; that its other accuracies differ
from the original's by chance is why several seeds are shown.
"""

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.storage import generator_for


def another(seed: int, purpose: str) -> int:
    """A seed that is not the one the network was built with."""
    return int(torch.randint(2**31, (), generator=generator_for(purpose, seed)))


@method("retrain", title="retrained", reads={"remaining"})
def retrain(model: nn.Module, access: Access) -> nn.Module:
    """Train a new network without the forget classes."""
    return access.trained(access.images("remaining"), another(access.seed, "retrain"))
