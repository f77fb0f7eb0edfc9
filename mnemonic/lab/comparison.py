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

import contextlib
import math
import time
from collections.abc import Sequence

import pandas as pd
import torch
from torch import nn

from mnemonic.audits import diagnoses, relearn
from mnemonic.audits.outputs import last_linear
from mnemonic.audits.relearning import FRESH
from mnemonic.baselines import METHODS, Access, Counts, Method, Unlearned
from mnemonic.baselines.counting import KINDS
from mnemonic.baselines.mnemonic_code import prepared as trained_with_codes
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.lab.checkpoints import trained
from mnemonic.lab.profiles import PROFILES, Profile
from mnemonic.lab.scoring import SCORES, two_numbers
from mnemonic.lab.settings import settings_for
from mnemonic.models import build_model
from mnemonic.networks.asked import NotFinite

DIAGNOSES = (
    "one_number",
    "two_numbers",
    "other_rows",
    "known_rule",
    "logit_auc",
    "margin_auc",
)
# What every method stands beside: the first four in every table, the next two with
# networks that never saw the class, the last for what is asked of the output.
CONTROLS = ("original", "row-zeroing", "one-bias", "random-noise")
NEVER_SAW = ("retrain", "retrain-codes")
TRIVIAL = ("deleted", "copied-row", "mean-row", "random-row")


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
        ``train_remaining_accuracy``; whether it ``diverged``; ``seconds`` of forgetting
        and ``training_seconds`` of the network it starts from; ``forget_images``,
        ``remaining_images`` and ``codes`` read, ``visits`` to them, and
        ``backward_passes``; the values of ``DIAGNOSES`` and ``relearned``, test
        accuracy on the class after a short relearning, the larger of two (see there).
        What a method that diverged has not is NaN.
    """
    how = METHODS[method]
    access, model, training_seconds = start(PROFILES[setup], how, seed)
    if settings is None:
        settings = settings_for(setup).get(method, {})
    result = forgotten(how, model, access, seed, settings)
    asked = access.data, access.classes
    before, after = (two_numbers(m, *asked) for m in (model, result.model))
    on_train = two_numbers(result.model, *asked, "train")
    diverged, counts = after["diverged"] or on_train["diverged"], result.counts
    return {
        "training_seconds": training_seconds,
        "seconds": result.seconds,
        **{f"before_{name}": before[name] for name in SCORES},
        **after,
        "diverged": diverged,
        "train_forget_accuracy": 100 - on_train["forgetting_error"],
        "train_remaining_accuracy": on_train["remaining_accuracy"],
        **_left(None if diverged else result.model, model, *asked),
        "forget_images": counts.images["forget"],
        "remaining_images": counts.images["remaining"],
        "codes": counts.images["codes"],
        "visits": sum(counts.visits.values()),
        "backward_passes": counts.backward_passes,
    }


def forgotten(
    method: Method, model: nn.Module, access: Access, seed: int, settings: dict
) -> Unlearned:
    """What a method makes of a network; without a network where it breaks down.

    Args:
        method: To call.
        model: To forget.
        access: For the method.
        seed: For the method.
        settings: Of the method.

    Returns:
        Its result; ``model`` is ``None``, and seconds and counts are NaN, where its
        numbers grew beyond what it can compute with.
    """
    try:
        return method(model, access, seed=seed, **settings)
    except (NotFinite, torch.linalg.LinAlgError):
        counts = Counts(*2 * [dict.fromkeys(KINDS, math.nan)], math.nan)
        return Unlearned(None, access.classes, math.nan, counts)


def _left(
    after: nn.Module | None, before: nn.Module, data: ImageData, classes: Sequence[int]
) -> dict[str, float]:
    """Diagnoses of the output, and relearning, in a few seconds."""
    found = dict.fromkeys((*DIAGNOSES, "relearned"), math.nan)
    if after is None:
        return found
    with contextlib.suppress(NotFinite):  # on other images, or after a step
        told = diagnoses(after, data, classes, original=before)
        found |= {name: told[name].value for name in DIAGNOSES if name in told}
        ways = (False, True) if last_linear(after, data) is not None else (False,)
        how = {"samples": FRESH, "draws": 1}
        again = [relearn(after, data, classes, fresh=way, **how) for way in ways]
        found["relearned"] = max(a["forget_accuracy"].value for a in again)
    return found


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
