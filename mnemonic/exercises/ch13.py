"""Checks of chapter 13, people."""

from collections.abc import Callable

import pandas as pd
import torch

from mnemonic.exercises.answers import attempted, done, expect, near
from mnemonic.lab.meta_loss import MetaLoss, one_step
from mnemonic.lab.one_drawing import moved
from mnemonic.lab.people import People, accuracies, tug_of_war


def predict(score: float) -> None:
    """The ToW of a network that forgot nothing, by hand?"""
    attempted(score)
    truth = tug_of_war(
        {"retained": 100.0, "forgotten": 100.0, "test": 60.0},
        {"retained": 100.0, "forgotten": 60.0, "test": 60.0},
    )
    near(score, truth, 0.1, "only one of the three accuracies is off, by forty points")
    done(f"{truth:.0f} of 100, for doing nothing at all.")


def change(
    longest: dict[str, float],
    model: torch.nn.Sequential,
    meta: MetaLoss,
    people: People,
    asked: torch.Tensor,
    rate: float,
) -> None:
    """The accuracies after a step on the learned loss that is twice as long?"""
    attempted(longest)
    loss = meta(model, people.handed_in(asked))
    truth = accuracies(moved(model, one_step(model, loss, 2 * rate)), people, asked)
    for name, value in truth.items():
        hint = f"{name}: twice the step gives {value:.1f} %"
        near(attempted(longest[name]), value, 0.1, hint)
    done(", ".join(f"{name} {value:.1f} %" for name, value in truth.items()))


def implement(selectivity: Callable[[pd.DataFrame], pd.Series]) -> None:
    """Does it say how many points those who asked lost beyond the others?"""
    rows = pd.DataFrame(
        {
            "method": ["nothing", "a", "b", "nothing", "a", "b"],
            "turn": [0, 0, 0, 1, 1, 1],
            "retained": [100.0, 90.0, 70.0, 98.0, 88.0, 98.0],
            "forgotten": [100.0, 60.0, 70.0, 96.0, 66.0, 46.0],
        }
    )
    found = attempted(selectivity(rows))
    truth = {"a": (30.0 + 20.0) / 2, "b": (0.0 + 50.0) / 2}
    for name, points in truth.items():
        hint = f"{name} loses {points:.0f} points more on those who asked, on average"
        near(attempted(found[name]), points, 1e-6, hint)
    done("Points lost by those who asked, less the points lost by all others.")


def critique(
    damaged: torch.nn.Module,
    model: torch.nn.Module,
    people: People,
    asked: torch.Tensor,
    retrained: torch.nn.Module,
) -> None:
    """Does a network win in ToW that nobody's drawing was shown to?"""
    attempted(damaged)
    gold = accuracies(retrained, people, asked)
    before, after = (
        tug_of_war(accuracies(network, people, asked), gold)
        for network in (model, damaged)
    )
    expect(
        after > before, f"it scores {after:.1f}, and doing nothing scores {before:.1f}"
    )
    done(f"{after:.1f} where doing nothing has {before:.1f}, and nobody was asked for.")
