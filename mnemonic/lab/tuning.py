"""Settings of the methods, searched on the validation split.

    python -m mnemonic.lab.tuning mnist-5k-mlp

One objective for all: the largest A_R + E_F on the validation images, ties going to the
fewest backward passes. One budget for all: ``TRIALS`` settings, the published defaults
first and the rest drawn from the method's ``space``; a smaller space is tried whole.
The score is a mean over networks of two seeds that no result is reported for: one
network is a thin basis. Test images are not read. What came out is kept in
``lab/tuned/<setup>.json``, beside what was found there for other methods.
"""

from __future__ import annotations

import argparse
import itertools
import sys

import torch

from mnemonic.baselines import METHODS, Method
from mnemonic.evaluation import evaluate
from mnemonic.lab.comparison import access_for, starting_network
from mnemonic.lab.grids import run_grid
from mnemonic.lab.results import provenance
from mnemonic.lab.setups import SETUPS, TUNED, hash_of, tuned
from mnemonic.storage import generator_for, write_json

TRIALS = 12
SEEDS = (1000, 1001)  # of the networks that settings are tuned on


def candidates(method: Method, n_trials: int) -> list[dict]:
    """Settings to try.

    Args:
        method: With its ``space`` and its defaults.
        n_trials: At most so many.

    Returns:
        The published defaults, where the space holds them, then others at random.
    """
    names = list(method.space)
    every = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*method.space.values())
    ]
    order = torch.randperm(len(every), generator=generator_for(method.name, SEEDS[0]))
    published = {name: method.defaults[name] for name in names}
    first = [settings for settings in every if settings == published]
    rest = [every[i] for i in order.tolist() if every[i] != published]
    return (first + rest)[:n_trials]


def tried(seed: int, setup: str, method: str, n_trials: int) -> list[dict]:
    """Score a method's candidates on the validation split.

    Args:
        seed: Of the network.
        setup: Key of ``SETUPS``.
        method: Key of ``METHODS``.
        n_trials: The budget.

    Returns:
        One row a candidate, with ``settings``, A_R and E_F on the validation images
        (percent), backward passes and seconds. A network that is not finite any more
        scores 0.
    """
    chosen, how = SETUPS[setup], METHODS[method]
    data = chosen.load()
    access = access_for(chosen, data, how, seed)
    model, _ = starting_network(how, access, seed)
    rows = []
    for settings in candidates(how, n_trials):
        row = {"settings": settings}
        result = how(model, access, seed=seed, **settings)
        row |= {"seconds": result.seconds}
        row |= {"backward_passes": result.counts.backward_passes}
        try:
            scores = evaluate(result.model, data, chosen.classes, split="validation")
            row |= {"remaining_accuracy": scores.remaining_accuracy}
            row |= {"forgetting_error": scores.forgetting_error}
        except ValueError:  # NaN: the learning rate was too large
            row |= {"remaining_accuracy": 0.0, "forgetting_error": 0.0}
        rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Tune methods and keep what was found.

    Args:
        arguments: Of the command line.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m mnemonic.lab.tuning")
    parser.add_argument("setup", choices=sorted(SETUPS))
    parser.add_argument("--methods", nargs="*", help="all that have a space by default")
    parser.add_argument("--trials", type=int, default=TRIALS)
    options = parser.parse_args(arguments)
    names = options.methods or [n for n, m in METHODS.items() if m.space]
    settings = [
        {"setup": options.setup, "method": name, "n_trials": options.trials}
        for name in names
    ]
    frame = run_grid(tried, settings, SEEDS)
    frame["candidate"] = frame.groupby(["method", "seed"]).cumcount()
    found = {}
    for name, rows in frame.groupby("method", sort=False):
        means = rows.groupby("candidate")[
            ["remaining_accuracy", "forgetting_error", "backward_passes", "seconds"]
        ].mean()
        means["score"] = means["remaining_accuracy"] + means["forgetting_error"]
        ranked = means.sort_values(
            ["score", "backward_passes"], ascending=[False, True], kind="stable"
        )
        best = ranked.iloc[0]
        settings = rows.loc[rows["candidate"] == ranked.index[0], "settings"].iloc[0]
        found[name] = {
            "settings": settings,
            "remaining_accuracy": round(float(best["remaining_accuracy"]), 2),
            "forgetting_error": round(float(best["forgetting_error"]), 2),
            "tried": len(means),
            "seconds": round(float(rows["seconds"].sum()), 1),
            **provenance(),
        }
        print(name, found[name], flush=True)
    about = {
        "setup": options.setup,
        "objective": "largest A_R + E_F on the validation split, mean over the seeds",
        "seeds": list(SEEDS),
    }
    path = TUNED / f"{options.setup}.json"
    methods = {**tuned(path), **found}
    write_json(path, {"about": about, "sha256": hash_of(methods), "methods": methods})
    return 0


if __name__ == "__main__":
    # By the module's own name, so that worker processes import what they run.
    from mnemonic.lab import tuning

    sys.exit(tuning.main())
