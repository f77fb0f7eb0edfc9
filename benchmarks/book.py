"""How long the quick book takes on this machine, from nothing and when little changed.

    .venv/bin/python benchmarks/book.py

Builds in folders of its own, with an empty cache, and records the seconds of each
chapter, of the whole, and of a build after which nothing changed, an edited paragraph
and an edited docstring. README and the order of the chapters in a build read the record
``build``.
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


def built(clone: Path, cache: Path) -> tuple[float, str]:
    """Seconds of ``make book``'s build in a clone, and what it printed."""
    env = {**os.environ, "MNEMONIC_CACHE": str(cache), "PYTHONPATH": str(clone)}
    call = [sys.executable, "-m", "mnemonic.press.publish", "--profile", "quick"]
    started = time.monotonic()
    done = subprocess.run(
        call, cwd=clone, env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return time.monotonic() - started, done.stdout


def edited(path: Path, old: str, new: str) -> None:
    """Change a file in one place."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def main() -> None:
    """Build, edit, build again, and record."""
    with tempfile.TemporaryDirectory() as folder:
        clone, cache = Path(folder) / "book", Path(folder) / "cache"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        whole, said = built(clone, cache)
        found = dict(re.findall(r"(\w+)\.ipynb done in (\d+) s", said))
        found["whole"] = whole
        found["nothing changed"], _ = built(clone, cache)
        edited(clone / "notebooks" / "01_data.ipynb", "You will see", "You will see:")
        found["edited paragraph"], said = built(clone, cache)
        assert "running" not in said
        edited(clone / "mnemonic" / "training.py", '"""Train', '"""We train')
        found["edited docstring"], said = built(clone, cache)
        assert "running" not in said
    frame = pd.DataFrame({"what": [*found], "seconds": map(float, found.values())})
    print(frame.to_string())
    about = "The quick book built in a fresh clone with an empty cache"
    record("build", frame, about=about, seconds=whole)


if __name__ == "__main__":
    main()
