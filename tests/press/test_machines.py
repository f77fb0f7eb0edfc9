"""Chapters on machines as people have them: settings, locales, folders, empty ones."""

import base64
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from test_publish import outputs, write_notebook

from mnemonic.press import publish

ROOT = Path(__file__).parents[2]
CHAPTERS = publish.chapters(ROOT)
PUBLISH = "from mnemonic.press import publish; import sys; sys.exit(publish.main())"
FIGURE = """
import sys, warnings
import matplotlib.pyplot as plt
import mnemonic as mn
mn.plots.style()
print(sys.executable, "hidden" in globals(), open("book/word.txt").read())
for _ in range(2):
    plt.subplots()
plt.show()
"""


@pytest.fixture
def hostile(tmp_path):
    """Settings of a cluster and of its user, by kind."""
    other = tmp_path / "jupyter" / "kernels" / "python3"
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "mine.py"
    config = startup.parents[1] / "ipython_kernel_config.py"
    matplotlibrc = tmp_path / "matplotlib" / "matplotlibrc"
    kernel = {"argv": ["/nowhere/python", "{connection_file}"], "language": "python"}
    texts = {
        other / "kernel.json": json.dumps({**kernel, "display_name": "Python 3"}),
        startup: "hidden = 1",
        config: "get_config().InlineBackend.figure_formats = {'svg'}",
        matplotlibrc: "text.usetex: True\nfigure.max_open_warning: 1\nbackend: Agg\n",
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {
        "backend": {"MPLBACKEND": "Agg"},
        "matplotlibrc": {"MPLCONFIGDIR": str(matplotlibrc.parent)},
        "kernel": {"JUPYTER_PATH": str(tmp_path / "jupyter")},
        "ipython": {"IPYTHONDIR": str(tmp_path / "ipython")},
        "python": {"PYTHONSTARTUP": str(startup), "PYTHONWARNINGS": "default"},
        "console": {"PYTHONIOENCODING": "ascii"},
        "windows": {"PYTHONIOENCODING": "cp1252"},
        "locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        "home": {"HOME": "/nowhere"},
    }


def built(root, **env):
    """Figures and words of a small book that is built with these settings."""
    write_notebook(root / "notebooks" / "01_one.ipynb", FIGURE)
    (root / "book").mkdir(exist_ok=True)
    (root / "book" / "word.txt").write_text("猫", encoding="utf-8")
    toc = "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/01_one\n"
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    call = ["--profile", "smoke", "--root", str(root), "--no-render"]
    done = subprocess.run(
        [sys.executable, "-c", PUBLISH, *call], env={**os.environ, **env},
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (copy,) = (root / "_build" / "executed" / "smoke").glob("*.ipynb")
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    shown = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    figures = [base64.b64decode(d["image/png"]) for d in shown if "image/png" in d]
    return figures, outputs(copy), done.stdout


def test_settings_of_others_and_odd_places_do_not_reach_the_book(tmp_path, hostile):
    root = tmp_path / "my {books} [1] #2 100% é猫'&"
    write_notebook(root / "notebooks" / "Untitled.ipynb", "1 / 0")
    write_notebook(root / "notebooks" / "01_one-Copy1.ipynb", "1 / 0")
    hostile.pop("locale")  # it knows no such names of files
    env = {name: value for part in hostile.values() for name, value in part.items()}
    figures, words, said = built(root, **env)
    assert len(figures) == 2
    assert words == f"{sys.executable} False 猫\n"
    left = "does not name them: 01_one-Copy1.ipynb, Untitled.ipynb"
    assert left in said


@pytest.mark.soak(why="all settings at once are tried here")
def test_no_setting_alone_changes_the_book(tmp_path, hostile):
    plain, *_ = built(tmp_path / "plain")
    for name, env in hostile.items():
        figures, words, _ = built(tmp_path / name, **env)
        assert figures == plain, name
        assert words == f"{sys.executable} False 猫\n", name


@pytest.mark.soak(why="processes that import everything")
def test_two_chapters_at_once_on_a_console_that_knows_ascii_alone(tmp_path):
    for name in ("01_one", "02_two"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", "print('猫')")
    call = ["--profile", "smoke", "--root", str(tmp_path), "--no-render"]
    env = {"PYTHONIOENCODING": "ascii", "LOKY_MAX_CPU_COUNT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PUBLISH, *call], env={**os.environ, **env},
        cwd=ROOT, capture_output=True, encoding="ascii",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "running 02_two.ipynb (smoke) \\u2026" in done.stdout


def test_what_a_reader_left_is_no_chapter_unless_it_is_named(tmp_path, capsys):
    names = ["02_two", "01_one", "Untitled", "01_one-Copy1"]
    for name in names:
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")

    def chosen(*only):
        found = publish.chosen_notebooks(tmp_path, [*only])
        return [path.stem for path in found], capsys.readouterr().out

    assert sorted(chosen()[0]) == sorted(names)  # no table of contents
    toc = "root: notebooks/02_two\nchapters:\n- file: notebooks/01_one.ipynb\n"
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\n{toc}", encoding="utf-8")
    assert [p.stem for p in publish.chapters(tmp_path)] == ["02_two", "01_one"]
    found, said = chosen()
    assert found == ["01_one", "02_two"]
    assert said.endswith("does not name them: 01_one-Copy1.ipynb, Untitled.ipynb\n")
    found, said = chosen("01")
    assert found == ["01_one"]
    assert said.endswith("does not name them: 01_one-Copy1.ipynb\n")
    assert chosen("Unt") == (["Untitled"], "")
    (tmp_path / "_toc.yml").write_text("- nonsense", encoding="utf-8")
    assert sorted(chosen()[0]) == sorted(names)  # the render says what is amiss


def extension():
    path = ROOT / "book" / "_extensions" / "executed_copies.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_what_is_no_chapter_is_not_rendered(tmp_path):
    for name in ("01_one", "Untitled"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    toc = "format: jb-book\nroot: notebooks/01_one\n"
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    config = SimpleNamespace(exclude_patterns=[".*"])
    app = SimpleNamespace(srcdir=str(tmp_path))
    extension().leave_out_what_is_no_chapter(app, config)
    assert config.exclude_patterns == [".*", "notebooks/Untitled.ipynb"]


def test_kaggle_opens_the_file_that_colab_opens():
    place = "forgetting-in-one-shot/book"
    colab = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/x"
    (made,) = extension().kaggle_beside([{"text": "Colab", "url": colab}])
    raw = f"https://raw.githubusercontent.com/{place}/main/notebooks/x"
    assert made["url"] == f"https://kaggle.com/kernels/welcome?src={raw}"
    assert extension().kaggle_beside([{"text": "Binder", "url": "x"}]) == []


# A script without a main guard, whatever way processes are started.

GRID = """
import multiprocessing, os, sys
multiprocessing.set_start_method(sys.argv[1], force=True)
import mnemonic as mn
def cell(seed, a):
    return {"v": seed + a, "process": os.getpid()}
one = mn.run_grid(cell, [{"a": 1}], seeds=[0, 1], jobs=2)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
two = mn.run_grid(cell, [{"a": 2}], seeds=[0, 1])  # as many as may be used
print(one["v"].tolist(), two["v"].tolist(), set(two["process"]) == {os.getpid()})
"""
BOOK = """
import multiprocessing, sys
multiprocessing.set_start_method(sys.argv[1], force=True)
from mnemonic.press import publish
sys.exit(publish.main(["--profile", "smoke", "--no-render", "--root", sys.argv[2]]))
"""


@pytest.mark.soak(why="processes that import everything")
@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_script_without_a_main_guard(way, tmp_path):
    def run(text, **env):
        script = tmp_path / "script.py"
        script.write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, script, way, tmp_path], env={**os.environ, **env},
            cwd=tmp_path, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip

    done = run(GRID)
    assert done.stdout == "[1, 2] [2, 3] True\n", done.stderr
    for name in ("01_one", "02_two"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb")
    done = run(BOOK, LOKY_MAX_CPU_COUNT="2")
    assert done.returncode == 1
    assert 'below `if __name__ == "__main__":`' in done.stderr
    assert done.stderr.endswith("not rendered: 01_one.ipynb, 02_two.ipynb failed\n")
    assert run(BOOK, LOKY_MAX_CPU_COUNT="1").returncode == 0


# Colab: a machine with what its image has, and nothing of the book.

IMAGE = ["torch", "torchvision", "numpy", "pandas", "scikit-learn", "scipy"]
IMAGE += ["matplotlib", "seaborn", "pillow", "tqdm", "ipykernel", "ipython", "jinja2"]
IMAGE += ["setuptools", "pip"]
RUN_ALL = """
import json, sys, types
from IPython.core.interactiveshell import InteractiveShell

sys.modules["google.colab"] = types.ModuleType("google.colab")
shell = InteractiveShell.instance()
for number, cell in enumerate(json.load(sys.stdin)):
    if "remove-cell" in cell["tags"]:
        shell.run_cell(cell["source"]).raise_error()  # twice, as whoever runs all does
    try:
        shell.run_cell(cell["source"]).raise_error()
    except BaseException:
        raise SystemExit(f"cell {number} failed: {cell['source'][:80]}")
"""


def in_the_image():
    """Distributions of Colab's image, and all that these want."""
    found, wanted = {}, [Requirement(name) for name in IMAGE]
    for want in wanted:
        name = want.name.lower().replace("_", "-")
        if name in found or (want.marker and not want.marker.evaluate({"extra": ""})):
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        wanted += map(Requirement, found[name].requires or [])
    return found


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """A Python whose packages are those of the image, by links; it may install more."""
    folder = tmp_path_factory.mktemp("colab")
    image, venv = folder / "image", folder / "venv"
    image.mkdir()
    found = in_the_image()
    assert not {"myst-nb", "lightning", "mlxtend", "jupyter-book"} & found.keys()
    for distribution in found.values():
        for top in {file.parts[0] for file in distribution.files}:
            link = image / top
            if top != ".." and not link.exists():
                link.symlink_to(distribution.locate_file(top))
    call = [sys.executable, "-m", "venv", "--without-pip", venv]
    subprocess.run(call, check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    # by a .pth file, so that pip never takes away what the links lead to
    (packages / "image.pth").write_text(f"{image}\n", encoding="utf-8")
    return venv / "bin" / "python"


@pytest.mark.soak(why="chapters in an empty environment")
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_launch_button_opens_a_chapter_that_runs(path, colab, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    cells = [
        {"source": "".join(c["source"]), "tags": c["metadata"].get("tags", [])}
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if c["cell_type"] == "code"
    ]
    assert "parameters" in cells[0]["tags"]
    cells[0]["source"] = 'profile = "smoke"'
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    here = {"GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf", "GIT_CONFIG_COUNT": "1"}
    here |= {"GIT_CONFIG_VALUE_0": "https://github.com/forgetting-in-one-shot/book"}
    here |= {"IPYTHONDIR": str(tmp_path / "ipython"), "OMP_NUM_THREADS": "1"}
    here["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # as there
    done = subprocess.run(
        [colab, "-c", RUN_ALL], input=json.dumps(cells), cwd=tmp_path,
        env={**kept, **here}, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "book" / "mnemonic").is_dir()
    assert not (tmp_path / "book" / "book" / "mnemonic").exists()
