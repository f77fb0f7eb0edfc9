"""Settings: every combination of some values, and what each method was tuned to.

Example:
    >>> combined(network=["tied"], n_classes=[10, 30])
    [{'network': 'tied', 'n_classes': 10}, {'network': 'tied', 'n_classes': 30}]
    >>> settings_for("smoke")
    {}
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from mnemonic.lab.profiles import Profile
from mnemonic.storage import intact, verify

TUNED = Path(__file__).with_name("tuned")


def combined(**values: Sequence) -> list[dict]:
    """Every combination of some values, by name; the last one varies fastest."""
    combinations = itertools.product(*values.values())
    return [dict(zip(values, chosen, strict=True)) for chosen in combinations]


def settings_for(profile: str) -> dict[str, dict]:
    """Tuned settings by method.

    Args:
        profile: Its name.

    Returns:
        Keyword arguments for each method that was tuned; none for a profile without a
        file, such as ``"smoke"``.
    """
    found = tuned(TUNED / f"{Profile.named(profile).settings_of or profile}.json")
    return {name: kept["settings"] for name, kept in found.items()}


def tuned(path: Path) -> dict[str, dict]:
    """What ``mnemonic.lab.tuning`` has found for a profile, by method.

    Args:
        path: Of the profile's file.

    Returns:
        Settings, scores and provenance; nothing where there is no file.

    A ``ValueError`` says that the file is damaged.
    """
    if not (path.exists() or path.is_symlink()):
        return {}
    way_out = (
        "restore it from the repository, or make it with: "
        f"python -m mnemonic.lab.tuning {path.stem}"
    )
    with intact(f"{path} is damaged", way_out):
        content = json.loads(path.read_bytes())
        verify(hash_of(content["methods"]), content["sha256"])
        return content["methods"]


def hash_of(methods: dict[str, dict]) -> str:
    """SHA-256 of what was found, that its file carries."""
    return hashlib.sha256(json.dumps(methods, sort_keys=True).encode()).hexdigest()
