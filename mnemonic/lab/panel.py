"""Every rule on networks of many kinds, and how much each attacker brings back.

Example:
    >>> requests(10)[10:13]
    [(1, 7), (0, 3, 9), (2, 5)]
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from mnemonic.audits.outputs import logits_of
from mnemonic.codes import MnemonicCodes
from mnemonic.data.splits import first_of_each
from mnemonic.lab.kinds import KINDS, of_kind
from mnemonic.lab.ladder import (
    CONTROLS,
    EVERY_LAYER,
    MNISTS,
    RULES,
    all_images,
    alone,
    at_most_one_image,
    by_rule,
    five_images,
    head_alone,
    kept,
)
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import two_numbers
from mnemonic.networks.asked import NotFinite
from mnemonic.networks.layers import head_of
from mnemonic.storage import generator_for

ASKED = ((0,), (3,), (6,), (8,), (1, 7), (0, 3, 9))  # by every attacker
OWNED = 500  # images of a class, at most, by an attacker
NEVER = 50  # is added to the seed of an original, for the network that never saw


def row_of(
    network: nn.Module, codes: MnemonicCodes, classes: Sequence[int]
) -> dict[str, float]:
    """What stands at some classes in the last layer.

    Args:
        network: Ends in a linear layer.
        codes: Those of the other classes give the mean feature.
        classes: The forget classes.

    Returns:
        ``row_length``, in the mean length of the other rows, and ``row_cosine`` with
        minus the mean feature, in [-1, 1]; means over the classes.
    """
    _, layer, features, _ = head_of(network, codes.images)
    others = [c for c in range(len(codes.images)) if c not in classes]
    rows = layer.weight.detach()
    own, length = rows[list(classes)], rows[others].norm(dim=1).mean()
    against = torch.cosine_similarity(own, -features[others].mean(0, keepdim=True))
    return {
        "row_length": float(own.norm(dim=1).mean() / length),
        "row_cosine": float(against.mean()),
    }


def requests(n_classes: int, n_sets: int = 10) -> list[tuple[int, ...]]:
    """Each class, ``ASKED``, and some sets each of two, three and five classes."""
    found = dict.fromkeys([*((c,) for c in range(n_classes)), *ASKED])
    generator = generator_for("sets", 0)
    for size in (2, 3, 5):
        most = len([f for f in found if len(f) == size]) + n_sets
        while len([f for f in found if len(f) == size]) < most:
            drawn = torch.randperm(n_classes, generator=generator)[:size]
            found[tuple(sorted(drawn.tolist()))] = None
    return list(found)


@lru_cache(maxsize=1)
def _prepared(kind: str, seed: int) -> tuple:
    """Network, data and codes, and its last layer with what that is given."""
    model, data, codes = of_kind(kind, seed)
    model.to(memory_format=torch.channels_last)  # convolutions answer 1.3 times as fast
    chosen = first_of_each(data.train.labels, OWNED)
    data = replace(data, train=data.train.take(chosen))
    return model, data, codes, *alone(model, data)


def _made(
    kind: str, seed: int, classes: tuple[int, ...], attacked: bool
) -> Iterator[tuple]:
    """For every rule: name, network, its last layer with its inputs, seconds."""
    model, data, codes, _, features = _prepared(kind, seed)
    strength = Profile.named(KINDS[kind].profile).strength or MNISTS
    for rule in (*CONTROLS, *RULES):
        started = time.perf_counter()
        network = by_rule(rule, model, data, codes, classes, strength)
        seconds = time.perf_counter() - started
        last = head_alone(network, data), features
        if rule in EVERY_LAYER:
            last = None  # where images overflow; codes did not
            with contextlib.suppress(NotFinite):
                last = alone(network, data)
        yield rule, network, last, seconds
    if attacked:
        never, _, _ = of_kind(kind, seed + NEVER, codes=codes, without=classes)
        yield "never saw", never, alone(never, data), float("nan")


def judged(seed: int, kind: str, classes: Sequence[int], attacked: bool) -> list[dict]:
    """One request by every rule on one network: a cell of a grid.

    Args:
        seed: As in ``of_kind``.
        kind: Key of ``KINDS``.
        classes: The forget classes.
        attacked: Whether the attacker is asked, too, who trains on five images of
            every class, and whether a network that never saw the classes, with the
            codes of the others, stands beside.

    Returns:
        One row a rule, with ``seconds``, ``remaining_accuracy`` and
        ``forgetting_error`` on test images, both also ``before_…``, percent; the
        ``rungs``; and what ``row_of`` says.
    """
    _, data, codes, head, features = _prepared(kind, seed)
    before = two_numbers(head, features, classes)
    least = kept(head, features, classes)
    read = all_images(head, features, classes)
    rows = []
    for rule, network, last, seconds in _made(kind, seed, tuple(classes), attacked):
        row = {"rule": rule, "seconds": seconds} | row_of(network, codes, classes)
        row |= {f"before_{name}": value for name, value in before.items()}
        if last is None:
            rows.append(row | two_numbers(None, data, classes))
            continue
        row |= two_numbers(*last, classes) | at_most_one_image(*last, classes, least)
        same = last[1] is features
        row["all_images"] = read if same else all_images(*last, classes)
        if attacked:
            row["five_images"] = five_images(network, data, classes)
        rows.append(row)
    return rows


def answers(
    seed: int, kind: str, classes: Sequence[int], attacked: bool
) -> dict[str, Tensor]:
    """Logits on the test images after every rule.

    Args:
        seed: As in ``judged``.
        kind: As in ``judged``.
        classes: The forget classes.
        attacked: As in ``judged``.

    Returns:
        For each rule ``[N, K]`` in float16, but for those that diverged; and the
        images' ``"labels"``.
    """
    found = {}
    for rule, _, last, _ in _made(kind, seed, tuple(classes), attacked):
        if last is not None:
            found[rule] = logits_of(*last, last[1].test).half()
    return found | {"labels": _prepared(kind, seed)[1].test.labels}
