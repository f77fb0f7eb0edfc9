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
    ['accuracy', 'distance', 'membership', 'nearest', 'output', 'probe', 'prototype',
    'recovery', 'relearning', 'residual']
"""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev

import pandas as pd
import torch
from torch import nn

from mnemonic.audits.diagnoses import diagnoses
from mnemonic.audits.distance import distances, fresh_weights, over_unlearning, zrf
from mnemonic.audits.estimates import Estimate, alone, percent_of
from mnemonic.audits.exposure import reading, replay, trigger
from mnemonic.audits.membership import (
    FEWEST,
    entropy_attack,
    loss_attack,
    matched_losses,
)
from mnemonic.audits.nearest import nearest_neighbours
from mnemonic.audits.neighbours import neighbour_attack
from mnemonic.audits.outputs import (
    answered_right,
    check_fits,
    last_linear,
    logits_of,
    part_of,
    quarters,
)
from mnemonic.audits.probes import linear_probes, probed_layers
from mnemonic.audits.prototypes import prototype_attack
from mnemonic.audits.recovery import BITS, SHARE, pruned, quantised
from mnemonic.audits.relearning import FRESH, SAMPLES, relearn, relearn_remaining
from mnemonic.audits.residual import residual_knowledge
from mnemonic.audits.similarity import feature_similarity
from mnemonic.checks import checked_classes, checked_seed
from mnemonic.codes import MnemonicCodes, checked_codes
from mnemonic.data.arrays import ImageData, checked_data
from mnemonic.storage import digest

COLUMNS = [
    "audit", "measure", "value", "low", "high", "reference", "reference_sd", "gap",
    "unit", "n",
]  # fmt: skip

Measures = dict[tuple[str, str], Estimate]  # by audit and measure

_MEASURED: dict[str, list[Measures]] = {}  # of references, by what they depend on


def audit(
    model: nn.Module,
    data: ImageData,
    classes: Sequence[int | str],
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
        classes: The forget classes, by index or name.
        reference: One or more networks trained without the forget classes.
        original: The network before it forgot, for the rows ``over_unlearning``,
            ``original/…`` and ``reading/told_by_change``.
        codes: Mnemonic codes, for the audit ``exposure``.
        seed: Of all draws.

    Returns:
        One row a measure, with the columns

        - ``audit``: ``output``, ``accuracy``, ``membership``, ``neighbours``,
          ``distance``, ``probe``, ``nearest``, ``similarity``, ``prototype``,
          ``residual``, ``recovery``, ``relearning`` or ``exposure``;
        - ``measure``: of what, such as ``k=5/forget_accuracy``;
        - ``value``, ``low``, ``high``: with its 95 % interval, NaN where it has none;
        - ``reference``, ``reference_sd``: mean of the same measure over the references,
          and their standard deviation (ddof 1), the noise that a gap is read against.
          Of a distance to the references: that from each to the others;
        - ``gap``: ``value - reference``, signed;
        - ``unit``: ``%``, ``nats`` or ``1``;
        - ``n``: images behind the value.

        With few test images of the forget classes there are no rows ``loss/…`` and
        ``neighbours``. The curve has the k that every class has training images for; a
        network that does not end in a linear layer has no rows ``prototype`` and
        ``nearest``; ``probe`` is of the
        top-level layers that are more than a linear map of the pixels, ``similarity``
        of the top-level layers whose names all networks share.

    A ``ValueError`` says what of network, data, classes, references or codes does not
    fit.
    """
    classes = checked_classes(classes, checked_data(data).class_names)
    references = [] if reference is None else reference
    references = list(references) if isinstance(references, Sequence) else [references]
    if codes is not None:
        checked_codes(codes).check(data)
    seed = checked_seed(seed)
    for network in (model, *([] if original is None else [original])):
        check_fits(network, data)
    context = (data, classes, original, codes, seed)
    found = measure(model, references, *context)
    beside = _measured(references, *context) if references else []
    table = pd.DataFrame(
        {"audit": name, "measure": what, **asdict(estimate)}
        for (name, what), estimate in found.items()
    )
    others = [[m[key].value for m in beside if key in m] for key in found]
    table["reference"] = [fmean(o) if o else float("nan") for o in others]
    table["reference_sd"] = [stdev(o) if o[1:] else float("nan") for o in others]
    table["gap"] = table["value"] - table["reference"]
    return table[COLUMNS]


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
    asked = {"data": data, "classes": classes}
    how = asked | {"seed": seed}
    found: Measures = {}

    def enter(name: str, prefix: str, measures: dict[str, Estimate]) -> None:
        found.update({(name, prefix + what): e for what, e in measures.items()})

    enter("output", "", diagnoses(model, **asked, original=original))
    for which, part in quarters(data, classes).items():
        right = percent_of(answered_right(model, data, part))
        enter("accuracy", which, {"": right})
    losses = matched_losses(model, **how)
    if len(losses[0]) >= FEWEST:
        enter("membership", "loss/", loss_attack(*losses, seed=seed))
    enter("membership", "entropy/", {"called_members": entropy_attack(model, **asked)})
    if references:
        if len(losses[0]) >= FEWEST:
            enter("neighbours", "", neighbour_attack(model, references, **asked))
        enter("distance", "", distances(model, references, **asked))
    forget, fresh = part_of(data, "train", classes), fresh_weights(model, seed=seed)
    answers = [logits_of(network, data, forget) for network in (model, fresh)]
    enter("distance", "forget-train/", {"zrf": zrf(*answers)})
    if original is not None:
        lost = over_unlearning(model, original, **how)
        enter("distance", "forget-train/", {"over_unlearning": lost})
    if layers := probed_layers(model, data):
        enter("probe", "", linear_probes(model, layers=layers, **asked))
    if references:
        each = [feature_similarity(model, other, **how) for other in references]
        enter("similarity", "reference/", _mean_over(each))
    if original is not None:
        enter("similarity", "original/", feature_similarity(model, original, **how))
    if last_linear(model, data) is not None:
        enter("nearest", "", nearest_neighbours(model, **asked))
        enter("prototype", "", prototype_attack(model, **how))
        enter("prototype", "levelled/", prototype_attack(model, level=True, **how))
    enter("residual", "", residual_knowledge(model, **how))
    for bits in BITS:
        enter("recovery", f"{bits} bits/", quantised(model, bits=bits, **asked))
    enter("recovery", f"{SHARE:.0%} pruned/", pruned(model, **asked))
    fewest = int(torch.bincount(data.train.labels.cpu()).min())
    for k in SAMPLES:
        if k <= fewest:
            enter("relearning", f"k={k}/", relearn(model, samples=k, **how))
    if last_linear(model, data) is not None and fewest >= FRESH:
        fresh = relearn(model, samples=FRESH, fresh=True, **how)
        enter("relearning", f"k={FRESH}/fresh/", fresh)
    again = relearn_remaining(model, samples=min(max(SAMPLES), fewest), **how)
    enter("relearning", "remaining_only/", again)
    if codes is not None:
        told = reading(model, codes, classes, original=original)
        enter("exposure", "reading/", told)
        enter("exposure", "replay/", replay(model, codes=codes, **asked))
        enter("exposure", "trigger/", trigger(model, codes=codes, **asked))
    return found


def _mean_over(found: Sequence[dict[str, Estimate]]) -> dict[str, Estimate]:
    """Means of the same measures, which have no interval: ends have no mean."""
    if len(found) == 1:
        return found[0]
    return {
        what: alone(fmean(f[what].value for f in found), unit=e.unit, n=e.n)
        for what, e in found[0].items()
        if all(what in f for f in found)
    }


def _measured(references: list[nn.Module], *context: object) -> list[Measures]:
    """Measures of each reference, compared with the other ones; kept in memory."""
    data, classes, original, codes, seed = context
    networks = [*references, *([] if original is None else [original])]
    few = data.test.take(slice(64))
    # Answers too: what forward does is neither in the weights nor in the name.
    known = [(str(n), dict(n.state_dict()), logits_of(n, data, few)) for n in networks]
    key = digest(known, original is None, data, classes, codes, seed)
    if key not in _MEASURED:
        _MEASURED[key] = [
            measure(r, references[:i] + references[i + 1 :], *context)
            for i, r in enumerate(references)
        ]
    return _MEASURED[key]
