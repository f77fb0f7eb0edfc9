"""Retrain: what forgetting is measured against, networks that never saw the class.

Fresh weights everywhere (a new seed), the same recipe, the remaining images only, all K
outputs. ``retrain-codes`` is beside networks that were trained with codes, and has
their very codes of the remaining classes: that of a forget class stands in for no
image, since there is none. Neither ever reads an image of the forget classes; that
their other accuracies differ from the original's by chance is why several seeds are
shown. ``Profile.never_saw`` trains the same network, and keeps it.
"""

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.mnemonic_code import prepared
from mnemonic.storage import generator_for


def another(seed: int, purpose: str) -> int:
    """A seed that is not the one the network was built with."""
    return int(torch.randint(2**31, (), generator=generator_for(purpose, seed)))


@method("retrain", title="retrained", reads={"remaining"})
def retrain(model: nn.Module, access: Access) -> nn.Module:
    """Train a new network without the forget classes."""
    return access.trained(access.images("remaining"), another(access.seed, "retrain"))


@method(
    "retrain-codes",
    title="retrained, codes",
    reads={"remaining", "codes"},
    preparation=prepared,
    codes="uniform",
)
def retrain_codes(model: nn.Module, access: Access) -> nn.Module:
    """Train a new network without the forget classes, on the codes of the others."""
    how = {"codes": access.the_codes(), "t_mix": access.t_mix}
    how["seed"] = another(access.seed, "retrain")
    return access.trained(access.images("remaining"), **how)
