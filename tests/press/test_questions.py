"""Questions to the reader: as the chapters ask them, and as pages and the bank show."""

import io
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from mnemonic.press.questions import bank, questions_in

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
GLUE = r"\{glue:text\}`([^`:]+)[^`]*`"


def read(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(c["cell_type"], "".join(c["source"])) for c in cells]


def asked_in(path):
    return questions_in(
        "\n\n".join(text for kind, text in read(path) if kind[0] == "m")
    )


@each_notebook
def test_a_chapter_asks_and_says_something_of_each_answer(path):
    questions = asked_in(path)
    assert 6 <= len(questions) <= 9
    for _, asked, answers in questions:
        assert 3 <= len(answers) <= 4, asked
        letters, _, verdicts, _ = zip(*answers, strict=True)
        assert "".join(letters) == "ABCD"[: len(answers)], asked
        assert len({*verdicts}) == 2, asked
        for _, answer, _, why in answers:
            assert answer
            # a formula can be focused, and what unfolds holds nothing that can
            assert "$" not in answer, answer
            assert len(why.split()) >= 8, answer
        said = " ".join([asked, *(f"{answer} {why}" for _, answer, _, why in answers)])
        assert len(re.sub(GLUE, "GLUED", said).split()) <= 150, asked
        keys = re.findall(GLUE, said)
        assert all(key.startswith(f"ch{int(path.stem[:2])}-") for key in keys), keys


@each_notebook
def test_predictions_stand_right_before_code(path):
    cells = [*read(path), ("end", "")]
    text = "\n".join(source for kind, source in cells if kind == "markdown")
    found = asked_in(path)
    assert len(re.findall(r"^:{3,}", text, flags=re.M)) == 2 * len(found)
    written = len(re.findall("<details", text))
    assert written == sum(len(answers) for _, _, answers in found)
    for (_, source), (following, _) in itertools.pairwise(cells):
        if kinds := [kind for kind, _, _ in questions_in(source)]:
            last = source.endswith("\n:::") and following == "code"
            assert "predict" not in kinds or last
    assert sum(kind == "predict" for kind, _, _ in found) > len(found) / 2


def test_no_letter_is_right_most_of_the_time():
    letters = Counter(
        letter
        for path in NOTEBOOKS
        for _, _, answers in asked_in(path)
        for letter, _, verdict, _ in answers
        if verdict == "Right"
    )
    assert letters.most_common(1)[0][1] < letters.total() / 2


@each_notebook
def test_answers_are_folded_where_markdown_is_all_that_is_known(path):
    def shown(markdown):
        html = MarkdownIt("commonmark", {"html": True}).render(markdown)
        return BeautifulSoup(html, "html.parser")

    for source in (source for kind, source in read(path) if kind == "markdown"):
        cell = shown(source)
        folded = [details.extract() for details in cell.find_all("details")]
        answers = [answer for *_, answers in questions_in(source) for answer in answers]
        assert len(folded) == len(answers)
        for details, answer in zip(folded, answers, strict=True):
            letter, text, verdict, why = answer
            summary, said = details.find_all(recursive=False)
            assert summary.get_text() == f"{letter}. {text.replace('*', '')}"
            assert "`" not in re.sub(GLUE, "", text)
            explained = shown(why).p.get_text()
            assert said.get_text() == f"{verdict}. {explained}"
            assert explained not in cell.get_text()


TEXT = """# A chapter

:::{predict} How many are `x`, if $x > -1$?
<details><summary>A. None.</summary>

**Not right.** There are {glue:text}`ch1-n:,` of them.

</details>
<details><summary>B. <em>Some</em>.</summary>

**Right.** It changes by {glue:text}`ch1-change:+.1f`.

</details>
:::
"""


def test_the_bank_has_questions_answers_and_numbers(tmp_path):
    outputs = []
    for name, value in {"ch1-n": 5000, "ch1-change": -0.25}.items():
        data = {"application/papermill.record/text/plain": [repr(value)]}
        outputs.append({"data": data, "metadata": {"scrapbook": {"name": name}}})
    cells = [
        {"cell_type": "markdown", "source": [TEXT], "metadata": {}},
        {"cell_type": "code", "source": [], "metadata": {}, "outputs": outputs},
    ]
    for folder in ("notebooks", "copies"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "01_a.ipynb"
        path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert bank(tmp_path, tmp_path / "copies") == (
        "# Questions, with answers\n\n## 1. A chapter\n\n"
        "**1.** *Predict.* How many are `x`, if $x > -1$?\n\n"
        "- A. None.\n- B. *Some*.\n\n*Right: B.*\n\n"
        "- A: There are 5,000 of them.\n- B: It changes by \N{MINUS SIGN}0.2.\n"
    )


@pytest.mark.parametrize("builder", ["html", "singlehtml", "epub"])
def test_answers_are_folded_on_pages_and_open_in_print(builder, tmp_path):
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    (tmp_path / "a.md").write_text(TEXT.replace("{glue:text}", ""), encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "questions"],
        "myst_enable_extensions": ["colon_fence", "dollarmath"],
        "root_doc": "a",
        "version": "1",
        "copyright": "x",
    }
    said = io.StringIO()
    out = tmp_path / builder
    with docutils_namespace(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "book" / "_extensions"))
        made = Sphinx(
            tmp_path, None, out, tmp_path / "trees", builder, settings,
            status=None, warning=said,
        )  # fmt: skip
        made.build()
    assert said.getvalue() == ""
    page = out / f"a.{'xhtml' if builder == 'epub' else 'html'}"
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    question = soup.find(class_="question")
    name = soup.find(id=question["aria-labelledby"]).get_text()
    assert name.startswith("Predict. How many are x, if ")
    answers = question.find_all("details")
    heads = [answer.find("summary").get_text() for answer in answers]
    assert heads == ["A. None.", "B. Some."]
    assert question.find("em").get_text() == "Some"
    verdicts = [answer.find("p").get_text() for answer in answers]
    assert verdicts[0].startswith("Not right. There are ")
    assert verdicts[1].startswith("Right. It changes by ")
    assert [answer.has_attr("open") for answer in answers] == [builder != "html"] * 2
