"""The panel: kinds of networks, what is asked of them, and of whom."""

import pytest
import torch

import mnemonic as mn
from mnemonic.lab import kinds, ladder, panel
from mnemonic.networks.asked import NotFinite


@pytest.mark.parametrize(
    "kind", [k for k in kinds.KINDS if "Fashion" not in k and "CIFAR" not in k]
)
def test_every_kind_is_built_from_its_seed(kind, monkeypatch):
    asked = []

    def trained(network, data, **how):
        asked.append((len(data.train), how["seed"], how["t_mix"] > 0))
        return network.eval()

    monkeypatch.setattr(kinds, "trained", trained)
    one, _, codes = kinds.of_kind(kind, 1)
    two, _, same = kinds.of_kind(kind, 1, codes=codes, without=(3,))
    assert one(codes.images).shape == (10, 10)
    assert same is codes
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert asked == [(3500, 1, True), (3150, 1, True)]


def test_requests_are_each_class_and_ten_sets_of_each_size():
    found = panel.requests(10)
    assert found[:10] == [(c,) for c in range(10)]
    assert set(panel.ASKED) < set(found)
    assert len(set(found)) == len(found) == 10 + 2 + 30
    assert all(list(f) == sorted(set(f)) for f in found)


def test_attackers_who_know_more_are_asked_in_turn(learned, monkeypatch):
    model, data, codes = learned
    asked = model, data, codes, (1,)
    made = {n: ladder.by_rule(n, *asked) for n in (*ladder.CONTROLS, *ladder.RULES)}
    least = ladder.kept(model, data, (1,))
    few = {n: ladder.at_most_one_image(m, data, (1,), least) for n, m in made.items()}
    _, features = ladder.alone(model, data)
    for name in ("original", "deleted", "unseen row, no codes"):
        small = ladder.head_alone(made[name], data)
        found = ladder.at_most_one_image(small, features, (1,), least)
        assert found == pytest.approx(few[name], abs=1e-4)
    assert few["original"]["answers"] > 90
    assert few["one-bias"]["one_number"] == few["original"]["one_number"] > 90
    assert few["deleted"]["one_number"] == 0
    assert few["deleted"]["other_rows"] > 90
    for name in ("turned row", "unseen row", "unseen row, no codes", "one-bias"):
        assert few[name]["answers"] == 0
    shape = panel.row_of(made["unseen row"], codes, (1,))
    assert shape["row_cosine"] == pytest.approx(1, abs=1e-5)
    assert 0.4 < shape["row_length"] < 0.6  # the others were shifted after it
    assert panel.row_of(model, codes, (1,))["row_cosine"] < 0.5
    whole = ladder.rungs(made["unseen row"], data, (1,), model)
    assert few["unseen row"].items() < whole.items()
    features = mn.audits.linear_probes(model, data, [1], layers=["2"])
    # What stands before the last layer is as it was.
    assert whole["all_images"] == features["2/forget_accuracy"].value
    assert whole["five_images"] > 0


@pytest.mark.parametrize("attacked", [True, False])
def test_every_rule_is_judged_on_one_request(learned, monkeypatch, attacked):
    model, data, codes = learned
    asked, kind = [], next(iter(kinds.KINDS))

    def of_kind(kind, seed, **how):
        asked.append((kind, seed, how))
        return model, data, codes

    panel._prepared.cache_clear()
    monkeypatch.setattr(panel, "of_kind", of_kind)
    rows = panel.judged(7, kind, [1], attacked)
    panel._prepared.cache_clear()
    never = [(kind, 57, {"codes": codes, "without": (1,)})] * attacked
    assert asked == [(kind, 7, {}), *never]
    found = {row["rule"]: row for row in rows}
    assert [*found] == [
        *ladder.CONTROLS, *ladder.RULES, *["never saw"] * attacked
    ]  # fmt: skip
    before = mn.evaluate(model, data, [1])
    for row in rows:
        assert row["before_remaining_accuracy"] == before.remaining_accuracy
        assert ("five_images" in row) == attacked
    assert found["deleted"]["forgetting_error"] == 100
    assert found["deleted"]["other_rows"] > 90
    step = mn.forget(model, codes, [1]).model
    after = mn.evaluate(step, data, [1])
    assert found["the paper's step"]["forgetting_error"] == after.forgetting_error
    rungs = ladder.at_most_one_image(step, data, [1], ladder.kept(model, data, [1]))
    assert found["the paper's step"]["one_number"] == pytest.approx(rungs["one_number"])


def test_a_network_that_overflows_on_images_is_said_to_diverge(learned, monkeypatch):
    model, data, codes = learned
    whole = panel.alone

    def alone(network, data):
        if network is not model:
            raise NotFinite("images overflow")
        return whole(network, data)

    monkeypatch.setattr(panel, "of_kind", lambda *_, **__: (model, data, codes))
    monkeypatch.setattr(panel, "alone", alone)
    panel._prepared.cache_clear()
    rows = panel.judged(7, "slim ResNet", [1], False)
    kept = panel.answers(7, "slim ResNet", [1], False)
    panel._prepared.cache_clear()
    gone = [row for row in rows if row["diverged"]]
    assert [row["rule"] for row in gone] == [*ladder.EVERY_LAYER]
    for row in gone:
        assert row["remaining_accuracy"] == row["forgetting_error"] == 0
        assert "one_number" not in row
    assert {*kept} == {row["rule"] for row in rows if row not in gone} | {"labels"}


def test_answers_are_those_that_were_judged(learned, monkeypatch):
    model, data, codes = learned
    monkeypatch.setattr(panel, "of_kind", lambda *_, **__: (model, data, codes))
    panel._prepared.cache_clear()
    kept = panel.answers(7, "slim ResNet", [1], attacked=True)
    panel._prepared.cache_clear()
    labels = kept.pop("labels")
    assert [*kept] == [*ladder.CONTROLS, *ladder.RULES, "never saw"]
    right = kept["original"].argmax(1) == labels
    score = mn.evaluate(model, data, [1]).accuracy
    assert 100 * right.double().mean() == pytest.approx(score)
    of_class = kept["deleted"][data.test.labels == 1]
    assert not (of_class.argmax(1) == 1).any()
