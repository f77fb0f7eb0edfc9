"""Questions on the pages: groups with a name, in which each answer unfolds.

``mnemonic.press.questions`` says how a question is written. *Right* or *not right* is
the beginning of what unfolds, so that it is heard as well as seen. Where nothing can
be unfolded, in print and in an EPUB, all is open.
"""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mnemonic.press.questions import answers_in


def html(text):
    return nodes.raw("", text, format="html")


class Question(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        key = f"question-{self.env.new_serialno('question')}"
        name = f"{self.env.docname.rpartition('/')[2]}-{key}"
        asked, messages = self.parse_inline(self.arguments[0], lineno=self.lineno)
        parts = [
            html(f'<div class="question" role="group" aria-labelledby="{name}">'),
            html(f'<p id="{name}"><strong>{self.name.capitalize()}.</strong> '),
            nodes.inline("", "", *asked),
            html("</p>"),
        ]
        opened = "" if self.env.app.builder.name == "html" else ' open="open"'
        for letter, answer, verdict, why in answers_in("\n".join(self.content)):
            shown, more = self.parse_inline(answer, lineno=self.lineno)
            said = f"**{verdict}.** {why}"
            explained, most = self.parse_inline(said, lineno=self.lineno)
            parts += [
                html(f"<details{opened}><summary>{letter}. "),
                nodes.inline("", "", *shown),
                html("</summary>"),
                nodes.paragraph("", "", *explained),
                html("</details>"),
            ]
            messages += more + most
        return [*parts, html("</div>"), *messages]


def setup(app):
    for kind in ("predict", "question"):
        app.add_directive(kind, Question)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
