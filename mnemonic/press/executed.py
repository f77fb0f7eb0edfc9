"""Notebooks, run by papermill into copies that are whole or not there.

A notebook is run when its key changed: its code cells, the code that decides its
numbers, the figures, tables and checks that it names, the recorded runs, the profile
and the installed versions. Its executed copy appears under
``<build>/executed/<profile>/`` only when the whole run went well, so a failed run is
never rendered and an interrupted build goes on where it stopped. Text that was edited
is put into the copy, and nothing is run.
"""

import contextlib
import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import joblib

from mnemonic.lab.keys import code_digest, files_in, named_in, numerical, reached
from mnemonic.lab.results import provenance
from mnemonic.storage import Store, digest

_INJECTED = "injected-parameters"


class NotebookError(Exception):
    """A notebook that did not run to its end, or not as it is fit for print."""


def key_of(notebook: Path, root: Path, profile: str) -> str:
    """Digest of everything that an executed copy depends on."""
    package = root / "mnemonic"
    # A set: in a checkout, what is installed editable is found in two places.
    versions = {f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}
    files, records = {*numerical(package)}, files_in(root / "book" / "results")
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        files |= _named_by(code, package)
        files |= {*records} if "recorded(" in str(code) else set()
    except (ValueError, LookupError, TypeError, SyntaxError):  # it may name anything
        code, files = notebook.read_bytes(), {*files, *files_in(package), *records}
    told = [code_digest(files, root), code, profile]
    return digest(told, sys.version, sorted(versions))


def _named_by(code: list[str], package: Path) -> set[Path]:
    """Modules of the package that cells name."""
    from IPython.core.inputtransformer2 import TransformerManager

    plain = map(TransformerManager().transform_cell, code)  # no "!git", no "%time"
    return reached(named_in("\n".join(plain)), package)


def copies_in(build: Path, profile: str) -> Store:
    """Where executed copies live."""
    return Store(build / "executed" / profile, ".ipynb", _read, _write)


def is_current(notebook: Path, root: Path, build: Path, profile: str) -> bool:
    """Whether there is a good copy; text that was edited is put into it."""
    copies, key = copies_in(build, profile), key_of(notebook, root, profile)
    copy = copies.find(key, notebook.stem)
    if copy is not None:
        edited = _with_text_of(json.loads(notebook.read_bytes()), copy)
        if edited != copy:
            copies.keep(key, edited, notebook.stem)
    return copy is not None


def run(notebook: Path, root: Path, build: Path, profile: str) -> bool:
    """Run one notebook if its executed copy is missing or out of date.

    Args:
        notebook: The clean notebook.
        root: The repository; the kernel's working folder.
        build: Where executed copies live.
        profile: Name of the profile.

    Returns:
        Whether there is now a good copy.
    """
    copies = copies_in(build, profile)
    make = partial(_made, notebook, root, copies.folder, profile)
    try:
        copies.fetch(key_of(notebook, root, profile), make, name=notebook.stem)
    except NotebookError as error:
        print(f"{notebook.name} failed: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _with_text_of(clean: dict, copy: dict) -> dict:
    """The copy with text and tags as the clean notebook, whose code it has, has now."""
    code = [c for c in copy["cells"] if c["cell_type"] == "code"]
    injected = [c for c in code if _INJECTED in c["metadata"].get("tags", [])]
    ran, cells = iter(c for c in code if c not in injected), []
    for cell in clean["cells"]:
        told = {"tags": [], **cell["metadata"]}
        outputs = next(ran) if cell["cell_type"] == "code" else {}
        cells.append({**cell, **outputs, "metadata": told})
        if "parameters" in told["tags"]:
            cells += injected
    return {**copy, "cells": cells}


def _made(notebook: Path, root: Path, folder: Path, profile: str) -> dict:
    print(f"running {notebook.name} ({profile}) …", flush=True)
    started = time.monotonic()
    aside = folder / f".{notebook.stem}.part.ipynb"
    try:
        _papermill(notebook, aside, root, profile)
        seconds = time.monotonic() - started
        made = _finished(json.loads(aside.read_bytes()), profile, seconds)
    finally:
        aside.unlink(missing_ok=True)
    print(f"  {notebook.name} done in {seconds:.0f} s", flush=True)
    return _with_text_of(json.loads(notebook.read_bytes()), made)


def _papermill(notebook: Path, aside: Path, root: Path, profile: str) -> None:
    import papermill

    from mnemonic.press.kernel import kernel_here

    # papermill puts parameters into names of files
    names = (re.sub(r"([{}])", r"\1\1", str(path)) for path in (notebook, aside))
    try:
        with kernel_here() as kernel:
            papermill.execute_notebook(
                *names,
                parameters={"profile": profile},
                cwd=str(root),
                progress_bar=False,
                **kernel,
            )
    except Exception as error:  # of a cell, of a kernel that died, of no notebook
        kind = getattr(error, "ename", type(error).__name__)
        said = f"{kind}: {getattr(error, 'evalue', error)}"
        raise NotebookError(_where(aside, said)) from error
    if fault := fault_of(aside):
        raise NotebookError(fault)


def fault_of(copy: Path) -> str | None:
    """Say what makes an executed copy unfit for print.

    Args:
        copy: An executed notebook.

    Returns:
        The cell at fault and why, or nothing if every code cell ran, in order, without
        an error and without a word on stderr.
    """
    last = 0
    for i, cell in _code_cells(copy):
        count = cell["execution_count"]
        if count is None or count <= last:
            return f"cell {i} was not run in order"
        last = count
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                return f"cell {i} raised {output['ename']}: {output['evalue']}"
            if output.get("name") == "stderr":
                return f"cell {i} wrote to stderr: {''.join(output['text'])[:300]}"
    return None


def _code_cells(copy: Path) -> Iterator[tuple[int, dict]]:
    """Those that are not empty, with their place among all that papermill found."""
    added = {_INJECTED, "papermill-error-cell-tag"}
    cells = json.loads(copy.read_bytes())["cells"]
    found = (c for c in cells if not added & set(c["metadata"].get("tags", [])))
    for i, cell in enumerate(found):
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip():
            yield i, cell


def _where(copy: Path, error: str) -> str:
    """Say which cell an error comes from: one that shows it, or did not come back."""
    with contextlib.suppress(OSError, ValueError):  # it may be missing, or half there
        for i, cell in _code_cells(copy):
            shown = any(output["output_type"] == "error" for output in cell["outputs"])
            if shown or "shell.execute_reply" not in cell["metadata"].get(
                "execution", {}
            ):
                first = "".join(cell["source"]).strip().splitlines()[0]
                return f"cell {i} ({first!r}) raised {error}"
    return error


def _finished(notebook: dict, profile: str, seconds: float) -> dict:
    """Hide what papermill injected, drop its times, and note where the copy is from."""
    from mnemonic.lab.profiles import Profile

    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        if _INJECTED in cell["metadata"].get("tags", []):
            cell["metadata"]["tags"].append("remove-cell")
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["mnemonic"] = {
        "profile": profile,
        "data": Profile.named(profile).data_name,
        "seconds": round(seconds),
        "cores": joblib.cpu_count(),
        **provenance(),
    }
    return json.loads(json.dumps(notebook))  # as it will be read


def _read(path: Path) -> tuple[dict, str, str]:
    notebook = json.loads(path.read_bytes())
    facts = notebook["metadata"]["mnemonic"]
    return notebook, facts.pop("key"), facts.pop("content", "of an older version")


def _write(path: Path, notebook: dict, key: str, content: str) -> None:
    notebook["metadata"]["mnemonic"] |= {"key": key, "content": content}
    path.write_text(
        json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
