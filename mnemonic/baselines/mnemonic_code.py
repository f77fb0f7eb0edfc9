"""The mnemonic code itself, and the same step from data.

Yamashita, Yamada, Shibata, *One-Shot Machine Unlearning with Mnemonic Code*, ACML 2024.
``mnemonic`` is ``mnemonic.forgetting.step.forget`` on a network that was trained with
codes: one backward pass a class, no images. ``mnemonic-data`` ("ours-w-data", Fig. 4)
takes both Fishers from n real images a class, on a network trained without codes.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import nn

from mnemonic.baselines.access import Access
from mnemonic.baselines.method import method
from mnemonic.baselines.space import Range
from mnemonic.codes import MnemonicCodes
from mnemonic.forgetting.one_shot import forget
from mnemonic.forgetting.report import Forgotten
from mnemonic.forgetting.step import forget_from_data


def prepared(access: Access, seed: int) -> nn.Module:
    """Train with codes (Algorithm 1)."""
    images = access.images("forget", "remaining")
    how = {"codes": access.the_codes(), "t_mix": access.t_mix}
    return access.trained(images, seed, **how)


def quietly_forget(
    model: nn.Module, codes: MnemonicCodes, classes: Sequence[int], **given: object
) -> Forgotten:
    """``forget`` without its warnings: a comparison shows what came of it."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return forget(model, codes, classes, **given)


@method(
    "mnemonic",
    title="Mnemonic code",
    reads={"codes"},
    cites=("yamashita2024oneshot",),
    preparation=prepared,
    codes="uniform",
)
def mnemonic(model: nn.Module, access: Access) -> nn.Module:
    """Algorithm 2; strength and sign are chosen on the codes alone."""
    return quietly_forget(model, access.the_codes(), access.classes).model


@method(
    "mnemonic-data",
    title="Mnemonic step from data",
    reads={"forget", "remaining"},
    cites=("yamashita2024oneshot",),
    space={"per_class": Range(1, 200)},
)
def mnemonic_data(
    model: nn.Module, access: Access, *, per_class: int = 10
) -> nn.Module:
    """The step of Algorithm 2 from ``per_class`` real images of each class."""
    images = access.images("forget", "remaining", per_class=per_class)
    inputs = images.inputs(images.train)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return forget_from_data(
            model, inputs, torch.as_tensor(images.train.labels), access.classes
        ).model
