"""Unlearning by design: what is kept at training, so that a class can go later.

Each member of the family (``mnemonic.lab.members``) keeps something, drops a class by
it and is undone by whoever holds it; all are asked the same. Methods of chapter 9 stand
beside, in that chapter's own cells.

    python -m mnemonic.lab.by_design quick

Example:
    >>> (found,) = designed(seed=0, setup="smoke-fast", member="class means")
    >>> found["kept"]  # ten means of 1,000 features, four bytes each
    40000
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from mnemonic.audits import diagnoses
from mnemonic.audits.diagnoses import WITHIN, brought_back
from mnemonic.audits.outputs import logits_of
from mnemonic.baselines import METHODS, Access
from mnemonic.baselines.sisa import SHARDS
from mnemonic.codes import MnemonicCodes
from mnemonic.lab.comparison import access_for, all_settings, compare, start
from mnemonic.lab.grids import mean_sd, plus_minus, run_grid
from mnemonic.lab.ladder import OUTPUT, five_images
from mnemonic.lab.members import MEMBERS
from mnemonic.lab.profiles import PROFILES
from mnemonic.lab.scoring import two_numbers
from mnemonic.lab.settings import settings_for
from mnemonic.lab.suspects import FIRST_NEVER
from mnemonic.lab.updates import recorded
from mnemonic.networks.layers import last_layer

COMPARED = (
    "original", "one-bias", "synthetic-embeddings", "erm-ktp", "sisa", "retrain"
)  # fmt: skip
ASKED = ("one_number", "output", "five_images")


def designed(seed: int, setup: str, member: str) -> list[dict]:
    """Keep, drop a class, and ask what is left: a cell of a grid.

    Args:
        seed: Of codes, first weights and training.
        setup: Name of a profile.
        member: One of ``MEMBERS``.

    Returns:
        One row, or one a share: ``kept``, bytes for all classes, besides the weights;
        ``keeping``, the processor's seconds for it after training; ``seconds`` of the
        request; ``before``, A_R before; ``A_R``, ``E_F`` and ``ASKED``, percent of test
        images, where ``output`` is the most that an attacker of the outputs gets;
        ``key``, what one number brings back after ``undo``, and ``key_never``, after
        the same in a network that never saw the class.
    """
    how, profile, settings = MEMBERS[member], PROFILES[setup], settings_for(setup)
    given = METHODS["mnemonic" if how.way == "codes" else "original"]
    access, model, _ = start(profile, given, seed)
    asked, rows = (access.data, access.classes), []
    started = time.process_time()
    model, kept = how.keep(model.cpu(), access, seed)
    keeping = time.process_time() - started
    size = sum(v.nbytes for each in kept for v in each.values())
    if how.way == "updates":  # those of the forget class; the time is of the training
        size, keeping = size * access.n_classes, 0.0
    before = two_numbers(model, *asked)["remaining_accuracy"]
    codes = MnemonicCodes.draw(access.data, seed=seed)
    never = profile.never_saw(access.classes, FIRST_NEVER + seed, codes)
    for share in how.shares:
        with_share = settings | {"share": share}
        started = time.perf_counter()
        after = how.drop(model, kept, access, with_share)
        seconds = time.perf_counter() - started
        name = member if len(how.shares) == 1 else f"{member}, {100 * share:g} %"
        row = {"member": name, "share": share, "kept": size, "keeping": keeping}
        row["way"] = how.way
        row |= {"seconds": seconds, "before": before}
        row |= _asked(after, model, *asked)
        for key, network in {"key": after, "key_never": never}.items():
            row[key] = math.nan
            if how.undo:
                undone = how.undo(network, kept, access, with_share)
                row[key] = _one_number(undone, *asked, model if key == "key" else never)
        rows.append(row)
    return rows


def _asked(network, original, data, classes) -> dict[str, float]:
    scores = two_numbers(network, data, classes)
    told = {"A_R": scores["remaining_accuracy"], "E_F": scores["forgetting_error"]}
    found = diagnoses(network, data, classes, original=original)
    told["one_number"] = found["one_number"].value
    told["output"] = max(found[name].value for name in OUTPUT if name in found)
    return told | {"five_images": five_images(network, data, classes)}


def _one_number(network, data, classes, before) -> float:
    """What one number brings back at the A_R of ``before``, less two points."""
    parts = data.validation, data.test
    asked = [(logits_of(network, data, p), p.labels.cpu()) for p in parts]
    kept = two_numbers(before, data, classes, "validation")["remaining_accuracy"]
    return brought_back(*asked, classes, least=kept - WITHIN).back.value


def paces(seed: int, setup: str) -> list[dict]:
    """How long each way of training takes, one after the other: a cell of a grid.

    Args:
        seed: Of weights and training.
        setup: Name of a profile.

    Returns:
        A row a ``way``: ``"plain"``, ``"codes"``, ``"updates"`` of all classes, or a
        method. ``epoch``, its seconds of the processor (the machine may have other
        work), of three; ``pace``, in those of a plain one.
    """
    profile, seconds = PROFILES[setup], {}
    profile = replace(profile, recipe=replace(profile.recipe, epochs=3))

    def updates(access: Access, seed: int) -> None:
        how = {"seed": seed, "classes": range(access.n_classes)}
        recorded(access.fresh(seed), access.data, access.how_to_train(), **how)

    ways = {"first": "original", "plain": "original", "codes": "mnemonic"}
    ways |= {"sisa": "sisa", "erm-ktp": "erm-ktp", "updates": "original"}
    for way, name in ways.items():  # the first is not counted: it loads what it needs
        access = access_for(profile, METHODS[name], seed)
        prepare = updates if way == "updates" else METHODS[name].prepare
        started = time.process_time()
        prepare(access, seed=seed)
        seconds[way] = (time.process_time() - started) / 3
    del seconds["first"]
    plain = seconds["plain"]
    return [{"way": w, "epoch": s, "pace": s / plain} for w, s in seconds.items()]


def family(
    setup: str,
    seeds: Sequence[int],
    members: Sequence[str] = tuple(MEMBERS),
    methods: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """All members, beside methods of chapter 9: one row a member and seed.

    Args:
        setup: Name of a profile.
        seeds: One run each.
        members: Of ``MEMBERS``.
        methods: Of ``COMPARED``, ``"original"`` among them.

    Returns:
        The columns of ``designed``, and ``training``, its seconds with those of keeping
        in those of plain training, and ``images``, whether training images are kept for
        the request.
    """
    profile = PROFILES[setup]
    grid = [{"setup": setup, "member": name} for name in members]
    ours = run_grid(designed, grid, seeds).assign(images=False)
    runs = run_grid(compare, all_settings(setup, methods), seeds)
    weights, mask = _sizes(profile, seeds[0])
    images = {"retrain": 0, "sisa": (SHARDS - 1) * weights, "erm-ktp": mask}
    runs = runs.assign(
        member=runs["method"].map(lambda name: METHODS[name].title),
        way=runs["method"].where(runs["method"].isin(["sisa", "erm-ktp"]), "plain"),
        images=runs["method"].isin(images),
        kept=runs["method"].map(images).fillna(0).astype(int),
        keeping=0.0,
        output=runs[list(OUTPUT)].max(axis=1),
        before=runs["before_remaining_accuracy"],
        A_R=runs["remaining_accuracy"],
        E_F=runs["forgetting_error"],
        five_images=runs["relearned"],
    )
    runs["kept"] += runs["images"] * profile.load().train.pixels.nbytes
    both = pd.concat([ours, runs[runs.columns.intersection(ours.columns)]])
    timed = run_grid(paces, [{"setup": setup}], seeds).set_index(["seed", "way"])
    pace = timed["pace"].reindex(both.set_index(["seed", "way"]).index).to_numpy()
    plain = profile.recipe.epochs * timed["epoch"].xs("plain", level="way").mean()
    return both.assign(training=pace + both["keeping"] / plain).reset_index(drop=True)


def _sizes(profile, seed) -> tuple[int, int]:
    """Bytes of a network, and of what is as large as its last layer."""
    model = start(profile, METHODS["original"], seed)[1]
    _, layer = last_layer(model, profile.load().input_shape)
    return sum(w.nbytes for w in model.parameters()), layer.weight.nbytes


if __name__ == "__main__":
    _, setup, *_ = sys.argv
    found = family(setup, PROFILES[setup].seeds)
    columns = ["kept", "training", "seconds", "A_R", "E_F", *ASKED, "key", "key_never"]
    print(plus_minus(mean_sd(found, ["member"], columns)).to_string(index=False))
