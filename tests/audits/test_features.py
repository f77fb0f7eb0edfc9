import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.audits import cka, feature_similarity, linear_probes
from mnemonic.audits.probes import fitted_probe, probed_layers


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_probe_reads_separable_features_and_no_others():
    labels = torch.arange(120) % 3
    separable = functional.one_hot(labels, 3) + 0.1 * normal(120, 3)
    probe = fitted_probe(separable, labels)
    fresh = functional.one_hot(labels, 3) + 0.1 * normal(120, 3, seed=1)
    assert (probe.predict(fresh.numpy()) == labels.numpy()).all()
    noise = fitted_probe(normal(120, 3), labels)
    right = noise.predict(normal(120, 3, seed=1).numpy()) == labels.numpy()
    assert right.mean() < 0.5


def test_probe_is_at_the_minimum_of_its_loss():
    labels = torch.arange(90) % 3
    features = normal(90, 4) * torch.tensor([1.0, 10.0, 0.1, 1.0]) + 5
    probe = fitted_probe(features, labels)
    x = (features - features.mean(0)) / features.std(0, correction=0)
    weight, bias = (
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (probe[-1].coef_, probe[-1].intercept_)
    )
    logits = x.double() @ weight.T + bias
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    loss = loss + 0.5 * weight.square().sum()
    gradients = torch.autograd.grad(loss, (weight, bias))
    assert max(g.abs().max() for g in gradients) < 0.02  # sums over 90 images
    assert (logits.argmax(1).numpy() == probe.predict(features.numpy())).all()


def test_probe_reads_below_a_row_of_zeros(learned):
    model, data, _ = learned
    hidden = mn.METHODS["row-zeroing"](model, mn.Access(data, [1])).model
    assert mn.evaluate(hidden, data, [1]).forgetting_error == 100
    before, after = (linear_probes(m, data, [1]) for m in (model, hidden))
    assert list(before) == [
        f"{layer}/{whose}_accuracy"
        for layer in "23"  # the first is a linear map of the pixels
        for whose in ("forget", "remaining")
    ]
    assert after["2/forget_accuracy"] == before["2/forget_accuracy"]
    assert after["2/forget_accuracy"].value > 95
    assert after["2/forget_accuracy"].n == 100
    assert after["2/remaining_accuracy"].n == 300


def test_layers_that_are_linear_in_the_pixels_are_not_probed(data, tiny):
    assert probed_layers(tiny, data) == ("2", "3")
    slim = mn.build_model("slim-resnet", data).eval()
    assert probed_layers(slim, data) == ("stem", "blocks", "classifier")
    convolved = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    assert probed_layers(convolved, data) == ("3", "5")
    with torch.no_grad():
        tiny[1].weight *= 0.3  # nearly straight is not straight
    assert probed_layers(tiny, data) == ("2", "3")


def test_probe_of_many_features_reads_their_first_components():
    labels = torch.arange(600) % 3
    separable = normal(600, 3) + 4 * functional.one_hot(labels, 3)
    spread = torch.linalg.qr(normal(250, 250, seed=1)).Q[:3]
    features = separable @ spread + 0.1 * normal(600, 250, seed=2)
    train, test = features[:400], features[400:]
    probe = fitted_probe(train, labels[:400])
    assert probe[-1].coef_.shape == (3, 200)
    answers = probe.predict(test.numpy())
    assert (answers == labels[400:].numpy()).mean() > 0.9
    assert (fitted_probe(train, labels[:400]).predict(test.numpy()) == answers).all()
    few = fitted_probe(train[:150], labels[:150])  # nothing to gain
    assert few[-1].coef_.shape == (3, 250)


def test_probe_of_a_named_layer_that_says_nothing(learned):
    model, data, _ = learned
    blank = copy.deepcopy(model)
    nn.init.zeros_(blank[1].weight)
    found = linear_probes(blank, data, [1], layers=["1"])
    assert list(found) == ["1/forget_accuracy", "1/remaining_accuracy"]
    # All images look alike: one class is answered, whichever it is.
    assert {e.value for e in found.values()} <= {0.0, 100.0, 100 / 3}


def by_hand(x, y):
    """CKA from Gram matrices, centred by the matrix I - 11ᵀ / n."""
    n = len(x)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    k, m = (h @ (f.double() @ f.double().T) @ h for f in (x, y))
    return ((k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()).item()


def test_cka_in_closed_form():
    x, y = normal(30, 6), normal(30, 4, seed=1)
    turned = 7 * x @ torch.linalg.qr(normal(6, 6, seed=2)).Q + 3
    assert cka(x, turned).value == pytest.approx(1)
    assert cka(x, x).low == pytest.approx(1)
    assert cka(x, y).value == pytest.approx(by_hand(x, y))
    # The formula of features: ||YᵀX||² / (||XᵀX|| ||YᵀY||).
    a, b = (f.double() - f.double().mean(0) for f in (x, y))
    ratio = (b.T @ a).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
    assert cka(x, y).value == pytest.approx(ratio.item())
    assert cka(x, y).value == pytest.approx(cka(y, x).value)
    assert cka(x, torch.ones(30, 2)).value == 0
    apart = torch.eye(4).repeat(10, 1)
    assert cka(apart[:, :1], apart[:, 1:2]).value == pytest.approx(1 / 9)


def test_interval_of_cka_is_the_jackknife():
    x, y = normal(12, 3), normal(12, 5, seed=1)
    y[:, :3] += 2 * x
    without = torch.tensor(
        [by_hand(x[torch.arange(12) != i], y[torch.arange(12) != i]) for i in range(12)]
    )
    error = (11 / 12 * (without - without.mean()).square().sum()).sqrt().item()
    found = cka(x, y)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=1e-6)
    assert found.high == pytest.approx(min(found.value + 1.96 * error, 1), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 10), st.integers(1, 5), st.integers(0, 999), st.floats(-6, 6))
def test_cka_is_a_share_whatever_the_scale(n, d, seed, exponent):
    x, y = normal(n, d, seed=seed), normal(n, 2, seed=seed + 1)
    found = cka(x, y)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert cka(10**exponent * x, y).value == pytest.approx(found.value, abs=1e-5)


def test_similarity_of_networks(learned):
    model, data, _ = learned
    other = mn.build_model("mlp", data, seed=9).eval()
    same = feature_similarity(model, copy.deepcopy(model), data, [1])
    assert list(same) == [f"{layer}/{w}" for layer in "123" for w in ("all", "forget")]
    assert all(e.value == pytest.approx(1) for e in same.values())
    found = feature_similarity(model, other, data, [1], layers=["3"])
    assert found["3/all"].value < 0.9
    chosen = data.inputs(data.test)[data.test.labels == 1]
    with torch.no_grad():
        expected = by_hand(model(chosen), other(chosen))
    assert found["3/forget"].value == pytest.approx(expected, rel=1e-4)
    assert (found["3/forget"].n, found["3/all"].n) == (100, 400)


def test_no_more_images_than_matrices_can_take(learned, monkeypatch):
    model, data, _ = learned
    other = mn.build_model("mlp", data, seed=9).eval()
    monkeypatch.setattr("mnemonic.audits.similarity.MOST_IMAGES", 60)
    found, again, anew = (
        feature_similarity(model, other, data, [1], layers=["3"], seed=s)
        for s in (0, 0, 1)
    )
    assert found["3/all"].n == 60
    assert again == found
    assert anew["3/all"].value != found["3/all"].value


def test_networks_are_left_as_they_were(learned):
    model, data, _ = learned
    before = copy.deepcopy(model.state_dict())
    model.train()
    linear_probes(model, data, [1], layers=["2"])
    feature_similarity(model, model, data, [1])
    assert model.training
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_a_network_without_layers_is_refused(data):
    class Whole(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs.flatten(1))

    straight = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    for network, name in ((Whole(36, 3), "Whole"), (straight, "Sequential")):
        with pytest.raises(ValueError, match=f"no top-level layer of {name} gives a"):
            linear_probes(network, data, [1])
    assert linear_probes(straight, data, [1], layers=["1"])  # where it is named


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(5, 2), r"of shape \[4, 2\] and \[5, 2\]"),
        (torch.zeros(2, 2), torch.zeros(2, 2), "3 or more images"),
        (torch.zeros(4), torch.zeros(4), "give"),
        (torch.full((4, 2), torch.nan), torch.zeros(4, 2), "NaN"),
    ],
)
def test_features_without_a_cka_are_refused(one, two, message):
    with pytest.raises(ValueError, match=message):
        cka(one, two)
