"""Every method on the same networks, data and classes: one row a method and seed.

A setup names data, network and recipe. ``compare`` trains (or fetches) the network that
a method starts from, lets it forget, and measures before and after on test images.
Settings of methods are tuned elsewhere (``mnemonic.tuning``) and read from one file a
setup.

Example:
    >>> from mnemonic.experiments import run_grid
    >>> settings = [{"setup": "smoke", "method": "row-zeroing"}]
    >>> frame = run_grid(compare, settings, seeds=[0], jobs=1)
    >>> frame["forgetting_error"].tolist()
    [100.0]
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
from torch import nn

from mnemonic.baselines import METHODS, Access, Method
from mnemonic.baselines.mnemonic_code import prepared as trained_with_codes
from mnemonic.codes import MnemonicCodes
from mnemonic.data import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.models import build_model
from mnemonic.sources import load_data
from mnemonic.splits import first_of_each
from mnemonic.storage import digest
from mnemonic.training import Recipe, trained_with_history

TUNED = Path(__file__).parent / "baselines" / "tuned"


@dataclass(frozen=True)
class Setup:
    """Data, network and recipe of a comparison.

    Attributes:
        data_name: What ``load_data`` is given.
        model_name: What ``build_model`` is given.
        recipe: How every network is trained.
        t_mix: Share of codes, where a method trains with codes.
        classes: To forget.
        per_class: Training images of each class that are used; all where missing.
        settings_of: Setup whose tuned settings are used; its own by default.
    """

    data_name: str
    model_name: str
    recipe: Recipe
    t_mix: float
    classes: tuple[int, ...] = (3,)
    per_class: int | None = None
    settings_of: str | None = None

    def load(self) -> ImageData:
        """The data, cut to ``per_class`` training images."""
        return _loaded(self.data_name, self.per_class)


# As many steps on 3,500 images as the paper's recipe (200 epochs, batch 128) takes
# there, with a quarter of the batch: the same accuracy, in a third of the time.
_SHORT = Recipe(epochs=50, batch_size=32)
_RESNET = Recipe(epochs=5, batch_size=64, learning_rate=0.05, schedule="cosine")
_TUNED_ON_5K = {"settings_of": "mnist-5k-resnet"}  # a search takes an hour on two cores
SETUPS = {
    "smoke": Setup("mnist-5k", "mlp", Recipe(epochs=2, learning_rate=0.1), 0.1),
    # The fewest steps that learn the codes.
    "smoke-codes": Setup("mnist-5k", "mlp", Recipe(epochs=10, learning_rate=0.05), 0.1),
    "mnist-5k-mlp": Setup("mnist-5k", "mlp", _SHORT, 0.1),
    "mnist-5k-resnet": Setup("mnist-5k", "slim-resnet", _RESNET, 0.3),
    # 5,486 steps, as many as on the 5,000 images, whose settings it takes over.
    "mnist-mlp": Setup(
        "mnist", "mlp", Recipe(epochs=13), 0.1, settings_of="mnist-5k-mlp"
    ),
    "fashion-mnist-resnet": Setup(
        "fashion-mnist", "slim-resnet", _RESNET, 0.3, per_class=500, **_TUNED_ON_5K
    ),
    "cifar10-jpeg-resnet": Setup(
        "cifar10-jpeg", "slim-resnet", replace(_RESNET, epochs=15), 0.3,
        per_class=250, **_TUNED_ON_5K,
    ),
    "tiny-imagenet-40-resnet": Setup(
        "tiny-imagenet-40", "slim-resnet", replace(_RESNET, epochs=15), 0.3,
        per_class=100, **_TUNED_ON_5K,
    ),
}  # fmt: skip


def settings_for(setup: str) -> dict[str, dict]:
    """Tuned settings by method.

    Args:
        setup: Key of ``SETUPS``.

    Returns:
        Keyword arguments for each method that was tuned; none for a setup without a
        file, such as ``"smoke"``.
    """
    path = TUNED / f"{SETUPS[setup].settings_of or setup}.json"
    if not path.exists():
        return {}
    methods = json.loads(path.read_text())["methods"]
    return {name: found["settings"] for name, found in methods.items()}


def compare(
    seed: int,
    setup: str,
    method: str,
    settings: dict | None = None,
    version: str = "",
) -> dict:
    """Let one method forget, and measure it.

    Args:
        seed: Of weights, training, codes and the method.
        setup: Key of ``SETUPS``.
        method: Key of ``METHODS``.
        settings: Of the method; the tuned ones where missing.
        version: As ``all_settings`` gives it; part of a grid cell's key, not used here.

    Returns:
        One row, on test images ``remaining_accuracy`` and ``forgetting_error``
        (percent), both also ``before_…``; ``train_forget_accuracy`` and
        ``train_remaining_accuracy``; ``seconds`` of forgetting and ``training_seconds``
        of the network it starts from; ``forget_images``, ``remaining_images`` and
        ``codes`` read, ``visits`` to them, and ``backward_passes``.
    """
    chosen = SETUPS[setup]
    data, how = chosen.load(), METHODS[method]
    access = access_for(chosen, data, how, seed)
    model, training_seconds = starting_network(how, access, seed)
    if settings is None:
        settings = settings_for(setup).get(method, {})
    result = how(model, access, seed=seed, **settings)
    row = {"training_seconds": training_seconds, "seconds": result.seconds}
    for when, network in (("before_", model), ("", result.model)):
        kept, error = two_numbers(network, data, chosen.classes)
        row[f"{when}remaining_accuracy"] = kept
        row[f"{when}forgetting_error"] = error
    kept, error = two_numbers(result.model, data, chosen.classes, split="train")
    row["train_forget_accuracy"] = 100 - error
    row["train_remaining_accuracy"] = kept
    counts = result.counts
    return {
        **row,
        "forget_images": counts.images["forget"],
        "remaining_images": counts.images["remaining"],
        "codes": counts.images["codes"],
        "visits": sum(counts.visits.values()),
        "backward_passes": counts.backward_passes,
    }


def two_numbers(
    network: nn.Module, data: ImageData, classes: Sequence[int], split: str = "test"
) -> tuple[float, float]:
    """A_R and E_F, in percent; 0 and 100 where a method left no finite weights.

    Args:
        network: After a method.
        data: Of the setup.
        classes: The forget classes.
        split: As in ``evaluate``.

    Returns:
        Both numbers. A destroyed network answers nothing, so nothing rightly.
    """
    if not all(v.isfinite().all() for v in network.state_dict().values()):
        return 0.0, 100.0
    scores = evaluate(network, data, classes, split=split)
    return scores.remaining_accuracy, scores.forgetting_error


def access_for(setup: Setup, data: ImageData, method: Method, seed: int) -> Access:
    """What a method is given in a setup.

    Args:
        setup: Data, network and recipe.
        data: The setup's data.
        method: Decides which codes are drawn, if any.
        seed: Of the codes, and of the network's first weights.

    Returns:
        The access.
    """
    codes = None
    if method.codes:
        codes = MnemonicCodes.draw(data, seed=seed, distribution=method.codes)
    return Access(
        data,
        setup.classes,
        codes=codes,
        build=lambda s: build_model(setup.model_name, data, seed=s),
        recipe=setup.recipe,
        t_mix=setup.t_mix,
        built_with=seed,
    )


def starting_network(
    method: Method, access: Access, seed: int
) -> tuple[nn.Module, float]:
    """The network that a method starts from, and the seconds its training took.

    Args:
        method: Trains by itself, with codes, or not at all.
        access: What it is given.
        seed: Of weights and training.

    Returns:
        Plain networks, and those with mnemonic codes, come from the cache if they are
        there, with the time that their training took when it was made.
    """
    own = method.preparation not in (None, trained_with_codes)
    if own:
        started = time.perf_counter()
        model = method.prepare(access, seed=seed)
        return model, time.perf_counter() - started
    with_codes = method.preparation is not None
    model, history = trained_with_history(
        access.fresh(seed),
        access.data,
        recipe=access.how_to_train(),
        codes=access.codes if with_codes else None,
        t_mix=access.t_mix if with_codes else 0.0,
        seed=seed,
        progress=False,
    )
    return model, history.seconds


def all_settings(setup: str, methods: Sequence[str]) -> list[dict]:
    """Settings of ``run_grid(compare, …)``, with what each method was tuned to.

    Args:
        setup: Key of ``SETUPS``.
        methods: Keys of ``METHODS``.

    Returns:
        One a method. The tuned values, and a digest of the setup and of the method's
        source, are in it, so that a cell is run again when they change.
    """
    tuned = settings_for(setup)
    return [
        {
            "setup": setup,
            "method": name,
            "settings": tuned.get(name, {}),
            "version": version_of(setup, name),
        }
        for name in methods
    ]


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns as the book shows them.

    Args:
        frame: Rows of ``compare``, live or recorded.

    Returns:
        The same rows; ``remaining_accuracy`` and ``forgetting_error`` are ``A_R`` and
        ``E_F``, ``change`` is A_R after less before, in points, and ``title`` what the
        method is called.
    """
    return frame.assign(
        A_R=frame["remaining_accuracy"],
        E_F=frame["forgetting_error"],
        change=frame["remaining_accuracy"] - frame["before_remaining_accuracy"],
        title=frame["method"].map(lambda name: METHODS[name].title),
    ).drop(columns=["remaining_accuracy", "forgetting_error"])


def version_of(setup: str, method: str) -> str:
    """Digest of a setup and of the source of a method."""
    return digest(SETUPS[setup], METHODS[method].source)[:16]


@lru_cache(maxsize=1)
def _loaded(data_name: str, per_class: int | None) -> ImageData:
    data = load_data(data_name)
    if per_class is None:
        return data
    chosen = first_of_each(data.train.labels, per_class)
    return replace(data, train=data.train.take(chosen))
