"""What the paper shows of a network, against the same by hand."""

import pytest
import torch
from torch.nn import functional

import mnemonic as mn
from mnemonic import audits
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab import as_published
from mnemonic.lab.profiles import Profile

AT = mn.Strength(1e-3, 10.0)


def rows(found):
    return {(method, setting, metric): v for method, setting, metric, v in found}


def squares(model, inputs, labels):
    """Mean over the images of the squared gradient, image by image."""
    total = 0
    for x, y in zip(inputs, labels, strict=True):
        loss = functional.cross_entropy(model(x[None]), y[None])
        found = torch.autograd.grad(loss, [*model.parameters()])
        total += torch.cat([g.flatten() for g in found]) ** 2 / len(inputs)
    return total


def test_the_fisher_of_a_code_is_compared_with_that_of_all_images(learned, monkeypatch):
    model, data, codes = learned
    monkeypatch.setattr(as_published, "COUNTS", (1, 5, 10_000))
    found = rows(as_published.fisher_errors(model, data, codes, 1))
    own = data.train.labels == 1
    whole = squares(model, data.inputs(data.train)[own], data.train.labels[own])
    code = squares(model, codes.images[1:2], codes.labels[1:2])
    error = (code - whole).norm() / whole.norm()
    relative = ("code", "code", "relative_norm")
    assert found[relative] == pytest.approx(float(error), rel=1e-3)
    assert found["zeros", "zeros", "relative_norm"] == pytest.approx(1)
    assert {setting for _, setting, _ in found} == {"code", "zeros", "1", "5"}


def test_each_strength_is_that_of_forget(learned):
    model, data, codes = learned
    found = rows(as_published.strengths(model, data, codes, 1, AT))
    assert len(found) == 2 * 7 * 2
    for cap, value, strength in (
        ("lambda1", "0.001", AT),
        ("lambda1", "0.1", mn.Strength(0.1, 10.0)),
        ("lambda2", "1", mn.Strength(1e-3, 1.0)),
    ):
        forgot = quietly_forget(model, codes, [1], strength=strength).model
        scores = mn.evaluate(forgot, data, [1])
        for name in ("remaining_accuracy", "forgetting_error"):
            assert found[cap, value, name] == pytest.approx(getattr(scores, name))


def test_a_strength_that_no_output_survives_keeps_and_forgets_nothing(
    learned, monkeypatch
):
    model, data, codes = learned

    def best_row(tried):
        raise ValueError("infinite")

    monkeypatch.setattr(as_published, "best_row", best_row)
    assert {*rows(as_published.strengths(model, data, codes, 1, AT)).values()} == {0.0}


def test_an_image_without_a_code_is_itself_and_one_of_code_alone_is_the_code(learned):
    model, data, codes = learned
    found = rows(as_published.blends(model, data, codes, 1))
    scores = mn.evaluate(model, data, [1])
    right = 100 * scores.confusion.diagonal().sum() / scores.confusion.sum()
    for method in ("learned", "never met"):
        assert found[method, "0", "accuracy"] == pytest.approx(float(right))
    assert found["learned", "100", "says_c"] == 100
    own = 100 * (data.test.labels == 1).double().mean()
    assert found["learned", "100", "accuracy"] == pytest.approx(float(own))


def test_gradients_are_those_of_the_mean_loss(learned, monkeypatch):
    model, data, _ = learned
    monkeypatch.setattr(as_published, "EACH", 3)
    found = rows(as_published.gradients(model, data, 1))
    labels = data.train.labels
    first = torch.cat([(labels == k).nonzero()[:3, 0] for k in range(4)])
    for method, some in (
        ("whole", first),
        ("forget", first[labels[first] == 1]),
        ("remaining", first[labels[first] != 1]),
    ):
        given = data.inputs(data.train, some)
        loss = functional.cross_entropy(model(given), labels[some])
        for part in ("1", "3"):
            layer = model.get_submodule(part)
            own = torch.autograd.grad(loss, [*layer.parameters()], retain_graph=True)
            mean = torch.cat([g.flatten() for g in own]).abs().mean()
            value = found[method, part, "mean_absolute_gradient"]
            assert value == pytest.approx(float(mean), rel=1e-4)


@pytest.mark.usefixtures("smoke_networks")
def test_one_cell_has_every_artefact(monkeypatch):
    code = [("code", "code", "relative_norm", 1.0)]  # the Fishers take seconds
    monkeypatch.setattr(as_published, "fisher_errors", lambda *asked: code)
    monkeypatch.setattr(as_published, "GRID", as_published.GRID[:1])
    monkeypatch.setattr(as_published, "EACH", 5)
    found = as_published.as_published(0, "smoke", 3)
    table = mn.results.pd.DataFrame(found)
    assert {*table["artefact"]} == {"fig-5", "fig-6", "fig-11", "fig-13", "table-6"}
    assert not table.isna().any().any()
    profile = Profile.named("smoke")
    data = profile.load()
    model, _ = profile.trained(data, 0)
    auc = audits.loss_attack(*audits.matched_losses(model, data, [3]))["auc"].value
    fig_11 = table.query("artefact == 'fig-11' and metric == 'auc'")
    before = fig_11.set_index("setting")["value"]["before"]
    assert before == pytest.approx(auc)
