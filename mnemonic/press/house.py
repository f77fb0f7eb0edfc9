"""The house: the wings of the package, and which room imports which.

A room is what one sees on opening ``mnemonic/``: a module or a folder. Both the test
that holds the order and the page that draws it read the imports here.

Example:
    >>> "data" in rooms()["evaluation"]
    True
    >>> against_the_order()
    []
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# In the order in which data flows; a wing imports only what stands above it.
WINGS = {
    "ground": ["checks", "storage"],
    "method": [
        "data", "codes", "models", "networks", "training", "fisher", "forgetting",
        "evaluation",
    ],
    "evidence": ["baselines", "audits"],
    "laboratory": ["lab"],
    "press": ["press", "exercises"],
}  # fmt: skip


def trees(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The source of every module but the package's front door.

    Args:
        package: Its folder.

    Returns:
        By name within the package, such as ``lab.grids``; a folder's ``__init__``
        bears the name of the folder.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        if name != "__init__":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[name.removesuffix(".__init__")] = tree
    return found


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Which others of the package each module imports, wherever in its file.

    Args:
        package: Its folder.

    Returns:
        Names as in ``trees``.
    """
    modules, graph = trees(package), {}
    for name, tree in modules.items():
        full = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                full |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                full |= {f"{node.module}.{a.name}" for a in node.names}
        ours = (f.split(".")[1:] for f in full if f.split(".")[0] == package.name)
        graph[name] = {_module(parts, modules) for parts in ours} - {name, ""}
    return graph


def _module(parts: list[str], modules: dict) -> str:
    """What is imported may be a module, a name in one, or a name of the front door."""
    while parts and ".".join(parts) not in modules:
        parts = parts[:-1]
    return ".".join(parts)


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
