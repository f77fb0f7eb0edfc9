"""Checks of chapter 12, your own network."""

import warnings
from collections.abc import Callable

from torch import nn

from mnemonic.audits import replay
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import (
    attempted,
    both,
    done,
    expect,
    near,
    same_weights,
    with_last_layer,
)
from mnemonic.forgetting.report import Forgotten


def predict(megabytes: float, passes: int) -> None:
    """A thousand classes at 3 × 224 × 224: the file of codes, and the cost?"""
    attempted(megabytes, passes)
    truth = 1000 * 3 * 224 * 224 * 4 / 1e6
    hint = "four bytes a number, as many numbers a code as in an image"
    near(megabytes, truth, 0.1 * truth, hint)
    expect(passes == 1000, "the Fisher takes one backward pass a code")
    done(f"{truth:.0f} MB, and {passes:,} backward passes.")


def change(
    known: int,
    model: nn.Module,
    codes: MnemonicCodes,
    taught: Callable[[int, int], tuple[nn.Module, MnemonicCodes]],
) -> None:
    """Is this how many codes the network names rightly after two epochs?"""
    attempted(known, model, codes)
    same = same_weights(model, taught(0, 2)[0])
    expect(same, "this is another network: taught(0, 2) gives that of seed 0")
    truth = int((model(codes.images).argmax(1) == codes.labels).sum())
    expect(known == truth, f"this network names {truth} of its codes rightly")
    done(f"{known} of {len(codes.labels)} after two epochs with codes.")


def implement(
    better: Callable[[nn.Module, MnemonicCodes, int], Forgotten],
    rehearsed: Callable[[nn.Module, MnemonicCodes, int], Forgotten],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Is it as good on validation images as each of the two that it chooses from?"""
    c = 0
    last_only, layer = with_last_layer(model, data)
    last_only.requires_grad_(False)
    layer.requires_grad_(True)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        found = attempted(better(model, codes, c))
        last, every = (
            both(rehearsed(network, codes, c).model, data, [c])
            for network in (last_only, model)
        )
    score = both(found.model, data, [c])
    hint = f"the last layer alone has {last:.1f}, yours {score:.1f}"
    expect(score >= last - 1e-6, hint)
    expect(score >= every - 1e-6, f"all layers have {every:.1f}, yours {score:.1f}")
    done(f"$A_R + E_F$ on validation images: {score:.1f} of 200.")


def critique(
    back: float, forgot: nn.Module, data: ImageData, codes: MnemonicCodes, c: int
) -> None:
    """Is this how much of the class its own code brings back?"""
    attempted(back)
    truth = replay(forgot, data, codes, [c])["own/forget_accuracy"].value
    near(back, truth, 0.1, f"after replaying its code: {truth:.1f} %")
    done(f"The code alone brings {back:.0f} % of the class back.")
