"""Readings of the step, against gradients taken one by one."""

import pytest
import torch
from torch.nn import functional

import mnemonic as mn
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab import readings


def gradients(model, codes, which):
    weights = [*model.parameters()]
    loss = functional.cross_entropy(model(codes.images[which]), codes.labels[which])
    return torch.autograd.grad(loss, weights)


def test_each_reading_changes_one_thing(learned):
    model, _, codes = learned
    found = {n: (eta, to) for n, eta, to in readings.amplitudes(model, codes, 1)}
    names = [n for n, _ in model.named_parameters()]
    written, towards = found["as written"]
    theirs = mn.amplitude(model, codes, [1])
    for name in names:
        torch.testing.assert_close(written[name], theirs[name], rtol=1e-5, atol=0)
        assert (towards[name] == 1).all()
    own = gradients(model, codes, [1])
    others = [gradients(model, codes, [k]) for k in (0, 2, 3)]
    whole = gradients(model, codes, [0, 2, 3])
    squared = found["square of the mean gradient"][0]
    above = found["difference of the Fishers"][0]
    layer = found["over the mean of the layer"][0]
    each = found["a sign for each weight"][1]
    # Without normalisation, training mode is no other network.
    training = found["Fishers in training mode"][0]
    for i, name in enumerate(names):
        rest = sum(g[i].double() ** 2 for g in others) / 3
        f = own[i].double() ** 2
        close = {"rtol": 1e-3, "atol": 1e-12}
        seen = rest > 1e-20
        torch.testing.assert_close(training[name][seen], (f / rest)[seen], **close)
        torch.testing.assert_close(
            above[name], (f - rest).clamp_min(1e-30), rtol=1e-3, atol=1e-9
        )
        seen = whole[i].double() ** 2 > 1e-20
        torch.testing.assert_close(
            squared[name][seen], (f / whole[i].double() ** 2)[seen], **close
        )
        torch.testing.assert_close(layer[name], f / rest.mean(), **close)
        assert ((own[i] < 0) == (each[name] < 0)).all()
    assert set(found["the last layer"][0]) == {"3.weight", "3.bias"}
    assert set(found["all but the last layer"][0]) == {"1.weight", "1.bias"}
    assert set(found["no biases, no normalisation"][0]) == {"1.weight", "3.weight"}
    up = found["a sign for each layer"]
    for i, name in enumerate(names):
        assert (own[i] * up[0][name] * up[1][name]).sum() >= 0


@pytest.mark.usefixtures("smoke_networks")
def test_the_step_as_written_is_that_of_forget():
    rows = readings.readings(0, "smoke", 3)
    profile = mn.Profile.named("smoke")
    data = profile.load()
    model, codes = profile.trained(data, 0)
    assert {row["choice"] for row in rows} == {"the paper's", "codes"}
    for row in rows[:2]:
        strength = mn.Strength(row["lambda1"], row["lambda2"])
        theirs = quietly_forget(model, codes, [3], strength=strength)
        scores = mn.evaluate(theirs.model, data, [3])
        assert row["reading"] == "as written"
        assert row["remaining_accuracy"] == pytest.approx(
            scores.remaining_accuracy, abs=0.2
        )
        assert row["forgetting_error"] == pytest.approx(scores.forgetting_error, abs=2)
