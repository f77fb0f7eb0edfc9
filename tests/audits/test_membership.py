import math

import pytest
import scipy.stats
import torch
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.audits import (
    class_losses,
    entropy_attack,
    lira,
    loss_attack,
    matched_losses,
)
from mnemonic.audits.estimates import auc_of
from mnemonic.audits.lira import log_ratios, scores
from mnemonic.audits.membership import _off_chance, entropies


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_losses_of_a_class_by_hand(learned):
    model, data, _ = learned
    chosen = data.train.labels == 2
    logits = model(data.inputs(data.train)[chosen])
    expected = functional.cross_entropy(
        logits, data.train.labels[chosen], reduction="none"
    )
    assert torch.allclose(class_losses(model, data, [2]), expected, atol=1e-6)
    assert len(class_losses(model, data, [2, 0], split="test")) == 200


def test_as_many_members_as_others_of_each_class(learned):
    model, data, _ = learned
    members, others = matched_losses(model, data, [1, 3], seed=4)
    assert len(members) == len(others) == 200  # 135 and 100 of each
    for split, found in (("train", members), ("test", others)):
        for c, part in zip((1, 3), found.split(100), strict=True):
            there = class_losses(model, data, [c], split=split).tolist()
            assert set(part.tolist()) <= set(there)
    again = matched_losses(model, data, [1, 3], seed=4)
    assert torch.equal(again[0], members)
    assert not torch.equal(matched_losses(model, data, [1, 3], seed=5)[0], members)


def test_attack_on_known_losses():
    members, others = normal(1500) - 1, normal(1500, seed=1)
    found = loss_attack(members, others)
    assert found["auc"].value == pytest.approx(
        scipy.stats.norm.cdf(1 / math.sqrt(2)), abs=0.02
    )
    assert found["accuracy"].value == pytest.approx(
        100 * scipy.stats.norm.cdf(0.5), abs=2
    )
    assert found["off_chance"].value == pytest.approx(found["auc"].value - 0.5)
    turned = loss_attack(others, members)
    assert turned["auc"].value == pytest.approx(1 - found["auc"].value)
    assert turned["off_chance"].value == pytest.approx(found["off_chance"].value)
    assert turned["accuracy"].value > 60  # the sign is learned, too


def test_attack_on_equal_losses_is_a_guess():
    found = loss_attack(torch.ones(50), torch.ones(50))
    assert found["auc"].value == 0.5
    assert found["off_chance"].value == found["off_chance"].low == 0
    assert found["accuracy"].value == 50


def test_interval_off_chance_holds_the_value():
    for seed in range(20):
        shift = 0.1 * (seed % 5) - 0.2
        sides = normal(30, seed=seed) + shift, normal(30, seed=seed + 99)
        off = _off_chance(auc_of(*sides))
        assert 0 <= off.low <= off.value <= off.high <= 0.5


def test_huge_losses_do_no_harm():
    hidden = torch.cat([torch.full((30,), 1e4), torch.zeros(30)])
    found = loss_attack(hidden[:30], hidden[30:])
    assert found["auc"].value == 0
    assert found["accuracy"].value == 100


def test_attack_has_a_seed_and_wants_equal_sides():
    members, others = normal(40), normal(40, seed=1)
    assert loss_attack(members, others, seed=1) == loss_attack(members, others, seed=1)
    a, b = (loss_attack(members, others, seed=s)["accuracy"].value for s in (1, 2))
    assert a != b
    with pytest.raises(ValueError, match="the same shape for each of members, others"):
        loss_attack(members, others[1:])
    with pytest.raises(ValueError, match="9 members and 9 others; give as many"):
        loss_attack(members[:9], others[:9])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6))
def test_entropy_lies_between_0_and_log_k(logits):
    (found,) = entropies(torch.tensor([logits])).tolist()
    assert -1e-9 <= found <= math.log(len(logits)) + 1e-9


def test_entropy_in_closed_form():
    assert entropies(torch.zeros(1, 8)).item() == pytest.approx(math.log(8))
    halves = torch.tensor([[0.0, 0.0, -1e4]])
    assert entropies(halves).item() == pytest.approx(math.log(2))


class Certain(nn.Module):
    """Sure of images of which a corner pixel is bright, of no others."""

    def forward(self, inputs):
        sure = (inputs[:, 0, 0, 0] > 0).float()
        return 20 * sure[:, None] * torch.eye(3)[0]


def marked(labels, bright):
    images = torch.full((len(labels), 1, 2, 2), 0.5)
    images[:, 0, 0, 0] = bright.float()
    return images, labels


def test_entropy_attack_calls_certain_images_members():
    labels = torch.arange(150) % 3
    certain = labels != 1  # so are the remaining training images
    data = mn.ImageData.from_arrays(
        train=marked(labels, certain),
        test=marked(labels, torch.zeros(150)),
        validation=marked(labels, certain),
        class_names=["a", "b", "c"],
    )
    assert entropy_attack(Certain(), data, [1]).value == 0
    data = mn.ImageData.from_arrays(
        train=marked(labels, certain | (torch.arange(150) < 75)),
        test=marked(labels, torch.zeros(150)),
        validation=marked(labels, certain),
        class_names=["a", "b", "c"],
    )
    found = entropy_attack(Certain(), data, [1])
    assert (found.value, found.n) == (50, 50)
    assert 30 < found.low < 50 < found.high < 70
    # Only remaining images are known members: here none of them is certain.
    data = mn.ImageData.from_arrays(
        train=marked(labels, labels == 1),
        test=marked(labels, torch.arange(150) % 4 == 0),
        validation=marked(labels, certain),
        class_names=["a", "b", "c"],
    )
    assert entropy_attack(Certain(), data, [1]).value == 0


def test_entropy_attack_by_hand(tiny):
    data = mn.ImageData.from_arrays(
        train=blobs(900), test=blobs(90, seed=1), class_names=["a", "b", "c"]
    )
    with torch.no_grad():
        tiny[3].weight *= 4

    def by_hand(split, classes):
        chosen = torch.isin(split.labels, torch.tensor(classes))
        with torch.no_grad():
            p = tiny(data.inputs(split)[chosen]).double().softmax(1)
        return -(p * p.log()).sum(1)

    known, unknown = by_hand(data.train, [0, 2]), by_hand(data.test, [0, 1, 2])
    both = torch.cat([known, unknown])
    middle, spread = both.mean(), both.std(correction=0)
    values = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")
    n = len(both)

    def loss():
        optimizer.zero_grad()
        weight, bias = values
        sides = [(known, 1), (unknown, -1)]
        total = 0.5 * weight**2
        for side, sign in sides:  # each side counts as half of all
            z = sign * (weight * (side - middle) / spread + bias)
            total = total + n / (2 * len(side)) * functional.softplus(-z).sum()
        total.backward()
        return total

    optimizer.step(loss)
    weight, bias = values.tolist()
    called = weight * (by_hand(data.train, [1]) - middle) / spread + bias > 0
    expected = 100 * called.double().mean().item()
    assert 5 < expected < 95
    found = entropy_attack(tiny, data, [1])
    assert found.value == pytest.approx(expected, abs=0.5)


def shadows(phi):
    """Logits of class 0 whose scores are these: of two classes, the other at 0."""
    return torch.stack([phi, torch.zeros_like(phi)], -1)


def test_lira_on_known_gaussians():
    n, s = 150, 50
    labels = torch.zeros(n, dtype=torch.int64)
    spread = 5 * normal(n)  # images differ in difficulty, which must not matter
    unlearned = shadows(normal(s, n) + spread + 1)
    retrained = shadows(normal(s, n, seed=1) + spread)
    found = lira(unlearned, retrained, labels)
    phi = scipy.stats.norm.cdf
    assert found["auc"].value == pytest.approx(phi(1 / math.sqrt(2)), abs=0.02)
    assert found["auc"].low < found["auc"].value < found["auc"].high
    assert found["balanced_accuracy"].value == pytest.approx(100 * phi(0.5), abs=1.5)
    at_few = found["true_positives_at_1_percent"]
    assert at_few.value == pytest.approx(100 * phi(1 - 2.326), abs=3)
    assert found["auc"].n == at_few.n == n


def test_lira_cannot_tell_what_is_alike():
    labels = torch.zeros(100, dtype=torch.int64)
    found = [
        lira(
            shadows(normal(16, 100, seed=s)), shadows(normal(16, 100, seed=-s)), labels
        )
        for s in range(1, 13)
    ]
    mean = {name: sum(f[name].value for f in found) / 12 for name in found[0]}
    assert mean["auc"] == pytest.approx(0.5, abs=0.015)
    assert mean["balanced_accuracy"] == pytest.approx(50, abs=1.5)
    assert mean["true_positives_at_1_percent"] == pytest.approx(1, abs=0.7)
    assert sum(f["auc"].low < 0.5 < f["auc"].high for f in found) >= 9


def test_lira_by_hand():
    u, r = normal(3, 4) + 1, normal(3, 4, seed=1)
    positive, negative = [], []
    for left_out in range(3):
        kept = [s for s in range(3) if s != left_out]
        for i in range(4):
            fits = [
                scipy.stats.norm(x[kept, i].mean(), max(x[kept, i].std(), 0.1))
                for x in (u, r)
            ]
            for x, found in ((u, positive), (r, negative)):
                phi = x[left_out, i]
                found.append(fits[0].logpdf(phi) - fits[1].logpdf(phi))
    wins = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
    right = [v > 0 for v in positive] + [v <= 0 for v in negative]
    found = lira(shadows(u), shadows(r), torch.zeros(4, dtype=torch.int64))
    assert found["auc"].value == pytest.approx(sum(wins) / len(wins))
    assert found["balanced_accuracy"].value == pytest.approx(100 * sum(right) / 24)


def test_floor_keeps_equal_shadows_from_deciding_alone():
    equal = torch.zeros(5, 1, dtype=torch.float64)
    for floor in (0.1, 2.0):
        found = log_ratios(equal[0] + 1, equal + 1, equal, sd_floor=floor)
        assert found.item() == pytest.approx(0.5 / floor**2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=5), st.data())
def test_scores_are_log_odds(logits, draw):
    label = draw.draw(st.integers(0, len(logits) - 1))
    z = torch.tensor([logits], dtype=torch.float64)
    p = z.softmax(1)[0, label].item()
    found = scores(z, torch.tensor([label])).item()
    assert found == pytest.approx(math.log(p) - math.log1p(-p), abs=1e-4)


def test_scores_do_not_overflow():
    z = torch.tensor([[1e4, 0.0, 0.0]])
    found = [scores(z, torch.tensor([c])).item() for c in (0, 1)]
    assert found == pytest.approx([1e4 - math.log(2), -1e4])


def test_lira_refuses_what_it_cannot_use():
    labels = torch.zeros(4, dtype=torch.int64)
    good = shadows(normal(3, 4))
    for u, r, y, message in (
        (good[:2], good[:2], labels, "S = 3 pairs or more"),
        (good, good[:, :3], labels, "the same shape for each of unlearned, retrained"),
        (good, shadows(normal(4, 4)), labels, "the same shape for each"),
        (good, good, labels + 2, r"give int64 .N. of classes 0\.\.1"),
        (good * torch.inf, good, labels, "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            lira(u, r, y)
    with pytest.raises(ValueError, match="sd_floor is 0"):
        lira(good, good, labels, sd_floor=0)
