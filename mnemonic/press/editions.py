r"""The student edition: the book and its notebooks without solutions.

    python -m mnemonic.press.editions --profile quick

In a chapter, an exercise holds one block of Python, and its solution another. In the
student edition the solution is gone, and the block of the exercise is a cell to fill
in; as it stands it raises ``NotImplementedError``. In the checked edition that cell is
there too, and the solution's after it, so that running it tells whether every exercise
can be reached and every solution passes.

Example:
    >>> text = '''````{exercise}
    ... :label: ex-a
    ...
    ... What is it?
    ...
    ... ```python
    ... answer = ...
    ... ```
    ... ````
    ...
    ... ````{solution} ex-a
    ... :class: dropdown
    ...
    ... ```python
    ... answer = 42
    ... ```
    ... ````
    ... '''
    >>> whole = v4.new_notebook(cells=[v4.new_markdown_cell(text)])
    >>> edition(whole).cells[1].source
    'answer = ...'
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from mnemonic.press import publish
from mnemonic.storage import alone

EXERCISE = re.compile(
    r"(?P<before>^````\{exercise\}\n:label: (?P<label>\S+)\n.*?)\n"
    r"```python\n(?P<code>.*?)\n```\n(?P<after>````\n)",
    flags=re.M | re.S,
)
SOLUTION = re.compile(
    r"^````\{solution\} (?P<label>\S+)\n.*?```python\n(?P<code>.*?)\n```\n````\n\n?",
    flags=re.M | re.S,
)
# No way to the chapters with solutions: the buttons lead to the repository.
CHANGES = {
    "launch_buttons": {"colab_url": ""},
    "html": {"use_edit_page_button": False, "use_repository_button": False},
}


def edition(notebook: NotebookNode, *, solved: bool = False) -> NotebookNode:
    """Take the solutions out of a notebook and make cells of its exercises.

    Args:
        notebook: Clean or executed.
        solved: Whether a cell with its solution follows each exercise.

    Returns:
        Another notebook; the one given stays as it is. Its new cells are tagged
        ``exercise`` and ``solution``.
    """
    cells = []
    for cell in notebook["cells"]:
        text = cell["source"]
        if cell["cell_type"] != "markdown" or "{exercise}" not in text:
            cells.append(cell)
            continue
        solutions = {m["label"]: m["code"] for m in SOLUTION.finditer(text)}
        text, end = SOLUTION.sub("", text), 0
        for found in EXERCISE.finditer(text):
            label = found["label"]
            prose = text[end : found.start()] + found["before"] + "\n" + found["after"]
            cells.append({**cell, "id": f"{label}-text", "source": prose})
            # an exercise that is not done yet does not stop "run all cells"
            cells.append(_code(label, found["code"], "exercise", "raises-exception"))
            if solved:
                cells.append(_code(label, solutions[label], "solution"))
            end = found.end()
        if rest := text[end:].lstrip("\n"):
            cells.append({**cell, "source": rest})
    return nbformat.from_dict({**notebook, "cells": cells})  # a copy of all


def _code(label: str, code: str, *tags: str) -> NotebookNode:
    return v4.new_code_cell(code, id=f"{label}-{tags[0]}", metadata={"tags": [*tags]})


def write(root: Path, build: Path, profile: str) -> Path:
    """Write the student notebooks, and their executed copies to render from.

    Args:
        root: The repository.
        build: Where ``executed/<profile>`` is.
        profile: Whose copies.

    Returns:
        ``<build>/student``, with ``notebooks``, ``executed`` and ``notebooks.zip``.
    """
    folder, chapters = build / "student", publish.chapters(root)
    for parent, name in ((root, "notebooks"), (build, f"executed/{profile}")):
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        paths = (parent / name / path.name for path in chapters)
        for path in filter(Path.exists, paths):
            nbformat.write(edition(nbformat.read(path, 4)), place / path.name)
    shutil.make_archive(str(folder / "notebooks"), "zip", folder, "notebooks")
    return folder


def render(root: Path, folder: Path, profile: str) -> bool:
    """Render the student edition.

    Args:
        root: The repository.
        folder: As ``write`` gave it.
        profile: Whose copies.

    Returns:
        Whether ``<folder>/html`` is up to date.
    """
    if not publish.render(root, folder, profile, changes=CHANGES):
        return False
    sources = folder / "html" / "_sources" / "notebooks"  # what readers download
    for path in sources.glob("*.ipynb"):
        shutil.copy(folder / "notebooks" / path.name, path)
    return True


def run_checked(notebook: Path, root: Path, profile: str) -> NotebookNode:
    """Run a chapter with each exercise as the student finds it, then its solution.

    Args:
        notebook: The clean one.
        root: The repository; the kernel's working folder.
        profile: Name of the profile.

    Returns:
        The checked edition, with its outputs; ``faults_of`` says what went wrong.
    """
    from nbclient import NotebookClient

    from mnemonic.press.kernel import kernel_here

    whole = edition(nbformat.read(notebook, 4), solved=True)
    for cell in whole.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = f"profile = {profile!r}"
    where = {"metadata": {"path": str(root)}}
    with kernel_here() as kernel:
        NotebookClient(whole, allow_errors=True, resources=where, **kernel).execute()
    return whole


def faults_of(checked: NotebookNode) -> list[str]:
    """Say what went wrong in a chapter that was run with its exercises.

    Args:
        checked: As ``run_checked`` gave it.

    Returns:
        A line each: a cell before an exercise that fails, an exercise that does not
        wait for the student, a solution that does not pass its check.
    """
    faults = []
    for cell in checked.cells:
        outputs, tags = cell.get("outputs", []), cell.metadata.get("tags", [])
        errors = [o for o in outputs if o.output_type == "error"]
        said = "".join(o.text for o in outputs if o.output_type == "stream")
        if "exercise" in tags:
            raised = [error.ename for error in errors]
            if raised != ["NotImplementedError"]:
                faults.append(f"{cell.id} raised {raised}, not NotImplementedError")
        elif errors:
            faults.append(f"{cell.id} raised {errors[0].ename}: {errors[0].evalue}")
        elif "solution" in tags and not said.startswith("Done."):
            faults.append(f"{cell.id} does not say that it is done, but {said!r}")
    return faults


def main(arguments: list[str] | None = None) -> int:
    """Make the student edition, or check the exercises.

    Args:
        arguments: Of the command line.

    Returns:
        0, or 1 if something failed, or 2 for a wrong call.
    """
    parser = publish.command_line("editions")
    parser.add_argument("--check", action="store_true", help="run all solutions")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    build = (options.build or root / "_build").resolve()
    if options.check:
        return _check(root, options.profile, options.only)
    same = ["--profile", options.profile, "--root", str(root), "--build", str(build)]
    if code := publish.main([*same, "--no-render"]):
        return code
    try:
        with alone(build / "student.lock"):  # two at once would mix their files
            folder = write(root, build, options.profile)
            if not render(root, folder, options.profile):
                return 1
    except OSError as error:  # no room, no permission
        print(f"cannot write to {build}: {error}", file=sys.stderr)
        return 1
    print(f"the students' notebooks: {folder / 'notebooks.zip'}")
    return 0


def _check(root: Path, profile: str, only: list[str]) -> int:
    try:
        notebooks = publish.chosen_notebooks(root, only)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    failed = False
    for notebook in notebooks:
        faults = faults_of(run_checked(notebook, root, profile))
        failed |= bool(faults)
        said = faults or ["all exercises can be reached, all solutions pass"]
        print(f"{notebook.name}:", *said, sep="\n  ", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
