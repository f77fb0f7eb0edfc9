import functools
import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

import mnemonic as mn
from mnemonic.lab import grids, keys
from mnemonic.lab.contents import contents
from mnemonic.storage import cache_folder, digest

CELL = """
import functools

from torch import nn

SCALE = {"of": [1, 2]}
beside = 3


def helper(x):
    return deeper(x) + 1


@functools.cache
def deeper(x):
    return 2 * x


def other(x):
    return 0


class Base:
    bias = 5


class Model(Base):
    @property
    def weight(self):
        return 7

    def __call__(self, x):
        return x + self.weight


def cell(seed):
    \"\"\"What it does.\"\"\"
    def inner(x):
        return (lambda y: SCALE["of"][0] * y)(x)

    rows = [helper(x) for x in range(3)]  # why
    return {"v": sum(rows) + inner(Model()(seed)), "beside": seed}
"""


def code_of(tmp_path, source, name="cell"):
    path = tmp_path / f"cells_{len(list(tmp_path.iterdir()))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("cells", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return contents(getattr(module, name))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return {", "return {'w': 1, "),  # the function itself
        ("deeper(x) + 1", "deeper(x) + 2"),  # called in a comprehension
        ("2 * x", "3 * x"),  # called by what it calls, behind a decorator
        ("[0] * y", "[1] * y"),  # a lambda in an inner function
        ("[1, 2]", "[1, 3]"),  # a constant that an inner function names
        ("x + self.weight", "x - self.weight"),  # a method of a class
        ("return 7", "return 8"),  # a property
        ("bias = 5", "bias = 6"),  # an attribute of the class below
    ],
)
def test_a_cell_depends_on_all_that_it_calls_and_names(tmp_path, before, after):
    assert CELL.count(before) == 1
    edited = CELL.replace(before, after)
    assert code_of(tmp_path, edited) != code_of(tmp_path, CELL)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("What it does.", "What it is for."),
        ("  # why", "  # because"),
        ("range(3)]", "range( 3 ) ]"),
        ("return 0", "return 1"),  # a function that it does not call
        ("beside = 3", "beside = 4"),  # a value that only a key of a dict is called
        ("import functools", "import functools\nimport math"),
    ],
)
def test_a_cell_does_not_depend_on_words_and_on_what_it_does_not_call(
    tmp_path, before, after
):
    assert CELL.count(before) >= 1
    edited = CELL.replace(before, after, 1)
    assert code_of(tmp_path, edited) == code_of(tmp_path, CELL)


def test_functions_without_source_are_known_by_their_bytes():
    def made(source):
        exec(source, space := {"__name__": "nowhere"})
        return contents(space["f"])

    same = "def f(x):\n    return [x + 1 for _ in range(2)]"
    assert made(same) == made(same)
    assert made(same) != made(same.replace("+ 1", "+ 2"))


def test_a_cell_depends_on_the_package_and_its_surroundings(monkeypatch):
    def cell(seed):
        return {"v": seed}

    def runs(**changes):
        with monkeypatch.context() as patch:
            for name, value in changes.items():
                patch.setattr(grids, name, value)
            mn.run_grid(cell, [{}], seeds=[0], jobs=1)
        return len([*(cache_folder() / "cells").glob("*.json")])

    assert runs() == runs() == 1
    assert runs(code_digest=lambda files: "edited") == 2
    assert runs(surroundings=lambda *packages: ["cuda"]) == 3
    assert runs() == 3
    rooms = {f.relative_to(keys.PACKAGE).parts[0] for f in keys.numerical()}
    entries = {p.name for p in keys.PACKAGE.iterdir()} - {"__pycache__", "__init__.py"}
    assert rooms == entries - {"press", "exercises"}


def test_an_edit_of_words_keeps_the_digest_of_the_package(tmp_path):
    package = tmp_path / "mnemonic"
    shutil.copytree(keys.PACKAGE, package, ignore=shutil.ignore_patterns("*.pyc"))

    def digest():
        return keys.code_digest(keys.numerical(package), package)

    first = keys.code_digest(keys.numerical())
    assert digest() == first
    for path in package.rglob("*.py"):
        path.write_text(f"# a word\n{path.read_text()}\n'another'\n")
    (package / "press" / "plots.py").write_text("x = 1")
    assert digest() == first
    (package / "lab" / "tuned" / "new.json").write_text("{}")
    assert digest() != first
    (package / "lab" / "tuned" / "new.json").unlink()
    assert digest() == first
    (package / "networks.py").write_text("x = 1")
    assert digest() != first


def made(n):
    def inside(seed):
        return {"v": n * seed}

    return inside


double, triple = made(2), made(3)
TABLE = {"a": lambda v: v + 1}


def with_default(seed, n=10):
    return {"v": n}


def of_closures(seed):
    return {"v": double(seed)["v"] + triple(seed)["v"]}


def of_table(seed):
    return {"v": TABLE["a"](seed)}


def test_defaults_closures_and_tables_of_functions_count(monkeypatch):
    before = [contents(f) for f in (with_default, of_closures, of_table)]
    monkeypatch.setattr(with_default, "__defaults__", (20,))
    monkeypatch.setitem(globals(), "triple", made(7))
    monkeypatch.setitem(TABLE, "a", lambda v: v + 2)
    after = [contents(f) for f in (with_default, of_closures, of_table)]
    assert all(a != b for a, b in zip(after, before, strict=True))


def wraps(function):
    @functools.wraps(function)
    def wrapped(seed):
        return {"v": 2 * function(seed)["v"]}

    return wrapped


@wraps
def decorated(seed):
    return {"v": seed}


def test_a_decorator_counts_like_what_it_decorates():
    before = contents(decorated)
    assert before != contents(wraps(lambda seed: {"v": -seed}))
    assert before == contents(wraps(decorated.__wrapped__))


def test_keys_are_the_same_in_every_process():
    program = (
        "from mnemonic.lab import contents, grids; from mnemonic.storage import digest;"
        "print(digest(contents.contents(grids.run_grid)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.strip() == digest(contents(grids.run_grid))
