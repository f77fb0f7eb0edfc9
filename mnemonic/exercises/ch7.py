"""Checks of chapter 7, from hiding to forgetting."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnemonic.audits import diagnoses, relearn
from mnemonic.audits.diagnoses import output_aucs
from mnemonic.audits.outputs import logits_of
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import (
    attempted,
    chosen,
    done,
    expect,
    near,
    validated,
    with_last_layer,
)
from mnemonic.forgetting.one_shot import forget


def predict(
    projected: str,
    mirror: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    c: int,
) -> None:
    """What one number gets of a projected row, and two of a mirrored one."""
    chosen(("more", "less"), projected)
    chosen(("more", "hardly"), mirror)
    found = []
    for s in (1.0, None, 2.0):
        turned = forget(model, codes, [c], rule="turn", strength=s).model
        told = diagnoses(turned, data, [c], original=model)
        found.append((told["one_number"].value, told["two_numbers"].value))
    (half, _), (angle, _), (one, two) = found
    expect((projected == "more") == (half > angle), "what is left of it at s = 1?")
    expect((mirror == "more") == (two >= one + 10), "what does a negative scale do?")
    done(f"One number: {half:.0f} %, {angle:.0f} %. A mirror: {one:.0f}, {two:.0f} %.")


def change(
    s: float, model: nn.Module, codes: MnemonicCodes, data: ImageData, c: int
) -> None:
    """Does the class's logit say nothing of its validation images?"""
    attempted(s)
    turned = forget(model, codes, [c], rule="turn", strength=s).model
    asked = logits_of(turned, data, data.validation), data.validation.labels.cpu()
    auc = output_aucs(asked, [c])["logit_auc"].value
    near(auc, 0.5, 0.02, f"s = {s:.2f}: the AUC is {auc:.2f}; turn further if above ½")
    angle = forget(model, codes, [c], rule="turn").settings["strength"]
    done(f"s = {s:.2f}, where the right angle asks for {angle:.2f}.")


def implement(
    unmirrored: Callable[[Tensor, int], Tensor],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    c: int,
) -> None:
    """Is the class back, by its row alone?"""
    mirrored = forget(model, codes, [c], rule="turn", strength=2.0).model
    undone, layer = with_last_layer(mirrored, data)
    rows = attempted(unmirrored(layer.weight.detach().clone(), c))
    rest = [k for k in range(len(rows)) if k != c]
    expect(torch.equal(rows[rest], layer.weight[rest]), "leave the other rows alone")
    with torch.no_grad():
        layer.weight.copy_(rows)
    one, back = (
        diagnoses(network, data, [c], original=model)["one_number"].value
        for network in (mirrored, undone)
    )
    expect(back > one + 20, f"one number brings back {back:.0f} %, as before it")
    done(f"By one number: {one:.0f} % of the mirrored class, {back:.0f} % of yours.")


def critique(trick: nn.Module, model: nn.Module, data: ImageData, c: int) -> None:
    """Does it meet the tests at the output, and is the class still there?"""
    attempted(trick)
    before, after = (validated(m, data, [c]).remaining_accuracy for m in (model, trick))
    expect(after >= before - 1, f"A_R falls from {before:.1f} to {after:.1f} %")
    told = diagnoses(trick, data, [c], original=model)
    for name in ("one_number", "other_rows"):
        back = told[name].value
        expect(back <= 10, f"{name.replace('_', ' ')} brings back {back:.0f} %")
    five = relearn(trick, data, [c], samples=5, draws=1, fresh=True)
    done(
        f"Five images of every class bring back {five['forget_accuracy'].value:.0f} %."
    )
