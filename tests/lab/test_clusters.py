"""Grids on two workers, here or of a cluster, one of which is killed in its work."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from collections import Counter

import pytest

SCRIPT = """
    import json, os, signal, sys, time, uuid
    from pathlib import Path
    import mnemonic as mn
    from mnemonic.storage import cache_folder

    kept = {}  # cells that were finished when the grid broke off

    def cell(seed, folder):
        note = Path(folder) / f"{seed}-{uuid.uuid4()}"
        fatal = Path(folder) / "fatal"
        if seed == 4 and not fatal.exists():
            time.sleep(1)  # the other worker has finished something by then
            fatal.write_text("once")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        note.write_text("finished")
        return {"v": 2 * seed, "process": os.getpid()}

    def grid(backend, folder):
        settings = [{"folder": folder}]
        return mn.run_grid(cell, settings, seeds=range(8), jobs=2, backend=backend)

    def until_done(backend, folder):
        for _ in range(3):
            try:
                return grid(backend, folder)
            except Exception as error:  # start it again, as one would by hand
                print(type(error).__name__, file=sys.stderr)
                for path in (cache_folder() / "cells").glob("*.json"):
                    kept.setdefault(path, path.read_bytes())
        raise RuntimeError("three times in vain")

    if __name__ == "__main__":
        backend, folder = sys.argv[1:]
        if backend == "dask":
            from distributed import Client, LocalCluster
            cluster = LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            )
            with cluster, Client(cluster):
                frame = until_done(backend, folder)
        elif backend == "loky":
            frame = until_done(backend, folder)
        else:
            import ray
            from ray.util.joblib import register_ray
            ray.init(num_cpus=2, include_dashboard=False)
            register_ray()
            frame = until_done(backend, folder)
            ray.shutdown()
        assert all(path.read_bytes() == content for path, content in kept.items())
        print(json.dumps({**frame.to_dict("list"), "kept": len(kept)}))
"""
NEEDS = {"loky": "joblib", "dask": "distributed", "ray": "ray"}


@pytest.mark.parametrize("backend", NEEDS)
def test_a_killed_worker_loses_no_finished_cell(backend, tmp_path):
    if importlib.util.find_spec(NEEDS[backend]) is None:
        pytest.skip(f"{NEEDS[backend]} is not installed: it is an extra")
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(textwrap.dedent(SCRIPT), encoding="utf-8")
    notes.mkdir()
    made = subprocess.run(
        [sys.executable, str(script), backend, str(notes)],
        env={**os.environ, "MNEMONIC_CACHE": str(tmp_path / "cache")},
        capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    frame = json.loads(made.stdout.splitlines()[-1])
    assert frame["v"] == [2 * seed for seed in range(8)]
    assert len(set(frame["process"])) > 1
    assert (notes / "fatal").exists()
    finished = Counter(p.name.split("-")[0] for p in notes.glob("*-*"))
    if backend == "loky":  # it gives up, and kills the other one with it
        assert "TerminatedWorkerError" in made.stderr
        assert frame["kept"] > 0
        assert set(finished) == {str(seed) for seed in range(8)}
        assert finished.total() <= 8 + 1
    else:
        assert finished == {str(seed): 1 for seed in range(8)}
