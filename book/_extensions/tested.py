"""Fill the page on the tests with the counts of their last recorded run.

``[[part/measure:format]]`` stands for a count, with the format ``yes`` for yes or no;
``[[runs]]`` for the table of the parts.
"""

import re

from sphinx.util import logging

from mnemonic.results import recorded

logger = logging.getLogger(__name__)
PAGE = "book/tested"
PLACE = re.compile(r"\[\[([\w /-]+)(?::([^\]]+))?\]\]")


def filled(text):
    """The page with its numbers, and the places that no number was found for."""
    frame, _ = recorded("soak")
    counts = {f"{r.part}/{r.measure}": r.value for r in frame.itertuples()}
    missing = []

    def number(match):
        name, form = match.groups()
        if name == "runs":
            return runs(frame)
        if name not in counts:
            missing.append(name)
            return "(not yet recorded)"
        if form == "yes":
            return "yes" if counts[name] else "no"
        return format(counts[name], form or ",.0f")

    return PLACE.sub(number, text), missing


def runs(frame):
    """A row a part: when and where it was run, and for how long."""
    rows = ["| Part | Minutes | Date | Code | Device |", "|---|---|---|---|---|"]
    for row in frame.drop_duplicates("part").itertuples():
        day = str(row.date)[:10]
        minutes = f"{row.seconds / 60:.1f}"
        rows.append(f"| {row.part} | {minutes} | {day} | {row.commit} | {row.device} |")
    return "\n".join(rows)


def fill(app, docname, source):
    if docname == PAGE:
        source[0], missing = filled(source[0])
        for name in missing:
            logger.warning("the record of make soak has no count %s", name)


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
