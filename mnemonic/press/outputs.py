"""What executed chapters gave, for pages and lists beside them.

Example:
    >>> numbers_of(Path("no/such/folder"))
    {}
"""

import ast
import json
import math
from collections.abc import Iterator
from pathlib import Path


def outputs_of(folder: Path) -> Iterator[tuple[dict, dict]]:
    """The outputs of all cells.

    Args:
        folder: Where the executed copies are.

    Yields:
        A cell's metadata, and one of its outputs.
    """
    for copy in sorted(Path(folder).glob("[!.]*.ipynb")):
        for cell in json.loads(copy.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                yield cell["metadata"], output


def numbers_of(folder: Path) -> dict[str, object]:
    """What was glued.

    Args:
        folder: Where the executed copies are.

    Returns:
        Values by their names.
    """
    found = {}
    for _, output in outputs_of(folder):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        if name:
            text = "".join(output["data"]["application/papermill.record/text/plain"])
            # what a short profile leaves out is no number, and no literal either
            found[name] = math.nan if text == "nan" else ast.literal_eval(text)
    return found
