"""Settings of the methods, searched on the validation split.

    python -m mnemonic.lab.tuning quick

One objective for all: the largest A_R + E_F on the validation images, ties going to the
fewest backward passes. One budget for all: ``TRIALS`` settings, the published ones
first and the others spread evenly over the method's ``space``; a winner that is the
least or the largest tried of any setting is moved outwards until it is neither. The
score is a mean over networks of two seeds that no result is reported for: one network
is a thin basis. Test images are not read. All that was tried is kept in
``lab/tuned/<setup>.json``, beside what was found there for other methods.
"""

import argparse
import sys

import pandas as pd
import torch

from mnemonic.baselines import METHODS, Method
from mnemonic.lab.comparison import forgotten, start
from mnemonic.lab.grids import run_grid
from mnemonic.lab.keys import code_digest, numerical
from mnemonic.lab.profiles import PROFILES
from mnemonic.lab.results import provenance
from mnemonic.lab.scoring import SCORES, two_numbers
from mnemonic.lab.settings import TUNED, hash_of, tuned
from mnemonic.storage import generator_for, write_json

TRIALS = 12
SEEDS = (1000, 1001)  # of the networks that settings are tuned on
MEASURED = [*SCORES, "backward_passes", "seconds"]


def candidates(method: Method, n_trials: int) -> list[dict]:
    """Settings to try first.

    Args:
        method: With its ``space`` and its defaults.
        n_trials: How many, 1 or more.

    Returns:
        The published defaults, then others at random, of every setting one in each of
        ``n_trials - 1`` equal parts of its range. None twice.
    """
    generator, n = generator_for(method.name, SEEDS[0]), n_trials - 1
    found = [{name: method.defaults[name] for name in method.space}]
    while len(found) < n_trials:  # whole numbers may come twice
        parts = [torch.randperm(n, generator=generator) for _ in method.space]
        places = (
            torch.stack(parts) + torch.rand(len(parts), n, generator=generator)
        ) / n
        for column in places.T.tolist():
            ranges = zip(method.space.items(), column, strict=True)
            settings = {name: span.at(place) for (name, span), place in ranges}
            if settings not in found and len(found) < n_trials:
                found.append(settings)
    return found


def outwards(method: Method, tried: list[dict], best: dict) -> list[dict]:
    """What to try next: the best moved out, where it is the least or largest tried.

    Args:
        method: With its ``space``.
        tried: All settings so far.
        best: Of these.

    Returns:
        One a setting and side; nothing if the best lies inside.
    """
    found = []
    for name, span in method.space.items():
        values = [settings[name] for settings in tried]
        for sign, end in ((-1, min(values)), (1, max(values))):
            if best[name] == end:
                moved = best | {name: span.beyond(end, sign)}
                found += [moved] if moved not in [*tried, *found] else []
    return found


def tried(seed: int, setup: str, method: str, settings: dict) -> dict:
    """Score one setting of a method on the validation split.

    Args:
        seed: Of the network.
        setup: Name of a profile.
        method: Key of ``METHODS``.
        settings: Of the method.

    Returns:
        A_R and E_F on the validation images (percent), as ``two_numbers`` has them,
        backward passes and seconds.
    """
    how = METHODS[method]
    access, model, _ = start(PROFILES[setup], how, seed)
    result = forgotten(how, model, access, seed, how.economy | settings)
    scores = two_numbers(result.model, access.data, access.classes, "validation")
    counts = {"backward_passes": result.counts.backward_passes}
    return {"seconds": result.seconds, **counts, **scores}


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds, one row a candidate, the best first.

    Args:
        rows: Of ``tried``, with the number of their ``candidate``.

    Returns:
        The columns of ``MEASURED``, and ``diverged``: on any seed.
    """
    groups = rows.groupby("candidate")
    means = groups[MEASURED].mean().assign(diverged=groups["diverged"].any())
    score = -means[list(SCORES)].sum(axis=1).round(9)
    by = ["score", "backward_passes"]
    return means.assign(score=score).sort_values(by, kind="stable")[means.columns]


def searched(setup: str, names: list[str], n_trials: int) -> dict[str, list[dict]]:
    """Search until every winner lies inside.

    Args:
        setup: Name of a profile.
        names: Keys of ``METHODS``.
        n_trials: Settings at first.

    Returns:
        For each method what was tried, the best first: ``settings`` and means.
    """
    every = {name: candidates(METHODS[name], n_trials) for name in names}
    going_on, found = True, {}
    while going_on:
        going_on = False
        cells = [
            {"setup": setup, "method": name, "settings": settings}
            for name in names
            for settings in every[name]
        ]
        frame = run_grid(tried, cells, SEEDS)  # which only reads what it had before
        for name, rows in frame.groupby("method", sort=False):
            place = rows["settings"].map(every[name].index)
            means = ranked(rows.assign(candidate=place)).round(2)
            told = zip(means.index, means.to_dict("records"), strict=True)
            found[name] = [{"settings": every[name][i], **row} for i, row in told]
            best = found[name][0]["settings"]
            more = outwards(METHODS[name], every[name], best)
            print(name, best, "and on" if more else "", flush=True)
            every[name] += more
            going_on |= bool(more)
    return found


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
    code = code_digest(path for path in numerical() if path.suffix == ".py")
    found = {}
    for name, rows in searched(options.setup, names, options.trials).items():
        best = METHODS[name].economy | rows[0]["settings"]
        found[name] = {
            "settings": best,
            "candidates": rows,
            "code": code,
            **provenance(),
        }
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
