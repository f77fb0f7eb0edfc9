"""The soak at a length for every day: make soak has the long one."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def soak():
    return module(ROOT / "benchmarks" / "soak.py")


def test_grid_survives_kills(soak, tmp_path):
    found = soak.interrupted(soak.Grid, tmp_path, kills=3, seed=1)
    assert found["kills"] == 3
    assert found["ends_alike"] == found["rounds"]


def test_two_grids_at_once_share_the_work(soak, tmp_path):
    found = soak.two_at_once(soak.Grid, tmp_path)
    assert found["runs"] == found["pieces"]


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
    page = module(ROOT / "book" / "_extensions" / "tested.py")
    text = (ROOT / "book" / "tested.md").read_text(encoding="utf-8")
    counted, missing = page.filled(text)
    assert missing == []
    assert "[[" not in counted
    assert not any(c.isdigit() for c in page.PLACE.sub("", text).replace("mnist-5k", "")
                   .replace("(1)", "").replace("(0)", ""))  # fmt: skip
    assert page.filled("[[none/such]]") == ("(not yet recorded)", ["none/such"])
