"""Values and figures that the text of a page shows.

The book reads them from the outputs of a chapter by the convention of scrapbook, as
myst-nb does. A chapter needs no part of the book's machinery to run, so that it also
runs on Colab.

Example:
    >>> glue("answer", 42)
    42
"""

from IPython import get_ipython
from IPython.display import display as show

HIDDEN = "application/papermill.record/"  # kept with the page, and not displayed


def glue(name: str, value: object, display: bool = True) -> None:
    """Keep what Jupyter would display of a value, for the text to show by name.

    Args:
        name: One for each value of a chapter.
        value: A text, a number, a figure, a table.
        display: Whether it is displayed where it is glued, too.
    """
    shell = get_ipython()
    if shell is None:  # a chapter that is run as a script
        if display:
            print(value)
        return
    kinds, metadata = shell.display_formatter.format(value)
    prefix = "" if display else HIDDEN
    metadata["scrapbook"] = {"name": name, "mime_prefix": prefix}
    shown = {prefix + kind: content for kind, content in kinds.items()}
    show(shown, raw=True, metadata=metadata)
