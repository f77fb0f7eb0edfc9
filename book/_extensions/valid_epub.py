"""Repair what Sphinx and its extensions write into an EPUB and epubcheck refuses.

Pages are repaired before they are packed: scripts and style sheets that are not there,
HTML that is no XHTML, identifiers that occur twice. The root page lies in a folder, and
Sphinx takes the links in its contents as if it did not.
"""

import html
import posixpath
import re
from pathlib import Path

from sphinx.builders.epub3 import Epub3Builder

REPAIRS = (
    (r"(?s)<script.*?</script>", ""),
    (r"(?s)<style.*?</style>", ""),
    (r'<link rel="stylesheet"[^>]*(?:proof|exercise|mystnb\.\w+)\.css[^>]*>', ""),
    (r' id="(?:solution|exercise|proof)-content"', ""),
    # a fold that does not fold needs one name, and no paragraph in it
    (r'<p class="expanded admonition-title">.*?</p>', ""),
    (r'<p class="collapsed admonition-title">(.*?)</p>', r"<span>\1</span>"),
    (r"&(?!#?\w+;)", "&amp;"),
    (r"&(?!amp;|lt;|gt;|quot;|apos;)(\w+);", lambda m: html.unescape(m.group())),
)
TAG = re.compile(r"<(/?)(p|ul|ol|dl|div|table|pre|section|figure)\b([^>]*)>")


def without_nested_paragraphs(page):
    """A paragraph that holds blocks becomes a division."""
    tags = list(TAG.finditer(page))
    open_, partner, divisions = [], {}, set()
    for i, tag in enumerate(tags):
        closes, name, rest = tag.groups()
        if closes and name == "p" and open_:
            partner[open_[-1]] = i
            open_.pop()
        elif not closes and open_:
            divisions.add(open_[-1])
        if not closes and name == "p" and not rest.endswith("/"):
            open_.append(i)
    renamed = divisions | {partner[i] for i in divisions if i in partner}
    parts, end = [], 0
    for i, tag in enumerate(tags):
        if i in renamed:
            parts += [page[end : tag.start()], f"<{tag[1]}div{tag[3]}>"]
            end = tag.end()
    return "".join([*parts, page[end:]])


class ValidEpub(Epub3Builder):
    def get_toc(self):
        super().get_toc()
        for node in self.refnodes:
            node["refuri"] = posixpath.normpath(node["refuri"])

    def handle_finish(self):
        for page in Path(self.outdir).rglob("*.xhtml"):
            text = page.read_text(encoding="utf-8")
            for pattern, replacement in REPAIRS:
                text = re.sub(pattern, replacement, text)
            page.write_text(without_nested_paragraphs(text), encoding="utf-8")
        sheet = Path(self.outdir) / "_static" / "book.css"
        sheet.unlink(missing_ok=True)  # rules for browsers and for the dark
        super().handle_finish()

    def build_content(self):
        super().build_content()
        path = Path(self.outdir) / "content.opf"

        def declared(item):
            page = Path(self.outdir) / item["page"]
            text = page.read_text(encoding="utf-8") if page.is_file() else ""
            tags = {"mathml": "<math", "svg": "<svg"}
            has = " ".join(name for name, tag in tags.items() if tag in text)
            said = item.group()
            return said.replace("<item ", f'<item properties="{has}" ') if has else said

        text = path.read_text(encoding="utf-8")
        pattern = r'<item id="[^"]+" href="(?P<page>[^"]+\.xhtml)"[^>]*>'
        path.write_text(re.sub(pattern, declared, text), encoding="utf-8")


def setup(app):
    app.add_builder(ValidEpub, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
