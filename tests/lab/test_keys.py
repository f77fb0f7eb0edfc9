import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys

import pytest
import torch

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
    path.write_text(source, encoding="utf-8")
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
    assert rooms == entries - {"press", "exercises", "publish.py"}


def test_an_edit_of_words_keeps_the_digest_of_the_package(tmp_path):
    package = tmp_path / "mnemonic"
    shutil.copytree(keys.PACKAGE, package, ignore=shutil.ignore_patterns("*.pyc"))

    def digest():
        return keys.code_digest(keys.numerical(package), package)

    first = keys.code_digest(keys.numerical())
    assert digest() == first
    for path in package.rglob("*.py"):
        path.write_text(
            f"# a word\n{path.read_text(encoding='utf-8')}\n'another'\n",
            encoding="utf-8",
        )
    (package / "press" / "plots.py").write_text("x = 1", encoding="utf-8")
    assert digest() == first
    (package / "lab" / "tuned" / "new.json").write_text("{}", encoding="utf-8")
    assert digest() != first
    (package / "lab" / "tuned" / "new.json").unlink()
    assert digest() == first
    (package / "networks.py").write_text("x = 1", encoding="utf-8")
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
        capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    assert said.strip() == digest(contents(grids.run_grid))


HELPERS = {
    "far.py": "from near import base\n\ndef far(x):\n    return base.step(x)\n",
    "near/__init__.py": "",
    "near/base.py": "BY = 1\n\n\ndef step(x):\n    return x + BY\n\n\nclass Kept:\n"
    "    @classmethod\n    def of(cls, x):\n        return x + 1\n",
}
CALLS = {
    "a function": "from far import far\n\ndef cell(seed):\n    return far(seed)\n",
    "a module": "import far as f\n\ndef cell(seed):\n    return f.far(seed)\n",
    "a generator": "from far import far\n\ndef cell(seed):\n"
    "    return sum(far(i) for i in [seed])\n",
    "a default": "from far import far\n\ndef cell(seed, f=far):\n    return f(seed)\n",
    "a partial": "from functools import partial\nfrom far import far\n"
    "part = partial(far, 1)\n\ndef cell(seed):\n    return part()\n",
    "inside": "def cell(seed):\n    from far import far\n    return far(seed)\n",
    "a module inside": "def cell(seed):\n    import near.base\n"
    "    return near.base.step(seed)\n",
    "a method": "import far\n\nclass A:\n    def do(self, x):\n"
    "        return far.far(x)\n\na = A()\n\ndef cell(seed):\n    return a.do(seed)\n",
    "by its name": "import far\n\ndef cell(seed):\n"
    "    return getattr(far, 'far')(seed)\n",
    "in a table": "import far\nTABLE = {'far': [far.far]}\n\ndef cell(seed):\n"
    "    return TABLE['far'][0](seed)\n",
    "a decorator": "from far import far\n\ndef by(f):\n"
    "    return lambda seed: far(f(seed))\n\n@by\ndef cell(seed):\n    return seed\n",
}


@pytest.fixture
def of_folder(tmp_path, monkeypatch):
    """Contents of ``cell``, written into a folder with the helpers as they are."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(cell, edit=lambda name, text: text):
        for name in ("far", "near", "near.base", "cells"):
            sys.modules.pop(name, None)
        for name, text in {**HELPERS, "cells.py": cell}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(edit(name, text), encoding="utf-8")
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        shutil.rmtree(tmp_path / "near" / "__pycache__", ignore_errors=True)
        return contents(importlib.import_module("cells").cell)

    yield made
    for name in ("far", "near", "near.base", "cells"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("edit", [("BY = 1", "BY = 2"), ("x + BY", "x - BY")])
def test_an_edited_helper_counts_wherever_it_is_called_from(of_folder, how, edit):
    before = of_folder(CALLS[how])
    assert of_folder(CALLS[how]) == before
    assert of_folder(CALLS[how], lambda _, text: text.replace(*edit)) != before
    words = of_folder(CALLS[how], lambda _, text: f'"""Words."""\n{text}\nbeside = 1\n')
    assert words == before


def test_what_is_installed_counts_by_its_version(monkeypatch):
    def cell(seed):
        return torch.arange(seed)

    before = contents(cell)
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert contents(cell) != before


def test_blocks_that_catch_more_are_other_code():
    def made(source):
        exec(source, space := {"__name__": "nowhere"})
        return contents(space["f"])

    parts = "def f(x):\n    try:\n        x += 1\n", "    except OSError: pass\n"
    inside = made(parts[0] + "        x += 2\n" + parts[1] + "    return x\n")
    outside = made(parts[0] + parts[1] + "    x += 2\n    return x\n")
    assert inside != outside
