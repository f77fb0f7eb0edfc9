"""Notebooks that are run side by side, as many as there are cores.

A network that two of them want is trained by one, and the other waits for it.
"""

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path

import joblib
import torch

from mnemonic.lab.results import recorded
from mnemonic.press.executed import run

_BROKEN = (
    'A script calls this below `if __name__ == "__main__":`. Where memory ran out, '
    "LOKY_MAX_CPU_COUNT=1 runs one chapter at a time; what is finished is kept."
)


def run_all(notebooks: list[Path], root: Path, build: Path, profile: str) -> list[str]:
    """Run notebooks; on a GPU, or one core, one after another.

    Args:
        notebooks: To run.
        root: The repository.
        build: Where executed copies live.
        profile: Name of the profile.

    Returns:
        Names of those that failed.
    """
    cores = joblib.cpu_count()
    at_once = 1 if torch.cuda.is_available() else min(cores, len(notebooks))
    one = partial(run, root=root, build=build, profile=profile)
    if at_once <= 1:
        return [n.name for n in notebooks if not one(n)]
    seconds = {row.what: row.seconds for row in recorded("build")[0].itertuples()}
    longest = sorted(notebooks, key=lambda n: -seconds.get(n.stem, math.inf))
    share = str(cores // at_once)
    with ProcessPoolExecutor(
        at_once, get_context("spawn"), initializer=_one_of_several, initargs=(share,)
    ) as pool:
        try:
            good = [*pool.map(partial(_ended, one), longest)]
        except BrokenProcessPool as error:
            print(f"{error}\n{_BROKEN}", file=sys.stderr)
            return [n.name for n in notebooks]
        except BaseException:
            for process in active_children():
                process.terminate()
            raise
    return sorted(n.name for n, g in zip(longest, good, strict=True) if not g)


def take_any_console() -> None:
    """Show a character that the console does not know by its number, and go on."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a test's
            stream.reconfigure(errors="backslashreplace")


def _one_of_several(cores: str) -> None:
    """The kernels of this process use so many cores; it ends when it is told to."""
    take_any_console()
    os.environ |= {"LOKY_MAX_CPU_COUNT": cores, "OMP_NUM_THREADS": cores}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all, and one says so
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _ended(run_one: Callable[[Path], bool], notebook: Path) -> bool:
    try:
        return run_one(notebook)
    except SystemExit:  # told to end; a pool would go on with the next notebook
        os._exit(143)
