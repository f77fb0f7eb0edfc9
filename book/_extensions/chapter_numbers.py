"""Number each chapter by its file: ``08_ablations`` is chapter 8, wherever it stands.

Sphinx counts positions in the contents, but numbers are kept for chapters to come. So
sections are numbered anew right before figures, tables, equations and exercises are.
"""

import re

from docutils import nodes
from sphinx.environment.collectors.toctree import TocTreeCollector

number_figures = TocTreeCollector.assign_figure_numbers


def renumber(env):
    for docname, numbers in env.toc_secnumbers.items():
        file = re.search(r"(?:^|/)(\d+)_[^/]*$", docname)
        if file:
            chapter = int(file[1])
            for anchor, counted in numbers.items():
                numbers[anchor] = counted and (chapter, *counted[1:])
            headings = env.titles[docname], *env.tocs[docname].findall(nodes.reference)
            for heading in headings:
                if heading.get("secnumber"):
                    heading["secnumber"] = [chapter, *heading["secnumber"][1:]]


def after_their_chapters(self, env):
    renumber(env)
    return number_figures(self, env)


def setup(app):
    TocTreeCollector.assign_figure_numbers = after_their_chapters
    return {"parallel_read_safe": True, "parallel_write_safe": True}
