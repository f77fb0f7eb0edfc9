"""Draw the method in five steps, with the steps of a chapter lit.

The drawing is text and small pictures, not one picture: its words keep their size on a
phone, and its colours follow the page into the dark. ``{method-steps} 3`` lights the
third step; what stands in the directive is the caption.
"""

import random

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

LINE = 'fill="none" stroke="#555555" stroke-width="1.5"'
FORGET = 'class="forget" fill="#D55E00"'
REMAINING = 'class="remaining" fill="#0072B2"'
CODE = 'class="code" fill="#9B4F88"'
DIGIT = 'font-size="19" font-weight="bold" text-anchor="middle"'


def noise(left, top, seed):
    """A square of 5 by 5 grains; the same seed, the same code."""
    draw = random.Random(seed).random
    grains = [(i, j) for i in range(5) for j in range(5) if draw() < 0.5]
    boxes = "".join(f"M{left + 4 * i} {top + 4 * j}h4v4h-4z" for i, j in grains)
    frame = f'<rect x="{left}" y="{top}" width="20" height="20" {LINE}/>'
    return f'<path d="{boxes}" {CODE}/>{frame}'


def network(left):
    """Three units joined to three."""
    heights = (12, 30, 48)
    lines = "".join(f"M{left} {a}L{left + 26} {b}" for a in heights for b in heights)
    units = "".join(
        f'<circle cx="{x}" cy="{y}" r="4" class="ink" fill="#555555"/>'
        for x in (left, left + 26)
        for y in heights
    )
    return f'<path d="{lines}" {LINE} stroke-opacity="0.6"/>{units}'


def bars(top, heights, kind):
    return "".join(
        f'<rect x="{9 + 13 * i}" y="{top - h}" width="9" height="{h}" {kind}/>'
        for i, h in enumerate(heights)
    )


def arrows():
    """A weight a line: two move far, the others hardly."""
    lengths = (44, 4, 9, 32)
    tails = "".join(
        f'<circle cx="16" cy="{11 + 13 * i}" r="3.5" class="ink" fill="#555555"/>'
        for i in range(4)
    )
    moves = "".join(
        f"M22 {11 + 13 * i}h{n}l-3 -3m3 3l-3 3" for i, n in enumerate(lengths)
    )
    return f'{tails}<path d="{moves}" {LINE}/>'


def answers():
    known = "".join(
        f'<text x="{x}" y="37" {REMAINING} {DIGIT}>{digit}</text>'
        for x, digit in ((14, 2), (66, 4))
    )
    gone = f'<text x="40" y="37" class="ink" fill="#555555" {DIGIT}>3</text>'
    slash = 'd="M27 44L53 16" class="forget-line" fill="none"'
    return f'{known}{gone}<path {slash} stroke="#D55E00" stroke-width="2.5"/>'


# Name, what happens, the drawing, and the drawing in words.
STEPS = (
    (
        "Draw codes",
        "one random image a class",
        noise(5, 20, 2) + noise(30, 20, 3) + noise(55, 20, 4),
        "three squares of noise",
    ),
    (
        "Train",
        "with codes among the images",
        f'<text x="15" y="26" class="ink" fill="#555555" {DIGIT}>3</text>'
        + noise(5, 34, 3)
        + network(44),
        "a digit and a square of noise beside a network",
    ),
    (
        "Two Fishers",
        "squared gradients on codes",
        bars(28, (20, 4, 6, 15, 5), FORGET) + bars(56, (5, 17, 12, 4, 19), REMAINING),
        "two rows of bars, one in the forget colour, one in the other, tall in turn",
    ),
    (
        "One step",
        "as far as their ratio says",
        arrows(),
        "four dots, of which two move far and two hardly",
    ),
    (
        "Forgotten",
        "misread from now on: gone?",
        answers(),
        "the digits 2 and 4, and between them a 3 that is crossed out",
    ),
)


def drawing(lit):
    """HTML of the five steps.

    Args:
        lit: Numbers of the steps to light, from 1.

    Returns:
        An ordered list.

    Raises:
        ValueError: A step is none of the five.
    """
    if not lit or not set(lit) <= set(range(1, len(STEPS) + 1)):
        raise ValueError(f"steps {lit}: name some of 1 to {len(STEPS)}")
    items = []
    for i, (name, what, picture, alt) in enumerate(STEPS, 1):
        mark = ' class="lit" aria-current="step"' if i in lit else ""
        items.append(
            f'<li{mark}><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 80 60" '
            f'width="80" height="60" role="img" aria-label="{alt}">{picture}</svg>'
            f"<strong>{name}</strong> <span>{what}</span></li>"
        )
    return f'<ol class="method">{"".join(items)}</ol>'


class MethodSteps(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012, as in docutils

    def run(self):
        try:
            html = drawing([int(word) for word in self.arguments[0].split()])
        except ValueError as error:
            raise self.error(str(error)) from None
        caption, messages = self.parse_inline(
            "\n".join(self.content), lineno=self.lineno
        )
        figure = nodes.figure("", nodes.raw("", html, format="html"))
        figure += nodes.caption("", "", *caption)
        self.add_name(figure)
        return [figure, *messages]


def setup(app):
    app.add_directive("method-steps", MethodSteps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
