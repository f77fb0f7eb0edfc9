"""Where things are kept, and how they get there whole.

Everything that is read back later (checkpoints, codes, grid cells, records) is
written beside its final name and renamed, so a reader sees the old file or the
new one and never half of one. What turns out damaged is set aside, not deleted.

Example:
    >>> digest({"lr": 0.01}, 3) == digest({"lr": 0.01}, 3)
    True
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from mnemonic.checks import checked_seed


def cache_folder() -> Path:
    """Folder for what can be made again: ``$MNEMONIC_CACHE`` or the user's cache."""
    named = os.environ.get("MNEMONIC_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mnemonic"


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; rename it when all went well.

    Args:
        path: The final name. Its folder is made if it is missing.

    Yields:
        The name to write to. Nothing is left of it if the block raises.

    Raises:
        OSError: If it cannot be written: no room, no permission, no such folder.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write {path} ({error}); nothing is left half-written. Make room, "
            "or name another folder (MNEMONIC_CACHE for what is cached)"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it may never have been there
            aside.unlink()


def kept_folder(name: str) -> Path:
    """A folder of the cache, found to be writable before any work is done for it.

    Args:
        name: Such as ``"checkpoints"``.

    Returns:
        The folder, made if it was missing.

    Raises:
        OSError: If nothing can be written there.
    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"the cache folder {folder} cannot be written ({error}); name another with "
            "MNEMONIC_CACHE"
        ) from error
    return folder


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file to ``<name>.damaged`` and warn; it will be made again.

    Args:
        path: The file.
        reason: What is wrong with it.

    Raises:
        OSError: If it cannot be renamed.
    """
    damaged = path.with_name(f"{path.name}.damaged")
    if damaged.is_dir() or (damaged.exists() and path.is_dir()):
        damaged = path.with_name(f"{damaged.name}.{uuid.uuid4().hex[:8]}")
    try:
        os.replace(path, damaged)
    except FileNotFoundError:  # another process was faster
        pass
    except OSError as error:
        raise OSError(
            f"{path} is damaged ({reason}) and cannot be renamed ({error}); remove it"
        ) from error
    warnings.warn(
        f"{path} is damaged ({reason}); it was renamed to {damaged.name} "
        "and will be made again",
        RuntimeWarning,
        stacklevel=3,
    )


def digest(*things: object) -> str:
    """SHA-256, as 64 hex digits, of the content of tensors and plain values.

    Args:
        things: Tensors, dataclasses, dicts, sequences, paths, numbers, strings,
            ``None``; nested as you like. The order of dict keys does not matter.

    Returns:
        The digest. The same content gives the same digest on every machine.
    """
    hasher = hashlib.sha256()
    for thing in things:
        _feed(hasher, thing)
    return hasher.hexdigest()


def _feed(hasher: hashlib._Hash, thing: object) -> None:
    hasher.update(f"<{type(thing).__name__}>".encode())
    if isinstance(thing, Tensor):
        array = thing.detach().cpu().contiguous()
        hasher.update(f"{array.dtype}{tuple(array.shape)}".encode())
        # A byte view: numpy has no bfloat16.
        hasher.update(array.reshape(-1).view(torch.uint8).numpy().data)
    elif dataclasses.is_dataclass(thing):
        _feed(hasher, {f.name: getattr(thing, f.name) for f in _fields(thing)})
    elif isinstance(thing, dict):
        for key in sorted(thing, key=str):
            _feed(hasher, str(key))
            _feed(hasher, thing[key])
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            _feed(hasher, item)
        hasher.update(b"</>")  # ([1], [2]) differs from ([1, 2], [])
    elif isinstance(thing, (str, int, float, bool, Path)) or thing is None:
        hasher.update(repr(str(thing)).encode())
    else:
        raise TypeError(
            f"cannot digest a {type(thing).__name__}; give tensors, dataclasses, "
            "dicts, sequences, paths, numbers or strings"
        )


def _fields(thing: object) -> tuple[dataclasses.Field, ...]:
    return tuple(f for f in dataclasses.fields(thing) if f.compare)


def generator_for(
    purpose: str, seed: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Random numbers of their own for each purpose.

    With one stream for everything, the codes of seed 0 would be the very numbers that
    the first weights of seed 0 are made from, and ten hidden units would be filters
    matched to the codes before training starts (it halved E_F for some classes).

    Args:
        purpose: Such as ``"codes"`` or ``"training"``.
        seed: The user's seed.
        device: Where the numbers are wanted.

    Returns:
        A fresh generator; the same one for the same purpose and seed.
    """
    mixed = int(digest(purpose, checked_seed(seed))[:15], 16)  # 60 bits
    return torch.Generator(device=device).manual_seed(mixed)


def source_digest(*modules: str) -> str:
    """Digest of the source of some of the package's modules.

    A stored result is good only for the code that made it, and the version number
    misses every edit between two releases.

    Args:
        modules: Names within the package, such as ``"training"``.

    Returns:
        The digest.
    """
    folder = Path(__file__).parent
    return digest([(folder / f"{name}.py").read_text() for name in sorted(modules)])


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, aside and renamed."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=1) + "\n")
