"""Settings of the methods, searched on the validation split.

    python -m mnemonic.lab.tuning quick

One objective for all: the largest A_R + E_F on the validation images, ties going to the
fewest backward passes. One budget for all: ``TRIALS`` settings, the published defaults
first and the rest drawn from the method's ``space``; a smaller space is tried whole.
The score is a mean over networks of two seeds that no result is reported for: one
network is a thin basis. Test images are not read. What came out is kept in
``lab/tuned/<setup>.json``, beside what was found there for other methods.
"""

import argparse
import sys

import torch

from mnemonic.baselines import METHODS, Method
from mnemonic.lab.comparison import start, two_numbers
from mnemonic.lab.grids import run_grid
from mnemonic.lab.profiles import PROFILES
from mnemonic.lab.results import provenance
from mnemonic.lab.settings import TUNED, combined, hash_of, tuned
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
    every = combined(**method.space)
    order = torch.randperm(len(every), generator=generator_for(method.name, SEEDS[0]))
    published = {name: method.defaults[name] for name in method.space}
    drawn = [every[i] for i in order.tolist()]
    return sorted(drawn, key=lambda settings: settings != published)[:n_trials]


def tried(seed: int, setup: str, method: str, n_trials: int) -> list[dict]:
    """Score a method's candidates on the validation split.

    Args:
        seed: Of the network.
        setup: Name of a profile.
        method: Key of ``METHODS``.
        n_trials: The budget.

    Returns:
        One row a candidate, with ``settings``, A_R and E_F on the validation images
        (percent), backward passes and seconds. A network that gets nothing right any
        more scores 0.
    """
    how = METHODS[method]
    access, model, _ = start(PROFILES[setup], how, seed)
    rows = []
    for settings in candidates(how, n_trials):
        result = how(model, access, seed=seed, **settings)
        scores = two_numbers(result.model, access.data, access.classes, "validation")
        if scores["remaining_accuracy"] == 0:  # destroyed: too large a learning rate
            scores["forgetting_error"] = 0.0
        counts = {"backward_passes": result.counts.backward_passes}
        rows.append(
            {"settings": settings, "seconds": result.seconds, **counts, **scores}
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Tune methods and keep what was found.

    Args:
        arguments: Of the command line.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(prog="python -m mnemonic.lab.tuning")
    parser.add_argument("setup", choices=sorted(PROFILES))
    parser.add_argument("--methods", nargs="*", help="all that have a space by default")
    parser.add_argument("--trials", type=int, default=TRIALS)
    options = parser.parse_args(arguments)
    names = options.methods or [n for n, m in METHODS.items() if m.space]
    settings = combined(setup=[options.setup], method=names, n_trials=[options.trials])
    frame = run_grid(tried, settings, SEEDS)
    frame["candidate"] = frame.groupby(["method", "seed"]).cumcount()
    found = {}
    measured = ["remaining_accuracy", "forgetting_error", "backward_passes"]
    for name, rows in frame.groupby("method", sort=False):
        means = rows.groupby("candidate")[measured].mean()
        means["score"] = means["remaining_accuracy"] + means["forgetting_error"]
        best = means.sort_values(
            ["score", "backward_passes"], ascending=[False, True], kind="stable"
        ).iloc[0]
        found[name] = {
            "settings": rows.set_index("candidate").loc[best.name, "settings"].iloc[0],
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
