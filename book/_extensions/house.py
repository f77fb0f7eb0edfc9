"""Draw the house: the wings of the package, its rooms, and which imports which.

Nothing is drawn by hand: ``{house}`` reads the imports and docstrings of the sources
each time that the book is rendered. A line leaves a room to the right and goes to all
that import it. The list beside the drawing says the same in words; on a phone it
stands below.
"""

import ast
import re
from html import escape

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from mnemonic.press import house

HEAD, ROW, LANE, NAMES = 28, 36, 13, 122  # px: heights, widths of lanes and names
INK = 'fill="none" stroke="currentColor" stroke-width="1.3"'


ROOMS = [room for wing in house.WINGS.values() for room in wing]


def sentences():
    """The first line of each room's own docstring."""
    trees = house.trees()
    return {room: ast.get_docstring(trees[room]).splitlines()[0] for room in ROOMS}


def shown(room):
    return f"{room}/" if (house.PACKAGE / room).is_dir() else f"{room}.py"


def middles():
    """How far down the middle of each room's row is."""
    place, top = {}, 0
    for wing in house.WINGS.values():
        top += HEAD
        for room in wing:
            place[room] = top + ROW / 2
            top += ROW
    return place, top


def picture(graph):
    """SVG of the rooms, and of the lines from each to those that import it."""
    place, height = middles()
    users = {room: [r for r in graph if room in graph[r]] for room in graph}
    used = [room for room in ROOMS if users[room]]
    lane = {room: NAMES + LANE * i for i, room in enumerate(used, 1)}
    width = max(lane.values()) + 6
    parts, top = [], 0
    for wing, rooms in house.WINGS.items():
        tall = HEAD + ROW * len(rooms)
        parts.append(
            f'<rect x="0" y="{top + 3}" width="{width}" height="{tall - 6}" rx="6" '
            'fill="currentColor" fill-opacity="0.06"/>'
            f'<text x="8" y="{top + 20}" font-size="13" font-weight="bold" '
            f'fill="currentColor">{wing}</text>'
        )
        top += tall
    for room, y in place.items():
        parts.append(
            f'<text x="8" y="{y + 4}" font-size="13" font-family="monospace" '
            f'fill="currentColor">{shown(room)}</text>'
        )
        comes, goes = y + 6, y - 6
        if graph[room]:
            far = max(lane[other] for other in graph[room])
            parts.append(
                f'<path class="in" d="M{far} {comes}H{NAMES}" {INK}/><path class="tip" '
                f'd="M{NAMES - 5} {comes}l8 -4v8z" fill="currentColor"/>'
            )
        if users[room]:
            ends = [goes, *(place[user] + 6 for user in users[room])]
            x = lane[room]
            out = f"M{NAMES - 5} {goes}H{x}M{x} {min(ends)}V{max(ends)}"
            parts.append(f'<path class="out" d="{out}" {INK}/>')
        parts += [
            f'<circle cx="{lane[other]}" cy="{comes}" r="3" fill="currentColor"/>'
            for other in used
            if other in graph[room]
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="The rooms under one '
        "another, and lines from each to those that import it; the list says the same "
        f'in words">{"".join(parts)}</svg>'
    )


def words(graph):
    """HTML of the same: the rooms of each wing, what they are and what they import."""
    said, wings = sentences(), []
    for wing, rooms in house.WINGS.items():
        items = []
        for room in rooms:
            named = ", ".join(r for r in ROOMS if r in graph[room]) or "nothing of ours"
            what = re.sub("``(.+?)``", r"<code>\1</code>", escape(said[room]))
            items.append(
                f"<li><code>{shown(room)}</code> <span>{what}</span> "
                f"<small>Imports {named}.</small></li>"
            )
        wings.append(f"<li><strong>{wing}</strong><ul>{''.join(items)}</ul></li>")
    return f"<ol>{''.join(wings)}</ol>"


def drawing():
    """HTML of the house as its sources are now."""
    graph = house.rooms()
    sizes = f"--house-head: {HEAD}px; --house-row: {ROW}px"
    return (
        f'<div class="house" style="{sizes}"><div class="house-both">'
        f"{picture(graph)}{words(graph)}</div></div>"
    )


class House(SphinxDirective):
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012, as in docutils

    def run(self):
        for path in house.PACKAGE.rglob("*.py"):  # a page to make anew when one changes
            self.env.note_dependency(str(path))
        caption, messages = self.parse_inline(
            "\n".join(self.content), lineno=self.lineno
        )
        figure = nodes.figure("", nodes.raw("", drawing(), format="html"))
        figure += nodes.caption("", "", *caption)
        self.add_name(figure)
        return [figure, *messages]


def setup(app):
    app.add_directive("house", House)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
