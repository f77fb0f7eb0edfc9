"""Each chapter is run, with its exercises: a student reaches each, and its solution
passes the check."""

from pathlib import Path

import pytest

from mnemonic.press import executed

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_runs_and_its_exercises_can_be_reached_and_solved(
    path, publish_smoke, shared
):
    made = publish_smoke("--no-render", "--only", path.stem)
    assert (made.code, made.err) == (0, "")
    copy = shared / "book" / "executed" / "smoke" / path.name
    assert executed.fault_of(copy) is None
