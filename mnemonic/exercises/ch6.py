"""Checks of chapter 6, what is forgotten."""

import copy
from collections.abc import Callable

from torch import nn

from mnemonic.audits import linear_probes, loss_attack, matched_losses, relearn
from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.exercises.answers import (
    attempted,
    chosen,
    done,
    expect,
    near,
    same_weights,
    with_last_layer,
)
from mnemonic.networks.running import seeded


def predict(
    answers: str, hidden: str, model: nn.Module, data: ImageData, c: int
) -> None:
    """If the last layer is drawn anew: are the answers gone, and the hidden layer?"""
    choices = ("gone", "kept")
    chosen(choices, answers, hidden)
    redrawn, layer = with_last_layer(model, data)
    with seeded(0):
        layer.reset_parameters()
    before, after = (evaluate(m, data, [c]).accuracy for m in (model, redrawn))
    probes = (linear_probes(m, data, [c], layers=["2"]) for m in (model, redrawn))
    seen, left = (p["2/forget_accuracy"].value for p in probes)
    expect(answers == choices[after > before / 2], "what does a fresh layer answer?")
    truth = choices[left > seen / 2]
    expect(hidden == truth, "the probe reads the hidden layer: did that change?")
    done(f"Accuracy {before:.0f} → {after:.0f} %, probe {seen:.0f} → {left:.0f} %.")


def change(
    forgotten: float,
    retrained: float,
    forgot: nn.Module,
    never: nn.Module,
    data: ImageData,
    c: int,
) -> None:
    """Are these the accuracies on the class after relearning from two images each?"""
    attempted(forgotten, retrained)
    pairs = (("forgotten", forgotten, forgot), ("retrained", retrained, never))
    for name, answer, network in pairs:
        truth = relearn(network, data, [c], samples=2)["forget_accuracy"].value
        near(answer, truth, 0.1, f"{name}: two images of each class give {truth:.1f} %")
    done(f"Two images: {forgotten:.0f} % come back, {retrained:.0f} % in retrained.")


def implement(
    steps_back: Callable[[nn.Module], int],
    model: nn.Module,
    forgot: nn.Module,
    never: nn.Module,
) -> None:
    """Does it count no step for the original, and some for the others?"""
    networks = model, forgot, never
    before = copy.deepcopy(networks)
    found = [steps_back(network) for network in networks]
    attempted(*found)
    original, forgotten, retrained = found
    still = all(map(same_weights, networks, before))
    expect(still, "the networks have changed: train a copy")
    expect(original == 0, "the original needs no step: test before the first one")
    expect(forgotten > 0 and retrained > 0, "at the start neither answers the class")
    expect(max(found) <= 200, "stop after 200 steps")
    done(f"{forgotten} steps for the forgotten network, {retrained} for the retrained.")


def critique(mute: nn.Module, model: nn.Module, data: ImageData, c: int) -> None:
    """Does it get an AUC of one half, with all that the original had to tell?"""
    attempted(mute)
    auc = loss_attack(*matched_losses(mute, data, [c]))["auc"].value
    near(auc, 0.5, 0.01, f"its AUC is {auc:.2f}: give every image one answer")
    accuracy = evaluate(mute, data, [c]).accuracy
    guessing = 100 / data.n_classes
    expect(accuracy < 2 * guessing, f"it still reads {accuracy:.0f} % of the images")
    *below, _, _ = model.parameters()
    kept = [any(w.equal(own) for own in mute.parameters()) for w in below]
    expect(all(kept), "it has deleted something: keep what is below the last layer")
    done(f"AUC {auc:.2f}, accuracy {accuracy:.0f} %, and nothing was deleted.")
