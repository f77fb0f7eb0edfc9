"""Take figures and numbers of the executed chapters into the slides.

A figure comes with its alt text, a number by the name under which a chapter glued it.
"""

import os
import sys
from base64 import b64decode
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective, SphinxRole

from mnemonic.press.outputs import numbers_of, outputs_of


def figures_of(folder):
    """Pairs of picture (PNG in base64) and alt text, by the figure's name."""
    found = {}
    for metadata, output in outputs_of(folder):
        mystnb = metadata.get("mystnb", {})
        if "figure" in mystnb and "image/png" in output.get("data", {}):
            picture = "".join("".join(output["data"]["image/png"]).split())
            found[mystnb["figure"]["name"]] = picture, mystnb["image"]["alt"]
    return found


class Figure(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar = {"height": directives.length_or_unitless}

    def run(self):
        figures = figures_of(os.environ.get("MNEMONIC_EXECUTED", ""))
        name = self.arguments[0]
        if name not in figures:
            raise self.error(f"no chapter has a figure {name}")
        picture, alt = figures[name]
        image = nodes.image(uri=f"data:image/png;base64,{picture}", alt=alt)
        image["height"] = self.options.get("height", "430px")
        return [image]


class Number(SphinxRole):
    def run(self):
        name, _, form = self.text.partition(":")
        numbers = numbers_of(os.environ.get("MNEMONIC_EXECUTED", ""))
        if name not in numbers:
            message = f"no chapter has glued {name}"
            error = self.inliner.reporter.error(message, line=self.lineno)
            return [], [error]
        return [nodes.Text(format(numbers[name], form))], []


def only_reveal(app, pagename, templatename, context, doctree):
    """Scripts of web pages have nothing to do on a slide."""
    context["script_files"] = []


def setup(app):
    app.connect("html-page-context", only_reveal, priority=950)
    app.add_directive("from-chapter", Figure)
    app.add_role("glued", Number())
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(folder, target):
    """Every figure as a file by its name, and all alt texts in a list."""
    target, figures = Path(target), figures_of(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, (picture, _) in figures.items():
        (target / f"{name}.png").write_bytes(b64decode(picture))
    texts = "".join(f"{name}.png: {alt}\n" for name, (_, alt) in figures.items())
    (target / "alt-texts.txt").write_text(texts, encoding="utf-8")


if __name__ == "__main__":
    write(*sys.argv[1:])
