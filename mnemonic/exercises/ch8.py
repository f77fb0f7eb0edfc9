"""Checks of chapter 8, ablations."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import nn

from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import (
    attempted,
    close,
    done,
    expect,
    one_of,
    same_weights,
)
from mnemonic.forgetting.step import Forgotten, forget
from mnemonic.forgetting.strengths import Strength


def _quietly(model: nn.Module, codes: MnemonicCodes, classes: Sequence[int], **given):
    with warnings.catch_warnings():  # that a code is not forgotten is looked at here
        warnings.simplefilter("ignore", RuntimeWarning)
        return forget(model, codes, classes, **given)


def _last_only(model: nn.Module) -> nn.Module:
    free = copy.deepcopy(model)
    *first, _, _ = free.parameters()
    for weight in first:
        weight.requires_grad_(False)
    return free


def predict(
    error: str,
    accuracy: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    c: int,
) -> None:
    """At a large λ1, if only the last layer moves: the same, higher or lower?"""
    attempted(error, accuracy)
    choices = ("the same", "higher", "lower")
    one_of(error, choices)
    one_of(accuracy, choices)
    scores = []
    for network in (model, _last_only(model)):
        result = _quietly(network, codes, [c], strength=Strength(0.1, 1000.0), sign=-1)
        scores.append(evaluate(result.model, data, [c], split="validation"))
    everything, last = scores
    gains = {
        "E_F": last.forgetting_error - everything.forgetting_error,
        "A_R": last.remaining_accuracy - everything.remaining_accuracy,
    }
    for (name, gain), answer in zip(gains.items(), (error, accuracy), strict=True):
        truth = choices[0 if abs(gain) < 3 else 1 if gain > 0 else 2]
        expect(answer == truth, f"try λ1 = 0.1, λ2 = 1000 and compare {name}")
    done(f"Last layer alone: E_F {gains['E_F']:+.0f}, A_R {gains['A_R']:+.0f} points.")


def change(
    one_by_one: Callable[..., nn.Module],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Is each class forgotten from the result of the last, and is it better so?"""
    rows = []
    for classes in ([3, 5], [3, 5, 8], [3, 5, 8, 0, 1]):
        found = one_by_one(model, codes, classes)
        attempted(found)
        wanted = model
        for k in classes:
            wanted = _quietly(wanted, codes, [k]).model
        expect(same_weights(found, wanted), f"it differs for the classes {classes}")
        at_once = _quietly(model, codes, classes).model
        for how, network in (("at once", at_once), ("one by one", found)):
            s = evaluate(network, data, classes, split="validation")
            sum_ = s.remaining_accuracy + s.forgetting_error
            rows.append({"classes": len(classes), "how": how, "A_R + E_F": sum_})
    table = pd.DataFrame(rows).pivot_table(index="classes", columns="how")["A_R + E_F"]
    done("A_R + E_F on validation images, one network:")
    print(table.round(1).to_string())


def implement(
    rule: Callable[[pd.DataFrame], object],
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
) -> None:
    """Does the rule pick one of the candidates, and how good is it on validation?"""
    scores = {"yours": [], "the package's": []}
    for k in range(data.n_classes):
        ours = _quietly(model, codes, [k], candidates=True)
        index = rule(ours.candidates.copy())
        attempted(index)
        expect(index in ours.candidates.index, f"{index!r} is no row of candidates")
        row = ours.candidates.loc[index]
        given = Strength(row["lambda1"], row["lambda2"])
        yours = _quietly(model, codes, [k], strength=given, sign=int(row["sign"]))
        best = ours.candidates.eval("remaining_accuracy + forgetting_error").max()
        on_codes = row["remaining_accuracy"] + row["forgetting_error"]
        expect(on_codes > best - 1e-6, f"class {k}: others do better on the codes")
        for whose, result in (("yours", yours), ("the package's", ours)):
            s = evaluate(result.model, data, [k], split="validation")
            scores[whose].append(s.remaining_accuracy + s.forgetting_error)
    said = (
        f"{whose} {sum(sums) / len(sums):.1f} (worst {min(sums):.1f})"
        for whose, sums in scores.items()
    )
    done(f"A_R + E_F on validation images, one network: {', '.join(said)}.")


def critique(
    result: Forgotten, model: nn.Module, codes: MnemonicCodes, data: ImageData, c: int
) -> None:
    """Was a strength between the decades tried, and chosen by the codes?"""
    attempted(result)
    decades = _quietly(model, codes, [c])
    exponent = torch.tensor(result.strength.lambda1).double().log10()
    expect(not close(exponent, exponent.round(), 1e-3), "λ1 is to lie between decades")
    with torch.no_grad():
        answers = result.model(codes.images).argmax(1)
    read = answers == codes.labels
    forgets = not read[c] and int(read.sum()) == len(codes.images) - 1
    expect(forgets, "choose by the codes: the code of the class goes, the others stay")
    finer, coarser = (
        evaluate(r.model, data, [c], split="validation") for r in (result, decades)
    )
    sums = [s.remaining_accuracy + s.forgetting_error for s in (finer, coarser)]
    done(
        f"A_R + E_F on validation images: between decades {sums[0]:.1f}, on them "
        f"{sums[1]:.1f}."
    )
