"""Every method on the same networks, data and classes: one row a method and seed.

``compare`` trains (or fetches) the network that a method starts from, lets it forget,
and measures before and after on test images, in a setup of ``mnemonic.lab.setups``.

Example:
    >>> from mnemonic.lab.grids import run_grid
    >>> settings = [{"setup": "smoke", "method": "row-zeroing"}]
    >>> frame = run_grid(compare, settings, seeds=[0], jobs=1)
    >>> frame["forgetting_error"].tolist()
    [100.0]
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pandas as pd
from torch import nn

from mnemonic.baselines import METHODS, Access, Method
from mnemonic.baselines.mnemonic_code import prepared as trained_with_codes
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.lab.checkpoints import trained
from mnemonic.lab.setups import SETUPS, Setup, settings_for
from mnemonic.models import build_model


def compare(seed: int, setup: str, method: str, settings: dict | None = None) -> dict:
    """Let one method forget, and measure it.

    Args:
        seed: Of weights, training, codes and the method.
        setup: Key of ``SETUPS``.
        method: Key of ``METHODS``.
        settings: Of the method; the tuned ones where missing.

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
    model, history = trained(
        access.fresh(seed),
        access.data,
        recipe=access.how_to_train(),
        codes=access.codes if with_codes else None,
        t_mix=access.t_mix if with_codes else 0.0,
        seed=seed,
        progress=False,
        with_history=True,
    )
    return model, history.seconds


def all_settings(setup: str, methods: Sequence[str]) -> list[dict]:
    """Settings of ``run_grid(compare, …)``, with what each method was tuned to.

    Args:
        setup: Key of ``SETUPS``.
        methods: Keys of ``METHODS``.

    Returns:
        One a method, with the tuned values.
    """
    tuned = settings_for(setup)
    return [
        {"setup": setup, "method": name, "settings": tuned.get(name, {})}
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
