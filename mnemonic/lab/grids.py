"""Grids of settings × seeds whose finished cells are kept.

A grid goes through joblib: processes here, or a Dask or Ray cluster by the name of
its backend. Each cell that is done is a file; a grid that was interrupted goes on where
it stopped, and one that is run again only reads.

Example:
    >>> def accuracy(seed, t_mix):
    ...     return {"accuracy": 90 + seed - t_mix}
    >>> frame = run_grid(accuracy, [{"t_mix": 0.5}], seeds=[0, 1], jobs=1)
    >>> mean_sd(frame, by=["t_mix"], values=["accuracy"])
       t_mix  accuracy  accuracy_sd  n
    0    0.5      90.0     0.707107  2
"""

import inspect
import itertools
import json
import time
import warnings
from collections.abc import Callable, Container, Sequence
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mnemonic.checks import checked_frame, checked_number, checked_seed
from mnemonic.lab.contents import contents
from mnemonic.lab.keys import code_digest, numerical, surroundings
from mnemonic.storage import Store, cache_folder, digest


def run_grid(
    function: Callable[..., dict | list[dict]],
    settings: Sequence[dict],
    seeds: Sequence[int],
    *,
    jobs: int | None = None,
    backend: str | None = None,
) -> pd.DataFrame:
    """Call ``function(seed=seed, **setting)`` for every setting and seed.

    Args:
        function: Gives one result (a dict) or several (a list of dicts) of plain
            values. Its code, that of all it calls, the values that it names, and the
            package are part of each cell's key, so that edited code is run anew (see
            ``mnemonic.lab.contents``); whatever else it depends on belongs into the
            setting.
        settings: Keyword arguments, plain values: numbers (of numpy and torch, too),
            names, ``None``, and lists and dicts of them.
        seeds: One run each.
        jobs: Processes at once; as many as there are cores by default, or one where
            there is a GPU. Each uses one thread.
        backend: Of joblib: processes by default, ``"dask"`` or ``"ray"`` where a
            cluster is set up (see the page "Beyond one machine"); its workers need
            the same cache folder. Dask uses all its workers, whatever ``jobs`` says.

    Returns:
        One row a result, with the columns of the setting, ``seed``, and those of the
        result; in the order of settings, then seeds. Its ``attrs["seconds"]`` is what
        all cells took together when they were made, kept ones included.

    Raises:
        ValueError: If function, settings, seeds, jobs or a result are of another kind.
    """
    if not inspect.isfunction(function):
        raise ValueError(f"{function!r} is no function of Python; write one, with def")
    if not isinstance(settings, Sequence) or not all(
        isinstance(s, dict) and all(isinstance(k, str) for k in s) for s in settings
    ):
        raise ValueError(f"settings are {settings!r}; give a list of dicts, by name")
    if isinstance(seeds, str) or not isinstance(seeds, Sequence):
        raise ValueError(f"seeds are {seeds!r}; give a list of integers")
    seeds = [checked_seed(seed) for seed in seeds]
    settings = [_kept(f"settings[{i}]", s, {"seed"}) for i, s in enumerate(settings)]
    if jobs is not None:
        allowed = "a number of processes, 1 or more, or None for all cores"
        jobs = checked_number("jobs", jobs, lambda n: n >= 1, allowed, whole=True)
    cells = [*itertools.product(settings, seeds)]
    versions = surroundings("torch", "torchvision", "numpy", "scikit-learn")
    code = [contents(function), code_digest(numerical()), versions]
    store = Store(cache_folder() / "cells", ".json", _read, _write)
    keys = [digest(code, cell) for cell in cells]
    results = [store.find(key) for key in keys]
    missing = [i for i, result in enumerate(results) if result is None]
    if jobs is None:
        jobs = 1 if torch.cuda.is_available() else joblib.cpu_count()
    with joblib.parallel_config(backend=backend or "loky"), warnings.catch_warnings():
        # A worker that has grown is replaced; its cells are not lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        finished = joblib.Parallel(n_jobs=min(jobs, max(len(missing), 1)))(
            joblib.delayed(store.fetch)(keys[i], partial(_made, function, *cells[i]))
            for i in missing
        )
    for i, result in zip(missing, finished, strict=True):
        results[i] = result
    frame = pd.DataFrame(
        {**setting, "seed": seed, **row}
        for (setting, seed), cell in zip(cells, results, strict=True)
        for row in cell["rows"]
    )
    frame.attrs["seconds"] = sum(cell["seconds"] for cell in results)
    return frame


def mean_sd(
    frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]
) -> pd.DataFrame:
    """Mean, standard deviation (``<value>_sd``, ddof 1) and ``n`` over the seeds.

    Args:
        frame: One row a run.
        by: Columns that name a setting.
        values: Columns to average.

    Returns:
        One row a setting.

    Raises:
        ValueError: If a column is not there.
    """
    for names in (by, values):
        checked_frame("frame", frame, names)
    if not len(by):
        raise ValueError(f"by is {by!r}; name the columns of a setting")
    groups = frame.groupby(list(by), sort=False, dropna=False)
    columns = {}
    for value in values:
        columns[value] = groups[value].mean()
        columns[f"{value}_sd"] = groups[value].std()
    return pd.DataFrame({**columns, "n": groups.size()}).reset_index()


def plus_minus(means: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """Mean and deviation in one cell, for a table to read.

    Args:
        means: As ``mean_sd`` gives it.
        digits: After the point.

    Returns:
        Each ``<value>`` as the text "mean ± deviation", without ``<value>_sd``; the
        mean alone where one run has no deviation.

    A ``ValueError`` says what of table or digits does not fit.
    """
    checked_frame("means", means)
    digits = checked_number(
        "digits", digits, lambda d: 0 <= d <= 20, "0 … 20", whole=True
    )
    table = means.copy()
    for column in [c for c in means if f"{c}_sd" in means]:
        mean = means[column].map(f"{{:z.{digits}f}}".format)
        sd = means[f"{column}_sd"].map(f" ± {{:.{digits}f}}".format)
        table[column] = mean + sd.where(means[f"{column}_sd"].notna(), "")
        table = table.drop(columns=f"{column}_sd")
    return table


def _made(function: Callable, setting: dict, seed: int) -> dict:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the cells share the cores among them
    started = time.monotonic()
    try:
        result = function(seed=seed, **setting)
    finally:
        torch.set_num_threads(threads)
    cell = {"setting": setting, "seed": seed, "seconds": time.monotonic() - started}
    rows = [result] if isinstance(result, dict) else result
    what = f"the result of {function.__name__}"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{what} is {result!r}; give a dict, or a list of dicts")
    cell["rows"] = [_kept(what, row) for row in rows]
    return json.loads(json.dumps(cell))  # a fresh result equals one read back


def _kept(where: str, given: object, taken: Container[str] = ()) -> object:
    """A value that JSON can keep, numbers of numpy and torch as Python's."""
    if isinstance(given, (np.generic, np.ndarray, Tensor)):
        given = given.tolist()
    if isinstance(given, dict):
        for key in given:
            if not isinstance(key, str) or key in taken:
                raise ValueError(f"{where} has the key {key!r}; give other names")
        return {key: _kept(f"{where}[{key!r}]", v) for key, v in given.items()}
    if isinstance(given, (list, tuple)):
        return type(given)(_kept(f"{where}[{i}]", v) for i, v in enumerate(given))
    if given is None or isinstance(given, (bool, int, float, str)):
        return given
    raise ValueError(
        f"{where} is a {type(given).__name__}, which JSON cannot keep; give plain "
        "values: numbers, names, and lists and dicts of them"
    )


def _read(path: Path) -> tuple[dict, str, str]:
    kept = json.loads(path.read_bytes())
    return kept["cell"], kept["key"], kept["sha256"]


def _write(path: Path, cell: dict, key: str, sha256: str) -> None:
    path.write_text(
        json.dumps({"key": key, "sha256": sha256, "cell": cell}, indent=1),
        encoding="utf-8",
    )
