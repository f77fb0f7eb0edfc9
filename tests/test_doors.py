"""Ways into the book for people who did not make it: what they name is there."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mnemonic as mn

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = {TOC["root"], *(c["file"] for p in TOC["parts"] for c in p["chapters"])}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def targets():
    return set(re.findall(r"^([a-z]+):(?!=)", read("Makefile"), flags=re.M))


def test_the_container_names_what_exists():
    text = read("Dockerfile")
    (command,) = re.findall(r"^CMD (.*)$", text, flags=re.M)
    module = json.loads(command)
    named = module[module.index("-m") + 1]
    assert importlib.util.find_spec(named)
    (chapter,) = module[module.index("--only") + 1 :]
    assert [*(ROOT / "notebooks").glob(f"{chapter}_*.ipynb")]
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', read("pyproject.toml"))[1]
    assert int(re.search(r"FROM python:3\.(\d+)", text)[1]) >= int(oldest)
    assert set(re.findall(r"-e '\.\[(\w+)\]'", text)) == {"book"}
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets()
    ignored = read(".dockerignore").split()
    assert not [n for n in ignored if n in ("book", "notebooks", "mnemonic", ".git")]


def test_the_editors_container_is_built_from_it():
    folder = ROOT / ".devcontainer"
    told = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    assert (folder / told["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / told["build"]["context"]).resolve() == ROOT
    # its venv is that of the image, under the name that the Makefile asks for
    assert "ln -sfn /book/.venv .venv" in told["postCreateCommand"]
    assert "touch .venv/.ready" in told["postCreateCommand"]
    assert "WORKDIR /book\n" in read("Dockerfile")
    assert "READY := .venv/.ready" in read("Makefile")


def test_issue_forms_fit_their_schema():
    assert len(FORMS) == 3
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [tool, "--builtin-schema", "vendor.github-issue-forms", *FORMS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_archive_and_citation_say_the_same():
    archive = json.loads(read(".zenodo.json"))
    cited = yaml.safe_load(read("CITATION.cff"))
    assert archive["title"] == cited["title"]
    assert archive["version"] == cited["version"] == mn.__version__
    assert archive["license"] == cited["license"]
    assert archive["keywords"] == cited["keywords"]
    assert [a["name"] for a in archive["creators"]] == [
        a["name"] for a in cited["authors"]
    ]


def test_every_page_that_machines_are_sent_to_exists():
    linked = re.findall(r"\]\(([\w./]+)\.html\)", read("book/llms.txt"))
    assert set(linked) <= PAGES
    assert {p for p in PAGES if p.startswith("notebooks/")} <= set(linked)


def entries(name):
    found = re.findall(r"^@\w+\{(\w+),", read(name), flags=re.M)
    assert len(found) == len(set(found))
    return set(found)


def test_every_entry_of_the_bibliography_is_cited_and_none_is_missing():
    files = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    text = "\n".join(f.read_text(encoding="utf-8") for f in files)
    cited = re.findall(r"\{cite:\w+\}`([^`]+)`", text)
    cited = {key.strip() for keys in cited for key in keys.split(",")}
    cited |= {key for m in mn.METHODS.values() for key in m.cites}
    assert cited == entries("book/references.bib")


def test_no_two_works_are_cited_alike():
    seen = set()
    for entry in re.split(r"\n(?=@)", read("book/references.bib")):
        fields = dict(re.findall(r"^ *(\w+) *= *\{(.*)\},?$", entry, flags=re.M))
        people = fields.get("author", fields["title"]).split(" and ")
        names = tuple(p.split(",")[0] for p in people[: 1 if len(people) > 2 else 2])
        label = (*names, len(people) > 2, fields["year"])
        assert label not in seen, label
        seen.add(label)


def test_the_draft_of_the_paper_has_its_parts_and_its_references():
    _, head, text = read("paper/paper.md").split("---\n", 2)
    head = yaml.safe_load(head)
    assert {"title", "tags", "authors", "affiliations", "date"} <= set(head)
    assert (ROOT / "paper" / head["bibliography"]).is_file()
    assert {"Summary", "Statement of need"} <= set(re.findall(r"^# (.+)$", text, re.M))
    assert set(re.findall(r"@(\w+)", text)) == entries("paper/paper.bib")
    assert entries("paper/paper.bib") <= entries("book/references.bib")


@pytest.fixture
def blocks():
    """Code of the page for methods, and the registry as it was afterwards."""
    known = dict(mn.METHODS)
    yield re.findall(r"```python\n(.*?)```", read("book/your_method.md"), flags=re.S)
    mn.METHODS.clear()
    mn.METHODS.update(known)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_method_of_the_page_runs_and_is_compared_and_audited(blocks, capsys):
    space = {}
    for block in blocks:
        exec(block, space)
    assert list(space["found"]["method"]) == ["one-ascent", "row-zeroing"]
    before, after = (space[n].state_dict() for n in ("model", "forgot"))
    assert any(not after[name].equal(w) for name, w in before.items())
    counts = mn.METHODS["one-ascent"](space["model"], space["access"]).counts
    assert counts.images["forget"] == 350
    assert counts.images["remaining"] == counts.images["codes"] == 0
    assert "forgetting_error" in capsys.readouterr().out


def test_figures_are_written_with_their_texts(tmp_path):
    drawn = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<svg/>"}
    coded = {kind: base64.b64encode(drawn[kind]).decode() for kind in ("png", "pdf")}
    picture = {"image/png": coded["png"], "application/pdf": coded["pdf"]}
    picture |= {"image/svg+xml": ["<svg", "/>"], "text/plain": "<Figure>"}
    told = {"name": "fig-a", "caption": "Less < more."}
    cell = {
        "metadata": {"mystnb": {"figure": told, "image": {"alt": "A."}}},
        "outputs": [{"data": picture}],
    }
    (tmp_path / "01_a.ipynb").write_text(json.dumps({"cells": [cell]}), "utf-8")
    script = ROOT / "book" / "_extensions" / "from_chapter.py"
    subprocess.run([sys.executable, script, tmp_path, tmp_path / "out"], check=True)
    for kind, content in drawn.items():
        assert (tmp_path / "out" / f"fig-a.{kind}").read_bytes() == content
    assert (tmp_path / "out" / "alt-texts.txt").read_text("utf-8") == "fig-a: A.\n"
    proof = (tmp_path / "out" / "proof.html").read_text("utf-8")
    for part in ('src="fig-a.png" alt="A."', "Less &lt; more.", "</b> A."):
        assert part in proof


def test_examinations_have_keys_and_their_points_add_up():
    folder = ROOT / "teaching"
    asked = sorted(p for p in folder.glob("exam-?.md"))
    assert len(asked) == 2
    for path in asked:
        text = path.read_text(encoding="utf-8")
        key = path.with_name(f"{path.stem}-key.md").read_text(encoding="utf-8")
        heads = re.findall(r"^\*\*(\d+)\. .*\((\d+) points\)\.\*\*", text, flags=re.M)
        assert [int(n) for n, _ in heads] == [*range(1, 11)]
        assert sum(int(points) for _, points in heads) == 60
        questions, answers = (re.split(r"(?m)^\*\*\d+\.", t)[1:] for t in (text, key))
        for (_, points), question in zip(heads, questions, strict=True):
            parts = [int(n) for n in re.findall(r"\((\d)\)$", question, flags=re.M)]
            assert not parts or sum(parts) == int(points), question
        assert len(answers) == len(questions)
        assert min(len(answer.split()) for answer in answers) > 25


def test_the_pack_takes_what_is_there():
    (rule,) = re.findall(r"^pack: (.*?)\n\n", read("Makefile"), flags=re.M | re.S)
    assert {"slides", "student", "figures", "quiz"} <= set(rule.split("##")[0].split())
    named = set(re.findall(r"`([\w.-]+\.md)`", read("teaching/README.md")))
    there = {p.name for p in (ROOT / "teaching").glob("*.md")} - {"README.md"}
    assert named - {"quiz.md"} == there
    assert "make pack" in read(".github/workflows/book.yml")
