"""What a function or a network is made of, for the key of what it leads to.

A walk over all that it names, calls, holds and is built on, in any module of the user:
byte code (so neither words nor layout count, and it is what runs, whatever became of
its file), values, tensors, hooks. What is installed counts by its version, and this
package by its files, but for the module that the walk starts in.

Example:
    >>> def scaled(x, by=2):
    ...     return x * by
    >>> before = contents(scaled)
    >>> scaled.__defaults__ = (3,)
    >>> contents(scaled) == before
    False
"""

import contextlib
import dis
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, MappingProxyType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from mnemonic.lab.keys import code_digest, reached
from mnemonic.storage import digest

PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...))
Part = tuple[str, object]


def contents(start: object) -> dict[str, str]:
    """What an object is made of, by the path that leads there.

    Args:
        start: A function, a class, a network, or any other value.

    Returns:
        Texts and digests: the same in every process, and others where anything differs
        that could change what ``start`` does.
    """
    found, first, kept = {}, {}, []  # kept alive: no two objects share an id
    home = start.__module__ if isinstance(start, (FunctionType, type)) else None
    open_ends: list[Part] = [("", start)]
    while open_ends:
        name, thing = open_ends.pop()
        kept.append(thing)
        if type(thing) in PLAIN:
            found[name] = repr(thing)
            continue
        if not isinstance(thing, (tuple, frozenset)):  # a copy may share them or not
            if id(thing) in first:
                found[name] = f"as {first[id(thing)]}"  # such as tied weights
                continue
            first[id(thing)] = name
        try:
            found[name], parts = _described(thing, home)
        except Exception:  # a lock, an open file
            found[name], parts = _name(type(thing)), []
        open_ends += [(f"{name}.{part}", value) for part, value in reversed(parts)]
    return found


def _described(thing: object, home: str | None) -> tuple[str, list[Part]]:
    """A text about a thing, and what it consists of."""
    kind = _name(type(thing))
    if isinstance(thing, FunctionType):
        return _function(thing, home)
    if isinstance(thing, type):
        if _is_installed(thing.__module__, home):
            return _version(_name(thing)), []
        own = {n: v for n, v in vars(thing).items() if callable(v) or n[:2] != "__"}
        bases = [(f"<base {i}>", base) for i, base in enumerate(thing.__bases__)]
        return kind, [*sorted(own.items()), *bases]
    if isinstance(thing, ModuleType):
        return kind, _of_module("", thing, {*vars(thing)}, home)
    if isinstance(thing, CellType):
        return kind, [("holds", thing.cell_contents)]
    if isinstance(thing, Tensor):
        hooks = [thing._backward_hooks, thing._post_accumulate_grad_hooks]
        hooks = [[*each.values()] for each in hooks if each]
        told = f"{thing.requires_grad} {digest(thing.detach())}"
        return told, [("<hooks>", hooks), *vars(thing).items()]
    if isinstance(thing, torch.jit.ScriptModule):
        graph = re.sub(r"___torch_mangle_\d+\.", "", str(thing.inlined_graph))
        return graph, [("weights", dict(thing.named_parameters()))]
    if isinstance(thing, nn.Module):
        own = {n: v for n, v in vars(thing).items() if n != "training"}
        for name, value in own.items():
            if name[0] == "_" and "_hooks" in name and isinstance(value, dict):
                own[name] = [*own[name].values()]  # without the numbers of this process
        return kind, [("<class>", type(thing)), *own.items()]
    if isinstance(thing, (dict, MappingProxyType)):
        return kind, [
            part
            for i, (key, value) in enumerate(thing.items())
            for part in ((f"<key {i}>", key), (f"{i}", value))
        ]
    if isinstance(thing, (set, frozenset)):
        thing = sorted(thing, key=lambda v: repr(v) if type(v) in PLAIN else "")
    if isinstance(thing, (list, tuple)):
        return kind, [(str(i), value) for i, value in enumerate(thing)]
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        thing = [str(thing.dtype), thing.shape, thing.tobytes()]
        return kind, [("content", thing)]
    if isinstance(thing, torch.Generator):
        return kind, [("state", thing.get_state())]
    return _object(thing, kind)


def _object(thing: object, kind: str) -> tuple[str, list[Part]]:
    """Any other thing: what it would be copied from."""
    for name in ("__func__", "fget", "__wrapped__"):
        if hasattr(thing, name):
            parts = ("__self__", "__func__", "fget", "fset", "fdel", "__wrapped__")
            return kind, [(n, getattr(thing, n, None)) for n in parts]
    try:
        made = thing.__reduce_ex__(4)
    except Exception:  # it cannot be, for a lock that it holds, say
        return kind, [("<class>", type(thing)), *vars(thing).items()]
    if isinstance(made, str):
        return f"{kind} {getattr(thing, '__module__', '')} {made}", []
    parts = [list(part) if isinstance(part, Iterator) else part for part in made]
    return kind, [("<class>", type(thing)), ("made of", parts)]


def _function(function: FunctionType, home: str | None) -> tuple[str, list[Part]]:
    """Its byte code, and what it names, holds and is given by default."""
    code, space = function.__code__, function.__globals__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    parts = [*cells, *vars(function).items()]
    if _is_installed(space.get("__name__"), home):  # it may hold what is not
        return _version(f"{space['__name__']}.{function.__qualname__}"), parts
    parts.append(("<defaults>", [function.__defaults__, function.__kwdefaults__]))
    steps = _steps(code)
    names = {name for _, name in steps if isinstance(name, str)}
    used = {name for step, name in steps if step in ("LOAD_GLOBAL", "LOAD_NAME")}
    there = {name: space[name] for name in used & space.keys()}
    there |= _imported(steps, space.get("__package__"))
    for name, value in sorted(there.items()):
        if isinstance(value, ModuleType):
            parts += _of_module(name, value, names, home)
        else:
            parts.append((name, value))
    return repr(steps), parts


def _steps(code: CodeType) -> list[tuple[str, object]]:
    """What byte code does with what, functions and comprehensions inside too."""
    steps = [("takes", (*code.co_varnames, code.co_argcount, code.co_flags))]
    steps += [("catches", getattr(code, "co_exceptiontable", b""))]
    for step in dis.get_instructions(code):
        value = step.argval
        if isinstance(value, CodeType):
            steps += _steps(value)
            value = None
        elif isinstance(value, frozenset):
            value = sorted(map(repr, value))
        steps.append((step.opname, value))
    return steps


def _imported(
    steps: list[tuple[str, object]], package: str | None
) -> dict[str, object]:
    """Modules that a function itself imports."""
    found = {}
    for (_, level), _, (step, name) in zip(steps, steps[1:], steps[2:], strict=False):
        if step == "IMPORT_NAME":
            with contextlib.suppress(Exception):  # the function will say so
                full = importlib.util.resolve_name("." * level + name, package)
                found[f"<import {full}>"] = importlib.import_module(full)
    return found


def _of_module(
    path: str, module: ModuleType, names: set[str], home: str | None, above: tuple = ()
) -> list[Part]:
    """What code that uses some names may take out of a module, by its path."""
    if _is_installed(module.__name__, home):
        return [(path, _version(*(f"{module.__name__}.{n}" for n in sorted(names))))]
    parts = []
    for name in sorted(n for n in names & vars(module).keys() if n[:2] != "__"):
        value = vars(module)[name]
        if not isinstance(value, ModuleType):
            parts.append((f"{path}.{name}", value))
        elif value not in above:
            inner = f"{path}.{name}", value, names, home, (*above, module)
            parts += _of_module(*inner)
    return parts


def _is_installed(module: str | None, home: str | None) -> bool:
    """Whether a module is of Python, of this package or of another installed one."""
    top = str(module).partition(".")[0]
    if module == home or top == "__main__":
        return False
    if top == "mnemonic" or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & {*Path(file).parts})


def _version(*names: str) -> str:
    """Of what is installed; of this package, the code that names lead to."""
    top = names[0].partition(".")[0]
    if top == "mnemonic":
        return code_digest(reached(names))
    module = names[0].rpartition(".")[0] if len(names) > 1 else names[0]
    return f"{module} {getattr(sys.modules.get(top), '__version__', '')}"


def _name(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"
