"""The networks of chapter 6: some that forgot, the original, and some that never knew.

All suspects of one seed start from the same original, trained with codes. The codes'
step is also taken with the last layer alone, and with all but the last; the baselines
have the settings that were tuned for the setup.

Example:
    >>> from mnemonic import evaluate
    >>> line = lineup("smoke-fast", seed=0, references=1)
    >>> hiding = suspect(line, "row-zeroing")
    >>> evaluate(hiding, line.access.data, line.access.classes).forgetting_error
    100.0
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from mnemonic.audits import Estimate, linear_probes, lira, relearn
from mnemonic.audits.audit import measure
from mnemonic.audits.outputs import logits_of, part_of
from mnemonic.audits.relearning import accuracies_of
from mnemonic.baselines import METHODS, Access
from mnemonic.baselines.mnemonic_code import quietly_forget
from mnemonic.lab.comparison import CONTROLS, start
from mnemonic.lab.profiles import Profile
from mnemonic.lab.scoring import two_numbers
from mnemonic.lab.settings import settings_for
from mnemonic.networks.layers import last_layer

PARTS = ("all layers", "last layer", "all but the last")
# Two that train on what remains, and two that do not.
BASELINES = ("finetune", "random-label", "ssd", "delete")
SUSPECTS = ("retrain", *CONTROLS, *PARTS, *BASELINES)
REFERENCES = 3
FIRST_NEVER = 50  # seed of the first network that never knew
SHADOWS = 8


@dataclass(frozen=True)
class Lineup:
    """What the suspects of one seed have in common.

    Attributes:
        setup: Name of the profile.
        seed: Of codes, first weights, training and methods.
        access: What a method may read: data, forget classes and codes.
        original: The network that all suspects start from, trained with the codes.
        never: Networks that never saw the forget classes (``Profile.never_saw``).
    """

    setup: str
    seed: int
    access: Access
    original: nn.Module
    never: list[nn.Module]


def lineup(setup: str, seed: int, *, references: int = REFERENCES) -> Lineup:
    """Train, or fetch, the original and the networks that never knew.

    Args:
        setup: Name of a profile.
        seed: Of the original. The networks that never knew have its codes of the
            remaining classes, and other seeds, the same ones for every original.
        references: How many of these.

    Returns:
        The networks on the CPU, in evaluation mode.
    """
    profile = Profile.named(setup)
    access, original, _ = start(profile, METHODS["mnemonic"], seed)
    never = [
        profile.never_saw(access.classes, FIRST_NEVER + i, access.codes)
        for i in range(references)
    ]
    return Lineup(setup, seed, access, original.cpu(), never)


def at_first(seed: int, setup: str, knew: bool) -> dict:
    """Train networks that a line-up needs: a cell of a grid, so that none waits.

    Args:
        seed: As in ``lineup``.
        setup: Name of a profile.
        knew: Whether it is the original, or those that never knew.

    Returns:
        ``remaining_accuracy`` and ``forgetting_error`` on test images, in percent; of
        the first of those that never knew.
    """
    line = lineup(setup, seed, references=0 if knew else REFERENCES)
    network = line.original if knew else line.never[0]
    return two_numbers(network, line.access.data, line.access.classes)


def suspect(line: Lineup, name: str) -> nn.Module:
    """One network that forgot, or says that it did.

    Args:
        line: What it starts from.
        name: One of ``PARTS``; ``"retrain"``, one of the networks that never knew; or a
            key of ``METHODS`` that needs no training of its own.

    Returns:
        A new network, or the one that never knew.

    Raises:
        ValueError: If there is no such suspect, or the method trains by itself.
    """
    if name == "retrain":
        return line.never[line.seed % len(line.never)]
    access = line.access
    if name in PARTS:
        head, _ = last_layer(line.original, access.data.input_shape)
        every = dict(line.original.named_parameters())
        below = [n for n in every if n.rpartition(".")[0] != head]
        layers = {"all layers": "all", "last layer": "last"}.get(name, below)
        given = line.original, access.codes, access.classes
        return quietly_forget(*given, layers=layers).model
    ready = (None, METHODS["mnemonic"].preparation)
    if name not in METHODS or METHODS[name].preparation not in ready:
        raise ValueError(
            f"no suspect {name!r}; take one of {', '.join(PARTS)}, or a method that "
            "starts from a trained network"
        )
    settings = settings_for(line.setup).get(name, {})
    return METHODS[name](line.original, access, seed=line.seed, **settings).model


def audited(
    seed: int, setup: str, name: str, references: int = REFERENCES
) -> list[dict]:
    """All measures of one suspect, beside networks that never knew.

    Args:
        seed: As in ``lineup``.
        setup: Name of a profile.
        name: As in ``suspect``; ``"retrain"`` is one of the networks that never knew,
            beside the others.
        references: How many networks that never knew; two or more.

    Returns:
        The measures of ``audit``, with ``audit``, ``measure``, ``value``, ``low`` and
        ``high``. The networks that never knew are not measured here as well: they are
        suspects of their own.
    """
    line = lineup(setup, seed, references=references)
    subject = suspect(line, name)
    never = [network for network in line.never if network is not subject]
    data, classes, codes = line.access.data, line.access.classes, line.access.codes
    found = measure(subject, never, data, classes, line.original, codes, seed=0)
    return [
        {"audit": kind, **row}
        for (kind, what), e in found.items()
        for row in _rows({what: e})
    ]


def left_over(seed: int, setup: str, name: str, layer: str) -> list[dict]:
    """The audits of chapter 6 that tell most, for a network too large for all of them.

    Args:
        seed: As in ``lineup``.
        setup: Name of a profile.
        name: As in ``suspect``; ``"retrain"`` is one of the networks that never knew.
        layer: To probe.

    Returns:
        One row a measure with ``value``, ``low`` and ``high``, in percent: accuracy on
        both kinds of classes, the probe of ``layer``, and relearning from one image of
        every class.
    """
    line = lineup(setup, seed, references=REFERENCES if name == "retrain" else 0)
    subject = suspect(line, name)
    asked = line.access.data, line.access.classes
    found = dict(accuracies_of([subject], *asked))
    probed = linear_probes(subject, *asked, layers=[layer])
    again = relearn(subject, *asked, samples=1)
    found |= {f"probe/{what}": e for what, e in probed.items()}
    return _rows(found | {f"k=1/{what}": e for what, e in again.items()})


def told_apart(seed: int, setup: str, name: str, shadows: int = SHADOWS) -> list[dict]:
    """U-LiRA with shadow networks, on the forget classes' training images.

    Each shadow pair has an original of its own that forgets, and a network that never
    knew.

    Args:
        seed: Shadows have the seeds ``shadows * seed``, … ``+ shadows - 1``.
        setup: Name of a profile.
        name: As in ``suspect``; for ``"retrain"`` both of a pair never knew, which is
            the attack's zero.
        shadows: Pairs, 3 or more.

    Returns:
        One row a measure of ``lira``, with ``value``, ``low`` and ``high``.
    """
    forgot, never, profile = [], [], Profile.named(setup)
    for s in range(shadows * seed, shadows * (seed + 1)):
        line = lineup(setup, s, references=0)
        data, classes = line.access.data, line.access.classes
        part = part_of(data, "train", classes)
        other = partial(profile.never_saw, classes, codes=line.access.codes)
        subject = other(2000 + s) if name == "retrain" else suspect(line, name)
        forgot.append(logits_of(subject, data, part))
        never.append(logits_of(other(1000 + s), data, part))
    labels = torch.as_tensor(part.labels)
    return _rows(lira(torch.stack(forgot), torch.stack(never), labels))


def _rows(found: dict[str, Estimate]) -> list[dict]:
    return [
        {"measure": measure, "value": e.value, "low": e.low, "high": e.high}
        for measure, e in found.items()
    ]
