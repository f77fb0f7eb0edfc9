from dataclasses import replace
from functools import partial

import pytest
import torch

import mnemonic as mn
from mnemonic.lab import every_class, records, scaling


@pytest.mark.usefixtures("smoke_networks")
def test_every_class_is_forgotten_by_three_choices():
    rows = every_class.every_class(0, "smoke", "mnist-5k")
    assert [(r["forget_class"], r["choice"]) for r in rows] == [
        (c, choice) for c in range(10) for choice in ("codes", "shortest", "paper")
    ]
    for row in rows:
        assert row["before_forgetting_error"] < 40
        if row["choice"] == "paper":
            assert (row["lambda1"], row["lambda2"]) == (1e-3, 10.0)
        elif row["choice"] == "codes":
            assert row["forgets_codes"]
            assert row["forgetting_error"] > 80
            assert row["remaining_accuracy"] > row["before_remaining_accuracy"] - 10


def test_the_papers_resnet_18_is_trained_by_one_cycle(monkeypatch):
    asked, strengths = [], []

    def trained(model, data, *, recipe, codes, t_mix, seed, progress, with_history):
        asked.append((type(model).__name__, recipe.epochs, recipe.schedule, t_mix))
        return model, None

    def forget(model, codes, classes, candidates):
        strengths.append(candidates)
        raise InterruptedError  # the rest is as in the other records

    monkeypatch.setattr("mnemonic.lab.profiles.trained", trained)
    monkeypatch.setattr(every_class, "quietly_forget", forget)
    monkeypatch.setattr(every_class, "two_numbers", lambda *given: {})
    with pytest.raises(InterruptedError):
        every_class.every_class(0, "resnet18", "mnist-5k")
    assert asked == [("ResNet", 16, "one-cycle", 0.3)]
    assert strengths == [True]
    assert mn.Profile.named("resnet18").strength == mn.Strength(1e-5, 1e4)
    assert {"cifar10-jpeg-resnet18", "tiny-imagenet-40-resnet18"} < set(records.RECORDS)


@pytest.mark.parametrize("names", [[], ["mnist"], ["mnist-complete", "nonsense"]])
def test_unknown_runs_are_refused_with_the_known_ones(names, capsys):
    assert records.main(names) == 2
    assert f"there are {', '.join(records.RECORDS)}" in capsys.readouterr().err


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
    assert facts["about"].startswith("MNIST, MLP 784-1000-10; all training images;")
    assert facts["seconds"] == 12.5


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        ("costs-classes", ["mobilenet_v3_large"] * 5),
        ("costs-networks", ["squeezenet1_1", "shufflenet_v2_x1_0", "tied"]),
        ("costs-imagenet", ["resnet18"]),
    ],
)
def test_costs_are_recorded_in_each_network(name, networks, monkeypatch, tmp_path):
    made = records.RECORDS[name]
    tiny = {"n_classes": 2, "side": 32, "repeats": 1}
    settings = [{**s, **tiny} for s in made.settings if s["network"] in networks]
    monkeypatch.setenv("MNEMONIC_RESULTS", str(tmp_path))
    monkeypatch.setitem(records.RECORDS, name, replace(made, settings=settings))
    grid = partial(mn.run_grid, jobs=1)
    monkeypatch.setattr(records, "run_grid", grid)
    assert records.main([name]) == 0
    frame, facts = records.results.recorded(name)
    assert frame["network"].tolist() == networks
    assert frame["seed"].unique().tolist() == [0]
    assert (frame[["seconds", "limit_seconds", "weights"]] > 0).all(axis=None)
    assert frame["finite"].all()
    assert "random weights" in facts["about"]


def test_imagenet_has_all_its_networks_on_a_gpu_alone():
    for name, device, networks in (
        ("costs-imagenet", "cpu", ["resnet18"]),
        ("costs-imagenet-gpu", "cuda", ["resnet18", "resnext50_32x4d", "swin_t"]),
    ):
        made = records.RECORDS[name]
        large = {"n_classes": 1000, "side": 224, "device": device}
        assert made.settings == [{"network": n, **large} for n in networks]
        assert ("GPU" in made.about) == (device == "cuda")


def test_a_vision_transformer_is_built_for_the_images():
    assert "vit_b_16" in [
        s["network"] for s in records.RECORDS["costs-networks"].settings
    ]
    model = scaling._network("vit_b_16", scaling.blank_data(2, 32), 0)
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
