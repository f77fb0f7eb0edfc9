import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mnemonic as mn
from mnemonic.storage import cache_folder, digest


def square(seed, x):
    return {"y": x * x + seed, "process": os.getpid()}


def several(seed):
    return [{"c": c, "v": c / 7 + seed} for c in range(3)]


def test_grid_has_a_row_a_cell_in_order():
    frame = mn.run_grid(square, [{"x": 3}, {"x": 2}], seeds=[1, 0], jobs=1)
    assert frame[["x", "seed", "y"]].to_numpy().tolist() == [
        [3, 1, 10],
        [3, 0, 9],
        [2, 1, 5],
        [2, 0, 4],
    ]
    rows = mn.run_grid(several, [{}], seeds=[0, 1], jobs=1)
    assert rows["v"].tolist() == [c / 7 + s for s in (0, 1) for c in range(3)]


def test_cells_run_in_other_processes():
    frame = mn.run_grid(square, [{"x": 3}], seeds=[0, 1], jobs=2)
    assert os.getpid() not in set(frame["process"])


def test_finished_cells_are_read_and_damaged_ones_made_again():
    first = mn.run_grid(square, [{"x": 3}], seeds=[0, 1], jobs=1)
    cells = sorted((cache_folder() / "cells").glob("*.json"))
    assert len(cells) == 2
    for cell in cells:  # proof that they are read
        content = json.loads(cell.read_text(encoding="utf-8"))
        content["cell"]["rows"][0]["y"] += 1000
        content["sha256"] = digest(content["cell"])
        cell.write_text(json.dumps(content), encoding="utf-8")
    again = mn.run_grid(square, [{"x": 3}], seeds=[0, 1], jobs=1)
    assert again["y"].tolist() == (first["y"] + 1000).tolist()
    for damage in ('{"cell": ', "[]", "", '{"cell": 3}'):
        cells[0].write_text(damage, encoding="utf-8")
        with pytest.warns(RuntimeWarning, match="is damaged"):
            mn.run_grid(square, [{"x": 3}], seeds=[0, 1], jobs=1)
    wider = mn.run_grid(square, [{"x": 3}], seeds=[0, 1, 2], jobs=1)
    assert wider["y"].tolist()[2] == 11
    assert sum(y > 1000 for y in wider["y"]) == 1


def test_edited_function_is_run_anew():
    def cell(seed):
        return {"v": 1}

    assert mn.run_grid(cell, [{}], seeds=[0], jobs=1)["v"].tolist() == [1]

    def cell(seed):
        return {"v": 2}

    assert mn.run_grid(cell, [{}], seeds=[0], jobs=1)["v"].tolist() == [2]


def test_interrupted_grid_goes_on(monkeypatch):
    # By Ctrl-C, in the fourth cell; test_soak.py kills the process itself.
    def cell(seed):
        if seed == 3 and "INTERRUPT" in os.environ:
            raise KeyboardInterrupt
        return {"v": seed}

    def cells():
        return {p: p.stat().st_mtime_ns for p in (cache_folder() / "cells").iterdir()
                if p.suffix != ".lock"}  # fmt: skip

    monkeypatch.setenv("INTERRUPT", "1")
    with pytest.raises(KeyboardInterrupt):
        mn.run_grid(cell, [{}], seeds=range(5), jobs=1)
    kept = cells()
    seeds = [json.loads(p.read_text(encoding="utf-8"))["cell"]["seed"] for p in kept]
    assert sorted(seeds) == [0, 1, 2]
    monkeypatch.delenv("INTERRUPT")
    frame = mn.run_grid(cell, [{}], seeds=range(5), jobs=1)
    assert frame["v"].tolist() == [0, 1, 2, 3, 4]
    assert kept.items() < cells().items()  # they were not made again


def test_mean_and_deviation():
    frame = pd.DataFrame({"x": [1, 1, 2, 2], "v": [1.0, 3.0, 5.0, 5.0]})
    table = mn.mean_sd(frame, by=["x"], values=["v"])
    assert table["v"].tolist() == [2, 5]
    assert table["v_sd"].tolist() == [2**0.5, 0]
    assert table["n"].tolist() == [2, 2]


def test_profiles():
    quick = mn.Profile.named("quick")
    assert quick.load().name == "mnist-5k"
    assert quick.recipe == mn.Recipe(40, 128, 0.05, schedule="cosine")
    assert mn.Profile.named("full").recipe == mn.Recipe(epochs=200, batch_size=128)
    assert len(mn.Profile.named("full").seeds) >= 3
    with pytest.raises(ValueError, match="unknown profile 'fast'; choose one of smoke"):
        mn.Profile.named("fast")


def test_profile_trains_by_seed():
    short = {"recipe": mn.Recipe(epochs=1), "per_class": 20}
    smoke = replace(mn.Profile.named("smoke"), **short)
    data = smoke.load()
    model, codes = smoke.trained(data, 0)
    again, same = smoke.trained(data, 0)
    assert (model[1].weight == again[1].weight).all()
    assert (codes.images == same.images).all()
    other, _ = smoke.trained(data, 0, t_mix=0.5, distribution="normal")
    assert not (model[1].weight == other[1].weight).all()


def test_mean_and_deviation_share_a_cell():
    frame = pd.DataFrame({"a": [1, 1, 2], "x": [1.0, 3.0, 5.0], "seed": [0, 1, 0]})
    table = mn.plus_minus(mn.mean_sd(frame, ["a"], ["x"]))
    assert list(table.columns) == ["a", "x", "n"]
    assert table["x"].tolist() == ["2.0 ± 1.4", "5.0"]


def numbers(seed, by):
    return {"v": np.float32(0.5) * by, "n": np.int64(3), "t": torch.tensor(0.25)}


def test_numbers_of_numpy_and_torch_are_numbers():
    by = [{"by": np.int64(2)}, {"by": torch.tensor(2)}, {"by": 2}]
    frame = mn.run_grid(numbers, by, seeds=[np.int64(0)], jobs=1)
    assert frame[["by", "v", "n", "t"]].to_numpy().tolist() == [[2, 1.0, 3, 0.25]] * 3
    assert len([*(cache_folder() / "cells").glob("*.json")]) == 1


@pytest.mark.parametrize(
    "wrong", [Path("x"), mn.Recipe(), {1, 2}, b"x", 1j, [{"a": object()}], {1: 2}]
)
def test_what_json_cannot_keep_is_refused(wrong, tmp_path):
    def cell(seed, p=None):
        (tmp_path / "ran").touch()
        return {"v": wrong}

    with pytest.raises(ValueError, match=r"settings\[0\]\['p'\].*(JSON|the key)"):
        mn.run_grid(cell, [{"p": wrong}], seeds=[0], jobs=1)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match=r"result of cell\['v'\].*(JSON|the key)"):
        mn.run_grid(cell, [{}], seeds=[0], jobs=1)
    assert not [*(cache_folder() / "cells").glob("*.json")]


@pytest.mark.parametrize("result", [None, 3, "ab", [1], pd.DataFrame({"a": [1]})])
def test_a_cell_gives_dicts(result):
    def cell(seed):
        return result

    with pytest.raises(ValueError, match="give a dict, or a list of dicts"):
        mn.run_grid(cell, [{}], seeds=[0], jobs=1)


def test_tuples_stay_tuples_in_settings_alone():
    def cell(seed, of):
        return {"kind": type(of).__name__, "of it": of}

    for _ in range(2):  # made, and read
        frame = mn.run_grid(cell, [{"of": (1, 2)}], seeds=[0], jobs=1)
        assert frame.iloc[0].tolist() == [(1, 2), 0, "tuple", [1, 2]]


def test_a_setting_is_not_called_seed():
    with pytest.raises(ValueError, match=r"settings\[0\] has the key 'seed'"):
        mn.run_grid(square, [{"x": 1, "seed": 2}], seeds=[0], jobs=1)
