"""What goes into the key of a kept result: the code that made it, and where it ran.

``grids``, ``checkpoints`` and ``press.executed`` put their keys together from it.

Docstrings and comments decide no number and are left out, so an edit of theirs makes
nothing run again. What code depends on is read from the code itself: the modules that
it imports, the functions that it calls.

Example:
    >>> bare("x = 1  # why") == bare("x = 1")
    True
"""

import ast
import dis
import importlib.metadata
import inspect
import re
import textwrap
from collections.abc import Container, Iterable
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np
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
    try:
        return ast.unparse(_Bare().visit(ast.parse(textwrap.dedent(source))))
    except SyntaxError:  # a lambda in the middle of an expression
        return source


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
    beside = {"press", "exercises", "__init__.py"}
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
    """The kind of device that computes, and the packages' versions."""
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    device = "cuda" if torch.cuda.is_available() else device
    return [device, *(f"{p}=={importlib.metadata.version(p)}" for p in packages)]


def code_of(start: FunctionType | type) -> dict[str, str]:
    """What a function or class is made of, as far as its own module goes.

    Args:
        start: In a package, a script or a notebook.

    Returns:
        By name, the bare source of it and of every function and method of the same
        module that it calls, in comprehensions and inner functions too, and digests
        of the plain values that they name.
    """
    found, seen, open_ends = {}, set(), [(start.__qualname__, start)]
    while open_ends:
        name, thing = open_ends.pop()
        thing = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if hasattr(thing, "__wrapped__"):  # by a decorator, which is looked at as well
            open_ends.append((f"{name}.<wrapped>", thing.__wrapped__))
        if inspect.isfunction(thing) or inspect.isclass(thing):
            if thing.__module__ == start.__module__ and id(thing) not in seen:
                seen.add(id(thing))
                found[name] = _text(thing) if inspect.isfunction(thing) else ""
                open_ends += _named(name, thing)
            continue
        try:
            found[name] = digest(thing)
        except TypeError:  # no plain value; it may hold functions
            open_ends += _held(name, thing)
    return found


def _held(name: str, thing: object) -> list[tuple[str, object]]:
    """What stands in a container, an array or a partial call, by its place."""
    if isinstance(thing, partial):
        thing = {"func": thing.func, "args": thing.args, **thing.keywords}
    if isinstance(thing, (np.ndarray, np.generic)):
        thing = [str(thing.dtype), thing.tolist()]
    if isinstance(thing, (list, tuple)):
        thing = dict(enumerate(thing))
    inside = thing.items() if isinstance(thing, dict) else ()
    return [(f"{name}[{key!r}]", value) for key, value in inside]


def _text(function: FunctionType) -> str:
    try:
        return bare(inspect.getsource(function.__code__))
    except OSError:  # typed at a prompt, or made by dataclass
        return repr([s for s in _steps(function) if not isinstance(s[1], CodeType)])


def _named(name: str, thing: FunctionType | type) -> list[tuple[str, object]]:
    """What a function names of its module, or a class consists of, in order."""
    if inspect.isclass(thing):
        own = {n: v for n, v in vars(thing).items() if callable(v) or n[:2] != "__"}
        inside = own | {base.__qualname__: base for base in thing.__bases__}
        return [(f"{name}.{n}", value) for n, value in sorted(inside.items())]
    reads, there = ("LOAD_GLOBAL", "LOAD_NAME"), thing.__globals__
    used = {name for step, name in _steps(thing) if step in reads} & there.keys()
    inside = inspect.getclosurevars(thing).nonlocals
    inside |= {"<defaults>": [thing.__defaults__, thing.__kwdefaults__]}
    inside = [(f"{name}.{n}", value) for n, value in sorted(inside.items())]
    return inside + [(n, there[n]) for n in sorted(used)]


def _steps(function: FunctionType) -> list[tuple[str, object]]:
    """What its byte code does with what, functions and comprehensions inside too."""
    steps, codes = [], [function.__code__]
    for code in codes:
        steps += [(s.opname, s.argval) for s in dis.get_instructions(code)]
        codes += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return steps
