"""Published figures, and runs of ours that are too long for every reader to repeat.

A recorded run is a tidy CSV file with a JSON file beside it that says where it comes
from: commit, date, device, versions, seconds and command. Pages show it beside the live
figures and the paper's, each labelled as what it is.

Example:
    >>> rows = paper("table-5").query("data == 'MNIST'")
    >>> rows.query("metric == 'remaining_accuracy'")["value"].tolist()
    [95.9, 95.4, 94.2, 91.1]
"""

import contextlib
import datetime
import hashlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from mnemonic.checks import checked_frame, checked_number
from mnemonic.lab.keys import code_digest, numerical
from mnemonic.storage import (
    digest,
    intact,
    read_tensors,
    verify,
    write_json,
    written_aside,
)


def paper(artefact: str) -> pd.DataFrame:
    """Figures published by Yamashita et al. 2024.

    Args:
        artefact: ``"table-1"``, …, ``"fig-2"``, ….

    Returns:
        Rows with ``artefact``, ``method``, ``data``, ``setting``, ``metric``,
        ``value``, ``sd`` (NaN where none is given) and ``read_off`` (true where the
        value was read from a plot, ±10 %).

    Raises:
        ValueError: If the artefact is not among them.
    """
    everything = pd.read_csv(Path(__file__).with_name("published.csv"))
    rows = everything[everything["artefact"] == str(artefact)]
    if rows.empty:
        known = ", ".join(everything["artefact"].unique())
        raise ValueError(
            f"no published figures of {artefact!r}; choose one: there are {known}"
        )
    return rows.reset_index(drop=True)


def provenance() -> dict[str, str | int]:
    """Where a result comes from: commit, date, device, versions, command."""
    from mnemonic import __version__

    return {
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "mnemonic": __version__,
        "command": shlex.join(
            ["python", *(a for a in sys.orig_argv[1:] if not a.startswith("-X"))]
        ),
    }


def provenance_line(profile: object) -> str:
    """One line for the top of a notebook.

    Args:
        profile: A ``Profile``.

    Returns:
        Profile, data, device, versions and commit.
    """
    facts = provenance()
    return (
        f"profile {profile.name} · {profile.data_name} · {facts['device']} · torch "
        f"{facts['torch']} · mnemonic {facts['mnemonic']} · {facts['commit']}"
    )


def device_name() -> str:
    """Name of the GPU, or of the processor with its number of cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, TypeError):  # no such file, or no such line
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = re.search(r"model name\s*: (.+)", told)[1]
    return f"{name} ({os.cpu_count()} cores)"


def results_folder() -> Path:
    """``$MNEMONIC_RESULTS``, or ``book/results`` of the repository."""
    named = os.environ.get("MNEMONIC_RESULTS")
    own = Path(__file__).parents[2] / "book" / "results"
    return Path(os.path.expanduser(named)) if named else own


def record(
    name: str,
    frame: pd.DataFrame,
    *,
    about: str,
    seconds: float,
    tensors: dict[str, Tensor] | None = None,
) -> None:
    """Keep a run: ``<name>.csv``, and ``<name>.json`` with its provenance.

    Args:
        name: Such as ``"mnist-complete"``.
        frame: Tidy: one row a result.
        about: A sentence: data, model, recipe, seeds.
        seconds: What its parts took together, one processor core or GPU each.
        tensors: Logits, by name, for ``<name>.safetensors``.

    Raises:
        ValueError: If an argument is of another kind.

    An ``OSError`` says that the files cannot be written.
    """
    for what, words in (("name", name), ("about", about)):
        if not isinstance(words, str):
            raise ValueError(f"{what} is {words!r}; give a text")
    checked_frame("frame", frame)
    seconds = checked_number(
        "seconds", seconds, lambda s: 0 <= s < math.inf, "a number of 0 or more"
    )
    text = frame.to_csv(index=False, lineterminator="\n").encode()
    folder = results_folder()
    with written_aside(folder / f"{name}.csv") as aside:
        aside.write_bytes(text)  # no line end of Windows' own
    facts = {
        "name": name,
        "about": about,
        "rows": len(frame),
        "seconds": round(seconds, 1),
        "sha256": hashlib.sha256(text).hexdigest(),
        "code": code_digest(path for path in numerical() if path.suffix == ".py"),
        **provenance(),
    }
    if tensors:
        with written_aside(folder / f"{name}.safetensors") as aside:
            save_file(tensors, aside)
        facts["tensors"] = digest(tensors)
    write_json(folder / f"{name}.json", facts)


def recorded(name: str) -> tuple[pd.DataFrame, dict]:
    """Read a recorded run.

    Args:
        name: As it was given to ``record``.

    Returns:
        The frame, and its provenance.

    Raises:
        FileNotFoundError: If there is no such record.
        ValueError: If the record was changed or cut short.
    """
    folder = results_folder()
    path = folder / f"{name}.csv"
    if not os.path.exists(path) or not os.path.exists(path.with_suffix(".json")):
        there = ", ".join(sorted(p.stem for p in folder.glob("*.csv"))) or "nothing"
        raise FileNotFoundError(
            f"no recorded run {name!r} in {folder}, which holds {there}; records live "
            "in the book's repository: name their folder with MNEMONIC_RESULTS, or "
            f"make the run with: python -m mnemonic.lab.records {name}"
        )
    with intact(f"the record {path} is damaged", "restore it from the repository"):
        facts = json.loads(path.with_suffix(".json").read_bytes())
        verify(hashlib.sha256(path.read_bytes()).hexdigest(), facts["sha256"])
        if facts["name"] != name:
            raise ValueError(f"it is the record {facts['name']!r}")
        return pd.read_csv(path), facts


def recorded_tensors(name: str) -> dict[str, Tensor]:
    """Read the logits of a recorded run.

    Args:
        name: As it was given to ``record``.

    Returns:
        Tensors, by name.

    Raises:
        ValueError: If the record has none, or they were changed or cut short.

    A ``FileNotFoundError`` says that there is no such record.
    """
    _, facts = recorded(name)
    if "tensors" not in facts:
        raise ValueError(f"the record {name!r} has no logits; read it with recorded")
    path = results_folder() / f"{name}.safetensors"
    with intact(f"the record {path} is damaged", "restore it from the repository"):
        tensors, _ = read_tensors(path)
        verify(digest(tensors), facts["tensors"])
        return tensors


def _commit() -> str:
    package = ["git", "-C", str(Path(__file__).parents[1])]
    head = [*package, "rev-parse", "--short", "HEAD"]
    differs = [*package, "status", "--porcelain", "--", "."]
    how = {"capture_output": True, "text": True, "check": True, "timeout": 60}
    try:
        name, changed = (subprocess.run(c, **how).stdout for c in (head, differs))
    except (OSError, subprocess.SubprocessError):
        return "no commit"
    return f"commit {name.strip()}{' (changed)' if changed else ''}"
