"""What goes into the key of a kept result: the code that made it, and where it ran.

``grids``, ``checkpoints`` and ``press.executed`` put their keys together from it; what
belongs to the user is in ``contents``.

Docstrings and comments decide no number and are left out, so an edit of theirs makes
nothing run again. What code depends on is read from the code itself: the modules that
it imports.

Example:
    >>> bare("x = 1  # why") == bare("x = 1")
    True
"""

import ast
import importlib.metadata
import re
from collections.abc import Container, Iterable
from functools import cache
from pathlib import Path

import torch

from mnemonic import _ROOM_OF
from mnemonic.storage import digest

PACKAGE = Path(__file__).parents[1]


class _Bare(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


@cache
def bare(source: str) -> str:
    """Source without docstrings, comments and layout."""
    return ast.unparse(_Bare().visit(ast.parse(source)))


def files_in(path: Path) -> list[Path]:
    """A file, or all below a folder, in order."""
    if path.is_file():
        return [path]
    skipped = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(
        p for p in path.rglob("*") if p.is_file() and not skipped & set(p.parts)
    )


def numerical(package: Path = PACKAGE) -> list[Path]:
    """The package's files on which a number may depend: all but what only shows."""
    beside = {"press", "exercises", "publish.py", "__init__.py"}
    return [
        f for f in files_in(package) if f.relative_to(package).parts[0] not in beside
    ]


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Files by name, such as ``lab.grids``, of all modules but the front door."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name != "__init__"}


def module_of(name: str, known: Container[str]) -> str:
    """``lab.grids`` for ``mnemonic.lab.grids.mean_sd`` and ``mnemonic.mean_sd``."""
    top, *parts = name.split(".")
    parts[:1] = [_ROOM_OF.get(room, room) for room in parts[:1]]
    while parts and (top != "mnemonic" or ".".join(parts) not in known):
        parts.pop()
    return ".".join(parts)


def reached(names: Iterable[str], package: Path = PACKAGE) -> set[Path]:
    """Modules of the package that dotted names lead to, and all that these import."""
    known, found, open_ends = modules(package), set(), list(names)
    while open_ends:
        path = known.get(module_of(open_ends.pop(), known))
        if path and path not in found:
            found.add(path)
            open_ends += named_in(path.read_text(encoding="utf-8"))
    return found


@cache
def named_in(source: str) -> list[str]:
    """Dotted names of all that source imports, as far as it follows them."""
    tree, text, names = ast.parse(source), bare(source), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            room = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                known_as = re.escape(alias.asname or alias.name)
                ends = re.findall(rf"\b{known_as}((?:\.\w+)+)", text) or [""]
                names += {f"{room}{alias.name}{end}" for end in ends}
    return names


def code_digest(files: Iterable[Path], folder: Path = PACKAGE) -> str:
    """Digest of files below a folder by name: bare source, and data as they are."""

    def content(file: Path) -> str | bytes:
        return (
            bare(file.read_text(encoding="utf-8"))
            if file.suffix == ".py"
            else file.read_bytes()
        )

    return digest({str(f.relative_to(folder)): content(f) for f in files})


def surroundings(*packages: str) -> list[str]:
    """The kind of device that computes, the packages' versions, the type of floats."""
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    device = "cuda" if torch.cuda.is_available() else device
    versions = [f"{p}=={importlib.metadata.version(p)}" for p in packages]
    return [device, *versions, str(torch.get_default_dtype())]
