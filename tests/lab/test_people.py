"""Forgetting a person: the learned loss, its step, the groups of writers, the score."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from mnemonic.data.writers import Drawings
from mnemonic.lab import meta_loss, one_drawing, people
from mnemonic.lab.meta_loss import MetaLoss, Shown


def drawings(n_writers=10, each=12, seed=0):
    """A bright row for the class, and a bright column for the writer."""
    generator = torch.Generator().manual_seed(seed)
    n = n_writers * each
    pixels = 0.3 * torch.rand((n, 1, 12, 12), generator=generator)
    labels = torch.arange(n) % 3
    writers = torch.arange(n) // each
    for i in range(n):
        pixels[i, 0, labels[i]] += 0.5
        pixels[i, 0, :, writers[i]] += 0.2
    return Drawings(pixels.clamp(0, 1), labels, writers, ("a", "b", "c"))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.fixture
def shown():
    torch.manual_seed(1)
    return Shown(torch.randn(6, 1, 2, 2), torch.arange(6) % 3, torch.arange(6) // 2)


@pytest.fixture
def gathered():
    return people.gathered(drawings(), seed=3)


def test_no_writer_is_in_two_groups_and_what_is_handed_in_is_trained_on_by_none():
    drawn = drawings()
    drawn.pixels[:, 0, -1, 0] = torch.arange(120) / 120  # tells each drawing apart
    gathered = people.gathered(drawn, seed=3)
    assert gathered.writers.unique().shape == (6,)
    data = gathered.data
    assert (len(data.validation), len(data.test)) == (24, 24)
    assert len(data.train) == 6 * (12 - people.ASIDE)
    asked = gathered.asking(2, turn=1)
    handed = gathered.handed_in(asked)
    assert sorted(handed.writers.tolist()) == sorted(asked.tolist())
    assert not torch.isin(gathered.asking(2, turn=0), asked).any()
    marks = {
        name: {round(float(x[0, -1, 0]), 5) for x in inputs}
        for name, inputs in (
            ("train", gathered.known.inputs),
            ("spare", gathered.spare.inputs),
            ("handed", gathered.handed_in(gathered.asking(6)).inputs),
            ("validation", gathered.strangers("validation").inputs),
            ("test", gathered.strangers("test").inputs),
        )
    }
    assert sum(map(len, marks.values())) == 120 == len(set.union(*marks.values()))


def test_the_learned_loss_is_a_mean_over_drawings_and_sees_what_it_is_given(
    small, shown
):
    torch.manual_seed(2)
    meta = MetaLoss(small, 3).eval()
    whole = meta(small, shown)
    each = [meta(small, shown.take(torch.tensor([i]))) for i in range(6)]
    assert torch.allclose(whole, torch.stack(each).mean())
    assert whole > 0
    changed = {
        "label": replace(shown, labels=(shown.labels + 1) % 3),
        "identity": replace(shown, writers=2 - shown.writers),
    }
    for part, other in changed.items():
        assert not torch.allclose(meta(small, other), whole)
        torch.manual_seed(2)
        blind = MetaLoss(small, 3, blind_to=(part,)).eval()
        assert torch.equal(blind(small, other), blind(small, shown))
    torch.manual_seed(2)
    blind = MetaLoss(small, 3, blind_to=("answers", "features")).eval()
    other = replace(shown, inputs=-shown.inputs)
    assert torch.equal(blind(small, other), blind(small, shown))


def test_one_step_is_gradient_descent_and_leaves_the_classifier(small, shown):
    before = copy.deepcopy(small)
    loss = functional.cross_entropy(small(shown.inputs.flatten(1)), shown.labels)
    weights = meta_loss.one_step(small, loss, 0.3)
    other = copy.deepcopy(small)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.3)
    functional.cross_entropy(other(shown.inputs), shown.labels).backward()
    optimizer.step()
    for name, w in other.named_parameters():
        assert torch.allclose(weights[name], w)
        assert torch.equal(small.get_parameter(name), before.get_parameter(name))
    expected = functional.cross_entropy(other(shown.inputs), shown.labels)
    assert torch.allclose(meta_loss.losses(small, weights, shown), expected)


def test_the_gradient_for_the_learned_loss_goes_through_the_step(small, shown):
    """Against finite differences of one weight of φ."""
    small, shown = small.double(), replace(shown, inputs=shown.inputs.double())
    torch.manual_seed(0)
    meta = MetaLoss(small, 3).double().eval()
    weight = meta.network[0].weight

    def outer():
        after = meta_loss.one_step(small, meta(small, shown), 0.5, differentiable=True)
        return meta_loss.losses(small, after, shown)

    (slope,) = torch.autograd.grad(outer(), weight)
    where, found = (0, 4), []
    for sign in (1, -1):
        with torch.no_grad():
            weight[where] += sign * 1e-4
        found.append(float(outer().detach()))
        with torch.no_grad():
            weight[where] -= sign * 1e-4
    assert abs(float(slope[where])) > 1e-9
    slope_by_hand = (found[0] - found[1]) / 2e-4
    assert float(slope[where]) == pytest.approx(slope_by_hand, rel=1e-4)


def test_meta_training_brings_the_forgotten_nearer_to_strangers(gathered):
    model = people.classifier(gathered, seed=0)
    before = copy.deepcopy(model)
    asked = gathered.asking(2)
    theirs = gathered.known.take(torch.isin(gathered.known.writers, asked))
    aim = float(people.losses_of(model, gathered.strangers("validation")).mean())
    far = []
    for epochs in (0, 60):
        how = {"epochs": epochs, "rate": 0.1, "learning_rate": 3e-3}
        meta = one_drawing.learned(model, gathered, 0, 2, **how)
        weights = meta_loss.one_step(model, meta(model, gathered.handed_in(asked)), 0.1)
        forgot = one_drawing.moved(model, weights)
        far.append(abs(float(people.losses_of(forgot, theirs).mean()) - aim))
    assert far[1] < far[0]
    for name, w in before.named_parameters():
        assert torch.equal(w, model.get_parameter(name))


def test_tug_of_war_is_a_product_of_what_is_missing():
    gold = {"retained": 100.0, "forgotten": 50.0, "test": 60.0}
    assert people.tug_of_war(gold, gold) == 100
    found = {"retained": 90.0, "forgotten": 70.0, "test": 60.0}
    assert people.tug_of_war(found, gold) == pytest.approx(100 * 0.9 * 0.8)


def test_accuracies_are_of_three_groups(gathered):
    asked = gathered.asking(2)

    class Knows(nn.Module):
        """Classifies what it is told to, and everything else as class 0."""

        def forward(self, inputs):
            right = gathered.known.labels
            if len(inputs) == 2 * (12 - people.ASIDE):  # those who ask
                right = right[torch.isin(gathered.writers, asked)]
            elif len(inputs) == 4 * (12 - people.ASIDE):
                right = torch.zeros(len(inputs), dtype=torch.int64)
            else:
                right = gathered.data.test.labels
            return functional.one_hot(right, 3).float()

    found = people.accuracies(Knows(), gathered, asked)
    assert (found["forgotten"], found["test"]) == (100, 100)
    assert found["retained"] < 50


def test_rivals_leave_the_classifier_and_do_what_their_rules_say(gathered):
    model = people.classifier(gathered, seed=0)
    before = copy.deepcopy(model)
    support = gathered.handed_in(gathered.asking(2))
    up = one_drawing.ascended(model, support, 0.05)
    drawn = [float(people.losses_of(m, support).mean()) for m in (model, up)]
    assert drawn[1] > drawn[0]
    nothing = one_drawing.dampened_by(model, gathered, support, 1e9, 1.0)
    everything = one_drawing.dampened_by(model, gathered, support, 1e-9, 0.0)
    for name, w in before.named_parameters():
        assert torch.equal(w, model.get_parameter(name))
        # But where nothing of all drawings matters, and the ones handed in do.
        assert (w == nothing.get_parameter(name)).float().mean() > 0.95
    assert float(everything[-1].bias.detach().abs().sum()) == 0


def test_a_request_is_answered_in_every_way(monkeypatch, gathered):
    monkeypatch.setattr(one_drawing, "source", lambda name, seed: gathered)
    short = {name: how | {"epochs": 1} for name, how in one_drawing.VARIANTS.items()}
    monkeypatch.setattr(one_drawing, "VARIANTS", short)
    rows = one_drawing.answered(0, "simulated", n=2, turns=1)
    assert {r["method"] for r in rows} == {
        "nothing", "retrained", "SSD", "ascent", *one_drawing.VARIANTS
    }  # fmt: skip
    (nothing,) = [r for r in rows if r["method"] == "nothing"]
    assert nothing["retained"] > 90
    assert all(0 <= r["tow"] <= 100 for r in rows)
    others = {r["method"] for r in rows if r["drawings"] == "other"}
    assert others == {"ascent", *one_drawing.VARIANTS}
