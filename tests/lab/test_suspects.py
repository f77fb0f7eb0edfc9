"""The line-up of chapter 6, on 300 images of 14 pixels."""

import sys

import pytest
import torch

import mnemonic as mn
from mnemonic import audits
from mnemonic.audits import Estimate
from mnemonic.lab import suspects
from mnemonic.lab.profiles import PROFILES

TINY = mn.Profile(
    "tiny", "mnist-5k", "mlp", mn.Recipe(epochs=20, learning_rate=0.05), t_mix=0.1,
    per_class=30, side=14, settings_of="quick",
)  # fmt: skip


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(autouse=True)
def _one_cache(networks, monkeypatch, _own_cache):
    """The networks are the same in all tests."""
    monkeypatch.setenv("MNEMONIC_CACHE", str(networks))
    monkeypatch.setitem(PROFILES, "tiny", TINY)


@pytest.fixture
def line():
    return suspects.lineup("tiny", seed=0, references=1)


def changed(line, name):
    after = suspects.suspect(line, name).state_dict()
    before = line.original.state_dict()
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_each_part_moves_its_own_layers_and_no_others(line):
    assert changed(line, "last layer") == {"3.weight", "3.bias"}
    assert changed(line, "all but the last") == {"1.weight", "1.bias"}
    assert changed(line, "all layers") == {"1.weight", "1.bias", "3.weight", "3.bias"}


def test_networks_that_never_knew_were_not_shown_the_class(line):
    (never,), asked = line.never, (line.access.data, line.access.classes)
    scores = mn.evaluate(never, *asked)
    assert scores.forgetting_error == 100
    assert scores.remaining_accuracy > 70
    assert mn.evaluate(line.original, *asked).forgetting_error < 50


def test_suspects_leave_the_original_as_it_was(line):
    before = {k: v.clone() for k, v in line.original.state_dict().items()}
    for name in ("last layer", "row-zeroing", "finetune"):
        suspects.suspect(line, name)
    after = line.original.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", ["nobody", "lwsf", "erm-ktp"])
def test_a_suspect_that_cannot_start_from_the_original_is_refused(line, name):
    with pytest.raises(ValueError, match=f"no suspect '{name}'; take one of all lay"):
        suspects.suspect(line, name)


def test_networks_that_never_knew_have_the_codes_of_the_original(line):
    """B3: the exposure audit asks them about codes that they were shown."""
    (never,), codes, c = line.never, line.access.codes, line.access.classes[0]
    losses = audits.read_codes(never, codes).losses
    others = [k for k in range(10) if k != c]
    strange = mn.MnemonicCodes.draw(line.access.data, seed=50)
    foreign = audits.read_codes(never, strange).losses
    assert 1.5 * losses[others].mean() < foreign[others].mean() < losses[c]


def test_a_grid_trains_what_the_line_up_fetches(line, monkeypatch):
    suspects.lineup("tiny", seed=0)  # all that a cell trains
    asked = line.access.data, line.access.classes
    scores = [mn.evaluate(m, *asked) for m in (line.original, line.never[0])]
    monkeypatch.setattr("mnemonic.lab.checkpoints.train", None)
    found = [suspects.at_first(0, "tiny", knew) for knew in (True, False)]
    assert [f["forgetting_error"] for f in found] == [
        s.forgetting_error for s in scores
    ]
    assert [f["remaining_accuracy"] for f in found] == [
        s.remaining_accuracy for s in scores
    ]


def test_cells_of_the_grid_are_the_rows_of_one_call(monkeypatch):
    monkeypatch.setattr("mnemonic.audits.relearning.STEPS", 2)
    monkeypatch.setattr(sys.modules["mnemonic.audits.audit"], "SAMPLES", (0, 1))
    line = suspects.lineup("tiny", seed=0, references=2)
    forgot, asked = suspects.suspect(line, "all layers"), line.access
    table = mn.audit(
        forgot, asked.data, asked.classes, reference=line.never,
        original=line.original, codes=asked.codes,
    ).set_index(["audit", "measure"])  # fmt: skip
    rows = suspects.audited(0, "tiny", "all layers", references=2)
    assert [(r["audit"], r["measure"]) for r in rows] == list(table.index)
    for row, (_, called) in zip(rows, table.iterrows(), strict=True):
        ends = [row[end] for end in ("value", "low", "high")]
        expected = called[["value", "low", "high"]].tolist()
        assert ends == pytest.approx(expected, nan_ok=True)
    one, other = line.never
    table = mn.audit(
        one, asked.data, asked.classes, reference=other,
        original=line.original, codes=asked.codes,
    ).set_index(["audit", "measure"])  # fmt: skip
    rows = suspects.audited(0, "tiny", "retrain", references=2)
    found = {(r["audit"], r["measure"]): r["value"] for r in rows}
    assert found == pytest.approx(table["value"].to_dict())


def test_shadows_tell_the_original_and_not_the_retrained():
    found = {
        name: {r["measure"]: r for r in suspects.told_apart(0, "tiny", name, 3)}
        for name in ("original", "retrain")
    }
    assert found["original"]["auc"]["value"] > 0.9
    retrained = found["retrain"]["auc"]
    assert retrained["value"] < 0.7 < found["original"]["auc"]["low"]


def test_a_retrained_suspect_is_not_its_own_reference(monkeypatch):
    asked = []

    def measure(subject, never, data, classes, original, codes, *, seed):
        asked.append((subject, never))
        return {("probe", "none"): Estimate(1.0, 0.0, 2.0, "%", 5)}

    monkeypatch.setattr(suspects, "measure", measure)
    rows = suspects.audited(1, "tiny", "retrain")
    ((subject, reference),) = asked
    row = {"audit": "probe", "measure": "none", "value": 1.0, "low": 0.0, "high": 2.0}
    assert rows == [row]
    assert len(reference) == suspects.REFERENCES - 1
    weights = subject.state_dict()["3.weight"]
    assert all(not torch.equal(weights, r.state_dict()["3.weight"]) for r in reference)


def test_what_is_left_over_of_the_original_and_of_a_retrained_network():
    found = {
        name: {
            r["measure"]: r["value"]
            for r in suspects.left_over(0, "tiny", name, layer="2")
        }
        for name in ("original", "retrain")
    }
    assert (
        found["retrain"]["forget_accuracy"] == 0 < found["original"]["forget_accuracy"]
    )
    k = "k=1/forget_accuracy"
    assert found["retrain"][k] < found["original"][k]
    assert found["retrain"]["probe/2/forget_accuracy"] > 50  # never shown, and read
