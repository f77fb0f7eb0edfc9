"""The house: which room may import which, and its drawing in the book."""

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mnemonic.press import house

ROOT = Path(__file__).parents[1]
ENTRIES = {p.name for p in house.PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
ROOMS = [room for wing in house.WINGS.values() for room in wing]


def test_every_room_is_in_a_wing():
    assert sorted(ROOMS) == sorted(name.removesuffix(".py") for name in ENTRIES)
    assert len(ENTRIES) <= 16


def test_a_wing_imports_only_what_stands_above_it():
    assert house.against_the_order() == []


def test_no_module_comes_back_to_itself():
    # A room's front door imports what is in the room.
    graph = house.imports()
    graph = {n: {d for d in ds if not n.startswith(f"{d}.")} for n, ds in graph.items()}
    assert [*TopologicalSorter(graph).static_order()]


def test_no_import_by_dots():
    for name, tree in house.trees().items():
        found = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert all(n.level == 0 for n in found), name


@pytest.fixture
def other(tmp_path):
    """A package of the same name whose method reaches for what stands below it."""
    package = tmp_path / "mnemonic"
    for name, text in {
        "checks": "import math",
        "storage": "from mnemonic import checks, __version__",
        "fisher/taps": "def f():\n    from mnemonic.lab.grids import run_grid",
        "lab/__init__": '"""Grids."""',
        "lab/grids": "import mnemonic.storage\nfrom mnemonic.checks import whole",
    }.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_an_import_that_breaks_the_order_is_seen(other):
    assert house.against_the_order(other) == ["fisher.taps imports lab.grids"]


def test_imports_of_modules_and_of_names_in_them_are_seen(other):
    graph = house.imports(other)
    assert graph["checks"] == set()
    assert graph["storage"] == {"checks"}
    assert graph["lab.grids"] == {"storage", "checks"}
    rooms = house.rooms(other)
    assert rooms["fisher"] == {"lab"}
    assert rooms["lab"] == {"storage", "checks"}


@pytest.fixture
def page():
    path = ROOT / "book" / "_extensions" / "house.py"
    spec = importlib.util.spec_from_file_location("house_page", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def parts(page, graph):
    """The SVG and the list, well-formed: an EPUB takes nothing else."""
    svg = ElementTree.fromstring(page.picture(graph))
    return svg, ElementTree.fromstring(page.words(graph))


def test_the_drawing_and_the_words_have_every_entry_and_what_it_imports(page):
    graph = house.rooms()
    svg, words = parts(page, graph)
    shown = [e.text for e in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {*shown} - {*house.WINGS} == {
        e if e.endswith(".py") else f"{e}/" for e in ENTRIES
    }
    dots = [e for e in svg.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(dots) == sum(map(len, graph.values()))
    assert [wing.find("strong").text for wing in words] == [*house.WINGS]
    items = words.findall("li/ul/li")
    assert len(items) == len(ROOMS)
    for room, item in zip(ROOMS, items, strict=True):
        assert item.find("code").text in (f"{room}/", f"{room}.py")
        sentence = "".join(item.find("span").itertext())
        assert sentence.endswith((".", "?")), f"{room}: {sentence}"
        assert len(sentence) > 20
        said = item.find("small").text.removeprefix("Imports ").rstrip(".")
        named = set() if said == "nothing of ours" else {*said.split(", ")}
        assert named == graph[room]


def test_the_drawing_follows_the_imports(page):
    graph = house.rooms()
    ours, _ = parts(page, graph)
    graph["checks"] = {"press"}
    theirs, words = parts(page, graph)
    dots = [
        {
            (c.get("cx"), c.get("cy"))
            for c in svg.iter("{http://www.w3.org/2000/svg}circle")
        }
        for svg in (ours, theirs)
    ]
    assert dots[0] != dots[1]
    assert words.find("li/ul/li/small").text == "Imports press."


def test_the_page_of_the_house_stands_before_that_of_the_package():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert "      - file: book/house\n      - file: book/api\n" in toc


def test_rooms_are_there_without_another_import():
    program = "import mnemonic as mn; print(mn.audits.relearn, mn.baselines.METHODS)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr


NO_TEXT = {"Image", "gzip", "os", "tarfile"}  # their open reads no text


def without_encoding(source):
    """Lines that read or write text in whatever encoding the machine has."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    for call in calls:
        named = {k.arg: k.value for k in call.keywords}
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        of = getattr(getattr(call.func, "value", None), "id", "")
        is_text = (name, len(call.args)) in (("read_text", 0), ("write_text", 1))
        if name == "open" and of not in NO_TEXT:
            told = [str(getattr(a, "value", "")) for a in (*call.args, *named.values())]
            is_text = not any(re.fullmatch("[rwxa+]*b[rwxa+]*", t) for t in told)
        if (is_text or "text" in named) and "encoding" not in named:
            yield call.lineno


def test_every_text_file_names_its_encoding():
    assert [*without_encoding("open(x)\nopen(x, 'w')\nPath(x).read_text()")] == [
        1,
        2,
        3,
    ]
    assert [*without_encoding("open(x, 'rb')\nPath(x).open('wb')\ngzip.open(x)")] == []
    assert [*without_encoding("run(x, text=True)\nx.write_text(y)")] == [1, 2]
    assert [*without_encoding("x.write_text(y, encoding='ascii')")] == []
    folders = ("mnemonic", "benchmarks", "tests", "book/_extensions")
    files = [path for f in folders for path in sorted((ROOT / f).rglob("*.py"))]
    assert len(files) > 100
    found = {p.relative_to(ROOT): [*without_encoding(p.read_bytes())] for p in files}
    assert {path: lines for path, lines in found.items() if lines} == {}
