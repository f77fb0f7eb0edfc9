"""Checks of chapter 10, unlearning by design."""

import math
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from mnemonic.baselines import Access
from mnemonic.data.splits import first_of_each
from mnemonic.exercises.answers import (
    attempted,
    chosen,
    done,
    expect,
    near,
    validated,
    with_last_layer,
)
from mnemonic.lab.members import MEMBERS

MEANS = MEMBERS["class means"]


def predict(others: str, model: nn.Module, access: Access) -> None:
    """Two classes that are alike go, one after the other: what becomes of the rest?"""
    chosen(("kept", "damaged"), others)
    model, kept = MEANS.keep(model, access, 0)
    one, five, both = (replace(access, classes=c) for c in ((3,), (5,), (3, 5)))
    in_turn = MEANS.drop(MEANS.drop(model, kept, one, {}), kept, five, {})
    at_once = MEANS.drop(model, kept, both, {})
    before, turn, once = (
        validated(network, access.data, [3, 5]).remaining_accuracy
        for network in (model, in_turn, at_once)
    )
    truth = "kept" if turn > before - 5 else "damaged"
    expect(others == truth, "what has the first turn left along the second direction?")
    done(f"A_R {before:.0f} %; in turn {turn:.0f} %, and at once {once:.0f} %.")


def change(remaining: float, error: float, model: nn.Module, access: Access) -> None:
    """Are these A_R and E_F on validation images, by means of ten images a class?"""
    attempted(remaining, error)
    data = access.data
    few = replace(data, train=data.train.take(first_of_each(data.train.labels, 10)))
    few = Access(few, access.classes)
    scores = validated(
        MEANS.drop(*MEANS.keep(model, few, 0), few, {}), data, few.classes
    )
    near(
        remaining, scores.remaining_accuracy, 0.2, "A_R of the first ten of each class"
    )
    near(error, scores.forgetting_error, 1.5, "E_F of the first ten of each class")
    done(f"A_R {scores.remaining_accuracy:.1f} %, E_F {scores.forgetting_error:.0f} %.")


def implement(
    back: Callable[[Tensor, Tensor, int], Tensor],
    gone: nn.Module,
    model: nn.Module,
    means: Tensor,
    access: Access,
) -> None:
    """Are all rows of the last layer what they were?"""
    (c,) = access.classes
    (_, turned), (_, before) = (
        with_last_layer(network, access.data) for network in (gone, model)
    )
    rows = turned.weight.detach().double()
    found = attempted(back(rows.clone(), means.double(), c))
    expect(found.shape == rows.shape, f"give all rows, {list(rows.shape)}")
    away = float((found - before.weight.detach().double()).abs().max())
    expect(away < 1e-3, f"a weight is {away:.3f} from what it was")
    done(f"No weight is further than {away:.0e} from what it was.")


def critique(requests: int, extra: float, again: float) -> None:
    """From how many requests on has keeping the updates cost less than retraining?"""
    attempted(requests)
    truth = math.ceil(extra / again)
    hint = f"{extra:.0f} s more at training, {again:.0f} s for each retraining"
    expect(int(requests) == truth, hint)
    done(f"From request {truth} on, and there are at most nine of ten classes.")
