"""Every method on the same networks, data and classes: one row a method and seed.

``compare`` trains (or fetches) the network that a method starts from, lets it forget,
and measures before and after on test images, in one of ``mnemonic.lab.profiles``.

Example:
    >>> from mnemonic.lab.grids import run_grid
    >>> settings = [{"setup": "smoke-fast", "method": "row-zeroing"}]
    >>> frame = run_grid(compare, settings, seeds=[0], jobs=1)
    >>> frame["forgetting_error"].tolist()
    [100.0]
"""

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
from mnemonic.lab.profiles import PROFILES, Profile
from mnemonic.lab.settings import settings_for
from mnemonic.models import build_model
from mnemonic.networks import NotFinite


def compare(seed: int, setup: str, method: str, settings: dict | None = None) -> dict:
    """Let one method forget, and measure it.

    Args:
        seed: Of weights, training, codes and the method.
        setup: Name of a profile.
        method: Key of ``METHODS``.
        settings: Of the method; the tuned ones where missing.

    Returns:
        One row, on test images ``remaining_accuracy`` and ``forgetting_error``
        (percent), both also ``before_…``; ``train_forget_accuracy`` and
        ``train_remaining_accuracy``; ``seconds`` of forgetting and ``training_seconds``
        of the network it starts from; ``forget_images``, ``remaining_images`` and
        ``codes`` read, ``visits`` to them, and ``backward_passes``.
    """
    how = METHODS[method]
    access, model, training_seconds = start(PROFILES[setup], how, seed)
    if settings is None:
        settings = settings_for(setup).get(method, {})
    result = how(model, access, seed=seed, **settings)
    asked = access.data, access.classes
    before, after = (two_numbers(m, *asked) for m in (model, result.model))
    on_train = two_numbers(result.model, *asked, "train")
    counts = result.counts
    return {
        "training_seconds": training_seconds,
        "seconds": result.seconds,
        **{f"before_{what}": value for what, value in before.items()},
        **after,
        "train_forget_accuracy": 100 - on_train["forgetting_error"],
        "train_remaining_accuracy": on_train["remaining_accuracy"],
        "forget_images": counts.images["forget"],
        "remaining_images": counts.images["remaining"],
        "codes": counts.images["codes"],
        "visits": sum(counts.visits.values()),
        "backward_passes": counts.backward_passes,
    }


def two_numbers(
    network: nn.Module, data: ImageData, classes: Sequence[int], split: str = "test"
) -> dict[str, float]:
    """A_R and E_F, in percent; 0 and 100 where a method destroyed the network.

    Args:
        network: After a method.
        data: With the forget classes.
        classes: The forget classes.
        split: As in ``evaluate``.

    Returns:
        ``remaining_accuracy`` and ``forgetting_error``.
    """
    try:
        scores = evaluate(network, data, classes, split=split)
        a_r, e_f = scores.remaining_accuracy, scores.forgetting_error
    except NotFinite:  # it answers nothing, so nothing rightly
        a_r, e_f = 0.0, 100.0
    return {"remaining_accuracy": a_r, "forgetting_error": e_f}


def access_for(profile: Profile, method: Method, seed: int) -> Access:
    """What a method is given in a profile.

    Args:
        profile: Data, network and recipe.
        method: Decides which codes are drawn, if any.
        seed: Of the codes, and of the network's first weights.

    Returns:
        The access.
    """
    data, codes = profile.load(), None
    if method.codes:
        codes = MnemonicCodes.draw(data, seed=seed, distribution=method.codes)
    return Access(
        data,
        profile.classes,
        codes=codes,
        build=lambda s: build_model(profile.model_name, data, seed=s),
        recipe=profile.recipe,
        t_mix=profile.t_mix,
        built_with=seed,
    )


def start(
    profile: Profile, method: Method, seed: int
) -> tuple[Access, nn.Module, float]:
    """What a method is given, and the network that it starts from.

    Args:
        profile: Data, network and recipe.
        method: Trains by itself, with codes, or not at all.
        seed: Of codes, weights and training.

    Returns:
        The access, the network, and the seconds that its training took. Plain networks,
        and those with mnemonic codes, come from the cache if they are there, with the
        time of when they were made.
    """
    access = access_for(profile, method, seed)
    if method.preparation not in (None, trained_with_codes):
        started = time.perf_counter()
        model = method.prepare(access, seed=seed)
        return access, model, time.perf_counter() - started
    how = {"recipe": access.recipe, "seed": seed, "progress": False}
    if method.preparation:
        how |= {"codes": access.codes, "t_mix": access.t_mix}
    model, history = trained(access.fresh(seed), access.data, with_history=True, **how)
    return access, model, history.seconds


def all_settings(setup: str, methods: Sequence[str]) -> list[dict]:
    """Settings of ``run_grid(compare, …)``, with what each method was tuned to.

    Args:
        setup: Name of a profile.
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
    short = {"remaining_accuracy": "A_R", "forgetting_error": "E_F"}
    return frame.rename(columns=short).assign(
        change=frame["remaining_accuracy"] - frame["before_remaining_accuracy"],
        title=frame["method"].map(lambda name: METHODS[name].title),
    )
