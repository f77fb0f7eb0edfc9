import json
from dataclasses import replace

import pytest
import torch

import mnemonic as mn
from mnemonic.lab import comparison, tuning
from mnemonic.lab.comparison import all_settings, compare
from mnemonic.lab.contents import contents
from mnemonic.lab.profiles import PROFILES
from mnemonic.lab.settings import TUNED, settings_for

pytestmark = pytest.mark.usefixtures("smoke_networks")
REPORTED = {0, 1, 2}  # seeds of the profiles and the records


def test_a_row_holds_scores_costs_and_what_was_read():
    row = compare(0, "smoke-fast", "row-zeroing")
    assert row["forgetting_error"] == 100
    assert row["train_forget_accuracy"] == 0
    assert row["remaining_accuracy"] >= row["before_remaining_accuracy"] - 1e-9
    assert row["before_forgetting_error"] < 100
    assert row["training_seconds"] > row["seconds"] > 0
    for read in ("forget_images", "remaining_images", "codes", "backward_passes"):
        assert row[read] == 0

    row = compare(0, "smoke-fast", "ssd")
    assert (row["forget_images"], row["remaining_images"]) == (350, 3150)
    assert row["visits"] == row["backward_passes"] == 350 + 3500  # D_F, then D

    row = compare(0, "smoke-fast", "mnemonic")  # Table 1: C_R + C_F
    assert row["codes"] == row["backward_passes"] == 10
    assert row["visits"] == 10


def test_a_destroyed_network_gets_nothing_right():
    data = PROFILES["smoke-fast"].load()
    network = mn.build_model("mlp", data)
    for value in (torch.nan, 1e38):  # finite weights can give infinite logits
        torch.nn.init.constant_(network[3].weight, value)
        found = comparison.two_numbers(network, data, [3])
        assert found == {"remaining_accuracy": 0.0, "forgetting_error": 100.0}


def test_a_tidy_frame_has_the_columns_of_the_book():
    rows = {"method": ["ssd"], "before_remaining_accuracy": [90.0], "seconds": [1.0]}
    rows |= {"remaining_accuracy": [92.5], "forgetting_error": [99.0]}
    (row,) = comparison.tidy(mn.results.pd.DataFrame(rows)).to_dict("records")
    assert row["A_R"] == 92.5
    assert row["E_F"] == 99.0
    assert row["change"] == 2.5
    assert row["title"] == "SSD"
    assert row["seconds"] == 1.0
    assert not {"remaining_accuracy", "forgetting_error"} & row.keys()


def test_methods_start_from_the_network_that_they_need():
    plain, coded = (compare(0, "smoke-fast", name) for name in ("original", "mnemonic"))
    again = compare(0, "smoke-fast", "random-noise")
    before = "before_remaining_accuracy"
    assert plain[before] != coded[before] == again[before]
    assert coded["training_seconds"] == again["training_seconds"]  # trained once


def test_the_same_seed_gives_the_same_row_and_another_another():
    def scores(seed):
        row = compare(seed, "smoke-fast", "delete", {"epochs": 1})
        return [v for k, v in row.items() if "seconds" not in k]

    assert scores(0) == scores(0)
    assert scores(0) != scores(1)


def test_settings_reach_the_method_and_unknown_ones_are_refused():
    row = compare(0, "smoke-fast", "delete", {"epochs": 3})
    assert row["visits"] == 3 * 350
    with pytest.raises(ValueError, match="delete has no setting epoch; it has"):
        compare(0, "smoke-fast", "delete", {"epoch": 3})


def test_a_profile_cuts_its_training_images_and_nothing_else():
    whole = PROFILES["smoke-fast"]
    data = replace(whole, per_class=7).load()
    assert torch.bincount(data.train.labels).tolist() == [7] * 10
    assert len(data.test) == len(whole.load().test)


def test_a_profile_makes_images_smaller_by_averaging_squares():
    whole, small = (replace(PROFILES["smoke-fast"], side=s).load() for s in (None, 14))
    assert small.input_shape == (1, 14, 14)
    for part in ("train", "validation", "test"):
        before, after = getattr(whole, part), getattr(small, part)
        corner = before.pixels[:, :, :2, :2].float().mean((2, 3)) / 255
        torch.testing.assert_close(after.pixels[:, :, 0, 0], corner)
        assert torch.equal(before.labels, after.labels)
    spread = small.train.pixels.std((0, 2, 3), correction=0)
    torch.testing.assert_close(small.std, spread, rtol=1e-3, atol=0)


def test_a_cell_depends_on_the_profiles_and_the_tuned_settings(monkeypatch):
    settings = {s["method"]: s for s in all_settings("mnist-mlp", ["ssd", "original"])}
    tuned = settings_for("quick")["ssd"]
    assert settings["ssd"]["settings"] == tuned != {}
    assert settings["original"]["settings"] == {}
    before = contents(compare)
    longer = replace(PROFILES["smoke-fast"], t_mix=0.2)
    monkeypatch.setitem(PROFILES, "smoke-fast", longer)
    assert contents(compare) != before


TABLES = sorted(TUNED.glob("*.json"))


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_tuned_settings_fit_their_methods_and_come_from_seeds_not_reported(path):
    table = json.loads(path.read_text(encoding="utf-8"))
    assert path.stem in PROFILES
    assert not REPORTED & set(table["about"]["seeds"])
    assert "validation" in table["about"]["objective"]
    assert set(table["methods"]) == {n for n, m in mn.METHODS.items() if m.space}
    budget = max(found["tried"] for found in table["methods"].values())
    assert budget == (tuning.TRIALS if path.stem == "quick" else 6)
    for name, found in table["methods"].items():
        space = mn.METHODS[name].space
        assert found["settings"].keys() == space.keys()
        for setting, value in found["settings"].items():
            assert value in space[setting], (name, setting)
        candidates = tuning.candidates(mn.METHODS[name], budget)
        assert found["tried"] == len(candidates)  # one budget, or the whole space


def test_the_default_profile_of_chapter_7_is_tuned():
    assert "quick" in {p.stem for p in TABLES}
    borrowed = settings_for("mnist-mlp")
    assert borrowed == settings_for("quick") != {}
    assert settings_for("smoke") == {}


@pytest.mark.parametrize("name", [n for n, m in mn.METHODS.items() if m.space])
def test_candidates_start_with_the_published_and_are_no_more_than_allowed(name):
    method = mn.METHODS[name]
    some, more = tuning.candidates(method, 3), tuning.candidates(method, 5)
    assert some == more[:3]
    assert len({json.dumps(c) for c in more}) == len(more) <= 5
    published = {s: method.defaults[s] for s in method.space}
    if all(published[s] in values for s, values in method.space.items()):
        assert some[0] == published


def test_tuning_looks_at_validation_images_only_and_keeps_the_best(
    monkeypatch, tmp_path
):
    def grid(function, settings, seeds):
        assert seeds == tuning.SEEDS
        rows = [
            {**setting, "seed": seed, **row}
            for setting in settings
            for seed in seeds
            for row in function(seed, **setting)
        ]
        return tuning_frame(rows)

    tuning_frame = mn.results.pd.DataFrame
    looked = []

    def two_numbers(model, data, classes, split):
        looked.append(split)
        return comparison.two_numbers(model, data, classes, split)

    monkeypatch.setattr(tuning, "run_grid", grid)
    monkeypatch.setattr(tuning, "two_numbers", two_numbers)
    monkeypatch.setattr(tuning, "TUNED", tmp_path)
    words = ["smoke-fast", "--methods", "neggrad", "--trials", "3"]
    assert tuning.main(words) == 0
    assert set(looked) == {"validation"}
    table = json.loads((tmp_path / "smoke-fast.json").read_text(encoding="utf-8"))
    found = table["methods"]["neggrad"]
    assert found["tried"] == 3

    def score(settings):
        total = 0.0
        for seed in tuning.SEEDS:
            how, profile = mn.METHODS["neggrad"], PROFILES["smoke-fast"]
            access, model, _ = comparison.start(profile, how, seed)
            forgot = how(model, access, seed=seed, **settings).model
            scores = mn.evaluate(forgot, access.data, [3], split="validation")
            total += scores.remaining_accuracy + scores.forgetting_error
        return total

    tried = tuning.candidates(mn.METHODS["neggrad"], 3)
    scores = [score(settings) for settings in tried]
    assert scores[tried.index(found["settings"])] == max(scores)

    words = ["smoke-fast", "--methods", "delete", "--trials", "1"]
    assert tuning.main(words) == 0  # what was found for another stays
    later = json.loads((tmp_path / "smoke-fast.json").read_text(encoding="utf-8"))[
        "methods"
    ]
    assert set(later) == {"neggrad", "delete"}
    assert later["neggrad"] == found


def test_only_answers_that_are_not_finite_count_as_destroyed(data, tiny):
    with pytest.raises(ValueError, match="not in"):
        comparison.two_numbers(tiny, data, [99])
    with torch.no_grad():
        tiny[3].weight.fill_(1e38)
        tiny[1].weight.fill_(1e38)
    destroyed = {"remaining_accuracy": 0.0, "forgetting_error": 100.0}
    assert comparison.two_numbers(tiny, data, [1]) == destroyed
