"""Settings: combinations of values, what methods were tuned to, a profile in words.

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

_CALLED = {
    "mnist": "MNIST",
    "mnist-5k": "5,000 MNIST images",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10 (JPEG)",
    "tiny-imagenet-40": "Tiny-ImageNet-40",
    "mlp": "MLP 784-1000-10",
    "slim-resnet": "a ResNet with 78,000 weights",
    "resnet18": "ResNet-18",
}
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


def about(name: str, data_name: str | None = None) -> str:
    """A profile in words: data, network, recipe.

    Args:
        name: Of the profile.
        data_name: In place of its own.

    Returns:
        What its records begin with.
    """
    profile = Profile.named(name)
    seen = f"{profile.per_class} a class of the" if profile.per_class else "all"
    side = f", images averaged down to {profile.side} pixels" if profile.side else ""
    recipe = profile.recipe
    return (
        f"{_CALLED[data_name or profile.data_name]}, {_CALLED[profile.model_name]}"
        f"{side}; {seen} training images; {recipe.epochs} epochs, batch "
        f"{recipe.batch_size}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule}); t_mix {profile.t_mix:g}"
    )


def about_tuned(name: str) -> str:
    """As ``about``, and where the settings of its methods come from."""
    profile = Profile.named(name)
    return (
        f"{about(name)}; class {profile.forget_class} forgotten, methods with "
        f"settings tuned on the validation split of {profile.settings_of or name}"
    )
