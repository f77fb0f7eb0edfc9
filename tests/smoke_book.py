"""The book in the smoke profile: each chapter run once, and one render, for all tests.

A chapter is run as its checked edition, with every exercise and its solution. These
come last, so what the cells before them gave is what the chapter gives by itself: the
executed copy is made of it. All workers of a run share one folder, and the locks of the
build see to it that nothing is made twice.
"""

import contextlib
import io
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup

from mnemonic.press import editions, executed, publish

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run_with_exercises(notebook, aside, root, profile):
    """Stand in for papermill: write the plain copy, from the run of the checked one."""
    checked = editions.run_checked(notebook, root, profile)
    if faults := editions.faults_of(checked):
        raise executed.NotebookError("\n".join(faults))
    code = [c for c in checked.cells if c.cell_type == "code"]
    ran = {c.id: c for c in code}
    plain = nbformat.read(notebook, 4)
    plain.metadata = checked.metadata
    own = [c for c in plain.cells if c.cell_type == "code"]
    assert [c.id for c in own] == [c.id for c in code[: len(own)]], (
        "exercises come last"
    )
    for cell in plain.cells:
        cell.metadata.setdefault("tags", [])  # as papermill does
    for cell in own:
        cell.outputs = ran[cell.id].outputs
        cell.execution_count = ran[cell.id].execution_count
    nbformat.write(plain, aside)
    if fault := executed.fault_of(aside):
        raise executed.NotebookError(fault)


@pytest.fixture(scope="session")
def publish_smoke(shared, smoke_cache):
    """Call ``publish`` for the book in smoke; its code, and what it said."""

    clean = [path.read_bytes() for path in NOTEBOOKS]

    def call(*options):
        said, complaints = io.StringIO(), io.StringIO()
        started = time.monotonic()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complaints),
        ):
            patch.setattr(executed, "_papermill", run_with_exercises)
            patch.setenv("MNEMONIC_CACHE", str(smoke_cache))
            patch.delenv("MNEMONIC_DATA", raising=False)
            patch.delenv("MNEMONIC_RESULTS", raising=False)
            patch.setenv("TQDM_DISABLE", "1")  # so that it is taken back
            patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
            given = ["--profile", "smoke", "--root", str(ROOT)]
            code = publish.main([*given, "--build", str(shared / "book"), *options])
        assert clean == [path.read_bytes() for path in NOTEBOOKS], "they stay clean"
        return SimpleNamespace(
            code=code,
            out=said.getvalue(),
            err=complaints.getvalue(),
            seconds=time.monotonic() - started,
        )

    return call


@pytest.fixture(scope="session")
def book(publish_smoke, shared, smoke_cache):
    build = shared / "book"
    for path in reversed(NOTEBOOKS):  # from the end: another worker is at the start
        if not (build / "executed" / "smoke" / path.name).exists():
            publish_smoke("--no-render", "--only", path.stem)
    first = publish_smoke()
    assert first.code == 0, first.err
    return SimpleNamespace(
        first=first,
        again=publish_smoke(),
        build=build,
        cache=smoke_cache,
        html=build / "html",
        copies={p.stem: p for p in (build / "executed" / "smoke").glob("*.ipynb")},
        soup={
            page.relative_to(build / "html").as_posix(): BeautifulSoup(
                page.read_text(encoding="utf-8"), "html.parser"
            )
            for page in (build / "html").rglob("*.html")
        },
    )


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not here")
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        pytest.skip("Chromium is not here")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()
