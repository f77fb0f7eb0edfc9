"""The house: which room may import which (the order in which data flows)."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mnemonic as mn

PACKAGE = Path(mn.__file__).parent
# From what stands above to what stands below; a wing imports only what stands above it.
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
ORDER = [*WINGS]
WING_OF = {room: wing for wing, rooms in WINGS.items() for room in rooms}


def modules():
    """Every module by its name within the package, without its front door."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield ".".join(parts).removesuffix(".__init__"), path


NAMES = {name for name, _ in modules()}


def imported(name, path):
    """Modules of the package that a module imports, wherever in its file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports by dots"
            named = [f"{node.module}.{a.name}" for a in node.names]
        else:
            continue
        for full in named:
            if full.split(".")[0] == "mnemonic":
                inner = full.removeprefix("mnemonic").removeprefix(".")
                # a name of a module, or a module of a room
                while inner and inner not in NAMES:
                    inner = inner.rpartition(".")[0]
                if inner and inner != name:
                    yield inner


GRAPH = {name: set(imported(name, path)) for name, path in modules()}


def test_every_room_is_in_a_wing():
    assert {name.split(".")[0] for name in NAMES} == set(WING_OF)
    entries = {p.name for p in PACKAGE.iterdir()} - {"__init__.py", "__pycache__"}
    assert len(entries) <= 16


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_wing_imports_only_what_stands_above_it(name):
    own = ORDER.index(WING_OF[name.split(".")[0]])
    above = {n: ORDER.index(WING_OF[n.split(".")[0]]) for n in GRAPH[name]}
    assert {n for n, place in above.items() if place > own} == set()


def test_no_module_comes_back_to_itself():
    # A room's front door imports what is in the room.
    graph = {n: {d for d in ds if not n.startswith(f"{d}.")} for n, ds in GRAPH.items()}
    assert [*TopologicalSorter(graph).static_order()]
