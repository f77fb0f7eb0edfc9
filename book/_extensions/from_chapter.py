"""Take figures and numbers of the executed chapters into the slides.

A figure comes with its alt text, a number by the name under which a chapter glued it.
"""

import os
import sys
from base64 import b64decode
from html import escape
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective, SphinxRole

from mnemonic.press.outputs import numbers_of, outputs_of

KINDS = {"image/png": "png", "image/svg+xml": "svg", "application/pdf": "pdf"}


def figures_of(folder):
    """Pictures by their kind, alt text and caption, by the figure's name."""
    found = {}
    for metadata, output in outputs_of(folder):
        mystnb = metadata.get("mystnb", {})
        shown = output.get("data", {})
        pictures = {kind: "".join(shown[kind]) for kind in KINDS if kind in shown}
        if "figure" in mystnb and "image/png" in pictures:
            told = mystnb["figure"]
            found[told["name"]] = pictures, mystnb["image"]["alt"], told.get("caption")
    return found


class Figure(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar = {"height": directives.length_or_unitless}

    def run(self):
        figures = figures_of(os.environ.get("MNEMONIC_EXECUTED", ""))
        name = self.arguments[0]
        if name not in figures:
            raise self.error(f"no chapter has a figure {name}")
        pictures, alt, _ = figures[name]
        picture = "".join(pictures["image/png"].split())
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


PROOF = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Figures, captions and their texts</title>
<style>
body {{ font: 16px/1.5 sans-serif; margin: 2em }}
section {{ display: grid; grid-template-columns: 1fr 1fr; gap: 2em; margin: 2em 0 }}
img {{ width: 100% }}
</style>
<h1>Does each caption, and each text, fit its figure?</h1>
{sections}</html>
"""
SECTION = """<section id="{0}"><img src="{0}.png" alt="{1}">
<div><h2>{0}</h2><p><b>Caption.</b> {2}</p><p><b>Text.</b> {1}</p></div></section>
"""


def write(folder, target):
    """Every figure by its name, in each kind that was drawn, and their texts."""
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    texts, sections = "", ""
    for name, (pictures, alt, caption) in figures_of(folder).items():
        for kind, picture in pictures.items():
            content = picture.encode() if "svg" in kind else b64decode(picture)
            (target / f"{name}.{KINDS[kind]}").write_bytes(content)
        texts += f"{name}: {alt}\n"
        sections += SECTION.format(name, *(escape(s or "none") for s in (alt, caption)))
    (target / "alt-texts.txt").write_text(texts, encoding="utf-8")
    proof = PROOF.format(sections=sections)
    (target / "proof.html").write_text(proof, encoding="utf-8")


if __name__ == "__main__":
    write(*sys.argv[1:])
