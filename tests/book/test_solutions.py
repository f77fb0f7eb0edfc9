"""Exercises: a student reaches each, and its solution passes the check.

A file of its own, so that another worker runs it while test_book.py builds the book.
"""

from pathlib import Path

import pytest

from mnemonic.press import editions

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_exercise_can_be_reached_and_every_solution_passes(
    path, smoke_cache, monkeypatch
):
    monkeypatch.setenv("MNEMONIC_CACHE", str(smoke_cache))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert editions.run_checked(path, ROOT, "smoke") == []
