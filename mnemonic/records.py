"""Runs that are too long for every reader, made once and kept with their provenance.

    python -m mnemonic.records mnist-complete

Example:
    >>> sorted(RECORDS)
    ['fashion-mnist-short', 'mnist-complete']
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import replace

from mnemonic import results
from mnemonic.evaluation import evaluate
from mnemonic.experiments import Profile, run_grid
from mnemonic.forgetting import forget


def every_class(seed: int, profile: str, data_name: str) -> list[dict]:
    """Forget each class in turn, by the codes' choice and by the paper's strength.

    First shown in chapter 5 (Table 7 of the paper).

    Args:
        seed: Of codes, initial weights and training.
        profile: Name of the profile.
        data_name: What ``load_data`` is given.

    Returns:
        One row a class and choice: A_R and E_F before and after, in percent, on test
        data; the strength, the sign and the seconds.
    """
    settings = replace(Profile.named(profile), data_name=data_name)
    data = settings.load()
    model, codes = settings.trained(data, seed)
    rows = []
    for c in range(data.n_classes):
        before = evaluate(model, data, [c])
        for choice, strength in (("codes", None), ("paper", settings.strength)):
            with warnings.catch_warnings():  # forgets_codes says it in the table
                warnings.simplefilter("ignore", RuntimeWarning)
                result = forget(model, codes, [c], strength=strength)
            after = evaluate(result.model, data, [c])
            rows.append(
                {
                    "forget_class": c,
                    "choice": choice,
                    "before_remaining_accuracy": before.remaining_accuracy,
                    "before_forgetting_error": before.forgetting_error,
                    "remaining_accuracy": after.remaining_accuracy,
                    "forgetting_error": after.forgetting_error,
                    "lambda1": result.strength.lambda1,
                    "lambda2": result.strength.lambda2,
                    "sign": result.sign,
                    "forgets_codes": result.forgets_codes,
                    "seconds": result.seconds,
                }
            )
    return rows


_KEPT = "complete (a stratified tenth of the training images kept for validation)"
_FORGOT = (
    "each class forgotten, the strength chosen on the codes, or the paper's for MNIST"
)
# Name: the setting of every_class, and what it is.
RECORDS = {
    "mnist-complete": (
        {"profile": "full", "data_name": "mnist"},
        f"MNIST {_KEPT}, MLP 784-1000-10, 200 epochs, t_mix 0.1, codes U[0, 1]; "
        + _FORGOT,
    ),
    "fashion-mnist-short": (
        {"profile": "smoke", "data_name": "fashion-mnist"},
        f"Fashion-MNIST {_KEPT}, MLP 784-1000-10, 10 epochs with learning rate 0.05, "
        f"t_mix 0.1, codes U[0, 1]; {_FORGOT}",
    ),
}


def main(names: list[str]) -> int:
    """Make the runs named, or say which there are.

    Args:
        names: Keys of ``RECORDS``.

    Returns:
        0, or 2 if there is no such run.
    """
    unknown = [n for n in names if n not in RECORDS]
    if unknown or not names:
        print(f"no run {unknown}; there are {', '.join(RECORDS)}", file=sys.stderr)
        return 2
    for name in names:
        setting, about = RECORDS[name]
        started = time.monotonic()
        frame = run_grid(every_class, [setting], Profile.named("full").seeds)
        results.record(name, frame, about=about, seconds=time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
