"""Fill places in Markdown pages with numbers of tables that no chapter shows.

``[[paper artefact/method/setting/metric:format]]`` stands for a figure of the paper,
``[[workers engine/column:format]]`` for a median of the recorded grids of two workers,
``[[workers engine/column/min:format]]`` for their least (``max``, ``count``), and
``[[workers about]]`` for when and on what; ``[[build part:format]]`` for the minutes of
a part of the recorded build, ``[[build about]]`` likewise.
For the page on the tests ``[[part/measure:format]]`` stands for a count of their last
recorded run, with the format ``yes`` for yes or no; ``[[runs]]`` for the table of the
parts. For the page on the methods ``[[claims]]`` stands for its table, ``[[claims
properties]]`` for what the words in it mean, ``[[claims about]]`` for its records.
"""

import re

from sphinx.util import logging

from mnemonic.baselines import METHODS
from mnemonic.lab.results import paper, recorded
from mnemonic.press import claims

logger = logging.getLogger(__name__)
PLACE = re.compile(r"\[\[([\w /-]+)(?::([^\]]+))?\]\]")


def filled(text):
    """The page with its numbers, and the places that no number was found for."""
    missing = []

    def number(match):
        name, form = match.groups()
        if name == "runs":
            return runs()
        if name == "claims":
            return claims.table(claims.claims(claims.recorded_rows()))
        if name == "claims properties":
            return claims.meanings()
        if name == "claims about":
            return records_of_claims()
        if name == "workers about":
            _, about = recorded("workers")
            return f"{about['device']}, {about['date'][:10]}, {about['commit']}"
        if name == "build about":
            _, about = recorded("build")
            return f"{about['device']}, {about['date'][:10]}"
        if name.startswith("paper "):
            value = figure(name.removeprefix("paper "))
        elif name.startswith("build "):
            value = minutes(name.removeprefix("build "))
        elif name.startswith("workers "):
            value = by_engine(name.removeprefix("workers "))
        else:
            value = counts().get(name)
        if value is None:
            missing.append(name)
            return "(not yet recorded)"
        if form == "yes":
            return "yes" if value else "no"
        return format(value, form or ",.0f")

    return PLACE.sub(number, text), missing


def figure(name):
    """Of the paper: one value, or nothing."""
    try:
        artefact, method, setting, metric = name.split("/")
        rows = paper(artefact)
        meant = (rows["method"] == method) & (rows["setting"] == setting)
        return rows["value"][meant & (rows["metric"] == metric)].item()
    except ValueError:
        return None


def minutes(name):
    """Of the recorded build: the time of a part, or nothing."""
    frame, _ = recorded("build")
    seconds = frame["seconds"][frame["what"] == name]
    return seconds.item() / 60 if len(seconds) else None


def by_engine(name):
    """Of the benchmark of workers: a median or another summary, or nothing."""
    engine, column, how = [*name.split("/"), "median"][:3]
    frame, _ = recorded("workers")
    of_engine = frame[frame["engine"] == engine]
    return getattr(of_engine[column], how)() if len(of_engine) else None


def counts():
    frame, _ = recorded("soak")
    return {f"{r.part}/{r.measure}": r.value for r in frame.itertuples()}


def runs():
    """A row a part: when and where it was run, and for how long."""
    frame, _ = recorded("soak")
    rows = ["| Part | Minutes | Date | Commit | Device |", "|---|---|---|---|---|"]
    for row in frame.drop_duplicates("part").itertuples():
        day = str(row.date)[:10].replace("-", "\N{NON-BREAKING HYPHEN}")
        commit = row.commit.removeprefix("commit ")
        minutes = f"{row.seconds / 60:.1f}"
        rows.append(f"| {row.part} | {minutes} | {day} | {commit} | {row.device} |")
    return "\n".join(rows)


def records_of_claims():
    """An item a network: what was run, how often and where."""
    found = claims.recorded_rows()
    items = []
    for network in claims.NETWORKS:
        if network in found:
            rows = found[network]
            about, seeds = rows.attrs, rows["seed"].nunique()
            told = f"{about['about']}; {seeds} seeds ({about['device']}, "
            told += f"{about['date'][:10]}, {about['commit']})"
            if "diverged" not in rows:
                left = ", ".join(METHODS[name].title for name in sorted(claims.OLDER))
                told += f". Left out, since their rules have changed: {left}"
        else:
            told = "not yet recorded"
        items.append(f"- *{network}*: {told}.")
    return "\n".join(items)


def fill(app, docname, source):
    if docname.startswith("book/"):
        source[0], missing = filled(source[0])
        for name in missing:
            logger.warning("no table has a number for [[%s]]", name, location=docname)


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
