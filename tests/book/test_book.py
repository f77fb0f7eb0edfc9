import gzip
import importlib.util
import itertools
import json
import os
import posixpath
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

from mnemonic.press import editions, publish
from mnemonic.press.questions import QUESTION

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(c["file"] for part in TOC["parts"] for c in part["chapters"])]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ORDER = [Path(page).name for page in PAGES if page.startswith("notebooks/")]
# Every artefact of the paper that the chapters show again.
ARTEFACTS = {
    "paper-fig-2", "paper-fig-6", "paper-fig-7", "paper-fig-8", "paper-fig-9",
    "paper-table-4", "paper-table-5", "paper-table-7",
    "paper-table-1", "paper-table-2", "paper-table-3", "paper-fig-3",
    "paper-fig-4", "paper-fig-5", "paper-fig-10", "paper-table-6",
    "paper-fig-11", "paper-fig-12", "paper-fig-13", "paper-fig-14", "paper-table-8",
}  # fmt: skip


def read(path):
    """A notebook's cells, with their source as one string."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def code_of(cells):
    return [c for c in cells if c["cell_type"] == "code"]


def text_of(cells):
    return "\n\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")


def tags(cell):
    return set(cell["metadata"].get("tags", []))


def figure_of(cell):
    return cell["metadata"].get("mystnb", {}).get("figure", {})


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def test_contents_name_every_notebook():
    assert [path.stem for path in NOTEBOOKS] == ORDER


@each_notebook
def test_notebook_is_clean_and_has_its_parameter(path):
    cells = read(path)
    for cell in code_of(cells):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    (parameters,) = [c for c in cells if "parameters" in tags(c)]
    assert parameters["source"] == 'profile = "quick"'
    assert parameters is code_of(cells)[0]
    assert len({c["id"] for c in cells}) == len(cells)


@each_notebook
def test_cells_are_many_and_short(path):
    cells = read(path)
    assert 25 <= len(cells) <= 45
    code = code_of(cells)
    lines = [sum(map(bool, c["source"].splitlines())) for c in code]
    assert statistics.median(lines) <= 8
    assert max(lines) <= 30, code[lines.index(max(lines))]["source"]


@each_notebook
def test_figures_have_name_caption_and_a_text_for_those_who_do_not_see_them(path):
    cells = read(path)
    figures = [c for c in cells if figure_of(c)]
    assert 4 <= len(figures) <= 7
    for cell in figures:
        assert re.fullmatch(r"fig-[a-z0-9-]+", figure_of(cell)["name"])
        assert len(figure_of(cell)["caption"]) >= 40
        alt = cell["metadata"]["mystnb"]["image"]["alt"]
        assert len(alt) >= 40, alt
        assert alt != figure_of(cell)["caption"]
    for cell in code_of(cells):
        assert ("plt.show()" in cell["source"]) == bool(figure_of(cell)), cell["source"]


def test_names_are_used_once_in_the_book():
    named = Counter()
    for path in NOTEBOOKS:
        cells = read(path)
        named.update(figure_of(c)["name"] for c in cells if figure_of(c))
        named.update(re.findall(r"^:label: (\S+)$", text_of(cells), flags=re.M))
        named.update(re.findall(r"^\((\S+)\)=$", text_of(cells), flags=re.M))
        named.update(re.findall(r"\$\$ \(([\w-]+)\)", text_of(cells)))
    assert len(named) > 30
    assert [name for name, n in named.items() if n > 1] == []


def test_the_text_points_to_every_figure():
    texts = [text_of(read(path)) for path in NOTEBOOKS]
    texts += [p.read_text("utf-8") for p in (ROOT / "book").glob("*.md")]
    pointed = re.findall(r"\{numref\}`(?:[^`<]*<)?([\w-]+)>?`", "\n".join(texts))
    figures = {figure_of(c).get("name") for path in NOTEBOOKS for c in read(path)}
    assert figures - {None} - set(pointed) == set()


@each_notebook
def test_exercises_have_folded_solutions(path):
    text = text_of(read(path))
    exercises = re.findall(r"^````\{exercise\}\n:label: (\S+)$", text, flags=re.M)
    solutions = re.findall(
        r"^````\{solution\} (\S+)\n:class: dropdown\n\n\S", text, flags=re.M
    )
    assert 3 <= len(exercises) <= 5
    assert solutions == exercises
    assert text.count("{exercise}") == text.count("{solution}") == len(exercises)


HINT = re.compile(r"(?ms)^```\{hint\}\n:class: dropdown\n\n(.*?)\n```\n")


@each_notebook
def test_exercises_say_kind_minutes_difficulty_and_have_a_hint(path):
    text = text_of(read(path))
    bodies = re.findall(
        r"^````\{exercise\}\n:label: ex-ch\d+-(\w+)\n\n(.*?)^````$", text, re.M | re.S
    )
    assert len(bodies) == text.count("{exercise}")
    for kind, body in bodies:
        line = re.match(r"\*(\w+) · (\d+) min · (★{1,3})\*\n\n", body)
        assert line, body
        assert line[1].lower() == kind
        assert 5 <= int(line[2]) <= 60
        task, hint, cell = HINT.split(body)  # one hint, between the task and its cell
        assert task.count("\n") > 3
        assert 8 <= len(hint.split()) <= 50, hint
        assert cell.startswith("\n```python\n")


@each_notebook
def test_chapter_ends_with_a_summary_and_the_way_on(path):
    text = text_of(read(path))
    head, _, tail = text.partition("\n## Summary\n")
    assert "\n## Exercises\n" in head
    assert 3 <= len(re.findall(r"^- ", tail, flags=re.M)) <= 5
    following = dict(itertools.pairwise(ORDER)).get(path.stem)
    if following:
        assert f"]({following})" in tail
    opening = text[:1500]
    for part in ("# ", "**", "You will see", "*Cost:*", "*Before this:*"):
        assert part in opening


# Prose: what is left of Markdown without code, mathematics and roles.

CODE_BLOCKS = ("{math}", "{code", "{eval-rst}", "{include}")
STRIPPED = [
    (r"\{glue:text\}`[^`]*`", " GLUED "),
    (r"\{[\w:]+\}`([^`<]*)(?:<[^`]*>)?`", r" \1 "),
    (r"`[^`]*`", " CODE "),
    (r"(?s)\$\$.*?\$\$(?: \([\w-]+\))?", " MATHS "),
    (r"\$(A_R|E_F)\$", r"\1"),
    (r"\$[^$]+\$", " MATHS "),
    (r"\]\([^)]*\)", "]"),
    (r"\s+", " "),
]


def without_blocks(text):
    """Lines outside of code blocks, without the fences and options of directives."""
    kept, directives, block = [], 0, None
    for line in text.splitlines():
        fence, rest = re.match(r"(`{3,}|:{3,}|)(.*)", line).groups()
        rest = rest.strip()
        if block:
            block = None if fence == block and not rest else block
        elif fence and rest.startswith("{") and not rest.startswith(CODE_BLOCKS):
            directives += 1
            kept.append(rest.partition("}")[2])
        elif fence and not rest and directives:
            directives -= 1
        elif fence:
            block = fence
        elif not re.match(r":[\w-]+:|\(\S+\)=$", line):
            kept.append(line)
    assert not block
    assert not directives
    return "\n".join(kept)


def prose(text):
    text = without_blocks(text)
    for pattern, kept in STRIPPED:
        text = re.sub(pattern, kept, text)
    return text


UNIT = r"(?:percent|points?\b|seconds?\b|s\b|ms\b|minutes?\b|nats\b|times\b)"
RESULT = r"(?:accurac(?:y|ies)|errors?|A_R|E_F|loss(?:es)?|correlations?|probe)"
BETWEEN = r"(?:\s(?:is|was|of|at|about|to|from|only|by|a|an|the|has|have|=|:)){0,3}\s"
TYPED = re.compile(
    rf"""
    (?<!at\sleast\s)(?<!at\smost\s)(?<!±)(?<!middle\s)  # a definition, no finding
    (?<![\w.,/-]) (?!100(?:\.0)?\s?%)    # everything, by any measure
    \d[\d,]*(?:\.\d+)?\s?%(?!\sinterval)  # 97.3 %
    | (?<![\w.,/-]) \d[\d,]*\.\d+\s{UNIT}         # 95.9 points, 0.3 seconds
    | {RESULT}{BETWEEN}\d[\d,]*\.\d+              # an accuracy of 95.9
    | (?<![\w.,/=-]) (?<!=\s) \d[\d,]*\.\d+\s(?:\w+\s)?{RESULT}  # 95.9 A_R
    """,
    flags=re.X,
)


def typed_results(text):
    return [m.group() for m in TYPED.finditer(prose(text))]


@pytest.mark.parametrize(
    "text",
    [
        "it reaches 97.3 % of them",
        "it reaches 97.3% of them",
        "an error of 8 %",
        "we lose 0.4 points",
        "we lose 95.9\npoints",
        "it takes 0.03 seconds",
        "it takes 0.03 s in all",
        "the accuracy is 97.3 then",
        "$E_F$ of 99.8",
        "at $A_R$ 95.9 and",
        "a 0.93 correlation",
        "{glue:text}`a-b:.1f` % and 93.1 %",
        "```{solution} x\n:class: dropdown\n\nAbout 84.8 % of them.\n```",
        "```{exercise}\nWhat?\n```\n\nIt is 84.8 %.\n\n```{solution} x\nThat.\n```",
    ],
)
def test_typed_results_are_found(text):
    assert typed_results(text)


@pytest.mark.parametrize(
    "text",
    [
        "```{exercise}\n:label: x\n\nWhat?\n```\n\nOf `t`:\n\n```\nx = 97.3 %\n```",
        "{glue:text}`a-b:.1f` % and {glue:text}`a-c` points",
        "pixels in [0, 1], 28 by 28, 5,000 of them",
        "takes $E_F$ to 100, given in percent; 100 % is all",
        "with $t_\\text{mix}$ = 0.1 the network, `0.5 % of`",
        "less than a point up to 0.3, and Python 3.11",
        "$$ 0.5\\,\\% $$ (eq-a)",
        "```python\nx = 95.9  # points, 3 %\n```",
        "forgotten well if $E_F$ is at least 95 % and",
        "the lower end of the 95 % interval",
        "the middle 95 %, taken as ±10 %",
        "Eq. 2 to 7 of 10 classes, 200 epochs, three seeds",
    ],
)
def test_settings_are_not_taken_for_results(text):
    assert typed_results(text) == []


@each_notebook
def test_no_result_is_typed_into_the_text(path):
    cells = read(path)
    assert typed_results(text_of(cells)) == []
    for cell in cells:  # captions cannot be glued into: they name no result at all
        assert typed_results(figure_of(cell).get("caption", "")) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "book").glob("*.md")), ids=lambda p: p.stem
)
def test_no_result_is_typed_into_a_page(path):
    assert typed_results(path.read_text(encoding="utf-8")) == []


def test_figures_of_the_paper_are_put_in_their_places():
    path = ROOT / "book" / "_extensions" / "places.py"
    spec = importlib.util.spec_from_file_location("places", path)
    places = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(places)
    for page in ("reproduced", "clusters"):
        text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
        assert "[[paper " in text
        text, missing = places.filled(text)
        assert missing == []
        assert "[[" not in text
    assert "8.66 and 21.0 s\nfor forgetting and 882 and 6,923 s" in text
    for wrong in ("table-4/Swin", "table-4/Swin/none/seconds", "table-99/a/b/c"):
        name = f"paper {wrong}"
        assert places.filled(f"[[{name}]]") == ("(not yet recorded)", [name])


def test_each_artefact_of_the_paper_has_its_verdict_in_a_word():
    rows = (ROOT / "book" / "reproduced.md").read_text(encoding="utf-8").splitlines()
    words = [row.strip("| ").rpartition(" | ")[2] for row in rows if "| {ref}" in row]
    assert len(words) >= 15
    assert set(words) <= {"agrees", "partly", "differs", "open"}


@each_notebook
def test_chapter_has_the_length_of_a_lesson(path):
    # Questions have their own bound, and a hint stays folded for most.
    read_by_all = HINT.sub("", QUESTION.sub("", text_of(read(path))))
    assert 1500 <= len(prose(read_by_all).split()) <= 2500


STYLES = ROOT / "book" / "_static" / "book.css"


def rules(css):
    """Pairs of a selector, in one way of writing, and its declarations."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    for selectors, declared in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        for selector in re.split(r",(?![^(]*\))", selectors):
            yield re.sub(r"['\"]", "", " ".join(selector.split())), declared


def test_outputs_keep_the_colours_of_a_dark_page():
    package = importlib.util.find_spec("pydata_sphinx_theme").submodule_search_locations
    sheets = [path for p in package for path in Path(p).rglob("*.css")]
    ours = dict(rules(STYLES.read_text(encoding="utf-8")))
    mats = {
        selector
        for sheet in sheets
        for selector, declared in rules(sheet.read_text(encoding="utf-8"))
        if "data-theme=dark" in selector and "cell_output" in selector
        if "background" in declared
    }
    assert mats  # else the theme has changed, and so may ours
    for selector in mats:
        assert "background-color: transparent !important" in ours[selector]
        assert "color: var(--pst-color-text-base) !important" in ours[selector]


# The whole book, run in the smoke profile and rendered: see smoke_book.py.


def body(book, page):
    return book.soup[f"{page}.html"].find(id="main-content")


def test_the_book_renders_without_a_warning(book):
    assert book.first.err == ""
    assert set(book.copies) == set(ORDER)


def test_nothing_is_done_when_nothing_changed(book):
    assert book.again.code == 0
    assert book.again.out == f"nothing changed: {book.html / 'index.html'}\n"
    assert book.again.err == ""
    assert book.again.seconds < 10


def test_every_page_of_the_contents_is_there(book):
    for page in PAGES:
        title = body(book, page).find("h1").get_text()
        assert len(title) > 2
    assert book.soup["index.html"].find("meta", attrs={"http-equiv": "Refresh"})


@pytest.mark.parametrize("chapter", ORDER)
def test_page_says_what_it_was_run_with_and_hides_the_machinery(book, chapter):
    main = body(book, f"notebooks/{chapter}")
    line = main.find(class_="made-by").get_text()
    for part in ("profile smoke", "data mnist-5k", " s · ", "mnemonic", "torch"):
        assert part in line
    assert re.search(r"(commit [0-9a-f]{7,}|no commit)", line)
    assert "# Parameters" not in main.get_text()
    assert 'profile = "smoke"' not in main.get_text()
    assert not main.find_all(class_="stderr")
    assert len(main.find_all("figure")) >= 4


def test_page_of_numbers_says_which_run_they_come_from(book):
    pages = {page for page, _, _ in used_glue()} | {"book/playground"}
    for page in PAGES:
        if not page.startswith("notebooks/"):
            lines = [p.get_text() for p in body(book, page).find_all(class_="made-by")]
            assert len(lines) == (page in pages), page
            for line in lines:
                for part in ("profile smoke", "mnemonic ", "torch ", "Python "):
                    assert line.count(part) == 1, line
                assert re.search(r"(commit [0-9a-f]{7,}|no commit)", line)


def test_no_page_shows_a_fault(book):
    signs = r"Traceback \(most recent|Error: |\{glue|\{numref|\{term|\{cite|\[\?\?\]"
    for name, soup in book.soup.items():
        if name.startswith("_modules"):
            continue
        text = (soup.find(id="main-content") or soup).get_text()
        for code in soup.find_all(["pre", "code"]):
            text = text.replace(code.get_text(), "")
        assert not re.search(signs, text), name
        assert not soup.find_all(class_=["system-message", "traceback", "problematic"])


GLUE = re.compile(r"\{glue:\w*\}`(?:([^`:]+\.ipynb)::)?([^`:]+)(?::[^`]*)?`")


def used_glue():
    """Triples: the page, the notebook that should define the key, the key."""
    used = []
    for page in PAGES:
        path = ROOT / f"{page}.ipynb"
        path = path if path.exists() else ROOT / f"{page}.md"
        is_notebook = path.suffix == ".ipynb"
        text = text_of(read(path)) if is_notebook else path.read_text(encoding="utf-8")
        for there, glue_key in GLUE.findall(text):
            assert there or is_notebook, f"{page}: {glue_key} is from no notebook"
            source = (path.parent / there).resolve() if there else path
            assert source in NOTEBOOKS, f"{page}: there is no {there}"
            used.append((page, source.stem, glue_key))
    return used


def test_numbers_in_the_text_are_all_defined_and_all_used(book):
    used = used_glue()
    assert len(used) > 50
    for name, copy in book.copies.items():
        outputs = [o for c in code_of(read(copy)) for o in c["outputs"]]
        glued = Counter(
            o["metadata"]["scrapbook"]["name"]
            for o in outputs
            if "scrapbook" in o.get("metadata", {})
        )
        wanted = {k for _, source, k in used if source == name}
        assert wanted - glued.keys() == set(), f"{name} lacks them"
        assert glued.keys() - wanted == set(), f"nobody uses them, from {name}"
        assert max(glued.values()) == 1, f"{name} glues a key twice"


def test_artefacts_of_the_paper_can_be_linked_to(book):
    anchors = {
        tag["id"] for soup in book.soup.values() for tag in soup.find_all(id=True)
    }
    assert anchors >= ARTEFACTS


def test_heads_of_tables_are_words(book):
    n = 0
    for name, soup in book.soup.items():
        for head in soup.select(".cell_output th"):
            assert "_" not in head.get_text(), f"{name}: {head}"
            n += 1
    assert n > 100


def test_negative_numbers_in_the_text_have_a_minus(book):
    glued = [
        node.get_text()
        for soup in book.soup.values()
        for node in soup.select(".pasted-text")
    ]
    assert any(text.startswith("−") for text in glued)
    assert not [text for text in glued if re.match(r"-\d", text)]


def test_a_shared_link_shows_the_picture_of_the_book(book):
    for page in PAGES:
        card = {
            name: book.soup[f"{page}.html"].find("meta", property=f"og:{name}")
            for name in ("image", "image:alt")
        }
        address = urlsplit(card["image"]["content"])
        assert address.scheme == "https"
        assert (book.html / address.path.removeprefix("/book/")).stat().st_size < 80e3
        assert len(card["image:alt"]["content"]) > 20


def test_each_chapter_can_be_opened_on_colab_and_no_other_page(book):
    for name, soup in book.soup.items():
        links = {
            a["href"] for a in soup.find_all("a", href=re.compile("colab.+/github/"))
        }
        if name.startswith("notebooks/"):
            (link,) = links
            path = name.replace(".html", ".ipynb")
            assert link.endswith(
                f"/github/forgetting-in-one-shot/book/blob/main/{path}"
            )
            assert soup.find("a", href=re.compile(rf"kaggle.+\?src=.+/main/{path}$"))
        else:
            assert not links, name
            assert not soup.find("a", href=re.compile("kaggle")), name


COLAB = """
import os, sys, types
from IPython.core.interactiveshell import InteractiveShell

sys.modules["google.colab"] = types.ModuleType("google.colab")
shell, installed = InteractiveShell.instance(), []
shell.register_magic_function(installed.append, magic_name="pip")
for _ in range(2):  # as whoever runs all a second time does
    shell.run_cell(sys.argv[1]).raise_error()
import mnemonic
print(installed, os.getcwd(), mnemonic.__file__)
"""


def test_on_colab_the_first_cell_fetches_the_book(tmp_path):
    cells = [[c for c in read(path) if c["id"] == "colab"] for path in NOTEBOOKS]
    assert all(found == cells[0] for found in cells)
    here = {"GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf", "GIT_CONFIG_COUNT": "1"}
    here |= {"GIT_CONFIG_VALUE_0": "https://github.com/forgetting-in-one-shot/book"}
    done = subprocess.run(
        [sys.executable, "-c", COLAB, cells[0][0]["source"]],
        cwd=tmp_path, env={**os.environ, **here}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    book = tmp_path / "book"
    pip = ["install -q -e ."] * 2  # the second finds the work done
    expected = f"{pip} {book} {book / 'mnemonic' / '__init__.py'}"
    assert done.stdout.splitlines()[-1] == expected
    assert not (book / "book" / "mnemonic").exists()


# Of the other formats one is made in each run, by turns.

FORMATS = ("student", "epub", "revealjs", "singlehtml")
TODAY = FORMATS[datetime.now(UTC).toordinal() % len(FORMATS)]


def in_turn(name):
    """Mark the test of a format that is not made today."""
    why = f"of the formats, {TODAY} is made today"
    return pytest.mark.soak(why=why) if name != TODAY else lambda test: test


@in_turn("student")
def test_student_edition_renders_without_a_warning_and_has_no_solution(book, capsys):
    folder = editions.write(ROOT, book.build, "smoke")
    assert editions.render(ROOT, folder, "smoke"), capsys.readouterr().err
    for name in ORDER:
        page = (folder / "html" / "notebooks" / f"{name}.html").read_text("utf-8")
        soup = BeautifulSoup(page, "html.parser")
        assert not soup.find_all(class_="solution")
        assert len(soup.find_all(class_="exercise")) == len(
            book.soup[f"notebooks/{name}.html"].find_all(class_="exercise")
        )
        assert "your turn" in soup.get_text()
        given = folder / "html" / "_sources" / "notebooks" / f"{name}.ipynb"
        assert "{solution}" not in given.read_text("utf-8")


def test_the_site_is_light_and_so_is_each_page(book):
    files = [f for f in book.html.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 25e6

    @cache
    def sent(file):  # as servers send it: MathJax alone is as large on the disk
        return len(gzip.compress(file.read_bytes()))

    for name, soup in book.soup.items():
        if name.startswith("_static/"):  # a template of the theme
            continue
        page = book.html / name
        tags = soup.select("script[src], link[rel=stylesheet]")
        links = (tag.get("src") or tag.get("href") for tag in tags)
        loaded = {(page.parent / urlsplit(link).path).resolve() for link in links}
        sizes = {f: sent(f) for f in {page.resolve(), *loaded}}
        assert sum(sizes.values()) < 1.5e6, (name, sizes)


def rendered(book, builder, capsys):
    """The folder of another format, from the executed copies of the book."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNEMONIC_CACHE", str(book.cache))
        fine = publish.render(ROOT, book.build, "smoke", builder)
    said = capsys.readouterr()
    assert fine, said.err
    assert said.err == ""
    return book.build / builder


@in_turn("epub")
def test_the_epub_has_every_page_and_reads_nothing_from_elsewhere(book, capsys):
    folder = rendered(book, "epub", capsys)
    with zipfile.ZipFile(folder / "forgetting-in-one-shot.epub") as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        names = set(archive.namelist())
        assert {f"{page}.xhtml" for page in PAGES} <= names
        for page in PAGES:
            text = archive.read(f"{page}.xhtml").decode("utf-8")
            ElementTree.fromstring(text.replace("&nbsp;", "&#160;"))  # strict
            soup = BeautifulSoup(text, "html.parser")
            pictures = [img["src"] for img in soup.find_all("img")]
            beside = {
                posixpath.normpath(f"{page}/../{unquote(src)}") for src in pictures
            }
            assert beside <= names, page
            assert not soup.find_all("script"), page
            assert not soup.select(".question details:not([open])"), page
        chapter = archive.read(f"notebooks/{ORDER[2]}.xhtml").decode("utf-8")
        assert "<math" in chapter
        assert "<img" in chapter


@in_turn("revealjs")
def test_the_slides_show_figures_and_numbers_of_the_chapters(book, capsys):
    page = rendered(book, "revealjs", capsys) / "book" / "slides.html"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    source = (ROOT / "book" / "slides.md").read_text(encoding="utf-8")
    figures = re.findall(r"\{from-chapter\} (fig-[a-z0-9-]+)", source)
    shown = soup.select(".slides img")
    assert len(figures) == len(shown) > 5
    for img in shown:
        kind, _, picture = img["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert b64decode(picture).startswith(b"\x89PNG")
        assert img["alt"]
    heads = re.findall(r"^## (.+)$", source, re.MULTILINE)
    assert [h.get_text() for h in soup.select(".slides h2")] == heads
    assert "{glue" not in soup.get_text()
    assert soup.select(".slides math")


def make(folder, target):
    """What the Makefile does for a target when the book is rendered already."""
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "-o", ".venv/.ready", target, "PUBLISH=true"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr


def test_the_zip_has_the_whole_site(book, tmp_path):
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(book.html, tmp_path / "_build" / "html")
    make(tmp_path, "zip")
    with zipfile.ZipFile(tmp_path / "_build" / "forgetting-in-one-shot.zip") as archive:
        names = {n for n in archive.namelist() if not n.endswith("/")}
    assert names == {
        f"forgetting-in-one-shot/{file.relative_to(book.html).as_posix()}"
        for file in book.html.rglob("*")
        if file.is_file()
    }


@in_turn("singlehtml")
@pytest.mark.usefixtures("browser")
def test_the_book_can_be_printed(book, tmp_path, capsys):
    folder = rendered(book, "singlehtml", capsys)
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "singlehtml").symlink_to(folder)
    make(tmp_path, "pdf")
    pdf = (tmp_path / "_build" / "forgetting-in-one-shot.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 50
    assert pdf.count(b"/Subtype /Image") > 4 * len(NOTEBOOKS)


# What only a browser can say, where there is one.

CELLS = """() => [...document.querySelectorAll('.cell_output td, .cell_output th')]
  .filter(cell => cell.innerText.trim())
  .map(cell => {
    let ground = cell, clear = /rgba\\(.*, 0\\)|transparent/;
    while (ground && clear.test(getComputedStyle(ground).backgroundColor))
      ground = ground.parentElement;
    return [getComputedStyle(cell).color,
            ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)'];
  })"""
CUT = """() => [...document.querySelectorAll('.cell_output table, .highlight pre')]
  .filter(inner => {
    let box = inner;
    while (!/auto|scroll|hidden/.test(getComputedStyle(box).overflowX))
      box = box.parentElement;
    return box.scrollWidth > box.clientWidth + 1;
  }).map(inner => inner.textContent.slice(0, 100))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("chapter", ORDER)
def test_tables_can_be_read_and_nothing_is_cut_off(book, browser, chapter, scheme):
    size = {"width": 1280, "height": 900}
    page = browser.new_page(color_scheme=scheme, viewport=size)
    page.goto((book.html / "notebooks" / f"{chapter}.html").as_uri())
    page.wait_for_timeout(500)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    pairs = page.evaluate(CELLS)
    cut = page.evaluate(CUT)
    page.close()
    assert pairs
    for text, ground in pairs:
        assert contrast(text, ground) >= 4.5, (text, ground)
    assert cut == []


AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"  # .ci/run installs it
FAULTS = """async () => {
  await window.MathJax?.startup?.promise;
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const root = document.documentElement;
  const wide = root.scrollWidth - root.clientWidth;
  return [
    ...violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 200)}`),
    ...(wide > 0 ? [`${wide} px too wide`] : []),
  ];
}"""


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not here")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_no_page_scrolls_sideways(book, browser, scheme, width):
    size = {"width": width, "height": 900}
    page = browser.new_page(color_scheme=scheme, viewport=size)
    found = {}
    for name, soup in book.soup.items():
        if name.startswith("_") or soup.find("meta", attrs={"http-equiv": "Refresh"}):
            continue  # source code; a page that leads elsewhere
        page.goto((book.html / name).as_uri())
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found[name] = page.evaluate(FAULTS)
    page.close()
    assert len(found) >= len(PAGES)
    assert {name: faults for name, faults in found.items() if faults} == {}


def contrast(*colours):
    """Between two colours as a browser writes them: 1 to 21."""
    lights = []
    for colour in colours:
        parts = [int(float(v)) / 255 for v in re.findall(r"[\d.]+", colour)[:3]]
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts
        ]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_pictures_have_a_text(book):
    n = 0
    for name, soup in book.soup.items():
        for picture in soup.find_all("img"):
            alt = picture.get("alt")
            assert alt, f"{name}: {picture}"
            assert not re.search(r"[0-9a-f]{16}|\.(png|svg|jpg)\b", alt), alt
            if picture.find_parent("figure"):
                assert len(alt) >= 40, f"{name}: {picture}"
                n += 1
    assert n > 4 * len(NOTEBOOKS)


LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
NOT_LOADED = {"canonical", "author", "license", "next", "prev", "index"}
OUTSIDE = re.compile(r"(?:\w+:)?//")


def test_pages_load_nothing_from_outside(book):
    for name, soup in book.soup.items():
        for tag in soup.find_all(LOADED.keys()):
            address = tag.get(LOADED[tag.name], "")
            assert not OUTSIDE.match(address), f"{name}: {tag}"
            assert not OUTSIDE.search(tag.get("srcset", "")), f"{name}: {tag}"
        for tag in soup.find_all("link"):
            if not set(tag["rel"]) & NOT_LOADED:
                assert not OUTSIDE.match(tag["href"]), f"{name}: {tag}"
        for tag in soup.find_all("script", src=False):
            assert not re.search(r"https?://", tag.get_text()), f"{name}: {tag}"
        for style in [t.get_text() for t in soup.find_all("style")]:
            assert not re.search(r"(?:url\(|@import)[\s'\"]*(?:https?:)?//", style)


def test_style_sheets_load_nothing_from_outside(book):
    sheets = list(book.html.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.S)
        for address in re.findall(
            r"url\(\s*['\"]?([^'\")]+)|@import\s*['\"]([^'\"]+)", text
        ):
            assert not OUTSIDE.match("".join(address)), sheet.name


def test_links_within_the_book_lead_somewhere(book):
    anchors = {
        name: {t.get("id") or t.get("name") for t in soup.find_all(True)}
        for name, soup in book.soup.items()
    }
    checked = 0
    for name, soup in book.soup.items():
        for link in soup.find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc or link["href"] in ("", "#"):
                continue
            target = name
            if parts.path:
                folder = (book.html / name).parent
                found = (folder / unquote(parts.path)).resolve()
                assert found.exists(), f"{name}: {link['href']}"
                target = found.relative_to(book.html.resolve()).as_posix()
            if parts.fragment and target in anchors:
                there = unquote(parts.fragment) in anchors[target]
                assert there, f"{name}: {link['href']}"
            checked += 1
    assert checked > 300


def test_playground_comes_with_the_network_of_the_profile(book):
    data = (book.html / "book" / "playground" / "data.js").read_text(encoding="utf-8")
    assert '"profile": "smoke"' in data


# What draws digits, codes or maps of pixels.
PICTURES = r"image_grid|imshow|plots\.picture|weight_map|pictures"


@each_notebook
def test_drawings_are_turned_in_the_dark_and_pictures_are_not(path):
    for cell in read(path):
        if "figure" in cell["metadata"].get("mystnb", {}):
            drawn = not re.search(PICTURES, "".join(cell["source"]))
            classes = cell["metadata"]["mystnb"]["image"]["classes"]
            assert classes == "dark-light" + " plot" * drawn
