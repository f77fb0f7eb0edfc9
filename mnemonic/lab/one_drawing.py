"""Requests to be forgotten, and ways to answer them: the rivals of chapter 13.

Each sees the classifier and one drawing of everybody who asks. Beside the learned loss
of ``meta_loss``: nothing at all; one step up the cross-entropy of the drawings; and SSD
with the drawings as its forget set. The reference is a network retrained without those
who asked.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnemonic.baselines.ssd import dampened, importance
from mnemonic.data.splits import ArraySplit
from mnemonic.data.writers import omniglot, simulated_writers
from mnemonic.lab.meta_loss import MetaLoss, Shown, meta_trained, one_step
from mnemonic.lab.people import (
    People,
    accuracies,
    classifier,
    gathered,
    losses_of,
    tug_of_war,
)
from mnemonic.networks.running import copied
from mnemonic.storage import generator_for

OURS = "second and third term"
VARIANTS = {
    "MetaUnlearn": {},
    "second term alone": {"terms": (0.0, 1.0)},
    OURS: {"terms": (0.0, 1.0), "keep": 1.0},
    "without identity": {
        "terms": (0.0, 1.0),
        "keep": 1.0,
        "blind_to": ("identity",),
    },
}
# Chosen by ToW on Omniglot, its strangers those of the validation split, seed 1000.
RATE = 0.01  # of the step on the learned loss
ASCENT = 0.03
ALPHA = 1000.0  # of SSD


def moved(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """A copy with other weights."""
    other = copied(model)
    other.load_state_dict({name: w.detach() for name, w in weights.items()})
    return other


def ascended(model: nn.Sequential, support: Shown, rate: float = ASCENT) -> nn.Module:
    """One step up the cross-entropy of the drawings that were handed in."""
    loss = functional.cross_entropy(model(support.inputs), support.labels)
    return moved(model, one_step(model, -loss, rate))


def dampened_by(
    model: nn.Module,
    people: People,
    support: Shown,
    alpha: float = ALPHA,
    dampening: float = 1.0,
) -> nn.Module:
    """SSD, its forget set the drawings handed in, its importance of all kept before.

    Args:
        model: The classifier.
        people: Whose training drawings gave the importance of all, in advance.
        support: The drawings handed in.
        alpha: α of SSD.
        dampening: λ of SSD.

    Returns:
        A copy whose weights are dampened.
    """
    other, data = copied(model), people.data
    generator = generator_for("ssd", 0)
    handed = ArraySplit(people.ink(support), support.labels)
    few = replace(data, train=handed)
    i_forget, i_whole = (importance(other, d, 64, generator) for d in (few, data))
    return dampened(other, i_forget, i_whole, alpha, dampening)


def learned(
    model: nn.Sequential, people: People, seed: int, n: int, **how: object
) -> MetaLoss:
    """M_φ for requests of n people, its strangers those of the validation split."""
    how |= {"people": n}
    strangers = people.strangers("validation")
    return meta_trained(model, people.known, people.spare, strangers, seed, **how)


def source(name: str, seed: int) -> People:
    """``"omniglot"``, or ``"simulated"`` writers, in their three groups."""
    drawn = omniglot() if name == "omniglot" else simulated_writers(40, 30, seed)
    return gathered(drawn, seed)


def answered(
    seed: int, data: str, n: int, turns: int = 2, split: str = "test"
) -> list[dict]:
    """Every way to answer a request, each beside a network retrained without them.

    Args:
        seed: Of people, networks and learned losses.
        data: As in ``source``.
        n: People who ask at once.
        turns: Requests, of other people each, to the same classifier.
        split: Where the strangers that are scored are from.

    Returns:
        One row a request and method: percent classified correctly of those retained, of
        those forgotten and of strangers; ToW; median losses in nats; and whether the
        drawings are their own or, as a control, of others who asked for nothing.
    """
    people = source(data, seed)
    model = classifier(people, seed)
    taught = {
        name: learned(model, people, seed, n, **how) for name, how in VARIANTS.items()
    }
    rows = []
    for turn in range(turns):
        asked = people.asking(n, turn)
        own = people.handed_in(asked)
        other = people.handed_in(people.asking(n, turn + turns))
        gold = accuracies(classifier(people, seed + 100, asked), people, asked, split)
        again = classifier(people, seed + 200, asked)
        made = {("retrained", "own"): again, ("nothing", "own"): model}
        made["SSD", "own"] = dampened_by(model, people, own)
        for whose, support in (("own", own), ("other", other)):
            made["ascent", whose] = ascended(model, support)
            for name, loss in taught.items():
                named = replace(support, writers=own.writers)
                weights = one_step(model, loss(model, named), RATE)
                made[name, whose] = moved(model, weights)
        forget = people.known.take(torch.isin(people.writers, asked))
        shown = {"forgotten": forget, "test": people.strangers(split)}
        for (name, whose), network in made.items():
            found = accuracies(network, people, asked, split)
            row = {"method": name, "drawings": whose, "turn": turn, **found}
            row |= {"tow": tug_of_war(found, gold)}
            for part, drawn in shown.items():
                row[f"{part}_loss"] = float(losses_of(network, drawn).median())
            rows.append(row)
    return rows
