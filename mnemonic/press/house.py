"""The house: the wings of the package, and which room imports which.

A room is what one sees on opening ``mnemonic/``: a module or a folder. Both the test
that holds the order and the page that draws it read the imports here.

Example:
    >>> "data" in rooms()["evaluation"]
    True
    >>> against_the_order()
    []
"""

import ast
from pathlib import Path

from mnemonic.lab.keys import PACKAGE, module_of, modules, named_in

# In the order in which data flows; a wing imports only what stands above it.
WINGS = {
    "ground": ["checks", "storage"],
    "method": [
        "data", "codes", "models", "networks", "training", "fisher",
        "forgetting", "evaluation",
    ],
    "evidence": ["baselines", "audits"],
    "laboratory": ["lab"],
    "press": ["press", "exercises", "publish"],
}  # fmt: skip


def trees(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The source of every module but the package's front door.

    Args:
        package: Its folder.

    Returns:
        By name within the package, such as ``lab.grids``; a folder's ``__init__``
        bears the name of the folder.
    """
    return {n: ast.parse(path.read_bytes()) for n, path in modules(package).items()}


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Which others of the package each module imports, wherever in its file.

    Args:
        package: Its folder.

    Returns:
        Names as in ``trees``.
    """
    known = modules(package)
    return {
        name: {module_of(n, known) for n in named_in(path.read_text(encoding="utf-8"))}
        - {name, ""}
        for name, path in known.items()
    }


def rooms(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Which other rooms each room imports.

    Args:
        package: Its folder.

    Returns:
        Names of rooms, in the order of ``WINGS``.
    """
    graph = {room: set() for wing in WINGS.values() for room in wing}
    for name, named in imports(package).items():
        room = name.split(".")[0]
        graph[room] |= {n.split(".")[0] for n in named} - {room}
    return graph


def against_the_order(package: Path = PACKAGE) -> list[str]:
    """Imports by which a module reaches for what stands below its wing.

    Args:
        package: Its folder.

    Returns:
        A sentence for each, such as ``fisher.taps imports lab.grids``.
    """
    place = {room: i for i, wing in enumerate(WINGS.values()) for room in wing}
    return [
        f"{name} imports {other}"
        for name, named in imports(package).items()
        for other in sorted(named)
        if place[other.split(".")[0]] > place[name.split(".")[0]]
    ]
