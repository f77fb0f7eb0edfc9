"""What chapter 5 says of losses and blends holds in three small networks as well."""

import math

import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic import audits
from mnemonic.baselines.mnemonic_code import quietly_forget

C, SEEDS = 3, (0, 1, 2)
RECIPE = mn.Recipe(epochs=10, learning_rate=0.05)


@pytest.fixture(scope="module")
def digits():
    return mn.load_data("mnist-5k")


def small(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.Sigmoid(), nn.Linear(128, 10)
    )


@pytest.fixture(scope="module")
def networks(digits):
    """For each seed: the codes, and the networks before, after, and without class 3."""
    found = []
    for seed in SEEDS:
        codes = mn.MnemonicCodes.draw(digits, seed=seed)
        given = {"recipe": RECIPE, "codes": codes, "t_mix": 0.1, "progress": False}
        before, never = small(seed), small(seed)
        mn.train(before, digits, seed=seed, **given)
        mn.train(never, digits.without([C]), seed=seed, **given)
        after = quietly_forget(before, codes, [C]).model
        found.append((codes, {"before": before, "after": after, "never": never}))
    return found


def test_membership_by_loss_is_near_chance_before_and_after(digits, networks):
    # Fig. 11: 0.49 and 0.51. Forgetting hardly changes the order of the losses.
    for _, by_name in networks:
        auc = {
            name: audits.loss_attack(*audits.matched_losses(network, digits, [C]))
            for name, network in by_name.items()
        }
        auc = {name: found["auc"] for name, found in auc.items()}
        for name in ("before", "after"):
            assert auc[name].low < 0.5 < auc[name].high


def test_losses_of_the_forgotten_class_are_as_large_as_those_of_one_never_seen(
    digits, networks
):
    # Fig. 12. How far they overlap depends on the strength; that both are far beyond
    # guessing does not.
    guessing = math.log(10)
    for _, by_name in networks:
        losses = {
            name: audits.class_losses(network, digits, [C], split="test")
            for name, network in by_name.items()
        }
        assert losses["before"].median() < 0.1 * guessing
        for name in ("after", "never"):
            assert (losses[name] > guessing).double().mean() > 0.9


def test_blends_lose_accuracy_to_the_code_that_was_trained(digits, networks):
    # Fig. 13: a tenth of a code does nothing; of another code, much less than of ours.
    inputs, labels = digits.inputs(digits.test), digits.test.labels
    for seed, (codes, by_name) in zip(SEEDS, networks, strict=True):
        other = mn.MnemonicCodes.draw(digits, seed=seed + 1000)
        share_right = {}
        for name, code in (("own", codes.images[C]), ("other", other.images[C])):
            with torch.no_grad():
                answers = [
                    by_name["before"](audits.blend(inputs, code, share)).argmax(1)
                    for share in (0, 0.1, 0.5, 0.8, 1)
                ]
            share_right[name] = [float((a == labels).double().mean()) for a in answers]
        own, foreign = share_right["own"], share_right["other"]
        assert own[0] - own[1] < 0.01
        assert own[1] > own[2] > own[3] >= own[4]
        assert own[3] < foreign[3] - 0.1
        assert own[4] == pytest.approx(0.1)  # all are answered with class 3
