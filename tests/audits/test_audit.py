import copy
import sys

import pandas as pd
import pytest
import torch
from conftest import blobs
from torch import nn

import mnemonic as mn
from mnemonic.audits import distances

COLUMNS = [
    "audit", "measure", "value", "low", "high", "reference", "reference_sd", "gap",
    "unit", "n",
]  # fmt: skip


def network(data, seed, classes=None):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3)
        )
    recipe = mn.Recipe(epochs=20, batch_size=16, learning_rate=0.05)
    used = data if classes is None else data.without(classes)
    mn.train(model, used, recipe=recipe, progress=False)
    return model


@pytest.fixture(autouse=True)
def _little_of_each(monkeypatch):
    """Few resamples, steps and points of the curve: nothing tested needs more."""
    monkeypatch.setattr("mnemonic.audits.relearning.STEPS", 5)
    monkeypatch.setattr(sys.modules["mnemonic.audits.audit"], "SAMPLES", (0, 2, 50))


@pytest.fixture(scope="module")
def trained():
    """Data, a network, two retrained without class 1, and row zeroing."""
    data = mn.ImageData.from_arrays(
        train=blobs(seed=0), test=blobs(seed=1), class_names=["a", "b", "c"]
    )
    original = network(data, 0)
    retrained = [network(data, seed, [1]) for seed in (1, 2)]
    hidden = mn.METHODS["row-zeroing"](original, mn.Access(data, [1])).model
    return data, original, retrained, hidden


def indexed(table):
    return table.set_index(["audit", "measure"])


def test_table_is_tidy(trained, codes):
    data, original, retrained, hidden = trained
    table = mn.audit(
        hidden, data, [1], reference=retrained, original=original, codes=codes
    )
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(["audit", "measure"]).any()
    assert set(table["audit"]) == {
        "output", "accuracy", "membership", "distance", "probe", "similarity",
        "prototype", "relearning", "exposure", "neighbours", "nearest", "recovery",
        "residual",
    }  # fmt: skip
    assert set(table["unit"]) == {"%", "nats", "1"}
    assert table[["value", "reference", "reference_sd", "gap"]].notna().all(axis=None)
    assert (table["gap"] == table["value"] - table["reference"]).all()
    assert (table["n"] > 0).all()
    ends = table[["low", "value", "high"]].dropna().to_numpy()
    assert (ends[:, 0] <= ends[:, 1] + 1e-9).all()
    assert (ends[:, 1] <= ends[:, 2] + 1e-9).all()
    percent = table.loc[table["unit"] == "%", "value"]
    assert percent.between(0, 100).all()
    without = table[table["low"].isna()]
    none = ("reading/", "reference/", "loss/accuracy")  # codes, means and splits
    assert without["measure"].str.startswith(none).all()


def test_hiding_is_told_from_erasing(trained, monkeypatch):
    monkeypatch.setattr("mnemonic.audits.relearning.STEPS", 50)
    data, original, _, hidden = trained
    value = indexed(mn.audit(hidden, data, [1]))["value"]
    assert value["accuracy", "forget-test"] == 0
    assert value["relearning", "k=2/forget_accuracy"] > 90
    before = indexed(mn.audit(original, data, [1]))["value"]
    layer = ("probe", "2/forget_accuracy")
    assert value[layer] == before[layer] > 90


def test_reference_is_the_mean_of_the_networks_audits(trained):
    data, _, retrained, hidden = trained
    table = indexed(mn.audit(hidden, data, [1], reference=retrained))
    alone = [indexed(mn.audit(r, data, [1]))["value"] for r in retrained]
    each = pd.concat(alone, axis=1)
    found = table.loc[each.index]
    assert found["reference"].to_numpy() == pytest.approx(each.mean(axis=1).to_numpy())
    assert found["reference_sd"].to_numpy() == pytest.approx(
        each.std(axis=1).to_numpy(), abs=1e-9
    )


def test_distances_are_read_against_those_among_the_references(trained):
    data, _, retrained, hidden = trained
    row = indexed(mn.audit(hidden, data, [1], reference=retrained)).loc[
        ("distance", "forget-test/js")
    ]
    to_them = [distances(hidden, [r], data, [1])["forget-test/js"] for r in retrained]
    assert row["value"] == pytest.approx(sum(e.value for e in to_them) / 2)
    among = distances(retrained[0], [retrained[1]], data, [1])["forget-test/js"]
    assert row["reference"] == pytest.approx(among.value)
    single = indexed(mn.audit(hidden, data, [1], reference=retrained[0]))
    row = single.loc[("distance", "forget-test/js")]
    assert row[["reference", "gap"]].isna().all()
    assert single.loc[("accuracy", "forget-test"), "reference"] == 0
    assert single["reference_sd"].isna().all()


def test_rows_depend_on_what_is_given(trained, codes):
    data, original, _, hidden = trained
    bare = mn.audit(hidden, data, [1])
    assert bare[["reference", "gap"]].isna().all(axis=None)
    assert not {"similarity", "exposure"} & set(bare["audit"])
    more = mn.audit(hidden, data, [1], original=original, codes=codes)
    added = set(more["measure"]) - set(bare["measure"])
    assert {"forget-train/over_unlearning", "original/2/all", "reading/told"} <= added
    kept = indexed(more).loc[indexed(bare).index]
    assert kept["value"].equals(indexed(bare)["value"])
    curve = bare.loc[bare["audit"] == "relearning", "measure"].str.split("/").str[0]
    assert list(dict.fromkeys(curve)) == ["k=0", "k=2", "k=5", "remaining_only"]


def test_any_network_and_several_classes(trained):
    data, _, _, hidden = trained
    softened = nn.Sequential(hidden, nn.LogSoftmax(1))
    table = mn.audit(softened, data, classes=[0, 1])
    assert not {"prototype", "nearest"} & set(table["audit"])
    assert indexed(table).loc[("accuracy", "forget-test"), "n"] == 80
    straight = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    for bare in (Whole(36, 3), straight):  # no layer to look at, and one without a bend
        assert not {"probe", "similarity"} & set(mn.audit(bare, data, [1])["audit"])
    slim = mn.build_model("slim-resnet", data)
    measures = set(mn.audit(slim, data, [2])["measure"])
    assert {"stem/forget_accuracy", "blocks/forget_accuracy"} <= measures


def test_seed_decides(trained):
    data, _, _, hidden = trained
    first = mn.audit(hidden, data, [1], seed=1)
    pd.testing.assert_frame_equal(mn.audit(hidden, data, [1], seed=1), first)
    assert not mn.audit(hidden, data, [1], seed=2)["value"].equals(first["value"])


def test_references_are_measured_once_and_anew_when_they_change(trained, monkeypatch):
    data, _, retrained, hidden = trained
    reference = copy.deepcopy(retrained[0])
    probes = []
    module = sys.modules["mnemonic.audits.audit"]
    real = module.linear_probes

    def counted(model, *args, **settings):
        probes.append(model)
        return real(model, *args, **settings)

    monkeypatch.setattr(module, "linear_probes", counted)
    first = mn.audit(hidden, data, [1], reference=reference, seed=11)
    again = mn.audit(hidden, data, [1], reference=reference, seed=11)
    assert [p is reference for p in probes] == [False, True, False]
    pd.testing.assert_frame_equal(first, again)
    with torch.no_grad():
        reference[3].bias[1] += 100
    changed = indexed(mn.audit(hidden, data, [1], reference=reference, seed=11))
    assert changed.loc[("accuracy", "forget-test"), "reference"] == 100
    doubled = Doubled(retrained[0])  # its one layer has a name of its own
    for factor in (1.0, -1.0):  # neither weights nor name tell these apart
        doubled.factor = factor
        table = indexed(mn.audit(hidden, data, [1], reference=doubled, seed=11))
        assert "similarity" not in table.index
        right = table.loc[("accuracy", "remaining-test"), "reference"]
        assert (right > 90) == (factor > 0)


class Whole(nn.Linear):
    """A network without layers inside."""

    def forward(self, inputs):
        return super().forward(inputs.flatten(1))


class Doubled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.factor = 1.0

    def forward(self, inputs):
        return self.factor * self.inner(inputs)


def test_networks_and_data_are_left_as_they_were(trained, codes):
    data, original, retrained, hidden = trained
    networks = [copy.deepcopy(n) for n in (hidden, original, retrained[0])]
    networks[0].train()
    before = [copy.deepcopy(n.state_dict()) for n in networks]
    pixels = [getattr(data, s).pixels.clone() for s in ("train", "test")]
    mn.audit(
        networks[0], data, [1], reference=networks[2], original=networks[1],
        codes=codes,
    )  # fmt: skip
    assert [n.training for n in networks] == [True, False, False]
    for n, state in zip(networks, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in n.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in n.parameters())
    for split, old in zip((data.train, data.test), pixels, strict=True):
        assert torch.equal(split.pixels, old)


def test_wrong_input_is_refused(trained, learned):
    data, _, _, hidden = trained
    with pytest.raises(ValueError, match="class 3 is not in"):
        mn.audit(hidden, data, [3])
    with pytest.raises(ValueError, match="seed is None"):
        mn.audit(hidden, data, [1], seed=None)
    for reference in ("retrained", [hidden, None], 3):
        with pytest.raises(ValueError, match="trained without the forget classes"):
            mn.audit(hidden, data, [1], reference=reference)
    for given in ({"reference": learned[0]}, {"original": learned[0]}):
        with pytest.raises(ValueError, match="cannot take inputs of shape"):
            mn.audit(hidden, data, [1], **given)
    with pytest.raises(ValueError, match="do not fit arrays"):
        mn.audit(hidden, data, [1], codes=learned[2])
    with pytest.raises(ValueError, match="give the whole data"):
        mn.audit(hidden, data.without([1]), [1])
    with pytest.raises(ValueError, match="where logits"):
        mn.audit(nn.Flatten(), data, [1])
