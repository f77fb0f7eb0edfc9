"""Run the notebooks that need it, and render the book.

    python -m mnemonic.press.publish --profile quick

``mnemonic.press.executed`` runs them, and keeps what is done. The pages are rendered
beside the old ones and take their place when they are complete.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from filelock import FileLock

from mnemonic.lab.keys import files_in
from mnemonic.press.executed import run
from mnemonic.press.formats import FORMATS, SPHINX_ITSELF_KNOWS, write_config
from mnemonic.storage import digest, intact

PROFILES = ("smoke", "quick", "full")
SOURCES = ("_config.yml", "_toc.yml", "book", "README.md", "CHANGELOG.md", "mnemonic")


def command_line(name: str) -> argparse.ArgumentParser:
    """The options that all editions of the book have.

    Args:
        name: Of the module that is run.

    Returns:
        A parser; a wrong call ends the process with 2.
    """
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
        failed = [n.name for n in notebooks if not run(n, root, build, profile)]
        if failed:
            print(f"not rendered: {', '.join(failed)} failed", file=sys.stderr)
            return 1
        if options.no_render or options.only:
            return 0
        return 0 if render(root, build, profile, options.builder) else 1
    except OSError as error:  # no room, no permission
        print(f"cannot write to {build}: {error}", file=sys.stderr)
        return 1


def chosen_notebooks(root: Path, only: list[str]) -> list[Path]:
    """The notebooks to run, in order.

    Args:
        root: The repository.
        only: Beginnings of names, or nothing for all.

    Returns:
        Paths.

    Raises:
        ValueError: If no notebook is named so.
    """
    folder = root / "notebooks"
    every = sorted(folder.glob("[!.]*.ipynb"))
    named = [n for n in every if n.name.startswith(tuple(only or [""]))]
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
    sources = [f for name in SOURCES for f in files_in(root / name)]
    files = {os.path.relpath(f, root): f.read_bytes() for f in [*sources, *copies]}
    key = digest(files, profile)
    final, aside = build / builder, build / f"render-{builder}"
    with FileLock(build / f"{builder}.lock"):
        stamp = final / ".key"
        if stamp.is_file() and stamp.read_bytes() == key.encode():
            print(f"nothing changed: {final / 'index.html'}")
            return True
        try:
            _check_settings(root)
        except ValueError as error:
            print(f"the render failed: {error}", file=sys.stderr)
            return False
        shutil.rmtree(aside, ignore_errors=True)
        command = [Path(sys.executable).with_name("jupyter-book"), "build", root]
        command += ["-W", "-n", "--keep-going", "--path-output", aside]
        command += write_config(root, aside / "config", changes or FORMATS[builder])
        known = builder in SPHINX_ITSELF_KNOWS
        custom = [] if known else ["custom", "--custom-builder"]
        command += ["--builder", *custom, builder]
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
        if final.exists():  # at no moment is a half of the pages there
            os.replace(final, aside / "old")
        os.replace(fresh, final)
        shutil.rmtree(aside, ignore_errors=True)
    print(f"the book: {final / 'index.html'}")
    return True


def _check_settings(root: Path) -> None:
    """Raise a ``ValueError`` if configuration or table of contents is damaged."""
    for path in (root / "_config.yml", root / "_toc.yml"):
        with intact(f"{path} is missing or damaged", "restore it"):
            if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
                raise ValueError("it holds no settings by name")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is aside is removed
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept", file=sys.stderr)
        sys.exit(130)
