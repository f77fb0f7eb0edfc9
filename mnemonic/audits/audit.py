"""All audits of one network in one table, beside the networks that never knew.

Each row is a measure with its interval, the same measure of the reference networks and
the gap between both. The retrained network is the reference, not zero and not chance:
it too lets a probe read a class that it never saw, and relearns it.

Example:
    >>> import mnemonic as mn
    >>> import torch
    >>> x, y = torch.rand(300, 1, 4, 4), torch.arange(300) % 3
    >>> data = mn.ImageData.from_arrays(
    ...     train=(x, y), test=(x, y), class_names=["a", "b", "c"]
    ... )
    >>> table = audit(mn.build_model("mlp", data), data, classes=[1])
    >>> sorted(set(table["audit"]))
    ['accuracy', 'distance', 'membership', 'probe', 'prototype', 'relearning']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev

import pandas as pd
import torch
from torch import nn

from mnemonic.audits.distance import distances, fresh_weights, over_unlearning, zrf
from mnemonic.audits.estimates import Estimate, percent_of
from mnemonic.audits.exposure import reading, replay, trigger
from mnemonic.audits.membership import entropy_attack, loss_attack, matched_losses
from mnemonic.audits.outputs import answered_right, layers_of, logits_of, part_of
from mnemonic.audits.prototypes import prototype_attack
from mnemonic.audits.relearning import SAMPLES, relearn, relearn_remaining
from mnemonic.audits.residue import feature_similarity, linear_probes
from mnemonic.checks import checked_classes, checked_seed
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.networks import check_outputs, device_of, last_layer
from mnemonic.storage import digest

COLUMNS = (
    "audit", "measure", "value", "low", "high", "reference", "reference_sd", "gap",
    "unit", "n",
)  # fmt: skip

Measures = dict[tuple[str, str], Estimate]  # by audit and measure

_MEASURED: dict[str, list[Measures]] = {}  # of references, by what they depend on


def audit(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int],
    *,
    reference: nn.Module | Sequence[nn.Module] | None = None,
    original: nn.Module | None = None,
    codes: MnemonicCodes | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Everything that can be measured without shadow networks.

    What is measured of the references is kept in memory for the next audit with the
    same ones.

    Args:
        model: The network that forgot. Maps ``[N, C, H, W]`` to logits ``[N, K]``; left
            as it was, as are all others.
        data: What it was first trained on, all classes included.
        classes: The forget classes.
        reference: One or more networks trained without the forget classes.
        original: The network before it forgot, for the rows ``over_unlearning``,
            ``original/…`` and ``reading/told_by_change``.
        codes: Mnemonic codes, for the audit ``exposure``.
        seed: Of all draws and resamples.

    Returns:
        One row a measure, with the columns

        - ``audit``: ``accuracy``, ``membership``, ``distance``, ``probe``,
          ``similarity``, ``prototype``, ``relearning`` or ``exposure``;
        - ``measure``: of what, such as ``k=5/forget_accuracy``;
        - ``value``, ``low``, ``high``: with its 95 % interval, NaN where it has none;
        - ``reference``, ``reference_sd``: mean of the same measure over the references,
          and their standard deviation (ddof 1), the noise that a gap is read against.
          Of a distance to the references: that from each to the others;
        - ``gap``: ``value - reference``, signed;
        - ``unit``: ``%``, ``nats`` or ``1``;
        - ``n``: images behind the value.

        The curve has the k that every class has training images for; a network that
        does not end in a linear layer has no rows ``prototype``; ``probe`` is of the
        top-level layers, ``similarity`` of those whose names all networks share.

    A ``ValueError`` says what of network, data, classes, references or codes does not
    fit.
    """
    classes, seed = (
        checked_classes(classes, checked_data(data).n_classes),
        checked_seed(seed),
    )
    references = _networks(reference)
    for network in (model, *references, *([] if original is None else [original])):
        probe = torch.zeros(2, *data.input_shape, device=device_of(network))
        check_outputs(network, probe, data.n_classes)
    if codes is not None:
        checked_codes(codes).check(data)
    context = (data, classes, original, codes, seed)
    found = measure(model, references, *context)
    beside = _measured(references, *context)
    rows = []
    for (name, what), estimate in found.items():
        others = [m[name, what].value for m in beside if (name, what) in m]
        mean = fmean(others) if others else float("nan")
        rows.append(
            {
                "audit": name,
                "measure": what,
                **asdict(estimate),
                "reference": mean,
                "reference_sd": stdev(others) if len(others) > 1 else float("nan"),
                "gap": estimate.value - mean,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def measure(
    model: nn.Module,
    references: Sequence[nn.Module],
    data: ImageData,
    classes: tuple[int, ...],
    original: nn.Module | None,
    codes: MnemonicCodes | None,
    seed: int,
) -> Measures:
    """All measures of one network, as ``audit`` has them, in the order of its table."""
    found: Measures = {}

    def enter(name: str, measures: dict[str, Estimate], prefix: str = "") -> None:
        found.update({(name, prefix + what): e for what, e in measures.items()})

    enter("accuracy", _accuracies(model, data, classes, seed))
    losses = matched_losses(model, data, classes, seed=seed)
    enter("membership", loss_attack(*losses, seed=seed), "loss/")
    called = entropy_attack(model, data, classes, seed=seed)
    enter("membership", {"entropy/called_members": called})
    if references:
        enter("distance", distances(model, references, data, classes, seed=seed))
    forget = part_of(data, "train", classes)
    answers = [
        logits_of(m, data, forget) for m in (model, fresh_weights(model, seed=seed))
    ]
    enter("distance", {"forget-train/zrf": zrf(*answers, seed=seed)})
    if original is not None:
        lost = over_unlearning(model, original, data, classes, seed=seed)
        enter("distance", {"forget-train/over_unlearning": lost})
    if layers := layers_of(model, data):
        enter("probe", linear_probes(model, data, classes, layers=layers, seed=seed))
    if references:
        each = [
            feature_similarity(model, r, data, classes, seed=seed) for r in references
        ]
        enter("similarity", _mean_over(each), "reference/")
    if original is not None:
        to_original = feature_similarity(model, original, data, classes, seed=seed)
        enter("similarity", to_original, "original/")
    if _ends_in_linear(model, data):
        for prefix, level in (("", False), ("levelled/", True)):
            attacked = prototype_attack(model, data, classes, level=level, seed=seed)
            enter("prototype", attacked, prefix)
    fewest = int(torch.bincount(data.train.labels.cpu()).min())
    for k in SAMPLES:
        if k <= fewest:
            again = relearn(model, data, classes, samples=k, seed=seed)
            enter("relearning", again, f"k={k}/")
    k = min(max(SAMPLES), fewest)
    again = relearn_remaining(model, data, classes, samples=k, seed=seed)
    enter("relearning", again, "remaining_only/")
    if codes is not None:
        told = reading(model, codes, classes, original=original)
        enter("exposure", told, "reading/")
        enter("exposure", replay(model, data, codes, classes, seed=seed), "replay/")
        enter("exposure", trigger(model, data, codes, classes, seed=seed), "trigger/")
    return found


def _accuracies(
    model: nn.Module, data: ImageData, classes: tuple[int, ...], seed: int
) -> dict[str, Estimate]:
    found = {}
    for whose in ("forget", "remaining"):
        for split in ("train", "test"):
            part = part_of(data, split, classes, others=whose == "remaining")
            right = answered_right(model, data, part)
            found[f"{whose}-{split}"] = percent_of(right, seed=seed)
    return found


def _mean_over(found: Sequence[dict[str, Estimate]]) -> dict[str, Estimate]:
    """Means of the same measures, and of the ends of their intervals."""
    return {
        what: Estimate(
            fmean(f[what].value for f in found),
            fmean(f[what].low for f in found),
            fmean(f[what].high for f in found),
            first.unit,
            first.n,
        )
        for what, first in found[0].items()
        if all(what in f for f in found)
    }


def _networks(reference: object) -> list[nn.Module]:
    networks = [reference] if isinstance(reference, nn.Module) else reference
    if networks is None:
        return []
    if not isinstance(networks, Sequence) or not all(
        isinstance(n, nn.Module) for n in networks
    ):
        raise ValueError(
            f"reference is {reference!r}; give a network trained without the forget "
            "classes, or a list of some"
        )
    return list(networks)


def _ends_in_linear(model: nn.Module, data: ImageData) -> bool:
    try:
        last_layer(model, data.input_shape)
    except ValueError:  # the network itself has been looked at
        return False
    return True


def _measured(references: list[nn.Module], *context: object) -> list[Measures]:
    """Measures of each reference, compared with the other ones; kept in memory."""
    if not references:
        return []
    data, classes, original, codes, seed = context
    networks = [*references, *([] if original is None else [original])]
    few = data.test.take(torch.arange(min(len(data.test), 64)))
    key = digest(
        # Answers too: what forward does is neither in the weights nor in the name.
        [(str(n), dict(n.state_dict()), logits_of(n, data, few)) for n in networks],
        original is None,
        data,
        classes,
        codes,
        seed,
    )
    if key not in _MEASURED:
        _MEASURED[key] = [
            measure(r, references[:i] + references[i + 1 :], *context)
            for i, r in enumerate(references)
        ]
    return _MEASURED[key]
