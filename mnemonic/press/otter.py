"""Chapters for otter-grader, in which each exercise's own check is a test.

    python -m mnemonic.press.otter 01 03

``_build/otter/<chapter>`` then has the notebook for students, its ``tests``, and in
``solved`` the notebook that has to earn all points. otter-grader makes an autograder of
them (``otter generate``) and grades with it (``otter run``).
"""

import sys
from pathlib import Path

import nbformat
from nbformat import v4

from mnemonic.press.editions import edition
from mnemonic.press.publish import chosen_notebooks

BEGIN = 'import otter\n\ngrader = otter.Notebook("{}", tests_dir="tests")'
TEST = """from otter.test_files import test_case

OK_FORMAT, name, points = False, {label!r}, 1


@test_case()
def done(env):
    exec({call!r}, env)
"""


def write(notebook: Path, target: Path) -> None:
    """Write a chapter for otter-grader.

    Args:
        notebook: The clean one.
        target: A folder for the two notebooks and the tests, one an exercise.
    """
    whole = edition(nbformat.read(notebook, 4), solved=True)
    for kept, folder in (("exercise", target), ("solution", target / "solved")):
        (folder / "tests").mkdir(parents=True, exist_ok=True)
        cells = [v4.new_code_cell(BEGIN.format(notebook.name), id="otter")]
        for cell in whole.cells:
            tags = {"exercise", "solution"} & set(cell.metadata.get("tags", []))
            cells += [cell] if tags <= {kept} else []
            if tags == {kept}:
                label, call = cell.id.removesuffix(f"-{kept}"), cell.source.split("\n")
                test = TEST.format(label=label, call=call[-1])
                (folder / "tests" / f"{label}.py").write_text(test, encoding="utf-8")
                check = f'grader.check("{label}")'
                cells.append(v4.new_code_cell(check, id=f"{label}-check"))
        written = nbformat.from_dict({**whole, "cells": cells})
        nbformat.write(written, folder / notebook.name)


if __name__ == "__main__":
    for chapter in chosen_notebooks(Path(), sys.argv[1:]):
        write(chapter, Path("_build", "otter", chapter.stem))
