"""Run the notebooks that need it, and render the book.

    python -m mnemonic.publish --profile quick

``mnemonic.press.executed`` runs them, and keeps what is done. The pages are rendered
beside the old ones and take their place when they are complete.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from sphinx_external_toc.parsing import parse_toc_yaml

from mnemonic.lab.keys import files_in
from mnemonic.press.executed import is_current
from mnemonic.press.formats import (
    FORMATS,
    SPHINX_ITSELF_KNOWS,
    of_chapters,
    write_config,
)
from mnemonic.press.side_by_side import run_all, take_any_console
from mnemonic.storage import alone, digest, intact

PROFILES = ("smoke", "quick", "full")
SOURCES = ("_config.yml", "_toc.yml", "book", "README.md", "CHANGELOG.md", "mnemonic")


def command_line(name: str) -> argparse.ArgumentParser:
    """The options that all editions of the book have.

    Args:
        name: Of the module that is run.

    Returns:
        A parser; a wrong call ends the process with 2.
    """
    take_any_console()
    parser = argparse.ArgumentParser(prog=f"python -m mnemonic.press.{name}")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    parser.add_argument("--root", type=Path, default=".", help="the repository")
    parser.add_argument("--build", type=Path, help="default: <root>/_build")
    parser.add_argument("--only", nargs="*", default=[], help="names that begin so")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run and render.

    Args:
        arguments: Of the command line.

    Returns:
        0, or 1 if a notebook or the render failed, or 2 for a wrong call.
    """
    parser = command_line("publish")
    parser.add_argument("--no-render", action="store_true")
    parser.add_argument("--builder", default="html", choices=FORMATS)
    options = parser.parse_args(arguments)
    root, profile = options.root.resolve(), options.profile
    build = (options.build or root / "_build").resolve()
    try:
        notebooks = chosen_notebooks(root, options.only)
        build.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        due = [n for n in notebooks if not is_current(n, root, build, profile)]
        if failed := run_all(due, root, build, profile):
            print(f"not rendered: {', '.join(failed)} failed", file=sys.stderr)
            return 1
        if options.no_render:
            return 0
        only = [n.stem for n in notebooks] if options.only else None
        return 0 if render(root, build, profile, options.builder, only=only) else 1
    except OSError as error:  # no room, no permission
        print(f"cannot write to {build}: {error}", file=sys.stderr)
        return 1


def chapters(root: Path) -> list[Path]:
    """Notebooks in the order of the table of contents; all, where it names none.

    Args:
        root: The repository.

    Returns:
        Paths, without what a reader left beside the chapters.
    """
    every, pages = sorted((root / "notebooks").glob("[!.]*.ipynb")), []
    with contextlib.suppress(Exception):  # the render says what is amiss
        toc = parse_toc_yaml(root / "_toc.yml")
        pages = [root / name.removesuffix(".ipynb") for name in toc]
    return [n for page in pages for n in every if n.with_suffix("") == page] or every


def chosen_notebooks(root: Path, only: list[str]) -> list[Path]:
    """The notebooks to run, in order; one that is no chapter only if it is asked for.

    Args:
        root: The repository.
        only: Beginnings of names, or nothing for all.

    Returns:
        Paths.

    Raises:
        ValueError: If no notebook is named so.
    """
    folder = root / "notebooks"
    every, listed = sorted(folder.glob("[!.]*.ipynb")), chapters(root)
    meant = [n for n in every if n.name.startswith(tuple(only or [""]))]
    named = [n for n in meant if n in listed] or meant
    if left := [n.name for n in meant if n not in named]:
        print(f"left out, for _toc.yml does not name them: {', '.join(left)}")
    if not named:
        there = ", ".join(n.stem for n in every)
        names = " or ".join(only) or "anything"
        raise ValueError(
            f"no notebook in {folder} begins with {names}; there are "
            f"{there or 'none; name the repository with --root'}"
        )
    return named


def render(
    root: Path,
    build: Path,
    profile: str,
    builder: str = "html",
    changes: dict | None = None,
    only: list[str] | None = None,
) -> bool:
    """Render the book from the executed copies, if anything changed.

    Where only sentences changed since the last render, their pages alone are made anew.

    Args:
        root: The repository.
        build: Where executed copies are, and ``<builder>`` shall be.
        profile: Whose copies to show.
        builder: One of ``FORMATS``.
        changes: To ``_config.yml``; those of the format by default.
        only: Chapters to render as a small book of their own, in ``chapter``, whose
            links to what it leaves out lead nowhere; all by default.

    Returns:
        Whether the pages are up to date. The old ones stay if the render fails.
    """
    copies = sorted((build / "executed" / profile).glob("[!.]*.ipynb"))
    changes = of_chapters(only) if only else changes or FORMATS[builder]
    sources = [f for name in SOURCES for f in files_in(root / name)]
    files = {os.path.relpath(f, root): f.read_bytes() for f in [*sources, *copies]}
    key = digest(files, profile, only or "all")
    bones = digest({n: _bones(n, c) for n, c in files.items()}, profile, only or "all")
    place = "chapter" if only else builder
    final, aside = build / place, build / f"render-{place}"
    with alone(build / f"{place}.lock"):
        stamp = final / ".key"
        if stamp.is_file() and stamp.read_bytes() == key.encode():
            print(f"nothing changed: {final / 'index.html'}")
            return True
        try:
            _check_settings(root)
        except ValueError as error:
            print(f"the render failed: {error}", file=sys.stderr)
            return False
        kept = aside / ".bones"
        if not kept.is_file() or kept.read_bytes() != bones.encode():
            shutil.rmtree(aside, ignore_errors=True)
        kept.unlink(missing_ok=True)
        command = [Path(sys.executable).with_name("jupyter-book"), "build", root]
        command += [] if only else ["-W", "-n", "--keep-going"]
        command += ["--path-output", aside]
        command += write_config(root, aside / "config", changes)
        known = builder in SPHINX_ITSELF_KNOWS
        custom = [] if known else ["custom", "--custom-builder"]
        command += ["--builder", *custom, builder]
        print(f"rendering ({place}) …", flush=True)
        env = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
        env["MNEMONIC_EXECUTED"] = str(copies[0].parent)
        env["MNEMONIC_PROFILE"] = profile  # of the playground's network
        done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8")
        if done.returncode:
            log = (done.stdout + done.stderr).splitlines()
            bad = [x for x in log if "WARNING" in x or "ERROR" in x] or log[-60:]
            print("the render failed:", *bad, sep="\n  ", file=sys.stderr)
            return False
        fresh = aside / "fresh"
        shutil.copytree(aside / "_build" / builder, fresh)
        (fresh / ".key").write_bytes(key.encode())
        if final.exists():  # at no moment is a half of the pages there
            os.replace(final, aside / "old")
        os.replace(fresh, final)
        shutil.rmtree(aside / "old", ignore_errors=True)
        kept.write_bytes(bones.encode())
    print(f"the book: {final / 'index.html'}")
    return True


def _bones(name: str, content: bytes) -> object:
    """What other pages may show of a file: all of it, or all but plain sentences."""
    text = []
    if name.endswith(".md"):
        text = content.decode().splitlines()
    elif name.endswith(".ipynb"):
        for cell in json.loads(content)["cells"]:
            is_text = cell["cell_type"] == "markdown"
            text += "".join(cell["source"]).splitlines() if is_text else [str(cell)]
    return [s for s in text if not s[:1].isalnum()] if text else content


def _check_settings(root: Path) -> None:
    """Raise a ``ValueError`` if configuration or table of contents is damaged."""
    for path in (root / "_config.yml", root / "_toc.yml"):
        with intact(f"{path} is missing or damaged", "restore it"):
            if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
                raise ValueError("it holds no settings by name")


def as_command() -> int:
    """Run ``main`` on the command line's arguments, and end as a command does.

    Returns:
        What the process exits with.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is aside is removed
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept", file=sys.stderr)
        return 130
