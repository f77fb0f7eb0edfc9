"""How much faster two workers are than one, on a grid of equal cells, by engine.

    python benchmarks/workers.py [--rounds 3] [--record]

Each cell trains the same network in one thread, and no cell is found in the cache. One
and two workers take turns, so that a busy machine slows both; a machine needs two idle
cores. One worker alone is this process, whatever the engine. What an engine takes to
start its workers for a grid (Ray makes new ones for each) is measured on cells of no
work, and is part of the grid's time. An engine that is not installed is left out and
named.
"""

import argparse
import contextlib
import importlib.util
import os
import statistics
import tempfile
import time
from unittest import mock

import pandas as pd
import torch

import mnemonic as mn

CELLS = 8
EPOCHS = 100
# Dask has its workers give memory back to the system at once, and they ask for it anew
# at every step of a training. A worker reads these at its start; ours overrule Dask's.
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "268435456"}
KEPT_MEMORY["MALLOC_MMAP_THRESHOLD_"] = KEPT_MEMORY["MALLOC_TRIM_THRESHOLD_"]
NEEDS = {"loky": "joblib", "dask": "distributed", "ray": "ray"}
NEEDS["dask with its memory kept"] = "distributed"


def cell(seed, epochs, pair):
    """Train; ``pair`` only makes one grid another than the next."""
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((1000, 1, 28, 28), generator=generator)
    labels = torch.arange(1000) % 10
    data = mn.ImageData.from_arrays(
        train=(x, labels), test=(x[:20], labels[:20]), class_names="abcdefghij"
    )
    model = mn.build_model("mlp", data, seed=seed)
    mn.train(model, data, recipe=mn.Recipe(epochs=epochs), progress=False)
    return {"cell_seconds": time.perf_counter() - started}


@contextlib.contextmanager
def engine(name, workers):
    """A cluster of so many workers on this machine."""
    if name.startswith("dask"):
        from distributed import Client, LocalCluster

        kept = KEPT_MEMORY if name.endswith("kept") else {}
        with (
            mock.patch.dict(os.environ, kept),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster),
        ):
            yield
    elif name == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield
        ray.shutdown()
    else:
        yield


def seconds_of(name, workers, pair):
    """Time a grid whose workers have imported everything before.

    Args:
        name: The engine.
        workers: How many.
        pair: Which repetition; no cell of another one is taken.

    Returns:
        Seconds of the grid, of one of its cells, and of a grid with next to no work.
    """

    def grid(epochs, seeds):
        settings = [{"epochs": epochs, "pair": f"{name} {workers} {pair}"}]
        return mn.run_grid(cell, settings, seeds, jobs=workers, backend=name.split()[0])

    with engine(name, workers):
        seconds = []
        for epochs, first, n in (
            (1, 100, workers),
            (1, 200, workers),
            (EPOCHS, 0, CELLS),
        ):
            started = time.perf_counter()
            frame = grid(epochs, range(first, first + n))
            seconds.append(time.perf_counter() - started)
    return seconds[2], frame["cell_seconds"].mean(), seconds[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="keep it in book/results")
    given = parser.parse_args()
    rows, began = [], time.perf_counter()
    for name, module in NEEDS.items():
        if importlib.util.find_spec(module) is None:
            print(f"without {name}: {module} is not installed", flush=True)
            continue
        for pair in range(given.rounds):
            one, alone, _ = seconds_of(name, 1, pair)
            two, beside, start = seconds_of(name, 2, pair)
            row = {"engine": name, "one_worker": one, "two_workers": two}
            row |= {"faster": one / two, "a_cell_alone": alone, "a_cell_beside": beside}
            rows.append({**row, "start": start, "cells": CELLS})
            print(pd.DataFrame([row]).round(2).to_string(index=False), flush=True)
    frame = pd.DataFrame(rows)
    for name, of in frame.groupby("engine", sort=False):
        print(f"{name}: {statistics.median(of['faster']):.2f} times as fast with two")
    if given.record:
        about = f"a grid of {CELLS} equal trainings, by one worker and by two, in turn"
        mn.results.record(
            "workers", frame, about=about, seconds=time.perf_counter() - began
        )


if __name__ == "__main__":
    # Workers import what they run, by the name of its module.
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MNEMONIC_CACHE"] = cache
        main()
