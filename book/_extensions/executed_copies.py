"""Show the executed copy of each notebook, under the name of the clean one.

Also repairs what other packages get wrong: thebe's scripts, which declare their
constants twice; names and roles of page parts that a screen reader stumbles over; the
handlers of html and singlehtml, of which extensions register only one; and the 20 MB
of MathJax that no page asks for.
"""

import json
import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

from mnemonic.lab.results import provenance
from mnemonic.press.publish import chapters

logger = logging.getLogger(__name__)
GLUED = re.compile(r"\{glue:\w*\}`[^`:]*notebooks/(\w+)\.ipynb::")
PLAYGROUND = "book/playground"
BY_PAGE = ("html", "epub")  # the others put all pages into one
REPAIRS = (
    # thebe's settings, left behind when its script is dropped
    (r"<script>[^<]*thebe[^<]*</script>", ""),
    # a role that no longer exists in ARIA
    (r'role="doc-biblioentry"', 'role="listitem"'),
    # labels that hide the text that is there to be read
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'(search-button-field[^>]*?) aria-label="Search"', r"\1"),
    (r'(<i class="theme-switch [^>]*?)\s+title="[^"]*"', r'\1 aria-hidden="true"'),
    # the logo lies outside every landmark
    (
        r'<div class="sidebar-primary-item">(\s*<a class="navbar-brand)',
        r'<div class="sidebar-primary-item" role="navigation" aria-label="Home">\1',
    ),
    # from a disk a page may not fetch others: the search shows their titles alone
    (
        r'(<script src="_static/searchtools.js">)',
        "<script>DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY &&= "
        r'location.protocol !== "file:";</script>\1',
    ),
    # a hyphen before a number that was glued into the text
    (r'(<span class="pasted-text">)-(?=\d)', r"\1−"),
    # pandas heads its empty corner
    (r'<th class="(blank[^"]*)"\s*>&nbsp;</th>', r'<td class="\1"></td>'),
)
MATHJAX_NEEDED = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts", "ui")


def _copy_of(app, docname):
    folder = os.environ.get("MNEMONIC_EXECUTED")
    if not folder or not docname.startswith("notebooks/"):
        return None
    return Path(folder) / f"{docname.removeprefix('notebooks/')}.ipynb"


def leave_out_what_is_no_chapter(app, config):
    root = Path(app.srcdir)
    left = {*(root / "notebooks").glob("*.ipynb")} - {*chapters(root)}
    config.exclude_patterns += [p.relative_to(root).as_posix() for p in left]


def show_executed(app, docname, source):
    copy = _copy_of(app, docname)
    if copy is None:
        return
    if copy.exists():
        source[0] = copy.read_text(encoding="utf-8")
    else:
        logger.warning("%s has no executed copy %s", docname, copy, location=docname)


def outdated(app, env, added, changed, removed):
    stale = []
    for docname in env.found_docs:
        copy = _copy_of(app, docname)
        read = env.all_docs.get(docname)  # microseconds since the epoch
        if copy and copy.exists() and read and copy.stat().st_mtime * 1e6 > read:
            stale.append(docname)
    return stale


def page_context(app, pagename, templatename, context, doctree):
    context["script_files"] = [
        s for s in context.get("script_files", []) if "thebe" not in str(s)
    ]
    if context.get("body") and app.builder.name in BY_PAGE:
        context["body"] += foot(app, pagename)
    for group in context.get("header_buttons", []):
        if group.get("label") == "launch-buttons":
            group["buttons"] += kaggle_beside(group["buttons"])


def kaggle_beside(buttons):
    """A button for Kaggle, which the theme does not know, of the one for Colab."""
    blobs = [b["url"].partition("/github/")[2] for b in buttons if b["text"] == "Colab"]
    raw = [
        f"https://raw.githubusercontent.com/{b.replace('/blob/', '/', 1)}"
        for b in blobs
    ]
    return [
        {
            "type": "link",
            "text": "Kaggle",
            "tooltip": "Launch on Kaggle",
            "icon": "fa-brands fa-kaggle",
            "url": f"https://kaggle.com/kernels/welcome?src={address}",
        }
        for address in raw
    ]


def foot(app, pagename):
    """What a page was run with, or where its numbers come from."""
    if pagename not in app.env.found_docs:
        return ""
    copy = _copy_of(app, pagename)
    if pagename == PLAYGROUND:
        said = "The network on this page was trained with"
        profile = os.environ.get("MNEMONIC_PROFILE", "quick")
        every = [{"profile": profile, **provenance()}]
    elif copy:
        said, every = "This page was run with", [_facts(copy)]
    else:
        said = "The chapters that the numbers on this page come from were run with"
        source = Path(app.env.doc2path(pagename)).read_text(encoding="utf-8")
        names = sorted(set(GLUED.findall(source)))
        every = [_facts(_copy_of(app, f"notebooks/{name}")) for name in names]
    every = [facts for facts in every if facts]
    if not every:
        return ""
    parts = ["profile {profile}"]
    if pagename != PLAYGROUND:
        parts += ["data {data}", "{device}"]
    if copy:
        parts += ["{seconds} s"]
    parts += ["mnemonic {mnemonic}", "torch {torch}", "Python {python}", "{commit}"]
    if copy:
        parts += ["{date:.10}"]
    lists = [dict.fromkeys(part.format(**facts) for facts in every) for part in parts]
    line = " · ".join(", ".join(values) for values in lists)
    return f'<p class="made-by">{said}: {line}</p>'


def _facts(copy):
    if copy is None or not copy.exists():
        return None
    return json.loads(copy.read_text(encoding="utf-8"))["metadata"]["mnemonic"]


def cost(name, rawtext, text, lineno, inliner, options=None, content=None):
    """``{cost}`this page` ``: what the run took whose outputs the page shows."""
    env = inliner.document.settings.env
    facts = _facts(_copy_of(env.app, env.docname))
    if facts:
        cores = "core" if facts["cores"] == 1 else "cores"
        text += " took {seconds} s with {cores} {} of {device}".format(cores, **facts)
        text += ", in the profile {profile}".format(**facts)
    return [nodes.Text(text)], []


def repair_pages(app, exception):
    if exception or app.builder.name not in ("html", "singlehtml"):
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fixed = text
        for pattern, replacement in REPAIRS:
            fixed = re.sub(pattern, replacement, fixed)
        if fixed != text:
            page.write_text(fixed, encoding="utf-8")


def prune(app, exception):
    # What no page loads: translations of the theme, and fonts that also come as WOFF2.
    shutil.rmtree(Path(app.outdir) / "_static" / "locales", ignore_errors=True)
    for path in Path(app.outdir).rglob("*.woff2"):
        path.with_suffix(".ttf").unlink(missing_ok=True)
    for path in Path(app.outdir).rglob("*.map"):  # of scripts, for who debugs them
        path.unlink()
    for script in Path(app.outdir).rglob("tex-chtml.js"):
        folder = script.parent
        for path in sorted(folder.rglob("*"), reverse=True):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith(MATHJAX_NEEDED):
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                shutil.rmtree(path)


def merge_exercise_handlers(app):
    handlers = getattr(app.registry, "translation_handlers", {})
    html, single = handlers.get("html", {}), handlers.get("singlehtml", {})
    handlers["singlehtml"], handlers["html"] = html | single, single | html


def setup(app):
    app.add_role("cost", cost)
    app.connect("config-inited", leave_out_what_is_no_chapter)
    app.connect("builder-inited", merge_exercise_handlers)
    app.connect("source-read", show_executed, priority=1)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", page_context, priority=900)
    app.connect("build-finished", repair_pages)
    app.connect("build-finished", prune)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
