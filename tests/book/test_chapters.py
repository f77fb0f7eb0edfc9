"""What is said of chapters by number, name or order, and the numbers that they bear."""

import ast
import importlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
CHAPTERS = {int(p.name[:2]): p for p in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PAGES = [*CHAPTERS.values(), *sorted((ROOT / "book").glob("*.md"))]
PAGES += [ROOT / "SECURITY.md"]
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
LINK = re.compile(r"\[([^\]]*)\]\((?:[\w./]*/)?(\d\d)_\w+\)")
DOC = re.compile(r"\{doc\}`([^`<]*)<(?:[\w./]*/)?(\d\d)_\w+>`")
NUMBERS = re.compile(r"\b[Cc]hapters?\s+(\d+(?:(?:,|,? and| to)\s+\d+)*)")


def read(path):
    """The text of a page, or of all cells of a notebook and their captions."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    parts = [*("".join(cell["source"]) for cell in cells)]
    return "\n\n".join([*parts, *(json.dumps(cell["metadata"]) for cell in cells)])


def without_links(text):
    """As it is read: the text of each link, and no address."""
    text = re.sub(r"\{\w+\}`([^`<]*)<[^`]*>`", r"\1", text)
    text = re.sub(r"\[([^\]]*)\]\((?!http)[^)]*\)", r"\1", text)
    return re.sub(r"\[[^\]]*\]\(http[^)]*\)(?:, chapters? [\d to]+)?", "", text)


def named(text):
    """Every chapter that is named by its number; "2 to 4" names three."""
    for match in NUMBERS.finditer(without_links(text)):
        for first, last in re.findall(r"(\d+)(?: to\s+(\d+))?", match[1]):
            yield from range(int(first), int(last or first) + 1)


@pytest.mark.parametrize(
    ("text", "chapters"),
    [
        ("as chapter 8 shows", [8]),
        ("Chapters 2 to 5 and\n8, three of them", [2, 3, 4, 5, 8]),
        ("chapters 1, 2 and 4", [1, 2, 4]),
        ("chapters [5](05_evaluation) and\n[6](06_what_is_forgotten) say", [5, 6]),
        ("in {doc}`chapter 9 <../notebooks/09_baselines>`", [9]),
        ("[The tutorial](https://a.org/), chapters 3 to 5, and chapter 7", [7]),
    ],
)
def test_chapters_are_found_in_text(text, chapters):
    assert [*named(text)] == chapters


@each_page
def test_every_chapter_that_is_named_exists(path):
    assert set(named(read(path))) <= set(CHAPTERS)


@each_page
def test_a_link_to_a_chapter_bears_its_number(path):
    text = read(path)
    for said, file in LINK.findall(text) + DOC.findall(text):
        number = re.fullmatch(r"(?:[Cc]hapter\s+)?(\d+)", said.strip())
        assert int(number[1] if number else file) == int(file), (said, file)


def test_prerequisites_are_earlier_chapters():
    for number, path in CHAPTERS.items():
        needed = read(path).partition("*Before this:*")[2].partition("\n\n")[0]
        files = [int(file) for _, file in LINK.findall(needed)]
        assert files or number == 1
        assert all(file < number for file in files), path.stem


def test_the_numbers_that_are_kept_are_those_that_are_missing():
    intro = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    kept = re.search(r"The numbers? ([\d, and]+) (?:is|are) kept for", intro)
    kept = {int(n) for n in re.findall(r"\d+", kept[1])} if kept else set()
    assert kept == set(range(1, max([*kept, *CHAPTERS]) + 1)) - set(CHAPTERS)


def code_of(path):
    """Code cells and the blocks of exercises, without magics."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            yield re.sub(r"(?m)^( *)[!%].*$", r"\1pass", source)
        else:
            yield from re.findall(r"(?s)```python\n(.*?)```", source)


@pytest.mark.parametrize("path", CHAPTERS.values(), ids=lambda p: p.stem)
def test_every_name_of_the_package_that_a_chapter_uses_is_there(path):
    for node in itertools.chain(*(ast.walk(ast.parse(c)) for c in code_of(path))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mnemonic"):
            module = importlib.import_module(node.module)
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mn":
            module, names = importlib.import_module("mnemonic"), [node.attr]
        else:
            continue
        for name in names:
            if not hasattr(module, name):  # else a module that nothing has imported
                importlib.import_module(f"{module.__name__}.{name}")


# A toy book in which numbers are missing.


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    parts = {"One": ["01_one"], "Two": ["03_three", "04_four"], "Three": ["12_twelve"]}
    config = {"title": "A book", "execute": {"execute_notebooks": "off"}}
    extensions = {"chapter_numbers": str(ROOT / "book" / "_extensions")}
    config["sphinx"] = {"local_extensions": extensions}
    toc = {"format": "jb-book", "root": "book/intro", "parts": []}
    for caption, names in parts.items():
        chapters = [{"file": f"notebooks/{name}"} for name in names]
        toc["parts"] += [{"caption": caption, "numbered": 2, "chapters": chapters}]
    files = {"book/intro.md": "# Intro\n\n{numref}`fig-04_four`\n"}
    files |= {"_config.yml": yaml.safe_dump(config), "_toc.yml": yaml.safe_dump(toc)}
    for name in (name for names in parts.values() for name in names):
        files[f"notebooks/{name}.md"] = (
            f"# {name[3:]}\n\n## Part\n\n$$ x $$ (eq-{name})\n\n"
            f"```{{figure}} dot.png\n:name: fig-{name}\n\nA dot.\n```\n"
        )
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "notebooks" / "dot.png").write_bytes(b"")
    done = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", "-W", root],
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def page(name):
        text = (root / "_build" / "html" / f"{name}.html").read_text(encoding="utf-8")
        return BeautifulSoup(text, "html.parser")

    return page


@pytest.mark.parametrize(
    ("name", "number"),
    [("01_one", 1), ("03_three", 3), ("04_four", 4), ("12_twelve", 12)],
)
def test_a_chapter_bears_the_number_of_its_file(toy, name, number):
    page = toy(f"notebooks/{name}").find("article")
    numbers = [h.get_text().split()[0] for h in page(["h1", "h2"])]
    assert numbers == [f"{number}.", f"{number}.1."]
    assert page.find(class_="caption-number").get_text() == f"Fig. {number}.1 "
    assert page.find(class_="eqno").get_text().startswith(f"({number}.1)")


def test_so_do_the_contents_and_what_points_to_a_figure(toy):
    page = toy("book/intro")
    entries = [a.get_text().strip() for a in page.select("nav.bd-links a")]
    assert entries == ["Intro", "1. one", "3. three", "4. four", "12. twelve"]
    assert page.find(class_="std-numref").get_text() == "Fig. 4.1"
