"""Run the notebooks that need it, and render the book.

    python -m mnemonic.publish --profile quick

A notebook is run by papermill when its key changed: the notebook itself, the package's
source, the recorded runs, the profile and the installed versions. Its executed copy
appears under ``_build/executed/<profile>/`` only when the whole run went well, so a
failed run is never rendered and an interrupted build goes on where it stopped. The
pages are rendered beside the old ones and take their place when they are complete.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from filelock import FileLock

from mnemonic.formats import FORMATS, SPHINX_ITSELF_KNOWS, write_config
from mnemonic.storage import set_aside

PROFILES = ("smoke", "quick", "full")
SOURCES = ("_config.yml", "_toc.yml", "book", "README.md", "CHANGELOG.md", "mnemonic")


def main(arguments: list[str] | None = None) -> int:
    """Run and render.

    Args:
        arguments: Of the command line.

    Returns:
        0, or 1 if a notebook or the render failed, or 2 for a wrong call.
    """
    parser = argparse.ArgumentParser(prog="python -m mnemonic.publish")
    parser.add_argument("--profile", default="quick", help=", ".join(PROFILES))
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the repository")
    parser.add_argument("--build", type=Path, help="default: <root>/_build")
    parser.add_argument("--only", nargs="*", default=[], help="names that begin so")
    parser.add_argument("--no-render", action="store_true")
    parser.add_argument("--builder", default="html", help=", ".join(FORMATS))
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    build = (options.build or root / "_build").resolve()
    if options.builder not in FORMATS:
        known = " or ".join(FORMATS)
        print(f"unknown builder {options.builder!r}; choose {known}", file=sys.stderr)
        return 2
    try:
        notebooks = chosen_notebooks(root, options.profile, options.only)
        build.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        failed = [n for n in notebooks if not run(n, root, build, options.profile)]
        if failed:
            names = ", ".join(n.name for n in failed)
            print(f"not rendered: {names} failed", file=sys.stderr)
            return 1
        if options.no_render or options.only:
            return 0
        return 0 if render(root, build, options.profile, options.builder) else 1
    except OSError as error:  # no room, no permission
        print(f"cannot write to {build}: {error}", file=sys.stderr)
        return 1


def chosen_notebooks(root: Path, profile: str, only: list[str]) -> list[Path]:
    """The notebooks to run, in order.

    Args:
        root: The repository.
        profile: Name of the profile.
        only: Beginnings of names, or nothing for all.

    Returns:
        Paths.

    Raises:
        ValueError: If the profile is not known or no notebook is named so.
    """
    if profile not in PROFILES:
        raise ValueError(
            f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}"
        )
    every = sorted((root / "notebooks").glob("[!.]*.ipynb"))
    if not every:
        raise ValueError(
            f"in {root / 'notebooks'} there are none; name the repository with --root"
        )
    named = [n for n in every if not only or n.name.startswith(tuple(only))]
    if not named:
        raise ValueError(
            f"no notebook in {root / 'notebooks'} begins with {' or '.join(only)}; "
            f"there are {', '.join(n.stem for n in every)}"
        )
    return named


def key_of(notebook: Path, root: Path, profile: str) -> str:
    """Digest of everything that an executed copy depends on."""
    # A set: in a checkout, what is installed editable is found in two places.
    versions = sorted(
        {f"{d.name}=={d.version}" for d in importlib.metadata.distributions()}
    )
    return _digest(
        root,
        [notebook, *_files(root / "mnemonic"), *_files(root / "book" / "results")],
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
    from mnemonic.profiles import Profile
    from mnemonic.results import provenance

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


def render(
    root: Path,
    build: Path,
    profile: str,
    builder: str = "html",
    changes: dict | None = None,
) -> bool:
    """Render the book from the executed copies, if anything changed.

    Args:
        root: The repository.
        build: Where executed copies are, and ``<builder>`` shall be.
        profile: Whose copies to show.
        builder: One of ``FORMATS``.
        changes: To ``_config.yml``; those of the format by default.

    Returns:
        Whether the pages are up to date. The old ones stay if the render fails.
    """
    copies = sorted((build / "executed" / profile).glob("[!.]*.ipynb"))
    sources = [f for name in SOURCES for f in _files(root / name)]
    key = _digest(root, [*sources, *copies], extra=[profile])
    final, aside = build / builder, build / f"render-{builder}"
    with FileLock(build / f"{builder}.lock"):
        stamp = final / ".key"
        if stamp.is_file() and stamp.read_bytes() == key.encode():
            print(f"nothing changed: {final / 'index.html'}")
            return True
        if fault := _fault_of_settings(root):
            print(f"the render failed: {fault}", file=sys.stderr)
            return False
        shutil.rmtree(aside, ignore_errors=True)
        jupyter_book = Path(sys.executable).with_name("jupyter-book")
        command = [str(jupyter_book), "build", str(root)]
        command += ["-W", "-n", "--keep-going", "--path-output", str(aside)]
        changes = FORMATS[builder] if changes is None else changes
        command += write_config(root, aside / "config", changes)
        if builder in SPHINX_ITSELF_KNOWS:
            command += ["--builder", builder]
        else:
            command += ["--builder", "custom", "--custom-builder", builder]
        print(f"rendering ({builder}) …", flush=True)
        env = {**os.environ, "MNEMONIC_EXECUTED": str(copies[0].parent)}
        env["MNEMONIC_PROFILE"] = profile  # of the playground's network
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            log = (done.stdout + done.stderr).splitlines()
            bad = [x for x in log if "WARNING" in x or "ERROR" in x] or log[-60:]
            print("the render failed:", *bad, sep="\n  ", file=sys.stderr)
            return False
        fresh = aside / "_build" / builder
        (fresh / ".key").write_text(key)
        stamp.unlink(missing_ok=True)  # first: half of the old pages is not up to date
        shutil.rmtree(final, ignore_errors=True)
        os.replace(fresh, final)
        shutil.rmtree(aside, ignore_errors=True)
    print(f"the book: {final / 'index.html'}")
    return True


def _fault_of_settings(root: Path) -> str | None:
    """What is wrong with the configuration or the table of contents, if anything."""
    for path in (root / "_config.yml", root / "_toc.yml"):
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(settings, dict):
                raise ValueError("it holds no settings by name")
        except (OSError, ValueError, yaml.YAMLError) as error:
            return f"{path} is missing or damaged ({error}); restore it"
    return None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    skipped = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(
        p for p in path.rglob("*") if p.is_file() and not skipped & set(p.parts)
    )


def _digest(root: Path, files: list[Path], extra: list[str]) -> str:
    hasher = hashlib.sha256("\n".join(extra).encode())
    for file in files:
        name = file.relative_to(root) if file.is_relative_to(root) else file
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        hasher.update(f"\n{name} {content}".encode())
    return hasher.hexdigest()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is aside is removed
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept", file=sys.stderr)
        sys.exit(130)
