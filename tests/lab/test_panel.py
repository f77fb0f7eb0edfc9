"""The panel: kinds of networks, what is asked of them, and of whom."""

import pytest
import torch

import mnemonic as mn
from mnemonic.lab import kinds, ladder, panel


@pytest.mark.parametrize("kind", [k for k in kinds.KINDS if "Fashion" not in k])
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
    few = {n: ladder.at_most_one_image(m, data, (1,), model) for n, m in made.items()}
    head, features = ladder.alone(model, data)
    for name in ("original", "deleted", "unseen row, no codes"):
        small = ladder.head_alone(made[name], data)
        found = ladder.at_most_one_image(small, features, (1,), head)
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
