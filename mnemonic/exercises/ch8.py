"""Checks of chapter 8, ablations."""

import copy
from collections.abc import Callable

import pandas as pd
import torch
from torch import nn

from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.exercises.answers import (
    attempted,
    both,
    chosen,
    done,
    expect,
    same_weights,
    validated,
)
from mnemonic.forgetting.report import Forgotten
from mnemonic.forgetting.strengths import Strength


def predict(
    error: str,
    accuracy: str,
    model: nn.Module,
    codes: MnemonicCodes,
    data: ImageData,
    c: int,
) -> None:
    """At a large λ1, if only the last layer moves: the same, higher or lower?"""
    choices = ("the same", "higher", "lower")
    chosen(choices, error, accuracy)
    last_only = copy.deepcopy(model)
    for weight in list(last_only.parameters())[:-2]:
        weight.requires_grad_(False)
    given = {"strength": Strength(0.1, 1000.0), "sign": -1}
    results = (quietly_forget(m, codes, [c], **given) for m in (model, last_only))
    everything, last = (validated(r.model, data, [c]) for r in results)
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
        found = attempted(one_by_one(model, codes, classes))
        wanted = model
        for k in classes:
            wanted = quietly_forget(wanted, codes, [k]).model
        expect(same_weights(found, wanted), f"it differs for the classes {classes}")
        at_once = quietly_forget(model, codes, classes).model
        for how, network in (("at once", at_once), ("one by one", found)):
            score = both(network, data, classes)
            rows.append({"classes": len(classes), "how": how, "A_R + E_F": score})
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
        ours = quietly_forget(model, codes, [k], candidates=True)
        index = attempted(rule(ours.candidates.copy()))
        expect(index in ours.candidates.index, f"{index!r} is no row of candidates")
        row = ours.candidates.loc[index]
        given = Strength(row["lambda1"], row["lambda2"])
        yours = quietly_forget(model, codes, [k], strength=given, sign=int(row["sign"]))
        on_codes = ours.candidates.eval("remaining_accuracy + forgetting_error")
        best = on_codes[index] > on_codes.max() - 1e-6
        expect(best, f"class {k}: others do better on the codes")
        for whose, result in (("yours", yours), ("the package's", ours)):
            scores[whose].append(both(result.model, data, [k]))
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
    decades = quietly_forget(model, codes, [c])
    exponent = torch.tensor(result.settings["strength"].lambda1).double().log10()
    on_a_decade = bool((exponent - exponent.round()).abs() <= 1e-3)
    expect(not on_a_decade, "λ1 is to lie between decades")
    with torch.no_grad():
        answers = result.model(codes.images).argmax(1)
    read = answers == codes.labels
    forgets = not read[c] and int(read.sum()) == len(codes.images) - 1
    expect(forgets, "choose by the codes: the code of the class goes, the others stay")
    finer, coarser = (both(r.model, data, [c]) for r in (result, decades))
    done(
        f"A_R + E_F on validation images: between decades {finer:.1f}, on them "
        f"{coarser:.1f}."
    )
