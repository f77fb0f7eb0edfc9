"""Notebooks, run by papermill into copies that are whole or not there.

A notebook is run when its key changed: the notebook itself, the package's source, the
recorded runs, the profile and the installed versions. Its executed copy appears under
``<build>/executed/<profile>/`` only when the whole run went well, so a failed run is
never rendered and an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from mnemonic.storage import set_aside


def key_of(notebook: Path, root: Path, profile: str) -> str:
    """Digest of everything that an executed copy depends on."""
    # A set: in a checkout, what is installed editable is found in two places.
    versions = sorted(
        {f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}
    )
    return digest_of(
        root,
        [notebook, *files_in(root / "mnemonic"), *files_in(root / "book" / "results")],
        extra=[profile, sys.version, *versions],
    )


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
    copy = build / "executed" / profile / notebook.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(copy.with_suffix(".lock")):
        key = key_of(notebook, root, profile)
        if _key_in(copy) == key:
            return True
        print(f"running {notebook.name} ({profile}) …", flush=True)
        started = time.monotonic()
        aside = copy.with_name(f".{copy.stem}.part.ipynb")
        try:
            error = _papermill(notebook, aside, root, build, profile)
            seconds = time.monotonic() - started
            if error:
                print(f"{notebook.name} failed: {error}", file=sys.stderr, flush=True)
                return False
            _finish(aside, key, profile, seconds)
            os.replace(aside, copy)
        finally:
            aside.unlink(missing_ok=True)
        print(f"  done in {seconds:.0f} s", flush=True)
        return True


def _papermill(
    notebook: Path, aside: Path, root: Path, build: Path, profile: str
) -> str | None:
    """What went wrong, or nothing."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in mnemonic/__init__.py
    os.environ["TQDM_DISABLE"] = "1"  # each step of a bar would be a line of the page
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    try:
        papermill.execute_notebook(
            str(notebook),
            str(aside),
            parameters={"profile": profile},
            kernel_name="python3",
            cwd=str(root),
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        return _where(aside, f"{error.ename}: {error.evalue}")
    except Exception as error:  # a kernel that died, a notebook that is no notebook
        return _where(aside, f"{type(error).__name__}: {error}")
    return fault_of(aside)


def fault_of(copy: Path) -> str | None:
    """Say what makes an executed copy unfit for print.

    Args:
        copy: An executed notebook.

    Returns:
        The cell at fault and why, or nothing if every code cell ran, in order, without
        an error and without a word on stderr.
    """
    last = 0
    for i, cell in _numbered_cells(copy):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
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


def _numbered_cells(copy: Path) -> Iterator[tuple[int, dict]]:
    """Cells with their place in the clean notebook: without those papermill added."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    cells = json.loads(copy.read_text())["cells"]
    return enumerate(c for c in cells if not added & set(c["metadata"].get("tags", [])))


def _where(copy: Path, error: str) -> str:
    """Say which cell an error comes from: one that shows it, or did not come back."""

    def shows_it(cell: dict) -> bool:
        return any(output["output_type"] == "error" for output in cell["outputs"])

    def is_lost(cell: dict) -> bool:
        return "shell.execute_reply" not in cell["metadata"].get("execution", {})

    code = [
        (i, cell)
        for i, cell in (_numbered_cells(copy) if copy.exists() else ())
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    for fault in (shows_it, is_lost):
        for i, cell in code:
            if fault(cell):
                first = "".join(cell["source"]).strip().splitlines()[0]
                return f"cell {i} ({first!r}) raised {error}"
    return error


def _finish(copy: Path, key: str, profile: str, seconds: float) -> None:
    """Hide what papermill injected, drop its times, and note where the copy is from."""
    from mnemonic.lab.profiles import Profile
    from mnemonic.lab.results import provenance

    notebook = json.loads(copy.read_text())
    for cell in notebook["cells"]:
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["metadata"]["tags"].append("remove-cell")
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"]["mnemonic"] = {
        "key": key,
        "content": _content_of(notebook),
        "profile": profile,
        "data": Profile.named(profile).data_name,
        "seconds": round(seconds),
        **provenance(),
    }
    copy.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _content_of(notebook: dict) -> str:
    return hashlib.sha256(json.dumps(notebook["cells"]).encode()).hexdigest()


def _key_in(copy: Path) -> str | None:
    """The key that a copy was made for; a damaged one is set aside."""
    if not copy.exists():
        return None
    try:
        notebook = json.loads(copy.read_text())
        facts = notebook["metadata"]["mnemonic"]
        if "content" not in facts:
            return None  # made by an older version
        if facts["content"] != _content_of(notebook):
            raise ValueError("its cells are not what was written")
        return str(facts["key"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        set_aside(copy, error)
        return None


def files_in(path: Path) -> list[Path]:
    """A file, or all below a folder, in order."""
    if path.is_file():
        return [path]
    skipped = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(
        p for p in path.rglob("*") if p.is_file() and not skipped & set(p.parts)
    )


def digest_of(root: Path, files: list[Path], extra: list[str]) -> str:
    """Digest of the names and contents of files, and of more."""
    hasher = hashlib.sha256("\n".join(extra).encode())
    for file in files:
        name = file.relative_to(root) if file.is_relative_to(root) else file
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        hasher.update(f"\n{name} {content}".encode())
    return hasher.hexdigest()
