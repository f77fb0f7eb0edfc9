"""Where things are kept, and how they get there whole.

Everything that is read back later (checkpoints, codes, grid cells, records) is
written beside its final name and renamed, so a reader sees the old file or the
new one and never half of one, and carries a digest of its content. What turns out
damaged is set aside and made again by its ``Store``; what nobody can make again
is refused.

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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mnemonic.checks import checked_seed


def cache_folder() -> Path:
    """Folder for what can be made again: ``$MNEMONIC_CACHE`` or the user's cache."""
    named = os.environ.get("MNEMONIC_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with intact("no home folder is known", "name a folder with MNEMONIC_CACHE"):
        return Path(named or f"{base}/mnemonic").expanduser()


@contextlib.contextmanager
def _writing(what: object) -> Iterator[None]:
    """Say what could not be written, and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"cannot write {what} ({error}); nothing is left half-written. Make room, "
            "or name another folder (MNEMONIC_CACHE for what is cached)"
        ) from error


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; rename it when all went well.

    Args:
        path: The final name. Its folder is made if it is missing.

    Yields:
        Its name, of an empty file. Nothing is left of it if the block raises.

    An ``OSError`` says that it cannot be written: no room, no permission.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.touch()
            mode = aside.stat().st_mode  # as the umask has it; safetensors' is 0600
            yield aside
            if aside.stat().st_mode != mode:
                aside.chmod(mode)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock, or go on without one where none can be had."""
    # In a read-only folder, on a disk without locks. Two may then do the same work, and
    # each renames a whole file.
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, NotImplementedError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(lock))
        yield


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file to ``<name>.damaged`` and warn; it will be made again."""
    damaged = path.with_name(f"{path.name}.damaged")
    if os.path.lexists(damaged):
        damaged = path.with_name(f"{damaged.name}.{uuid.uuid4().hex[:8]}")
    what = f"{damaged.name}: {path} is damaged ({reason}), and it stays"
    with _writing(what), contextlib.suppress(FileNotFoundError):  # another was faster
        os.replace(path, damaged)
    warnings.warn(
        f"{path} is damaged ({reason}); it was renamed to {damaged.name} "
        "and will be made again",
        RuntimeWarning,
        stacklevel=3,
    )


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of files that can be made again, each for a key, with its digest.

    Attributes:
        folder: Found to be writable before any work is done for it, or an ``OSError``;
            to read, it need not be.
        suffix: Of the files, such as ``".json"``.
        read: ``path -> (content, key, digest)``, as they were written.
        write: ``(path, content, key, digest)``.
    """

    folder: Path
    suffix: str
    read: Callable[[Path], tuple[object, str, str]]
    write: Callable[[Path, object, str, str], None]

    def find(self, key: str, name: str | None = None) -> object | None:
        """What is kept for a key, or nothing; a damaged file is set aside.

        Args:
            key: Digest of all that the content depends on.
            name: Of the file; the key by default.

        Returns:
            The content, as it was written.
        """
        path = self.folder / f"{name or key}{self.suffix}"
        try:
            content, made_for, written = self.read(path)
            if made_for == key:
                verify(digest(content), written)
                return content
        except (FileNotFoundError, NotADirectoryError):
            pass
        except Exception as error:
            if isinstance(error, (MemoryError, PermissionError)):
                raise  # the file may be whole
            set_aside(path, error)
        return None

    def fetch(
        self, key: str, make: Callable[[], object], name: str | None = None
    ) -> object:
        """What is kept for a key; else what ``make`` gives, once for all processes."""
        with alone(self.folder / f"{name or key}.lock"):
            content = self.find(key, name)
            if content is None:
                with _writing(f"to {self.folder}"):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    tempfile.TemporaryFile(dir=self.folder).close()
                self.keep(key, content := make(), name)
        return content

    def keep(self, key: str, content: object, name: str | None = None) -> None:
        """Put content in the place of what is kept under that name, if anything is."""
        with written_aside(self.folder / f"{name or key}{self.suffix}") as aside:
            self.write(aside, content, key, digest(content))


def verify(found: str, written: str) -> None:
    """Raise a ``ValueError`` if content has another digest than was written with it."""
    if found != written:
        raise ValueError("its content is not what was written")


@contextlib.contextmanager
def intact(fault: str, way_out: str) -> Iterator[None]:
    """Raise a ``ValueError`` if reading, in the block, meets what only damage does."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{fault} ({error}); {way_out}") from error


def digest(*things: object) -> str:
    """SHA-256, as 64 hex digits, of tensors and plain values, nested as you like."""
    hasher = hashlib.sha256()
    for thing in things[:-1]:
        _feed(hasher, thing)
    # Nothing follows the last one, so a dict needs no end there; files of codes were
    # written so before dicts had ends.
    _feed(hasher, things[-1], end=b"")
    return hasher.hexdigest()


def _feed(hasher: hashlib._Hash, thing: object, end: bytes = b"</>") -> None:
    thing = thing.item() if isinstance(thing, np.generic) else thing
    hasher.update(f"<{type(thing).__name__}>".encode())
    if isinstance(thing, Tensor):
        array = thing.detach().cpu().contiguous()
        hasher.update(f"{array.dtype}{tuple(array.shape)}".encode())
        # A byte view: numpy has no bfloat16.
        hasher.update(array.reshape(-1).view(torch.uint8).numpy().data)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = [f.name for f in dataclasses.fields(thing) if f.compare]
        _feed(hasher, {name: getattr(thing, name) for name in fields}, end)
    elif isinstance(thing, dict):
        for key in sorted(thing, key=lambda key: (str(key), type(key).__name__)):
            _feed(hasher, key)
            _feed(hasher, thing[key])
        hasher.update(end)  # {a: {b: 1}, c: 2} differs from {a: {b: 1, c: 2}}
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            _feed(hasher, item)
        hasher.update(b"</>")  # ([1], [2]) differs from ([1, 2], [])
    elif isinstance(thing, bytes):
        hasher.update(b"%d:%b" % (len(thing), thing))
    elif isinstance(thing, (str, int, float, bool, Path)) or thing is None:
        hasher.update(repr(str(thing)).encode())
    else:
        told = "give tensors, dataclasses, dicts, sequences, paths, numbers or strings"
        raise TypeError(f"cannot digest a {type(thing).__name__}; {told}")


def generator_for(
    purpose: str, seed: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Random numbers of their own for each purpose, such as ``"codes"``, and seed."""
    # With one stream for everything, the codes of seed 0 would be the very numbers that
    # the first weights of seed 0 are made from, and ten hidden units would be filters
    # matched to the codes before training starts (it halved E_F for some classes).
    mixed = int(digest(purpose, checked_seed(seed))[:15], 16)  # 60 bits
    return torch.Generator(device=device).manual_seed(mixed)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as JSON, aside and renamed."""
    with written_aside(path) as aside:
        text = json.dumps(value, indent=1) + "\n"
        aside.write_text(text, encoding="utf-8", newline="\n")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})
