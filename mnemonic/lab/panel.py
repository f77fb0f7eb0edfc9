"""Every rule on networks of many kinds, and how much each attacker brings back.

Example:
    >>> requests(10)[10:13]
    [(1, 7), (0, 3, 9), (2, 5)]
"""

import torch
from torch import nn

from mnemonic.codes import MnemonicCodes
from mnemonic.lab.kinds import of_kind
from mnemonic.lab.ladder import (
    CONTROLS,
    EVERY_LAYER,
    RULES,
    all_images,
    alone,
    at_most_one_image,
    by_rule,
    five_images,
    head_alone,
    rungs,
)
from mnemonic.lab.scoring import two_numbers
from mnemonic.networks.layers import head_of
from mnemonic.storage import generator_for

ASKED = ((0,), (3,), (6,), (8,), (1, 7), (0, 3, 9))  # by every attacker


def row_of(
    network: nn.Module, codes: MnemonicCodes, classes: tuple[int, ...]
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


def requests(n_classes: int) -> list[tuple[int, ...]]:
    """Each class, ``ASKED``, and ten sets each of two, three and five classes."""
    found = dict.fromkeys([*((c,) for c in range(n_classes)), *ASKED])
    generator = generator_for("sets", 0)
    for size in (2, 3, 5):
        most = len([f for f in found if len(f) == size]) + 10
        while len([f for f in found if len(f) == size]) < most:
            drawn = torch.randperm(n_classes, generator=generator)[:size]
            found[tuple(sorted(drawn.tolist()))] = None
    return list(found)


def judged(seed: int, kind: str) -> list[dict]:
    """Every request by every rule on one network: a cell of a grid.

    Args:
        seed: As in ``of_kind``.
        kind: Key of ``KINDS``.

    Returns:
        One row a request and rule, with ``remaining_accuracy`` and
        ``forgetting_error`` on test images, both also ``before_…``, percent; for those
        of ``ASKED`` the ``rungs``.
    """
    model, data, codes = of_kind(kind, seed)
    head, features = alone(model, data)
    read = {classes: all_images(model, data, classes) for classes in ASKED}
    rows = []
    for classes in requests(data.n_classes):
        before = two_numbers(head, features, classes)
        for rule in (*CONTROLS, *RULES):
            network = by_rule(rule, model, data, codes, classes)
            whole = rule in EVERY_LAYER
            asked = (network, data) if whole else (head_alone(network, data), features)
            row = {"rule": rule, "classes": " ".join(map(str, classes))}
            row |= {f"before_{name}": value for name, value in before.items()}
            row |= two_numbers(*asked, classes)
            if classes in ASKED:
                row |= at_most_one_image(*asked, classes, model if whole else head)
                row["five_images"] = five_images(network, data, classes)
                row["all_images"] = (
                    all_images(network, data, classes) if whole else read[classes]
                )
            rows.append(row)
    return rows


def never_saw(seed: int, kind: str, codes_of: int = 0) -> list[dict]:
    """Networks that never saw the classes of ``ASKED``: a cell of a grid.

    Args:
        seed: Of first weights and training; not that of an original.
        kind: Key of ``KINDS``.
        codes_of: Seed of the original, whose codes of the remaining classes they have.

    Returns:
        One row each, as ``judged`` gives them, with what ``row_of`` does.
    """
    rows = []
    original, data, codes = of_kind(kind, codes_of)
    for classes in ASKED:
        network, _, _ = of_kind(kind, seed, codes=codes, without=classes)
        row = {"rule": "never saw", "classes": " ".join(map(str, classes))}
        row |= two_numbers(network, data, classes)
        row |= row_of(network, codes, classes)
        rows.append(row | rungs(network, data, classes, original))
    return rows
