import pytest

import mnemonic as mn
from mnemonic import records


def test_every_class_is_forgotten_by_two_choices():
    rows = records.every_class(0, "smoke", "mnist-5k")
    assert [(r["forget_class"], r["choice"]) for r in rows] == [
        (c, choice) for c in range(10) for choice in ("codes", "paper")
    ]
    for row in rows:
        assert row["before_forgetting_error"] < 40
        if row["choice"] == "paper":
            assert (row["lambda1"], row["lambda2"]) == (1e-3, 10.0)
        else:
            assert row["forgets_codes"]
            assert row["forgetting_error"] > 80
            assert row["remaining_accuracy"] > row["before_remaining_accuracy"] - 10


def test_the_papers_resnet_18_is_trained_by_its_recipe(monkeypatch):
    asked, strengths = [], []

    def trained(model, data, *, recipe, codes, t_mix, seed, progress):
        asked.append((type(model).__name__, recipe.epochs, recipe.schedule, t_mix))
        return model

    def forget(model, codes, classes, strength):
        strengths.append(strength)
        raise InterruptedError  # the rest is as in the other records

    monkeypatch.setattr("mnemonic.profiles.trained", trained)
    monkeypatch.setattr(records, "forget", forget)
    monkeypatch.setattr(records, "evaluate", lambda *given: None)
    with pytest.raises(InterruptedError):
        records.every_class(0, "resnet18", "mnist-5k")
    assert asked == [("ResNet", 200, "cosine", 0.3)]
    assert strengths == [None]
    assert records.RESNET18.strength == mn.Strength(1e-5, 1e4)
    assert {"cifar10-jpeg-resnet18", "tiny-imagenet-40-resnet18"} < set(records.RECORDS)


@pytest.mark.parametrize("names", [[], ["mnist"], ["mnist-complete", "nonsense"]])
def test_unknown_runs_are_refused_with_the_known_ones(names, capsys):
    assert records.main(names) == 2
    assert "there are mnist-complete, fashion-mnist-short" in capsys.readouterr().err


def test_a_run_is_recorded_under_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("MNEMONIC_RESULTS", str(tmp_path))

    def grid(function, settings, seeds):
        assert settings == [{"profile": "full", "data_name": "mnist"}]
        frame = records.results.pd.DataFrame({"seed": list(seeds)})
        frame.attrs["seconds"] = 12.5
        return frame

    monkeypatch.setattr(records, "run_grid", grid)
    assert records.main(["mnist-complete"]) == 0
    frame, facts = records.results.recorded("mnist-complete")
    assert frame["seed"].tolist() == [0, 1, 2]
    assert "MNIST complete" in facts["about"]
    assert facts["seconds"] == 12.5
