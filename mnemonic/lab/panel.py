"""Every rule on networks of many kinds, and how much each attacker brings back.

The rungs of the ladder are attackers who know more and more: the logits of the network
alone, its last layer, one image, five images a class, all of them. Each rung says what
share of the class's test images is answered right then. Nothing is chosen here.

Example:
    >>> requests(10)[10:13]
    [(1, 7), (0, 3, 9), (2, 5)]
"""

import torch
from torch import nn

from mnemonic.audits import diagnoses, linear_probes, prototype_attack, relearn
from mnemonic.audits.probes import probed_layers
from mnemonic.baselines import METHODS, Access
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.codes import MnemonicCodes
from mnemonic.data.arrays import ImageData
from mnemonic.forgetting.strengths import Strength
from mnemonic.lab.kinds import of_kind
from mnemonic.lab.scoring import two_numbers
from mnemonic.networks.layers import head_of
from mnemonic.storage import generator_for

OUTPUT = ("one_number", "two_numbers", "other_rows", "known_rule")
ASKED = ((0,), (3,), (6,), (8,), (1, 7), (0, 3, 9))  # by every attacker
PAPERS = Strength(1e-3, 10.0)  # for MNIST


def by_rule(
    model: nn.Module, data: ImageData, codes: MnemonicCodes, classes: tuple[int, ...]
) -> dict[str, nn.Module]:
    """What every rule makes of a network, and the controls, by name.

    Args:
        model: Trained with the codes; left untouched.
        data: Gives the controls the shape of an input.
        codes: Of the training.
        classes: The forget classes.

    Returns:
        Networks in evaluation mode; the last layer moves in all but the first three.
    """
    none = {"input_shape": data.input_shape}
    asked = {
        "the paper's step": (codes, {}),
        "the paper's step, its λ": (codes, {"strength": PAPERS}),
        "turned row": (codes, {"rule": "turn"}),
        "turned row, no codes": (None, {"rule": "turn"} | none),
        "mirrored row": (codes, {"rule": "turn", "strength": 2.0}),
        "projected row": (codes, {"rule": "turn", "strength": 1.0}),
        "unseen row": (codes, {"rule": "unseen"}),
        "unseen row, no codes": (None, {"rule": "unseen"} | none),
    }
    made = {"original": model}
    for name, (given, how) in asked.items():
        made[name] = quietly_forget(model, given, classes, **how).model
    access = Access(data, classes, codes=codes)
    for name in ("one-bias", "deleted"):
        made[METHODS[name].title] = METHODS[name](model, access).model
    return made


def rungs(
    network: nn.Module,
    data: ImageData,
    classes: tuple[int, ...],
    original: nn.Module,
    *,
    few: bool = False,
) -> dict[str, float]:
    """What each attacker gets of the forget classes' test images, in percent.

    Args:
        network: After a rule, or one that never saw the classes.
        data: Its validation images choose numbers, its training images relearn.
        classes: The forget classes.
        original: The network before: its A_R is to be kept but for two points.
        few: Ask only those who have no image.

    Returns:
        ``answers``, without any attack; those of ``OUTPUT``; ``one_image`` a class
        makes a prototype; ``five_images``, the larger of two relearnings, as given and
        with fresh rows; ``all_images`` train a probe of the last features. Besides,
        ``logit_auc`` and ``margin_auc``, in [0, 1].
    """
    answers = 100 - two_numbers(network, data, classes)["forgetting_error"]
    told = diagnoses(network, data, classes, original=original)
    aucs = (name for name in told if name.endswith("auc"))
    found = {"answers": answers} | {n: told[n].value for n in (*OUTPUT, *aucs)}
    if few:
        return found
    one = prototype_attack(network, data, classes, samples=1)
    five = [relearn(network, data, classes, samples=5, fresh=f) for f in (False, True)]
    probe = linear_probes(
        network, data, classes, layers=probed_layers(network, data)[-2:-1]
    )
    found["one_image"] = one["forget_accuracy"].value
    found["five_images"] = max(f["forget_accuracy"].value for f in five)
    (found["all_images"],) = (
        e.value for n, e in probe.items() if n.endswith("forget_accuracy")
    )
    return found


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
    rows = []
    for classes in requests(data.n_classes):
        before = two_numbers(model, data, classes)
        for rule, network in by_rule(model, data, codes, classes).items():
            row = {"rule": rule, "classes": " ".join(map(str, classes))}
            row |= {f"before_{name}": value for name, value in before.items()}
            row |= two_numbers(network, data, classes)
            if classes in ASKED:
                row |= rungs(network, data, classes, model)
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
