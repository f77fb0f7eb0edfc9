"""Tables to read: heads set as in the text, a true minus, no numbered rows.

Example:
    >>> shown = table(pd.DataFrame({"A_R": [-0.04, -1.06]}))
    >>> "A<sub>R</sub>" in shown.to_html(), "−1.1" in shown.to_html()
    (True, True)
"""

import re
from html import escape

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from mnemonic.checks import checked_frame, checked_number
from mnemonic.storage import digest

LONG = 30  # letters


class Table(Styler):
    """What is shown depends on the content alone: no random id, no address."""

    def __repr__(self) -> str:
        return self.data.to_string()


def table(
    frame: pd.DataFrame, formats: dict[str, str] | None = None, *, digits: int = 1
) -> Table:
    """Set a table as the book shows it.

    Args:
        frame: Numbers and texts. ``A_R``, ``E_F``, ``N_R``, ``t_mix`` and the like get
            their subscripts.
        formats: Of columns that need one of their own, such as ``{"n": "{:,}"}``.
        digits: After the point, of all other numbers that are not whole.

    Returns:
        What a notebook shows.

    Raises:
        ValueError: If an argument is of another kind.
    """
    checked_frame("frame", frame)
    digits = checked_number(
        "digits", digits, lambda d: 0 <= d <= 20, "0 … 20", whole=True
    )
    formats = {} if formats is None else formats
    if not isinstance(formats, dict):
        raise ValueError(f"formats is {formats!r}; give one a column, by its name")

    def written(value: object, column: object) -> str:
        if isinstance(value, str):
            text = _subscripts(value)
            if len(value) > LONG:  # book.css breaks these into lines
                text = f'<span class="words">{text}</span>'
        elif pd.isna(value):
            text = "–"
        elif column in formats:
            text = escape(formats[column].format(value))
        else:
            text = _number(value, f"{{:z.{digits}f}}")
        return re.sub(r"(?<!\w)-(?=\d)|(?<=\de)-(?=\d)", "−", text)  # and 1e−05

    frame = frame.rename_axis(index=_subscripts, columns=_subscripts)
    if frame.index.nlevels == 1:
        # The name of the rows heads them, in place of a line of its own.
        names = [None] * (frame.columns.nlevels - 1) + [frame.index.name]
        frame = frame.set_axis(frame.columns.set_names(names), axis=1)
        frame = frame.rename_axis(index=None)
    shown = Table(frame, uuid=digest(frame.to_csv())[:8])
    for column in frame.columns:
        shown.format(lambda value, c=column: written(value, c), subset=[column])
    shown.format_index(_subscripts, axis=0).format_index(_subscripts, axis=1)
    if isinstance(frame.index, pd.RangeIndex):
        shown.hide(axis="index")
    return shown.set_table_attributes('class="dataframe"')  # the theme knows these


def _number(value: object, form: str) -> str:
    is_float = isinstance(value, (float, np.floating))
    return escape(form.format(value) if is_float else str(value))


def _subscripts(name: object) -> object:
    if not isinstance(name, str):
        return name if name is None else _number(name, "{:g}")
    # A class may have any name; it is text and not markup.
    return re.sub(r"\b([ACEN]|t)_([RF]|mix|new)\b", r"\1<sub>\2</sub>", escape(name))
