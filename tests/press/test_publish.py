import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest

from mnemonic.lab.results import provenance
from mnemonic.press import executed, publish

EXECUTED = Path("_build") / "executed" / "smoke"


def write_notebook(path, *sources):
    """A notebook with a parameters cell, and a code cell for each source."""
    cells = [nbformat.v4.new_markdown_cell("# A page\n\nText.")]
    cells += [nbformat.v4.new_code_cell(s) for s in ('profile = "quick"', *sources)]
    cells[1]["metadata"]["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("TQDM_DISABLE", "PYDEVD_DISABLE_FILE_VALIDATION"):
        monkeypatch.setenv(name, "1")  # set by a run; taken back after the test
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # one after another, in this process


@pytest.fixture
def root(tmp_path):
    """A repository with two notebooks, a package and a recorded run."""
    root = tmp_path / "repository"
    files = {
        "mnemonic/a.py": "x = 1\n",
        "mnemonic/data/arrays/b.csv": "x\n1\n",
        "book/results/run.csv": "x\n1\n",
        "book/intro.md": "# Intro\n",
        "README.md": "# Readme\n",
        "CHANGELOG.md": "# Changes\n",
        "_config.yml": "title: A book\nexecute: {execute_notebooks: 'off'}\n",
        "_toc.yml": "format: jb-book\nroot: book/intro\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name in ("01_one", "02_two"):
        write_notebook(root / "notebooks" / f"{name}.ipynb", "print(profile)")
    return root


def publish_in(root, *options):
    return publish.main(["--profile", "smoke", "--root", str(root), *options])


def command(root, *options):
    """Arguments for a process of its own; not in root, whose ``mnemonic`` is a toy."""
    # A runner in the background may have left Ctrl-C ignored, for its children too.
    main = (
        "import runpy, signal; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('mnemonic.publish', run_name='__main__')"
    )
    call = [sys.executable, "-c", main, "--profile", "smoke"]
    return [*call, "--root", str(root), *options]


def outputs(copy):
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    streams = [o for c in cells for o in c.get("outputs", []) if "text" in o]
    return "".join("".join(o["text"]) for o in streams)


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


# What an executed copy depends on.


@pytest.fixture
def _few_packages(monkeypatch):
    """Another environment: to read all that is installed takes a while each time."""
    there = [SimpleNamespace(name="torch", version="2.9.0")]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: iter(there))


few_packages = pytest.mark.usefixtures("_few_packages")


def key(root, profile="smoke"):
    return executed.key_of(root / "notebooks" / "01_one.ipynb", root, profile)


@pytest.mark.parametrize(
    "name", ["mnemonic/a.py", "mnemonic/data/arrays/b.csv", "book/results/run.csv"]
)
def test_key_follows_what_a_run_depends_on(root, name):
    write_notebook(root / "notebooks" / "01_one.ipynb", "recorded('run')")
    before = key(root)
    content = (root / name).read_text(encoding="utf-8")
    (root / name).write_text(f"{content} ", encoding="utf-8")
    assert (key(root) != before) == (not name.endswith(".py"))  # mere layout
    (root / name).write_text(f"{content}\ny = 2\n", encoding="utf-8")
    assert key(root) != before
    (root / name).write_text(content, encoding="utf-8")
    assert key(root) == before


def edited(notebook, old, new):
    """The notebook with another text in one of its cells."""
    content = notebook.read_text(encoding="utf-8")
    assert old in content
    notebook.write_text(content.replace(old, new), encoding="utf-8")


def test_key_follows_the_code_of_the_notebook_and_not_its_text(root):
    one = root / "notebooks" / "01_one.ipynb"
    write_notebook(one, "x = 1  # why", "y = 2")
    before = key(root)
    edited(one, "Text.", "Other words.")
    assert key(root) == before
    edited(one, "y = 2", "y = 3")
    assert key(root) != before


def test_text_that_was_edited_stands_in_the_copy_and_nothing_is_run(root, ran):
    one, copy = root / "notebooks" / "01_one.ipynb", root / EXECUTED / "01_one.ipynb"
    write_notebook(one, "x = 1", "y = 2")
    assert publish_in(root, "--no-render", "--only", "01") == 0
    ran.clear()
    edited(one, "Text.", "Other words.")
    content = json.loads(one.read_text(encoding="utf-8"))
    content["cells"][2]["metadata"]["tags"] = ["hide-input"]
    content["cells"].insert(2, nbformat.v4.new_markdown_cell("Between."))
    one.write_text(json.dumps(content), encoding="utf-8")
    assert publish_in(root, "--no-render", "--only", "01") == 0
    assert ran == []
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    text = ["".join(c["source"]) for c in cells]
    assert text[0].endswith("Other words.")
    assert text[2:] == ["Between.", "x = 1", "y = 2"]
    assert cells[3]["metadata"]["tags"] == ["hide-input"]
    assert [c.get("execution_count") for c in cells] == [None, 1, None, 2, 3]


FIGURES = {
    "press/figures/__init__.py": "from mnemonic.press.figures import ch5, ch8\n",
    "press/figures/ch5.py": "from mnemonic.press import plots\nx = plots.style",
    "press/figures/ch8.py": "x = 1",
    "press/plots.py": "def style():\n    'Words.'",
    "press/tables.py": "x = 1",
    "press/publish.py": "x = 1",
    "exercises/ch5.py": "from mnemonic.exercises.answers import done",
    "exercises/ch8.py": "x = 1",
    "exercises/answers.py": "def done(): ...",
}


@pytest.mark.parametrize(
    ("code", "followed"),
    [
        ("print(1)", set()),
        ("import mnemonic as mn\nmn.plots.style()", {"press/plots.py"}),
        ("import mnemonic as mn\nmn.table(0)", {"press/tables.py"}),
        (
            "!git status\nimport mnemonic as mn\nmn.figures.ch5.one()",
            {"press/figures/ch5.py", "press/plots.py"},
        ),
        (
            "from mnemonic.press.figures import ch5",
            {"press/figures/ch5.py", "press/plots.py"},
        ),
        (
            "import mnemonic as m\nm.exercises.ch5.predict(1)",
            {"exercises/ch5.py", "exercises/answers.py"},
        ),
        (
            "import mnemonic as mn\nf = mn.figures\nf.ch8.two()",
            {name for name in FIGURES if "figures" in name} | {"press/plots.py"},
        ),
        ("not python at all", set(FIGURES)),
    ],
)
@few_packages
def test_key_follows_the_figures_and_checks_that_a_notebook_names(root, code, followed):
    write_notebook(root / "notebooks" / "01_one.ipynb", code)
    for name, text in FIGURES.items():
        (root / "mnemonic" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "mnemonic" / name).write_text(text, encoding="utf-8")
    before, changed = key(root), set()
    for name, text in FIGURES.items():
        path = root / "mnemonic" / name
        path.write_text(f"'''Words.'''\n{text}  # more words", encoding="utf-8")
        assert key(root) == before
        path.write_text(f"{text}\ny = 2\n", encoding="utf-8")
        changed |= {name} if key(root) != before else set()
        path.write_text(text, encoding="utf-8")
    assert changed == followed


def test_key_of_what_is_no_notebook(root):
    (root / "notebooks" / "01_one.ipynb").write_text("{", encoding="utf-8")
    assert key(root)


def test_key_follows_files_that_come_go_and_move(root):
    package = root / "mnemonic"
    keys = [key(root)]
    (package / "c.py").write_text("", encoding="utf-8")
    keys.append(key(root))
    (package / "c.py").rename(package / "d.py")
    keys.append(key(root))
    (package / "a.py").unlink()
    keys.append(key(root))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "name",
    [
        "notebooks/02_two.ipynb",
        "notebooks/.ipynb_checkpoints/01_one-checkpoint.ipynb",
        "book/intro.md",
        "book/results/run.csv",  # no cell reads one
        "README.md",
        "tests/test_a.py",
        "mnemonic/__pycache__/a.cpython-311.pyc",
        "_build/executed/smoke/01_one.ipynb",
    ],
)
def test_key_does_not_follow_other_files(root, name):
    before = key(root)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("something else", encoding="utf-8")
    assert key(root) == before


def test_key_does_not_depend_on_the_place_or_the_day(root, tmp_path):
    before = key(root)
    os.utime(root / "mnemonic" / "a.py", (0, 0))
    assert key(root) == before
    shutil.move(root, tmp_path / "elsewhere")
    assert key(tmp_path / "elsewhere") == before


def test_key_follows_profile_python_and_installed_versions(root, monkeypatch):
    def install(*packages):
        there = [SimpleNamespace(name=n, version=v) for n, v in packages]
        monkeypatch.setattr(importlib.metadata, "distributions", lambda: iter(there))
        return key(root)

    torch, numpy = ("torch", "2.9.0"), ("numpy", "2.1.0")
    first = install(torch, numpy)
    assert install(numpy, torch) == first
    # In a checkout, what is installed editable is found in two places.
    assert install(torch, numpy, torch) == first
    others = [
        install(("torch", "2.9.1"), numpy),
        install(torch),
        install(torch, numpy, ("scipy", "1.13")),
    ]
    install(torch, numpy)
    others.append(key(root, "quick"))
    monkeypatch.setattr(sys, "version", "3.99")
    others.append(key(root))
    assert len({first, *others}) == 6


# Which notebooks are run, with papermill played by a function.


@pytest.fixture
def ran(monkeypatch, _few_packages):
    """Names of the notebooks that were run."""
    log = []

    def execute(notebook, copy, *, parameters, **_):
        log.append(Path(notebook).name)
        content = json.loads(Path(notebook).read_text(encoding="utf-8"))
        code = [c for c in content["cells"] if c["cell_type"] == "code"]
        for i, cell in enumerate(code, start=1):
            cell["execution_count"] = i
        Path(copy).write_text(json.dumps(content), encoding="utf-8")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return log


def test_only_what_changed_is_run(root, ran):
    def runs(*options):
        ran.clear()
        assert publish_in(root, "--no-render", *options) == 0
        return list(ran)

    both = ["01_one.ipynb", "02_two.ipynb"]
    assert runs() == both
    assert runs() == []
    write_notebook(root / "notebooks" / "02_two.ipynb", "print(2)")
    assert runs() == both[1:]
    (root / "mnemonic" / "a.py").write_text("x = 2\n", encoding="utf-8")
    assert runs("--only", "01") == both[:1]
    assert runs("--only", "01", "02") == both[1:]
    assert runs("--profile", "quick") == both  # a folder a profile
    assert runs() == []
    copy = root / EXECUTED / "01_one.ipynb"
    copy.write_text(copy.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    with pytest.warns(RuntimeWarning, match=r"01_one\.ipynb is damaged"):
        assert runs() == both[:1]
    (root / EXECUTED / "01_one.ipynb.damaged").unlink()
    copy.unlink()
    assert runs() == both[:1]
    assert names(root / EXECUTED) == both


def test_checkpoints_and_hidden_notebooks_are_not_run(root, ran):
    for name in (".ipynb_checkpoints/01_one-checkpoint", ".01_one.part"):
        write_notebook(root / "notebooks" / f"{name}.ipynb")
    assert publish_in(root, "--no-render") == 0
    assert ran == ["01_one.ipynb", "02_two.ipynb"]


def test_builds_elsewhere_leave_the_repository_alone(root, ran, tmp_path):
    before = sorted(root.rglob("*"))
    build = tmp_path / "elsewhere"
    assert publish_in(root, "--no-render", "--build", str(build)) == 0
    assert names(build / "executed" / "smoke") == ["01_one.ipynb", "02_two.ipynb"]
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "fast"], "invalid choice: 'fast' (choose from "),
        (["--builder", "pdf"], "invalid choice: 'pdf' (choose from "),
        (["--build", "/proc/x"], "/proc/x"),
        (["--only", "07", "x"], "begins with 07 or x; there are 01_one, 02_two"),
    ],
)
def test_wrong_call_does_nothing_and_says_what_there_is(
    root, ran, capsys, options, message
):
    with pytest.raises(SystemExit) as ended:
        sys.exit(publish_in(root, *options))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not ran
    assert not (root / "_build").exists()


def test_repository_without_notebooks(tmp_path, capsys):
    assert publish_in(tmp_path) == 2
    assert "there are none; name the repository" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([{"execution_count": 1}, {"execution_count": 2}], None),
        ([{"execution_count": 1}, {"execution_count": None}], "cell 1 was not run"),
        ([{"execution_count": 2}, {"execution_count": 1}], "cell 1 was not run"),
        ([{"execution_count": 1}, {"source": [" "]}], None),
        ([{"cell_type": "markdown"}, {"execution_count": 1}], None),
        (
            [
                {
                    "outputs": [
                        {"output_type": "stream", "name": "stderr", "text": ["oh"]}
                    ]
                }
            ],
            "cell 0 wrote to stderr: oh",
        ),
        (
            [{"outputs": [{"output_type": "error", "ename": "E", "evalue": "why"}]}],
            "cell 0 raised E: why",
        ),
    ],
)
def test_what_makes_a_copy_unfit_for_print(tmp_path, cells, fault):
    usual = {
        "cell_type": "code",
        "metadata": {},
        "source": ["1"],
        "execution_count": 1,
        "outputs": [],
    }
    copy = tmp_path / "copy.ipynb"
    copy.write_text(
        json.dumps({"cells": [{**usual, **cell} for cell in cells]}), encoding="utf-8"
    )
    found = executed.fault_of(copy)
    assert found == fault or found.startswith(fault)


# Real runs.


def test_executed_copy_says_where_it_is_from(root):
    one = root / "notebooks" / "01_one.ipynb"
    write_notebook(one, "import os", "print(profile, os.getcwd())")
    clean = one.read_bytes()
    assert publish_in(root, "--no-render", "--only", "01") == 0
    assert one.read_bytes() == clean
    copy = json.loads((root / EXECUTED / "01_one.ipynb").read_text(encoding="utf-8"))
    assert outputs(root / EXECUTED / "01_one.ipynb") == f"smoke {root}\n"
    facts = copy["metadata"]["mnemonic"]
    ours = {"key", "content", "profile", "data", "seconds", "cores"}
    assert facts.keys() == ours | provenance().keys()
    assert facts["profile"] == "smoke"
    assert 0 <= facts["seconds"] < 60
    tags = [c["metadata"].get("tags", []) for c in copy["cells"]]
    assert tags == [[], ["parameters"], ["injected-parameters", "remove-cell"], [], []]
    assert "papermill" not in json.dumps(copy["metadata"])
    for cell in copy["cells"]:
        assert not {"papermill", "execution"} & cell["metadata"].keys()


def test_failed_notebooks_are_named_and_never_rendered(root, capsys, monkeypatch):
    notebooks, executed = root / "notebooks", root / EXECUTED
    write_notebook(notebooks / "02_two.ipynb", "1", "y = 2\nraise ValueError('boom')")
    write_notebook(notebooks / "03_three.ipynb", "import sys; sys.stderr.write('oh')")
    (notebooks / "04_four.ipynb").write_text("{", encoding="utf-8")
    write_notebook(notebooks / "05_five.ipynb", "print(5)")
    write_notebook(notebooks / "06_six.ipynb", "6", "import os; os._exit(1)", "7")
    executed.mkdir(parents=True)
    older = json.dumps({"cells": [], "metadata": {"mnemonic": {"key": "old"}}})
    (executed / "02_two.ipynb").write_text(older, encoding="utf-8")
    monkeypatch.setattr(publish, "render", lambda *_: pytest.fail("it was rendered"))

    assert publish_in(root) == 1
    said = capsys.readouterr()
    assert "02_two.ipynb failed: cell 3 ('y = 2') raised ValueError: boom\n" in said.err
    assert "03_three.ipynb failed: cell 2 wrote to stderr: oh\n" in said.err
    assert "04_four.ipynb failed: " in said.err
    died = "cell 3 ('import os; os._exit(1)') raised DeadKernelError: Kernel died"
    assert f"06_six.ipynb failed: {died}\n" in said.err
    assert said.err.endswith(
        "not rendered: 02_two.ipynb, 03_three.ipynb, 04_four.ipynb, 06_six.ipynb "
        "failed\n"
    )
    assert names(executed) == ["01_one.ipynb", "02_two.ipynb", "05_five.ipynb"]
    assert (executed / "02_two.ipynb").read_text(encoding="utf-8") == older
    assert outputs(executed / "05_five.ipynb") == "5\n"

    assert publish_in(root, "--no-render", "--only", "01", "05") == 0
    assert capsys.readouterr().out == ""  # what went well is not run again


def wait_for(path, seconds=120):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_notebooks_run_side_by_side_and_each_knows_its_share(root, monkeypatch, capfd):
    meet = """
import pathlib, time
pathlib.Path({mine!r}).touch()
while not pathlib.Path({other!r}).exists():
    time.sleep(0.05)
import joblib, torch
print(joblib.cpu_count(), torch.get_num_threads())
"""
    first, second = (str(root.parent / name) for name in ("first", "second"))
    for name, mine, other in (("01_one", first, second), ("02_two", second, first)):
        path = root / "notebooks" / f"{name}.ipynb"
        write_notebook(path, meet.format(mine=mine, other=other))
    write_notebook(root / "notebooks" / "03_three.ipynb", "1 / 0")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    assert publish_in(root, "--no-render") == 1
    assert names(root / EXECUTED) == ["01_one.ipynb", "02_two.ipynb"]
    assert outputs(root / EXECUTED / "01_one.ipynb") == "1 1\n"
    said = capfd.readouterr()
    assert "02_two.ipynb done in " in said.out
    assert said.err.endswith("not rendered: 03_three.ipynb failed\n")


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.soak(why="one signal is sent")),
    ],
)
def test_interrupted_build_keeps_what_is_finished(root, tmp_path, monkeypatch, how):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    started, go = tmp_path / "started", tmp_path / "go"
    slow = f"""
import os, pathlib, time
pathlib.Path({str(started)!r}).write_text(str(os.getpid()))
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.05)
print("two")
"""
    write_notebook(root / "notebooks" / "02_two.ipynb", slow)
    write_notebook(root / "notebooks" / "03_three.ipynb", slow.replace("two", "three"))
    build = subprocess.Popen(
        command(root), cwd=tmp_path, start_new_session=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for(started)
        wait_for(root / EXECUTED / "01_one.ipynb")
        time.sleep(0.2)  # the cell is in its loop
        if how == signal.SIGINT:
            os.killpg(build.pid, how)  # as a terminal does
        else:
            build.send_signal(how)  # as a service manager does
        out, err = build.communicate(timeout=60)
    finally:
        build.kill()
    assert build.returncode == 128 + how, out + err
    if how == signal.SIGINT:
        assert "interrupted; what is finished is kept" in err
    assert names(root / EXECUTED) == ["01_one.ipynb"]
    assert sorted(names(root / "_build")) == ["executed"]
    deadline = time.monotonic() + 10
    while (
        is_alive(int(started.read_text(encoding="utf-8")))
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert not is_alive(int(started.read_text(encoding="utf-8"))), (
        "its kernel was left behind"
    )

    go.touch()
    kept = (root / EXECUTED / "01_one.ipynb").stat().st_mtime_ns
    assert publish_in(root, "--no-render", "--only", "01", "02") == 0
    assert names(root / EXECUTED) == ["01_one.ipynb", "02_two.ipynb"]
    assert outputs(root / EXECUTED / "02_two.ipynb") == "two\n"
    assert (root / EXECUTED / "01_one.ipynb").stat().st_mtime_ns == kept


def test_two_builds_at_once_run_each_notebook_once(root, tmp_path):
    log = tmp_path / "log"
    write_notebook(
        root / "notebooks" / "01_one.ipynb",
        f"import time\nwith open({str(log)!r}, 'a') as f:\n    f.write('run\\n')",
        "time.sleep(1)",
    )
    options = ("--no-render", "--only", "01")
    builds = [
        subprocess.Popen(
            command(root, *options), cwd=tmp_path, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = sorted((b.communicate(timeout=120)[0] for b in builds), key=len)
    assert [b.returncode for b in builds] == [0, 0], said
    assert log.read_text(encoding="utf-8") == "run\n"
    assert said[0] == ""
    assert said[1].startswith("running 01_one.ipynb (smoke) …\n  01_one.ipynb done")
    assert names(root / EXECUTED) == ["01_one.ipynb"]


# Rendering, with jupyter-book played by a script.

FAKE_JUPYTER_BOOK = """#!/bin/sh
echo "$*" >> {log}
while [ $# -gt 0 ]; do
  [ "$1" = --path-output ] && out=$2
  [ "$1" = --builder ] && builder=$2
  shift
done
mkdir -p "$out/_build/$builder" && cd "$out/_build/$builder" || exit 1
cat "$MNEMONIC_EXECUTED"/*.ipynb > index.html
sleep {pause}
echo "page.md:3: WARNING: it is amiss"
exit {status}
"""


@pytest.fixture
def jupyter_book(tmp_path, monkeypatch):
    """Put the script beside another Python; gives what it was asked to do."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    script, log = tmp_path / "bin" / "jupyter-book", tmp_path / "log"
    script.parent.mkdir()

    def play(status=0, pause=0):
        text = FAKE_JUPYTER_BOOK.format(log=log, status=status, pause=pause)
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
        return lambda: (
            log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        )

    return play


def test_pages_are_rendered_when_something_changed(root, ran, jupyter_book, capsys):
    calls = jupyter_book()
    html = root / "_build" / "html"
    assert publish_in(root) == 0
    assert f"the book: {html / 'index.html'}" in capsys.readouterr().out
    assert publish_in(root) == 0
    assert capsys.readouterr().out == f"nothing changed: {html / 'index.html'}\n"
    assert len(calls()) == 1
    assert calls()[0].startswith(f"build {root} -W -n --keep-going --path-output ")
    for i, name in enumerate(
        ["book/intro.md", "_config.yml", "_toc.yml", "CHANGELOG.md", "mnemonic/a.py"]
    ):
        (root / name).write_text("changed: 1\n", encoding="utf-8")
        assert publish_in(root) == 0
        assert len(calls()) == i + 2, name
    (root / "tests.md").write_text("not part of the book", encoding="utf-8")
    assert publish_in(root) == 0
    assert publish_in(root, "--builder", "singlehtml") == 0
    assert publish_in(root, "--builder", "singlehtml") == 0
    assert len(calls()) == 7
    renders = ["render-html", "render-singlehtml"]  # what the next render goes on from
    assert names(root / "_build") == ["executed", "html", *renders, "singlehtml"]
    assert publish_in(root, "--profile", "quick") == 0  # takes the place of smoke
    assert '"profile": "quick"' in (html / "index.html").read_text(encoding="utf-8")
    assert publish_in(root) == 0
    assert '"profile": "smoke"' in (html / "index.html").read_text(encoding="utf-8")


def test_only_sentences_are_rendered_on_top_of_the_last_render(root, ran, jupyter_book):
    jupyter_book()
    one, kept = root / "notebooks" / "01_one.ipynb", root / "_build" / "render-html"
    write_notebook(one, "x = 1")
    assert publish_in(root) == 0

    def goes_on():
        (kept / "trace").touch()
        assert publish_in(root) == 0
        return (kept / "trace").exists()

    edited(one, "Text.", "Other words.")
    assert goes_on()
    (root / "book" / "intro.md").write_text("# Intro\n\nWords.\n", encoding="utf-8")
    assert not goes_on()  # a line more
    (root / "book" / "intro.md").write_text(
        "# Intro\n\nOther words.\n", encoding="utf-8"
    )
    assert goes_on()
    (root / "book" / "intro.md").write_text(
        "# Another heading\n\nOther words.\n", encoding="utf-8"
    )
    assert not goes_on()  # other pages may show it
    edited(one, "x = 1", "x = 2")
    assert not goes_on()
    (root / "mnemonic" / "a.py").write_text('"Words."\nx = 1\n', encoding="utf-8")
    assert not goes_on()
    jupyter_book(status=1)
    edited(one, "Other words.", "More words.")
    assert publish_in(root) == 1
    jupyter_book()
    assert not goes_on()  # nobody knows where a render broke off


def test_one_chapter_is_rendered_by_itself(root, ran, jupyter_book, capsys):
    calls = jupyter_book()
    sphinx = "sphinx: {extra_extensions: [], local_extensions: {}}"
    (root / "_config.yml").write_text(f"title: A book\n{sphinx}\n", encoding="utf-8")
    assert publish_in(root, "--only", "02") == 0
    assert ran == ["02_two.ipynb"]
    page = root / "_build" / "chapter" / "index.html"
    assert f"the book: {page}" in capsys.readouterr().out
    assert page.exists()
    (call,) = calls()
    assert "-W" not in call.split()  # its links lead to chapters that are not there
    toc = (root / "_build" / "render-chapter" / "config" / "_toc.yml").read_text(
        encoding="utf-8"
    )
    assert "root: notebooks/02_two\n" in toc
    assert not (root / "_build" / "html").exists()


def test_pages_of_a_render_that_failed_are_not_shown(root, ran, jupyter_book, capsys):
    jupyter_book()
    assert publish_in(root) == 0
    html = root / "_build" / "html"
    old = (html / "index.html").read_text(encoding="utf-8")
    calls = jupyter_book(status=1)
    write_notebook(root / "notebooks" / "01_one.ipynb", "print('new')")
    for _ in range(2):  # the failure is not taken for done
        assert publish_in(root) == 1
        said = capsys.readouterr().err
        assert said == "the render failed:\n  page.md:3: WARNING: it is amiss\n"
        assert (html / "index.html").read_text(encoding="utf-8") == old
    assert len(calls()) == 3
    jupyter_book()
    assert publish_in(root) == 0
    assert "new" in (html / "index.html").read_text(encoding="utf-8")


def test_pages_are_replaced_whole(root, ran, jupyter_book, monkeypatch):
    calls = jupyter_book()
    html, intro = root / "_build" / "html", root / "book" / "intro.md"
    assert publish_in(root) == 0
    before, replace = intro.read_text(encoding="utf-8"), os.replace

    def stopped(source, target):
        if target == html:
            assert not html.exists()
            raise KeyboardInterrupt
        replace(source, target)

    intro.write_text("# Another", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            publish_in(root)
    assert not html.exists()  # and not a part of it
    intro.write_text(before, encoding="utf-8")
    assert publish_in(root) == 0
    assert (html / "index.html").exists()
    assert len(calls()) == 3


def test_two_renders_at_once(root, ran, jupyter_book, capsys):
    assert publish_in(root, "--no-render") == 0
    calls = jupyter_book(pause=0.5)
    done = []
    build = root / "_build"
    threads = [
        threading.Thread(
            target=lambda: done.append(publish.render(root, build, "smoke"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True, True]
    assert len(calls()) == 1
    assert "nothing changed" in capsys.readouterr().out
    assert names(build) == ["executed", "html", "render-html"]


def test_warning_of_sphinx_is_fatal_and_the_old_page_stays(root, ran, capsys):
    html = root / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("old", encoding="utf-8")
    (root / "book" / "intro.md").write_text(
        "# Intro\n\n[](no-such-place)\n", encoding="utf-8"
    )
    assert publish_in(root) == 1
    said = capsys.readouterr().err
    assert "the render failed:" in said
    assert "book/intro.md:3: WARNING" in said
    assert "no-such-place" in said
    assert (html / "index.html").read_text(encoding="utf-8") == "old"
