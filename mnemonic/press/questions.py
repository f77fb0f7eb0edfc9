"""Questions to the reader, and the bank of them for who teaches.

A question stands in a chapter's Markdown. What is said of an answer begins with the
verdict and is folded by HTML, so that nothing is given away in Jupyter either. The
empty lines are needed: what stands between them is Markdown again. A summary is not,
so emphasis there is ``<em>``. ``predict`` stands before the figure that tells,
``question`` anywhere.

    python -m mnemonic.press.questions _build/executed/quick _build/quiz.md

Example:
    >>> text = '''
    ... :::{predict} What does it answer to a three?
    ... <details><summary>A. Nothing.</summary>
    ...
    ... **Not right.** It has ten answers, and none of them is *nothing*.
    ...
    ... </details>
    ... <details><summary>B. <em>Another</em> digit.</summary>
    ...
    ... **Right.** One output is always the largest.
    ...
    ... </details>
    ... :::
    ... '''
    >>> [(kind, asked, answers)] = questions_in(text)
    >>> kind, asked
    ('predict', 'What does it answer to a three?')
    >>> answers[1]
    ('B', '*Another* digit.', 'Right', 'One output is always the largest.')
"""

import json
import re
import sys
from pathlib import Path

from mnemonic.press import publish
from mnemonic.press.outputs import numbers_of

QUESTION = re.compile(
    r"^:::\{(predict|question)\} ([^\n]+)\n(.*?)^:::$", flags=re.M | re.S
)
ANSWER = re.compile(
    r"^<details><summary>([A-Z])\. (.+)</summary>\n\n"
    r"\*\*(Right|Not right)\.\*\* (.+)\n\n</details>$",
    flags=re.M,
)
GLUED = re.compile(r"\{glue:text\}`([^`:]+):?([^`]*)`")

Answer = tuple[str, str, str, str]  # letter, answer, verdict, what is said of it


def answers_in(body: str) -> list[Answer]:
    """The answers of one question.

    Args:
        body: What stands between the lines with colons.

    Returns:
        In their order.
    """
    return ANSWER.findall(re.sub("</?em>", "*", body))


def questions_in(text: str) -> list[tuple[str, str, list[Answer]]]:
    """All questions in a text.

    Args:
        text: Markdown.

    Returns:
        For each its kind, what is asked, and the answers.
    """
    found = QUESTION.findall(text)
    return [(kind, asked, answers_in(body)) for kind, asked, body in found]


def bank(root: Path, copies: Path) -> str:
    """The questions of all chapters with the answers, to be read without the book.

    Args:
        root: The repository.
        copies: Folder of the executed chapters, which have the numbers.

    Returns:
        Markdown.
    """
    numbers, lines = numbers_of(copies), ["# Questions, with answers"]
    for path in publish.chapters(root):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        lines.append(f"## {int(path.stem[:2])}. {texts[0].splitlines()[0][2:]}")
        questions = questions_in("\n\n".join(texts))
        for i, (kind, asked, answers) in enumerate(questions, 1):
            lines.append(f"**{i}.** *{kind.capitalize()}.* {asked}")
            lines.append("\n".join(f"- {at}. {answer}" for at, answer, _, _ in answers))
            right = ", ".join(at for at, _, verdict, _ in answers if verdict == "Right")
            said = [f"- {at}: {why}" for at, _, _, why in answers]
            lines.append("\n".join([f"*Right: {right}.*", "", *said]))
    text = "\n\n".join(lines) + "\n"
    return GLUED.sub(lambda m: _minus(format(numbers[m[1]], m[2])), text)


def _minus(number: str) -> str:
    """With the sign that the pages have."""
    return re.sub(r"^-(?=\d)", "\N{MINUS SIGN}", number)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(bank(Path(), Path(sys.argv[1])), encoding="utf-8")
    print(f"the questions: {sys.argv[2]}")
