"""The soak at a length for every day: make soak has the long one."""

import importlib.util
import json
import signal
from collections import Counter
from pathlib import Path

import pytest
import torch

import mnemonic as mn
from mnemonic.storage import digest

ROOT = Path(__file__).parents[1]


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def soak():
    made = module(ROOT / "benchmarks" / "soak.py")
    yield made
    made.Forked.close()


def test_grid_survives_kills(soak, tmp_path):
    found = soak.interrupted(soak.Grid, tmp_path, kills=3, seed=1)
    assert found["kills"] == 3
    assert found["ends_alike"] == found["rounds"]


def test_two_grids_at_once_share_the_work(soak, tmp_path):
    found = soak.two_at_once(soak.Grid, tmp_path)
    assert found["runs"] == found["pieces"]


def test_mnist_5k_in_a_new_process_gives_the_same_bits(soak, tmp_path):
    made, weights = soak.trained_anew(tmp_path, "made")
    profile, threads = mn.Profile.named("smoke"), torch.get_num_threads()
    torch.set_num_threads(1)  # as there
    try:
        model, codes = profile.trained(profile.load(), 0)
        forgot = mn.forget(model, codes, [3]).model
    finally:
        torch.set_num_threads(threads)
    assert [digest(dict(m.state_dict())) for m in (model, forgot)] == made
    assert made[0] != made[1]
    pairs = zip(weights, model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_kills_are_of_both_kinds(soak, tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(soak.os, "killpg", lambda pid, how: sent.append(how))
    monkeypatch.setattr(soak, "undisturbed", lambda job: ([], 0.0))

    class Idle(soak.Job):
        call = ("-c", "import time; time.sleep(0.5)")

        def results(self):
            return []

        def outcome(self):
            return []

    found = soak.interrupted(Idle, tmp_path, kills=6)
    assert Counter(sent) == {signal.SIGKILL: 3, signal.SIGINT: 3}
    assert (found["SIGKILL"], found["SIGINT"]) == (3, 3)


def test_a_soak_that_is_stopped_leaves_nothing_running(soak, tmp_path):
    class Endless(soak.Job):
        call = ("-c", "import time; time.sleep(600)")

    process = Endless(tmp_path / "job").start()
    assert process.poll() is None
    soak.Job.stop()
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    soak.Job.stop()  # nothing left to do


def test_outputs_are_compared_bit_for_bit(soak, tmp_path):
    def notebook(text):
        output = {"output_type": "stream", "name": "stdout", "text": [text]}
        bar = {"output_type": "stream", "name": "stderr", "text": ["bar"]}
        cell = {"id": "a", "metadata": {}, "outputs": [output, bar]}
        (tmp_path / "n.ipynb").write_text(
            json.dumps({"cells": [cell, {**cell}]}), encoding="utf-8"
        )
        return soak.shown(tmp_path / "n.ipynb")

    assert len(notebook("0.1")) == 2
    assert notebook("0.1") == notebook("0.1")
    assert notebook("0.1") != notebook("0.10")


def test_work_that_is_lost_is_noticed(soak, tmp_path):
    class Forgetful(soak.Grid):
        def finished(self):
            return {p.name: p.stat().st_mtime_ns for p in self.results()}

        def start(self):
            for path in self.results():
                path.unlink()
            return super().start()

    with pytest.raises(SystemExit, match="was made again"):
        soak.interrupted(Forgetful, tmp_path, kills=6, seed=2)


def test_page_has_a_number_for_each_place():
    page = module(ROOT / "book" / "_extensions" / "places.py")
    text = (ROOT / "book" / "tested.md").read_text(encoding="utf-8")
    counted, missing = page.filled(text)
    assert missing == []
    assert "[[" not in counted
    assert not any(c.isdigit() for c in page.PLACE.sub("", text).replace("mnist-5k", "")
                   .replace("(1)", "").replace("(0)", ""))  # fmt: skip
    assert page.filled("[[none/such]]") == ("(not yet recorded)", ["none/such"])
