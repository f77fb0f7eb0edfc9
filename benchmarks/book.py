"""How long set-up, book and tests take on this machine, from nothing.

    .venv/bin/python benchmarks/book.py

Works in a fresh clone with an empty cache, and records the seconds of the set-up, of
the quick book and each of its chapters, of a build when nothing changed, when a
paragraph did and when a docstring did, and of the tests. README, pages and the order
in which a build takes its chapters read the record ``build``.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from mnemonic.lab.results import record

ROOT = Path(__file__).parents[1]


def seconds_of(clone: Path, target: str) -> tuple[float, str]:
    """Seconds of ``make target`` in a clone with a cache of its own, and its words."""
    env = {**os.environ, "MNEMONIC_CACHE": str(clone.with_name("cache"))}
    started = time.monotonic()
    done = subprocess.run(
        ["make", target], cwd=clone, env=env, stdout=subprocess.PIPE, encoding="utf-8"
    )
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"make {target} failed:\n{done.stdout[-20_000:]}")
    print(f"make {target}: {seconds:.0f} s", flush=True)
    return seconds, done.stdout


def edited(path: Path, old: str, new: str) -> None:
    """Change a file in one place."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def main() -> None:
    """Set up, test, build, edit, build again, and record."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "book"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        found["set-up"], _ = seconds_of(clone, ".venv/.ready")
        found["whole"], said = seconds_of(clone, "book")
        found |= re.findall(r"(\w+)\.ipynb done in (\d+) s", said)
        found["nothing changed"], _ = seconds_of(clone, "book")
        edited(clone / "notebooks" / "01_data.ipynb", "You will see", "You see")
        found["edited paragraph"], said = seconds_of(clone, "book")
        assert "running" not in said
        edited(clone / "mnemonic" / "evaluation.py", "Measure A_R", "It measures A_R")
        found["edited docstring"], said = seconds_of(clone, "book")
        assert "running" not in said
        subprocess.run(["git", "checkout", "-q", "."], cwd=clone, check=True)
        found["tests"], _ = seconds_of(clone, "test")
    frame = pd.DataFrame({"what": [*found], "seconds": map(float, found.values())})
    print(frame.to_string())
    about = "A fresh clone, set up, tested, and built in quick with an empty cache"
    record("build", frame, about=about, seconds=frame["seconds"][:2].sum())


if __name__ == "__main__":
    main()
