"""How the codes choose a strength.

A setting is a pair (λ1, λ2) and a sign. Of all settings of the paper's search grids the
one with the largest A_R + E_F on the codes of all classes wins. With one code a class
many settings tie, and the codes are poor witnesses of images, which a network may be
surer of. So the forget code has to end as far below its best rival as ``REACH`` times
what it was above, and the loss of the other codes has to stay about what it was. Of
those that tie, one that does both wins, and of several the shortest step. No image is
looked at: choosing on test data, as is often done, would report how well the test data
was fitted.

Example:
    >>> tie = {"remaining_accuracy": 90.0, "forgetting_error": 100.0}
    >>> tie |= {"remaining_loss": 0.1, "spares": True}
    >>> best_row([tie | {"depth": d, "length": d} for d in (0.1, 2.5, 30.0)])["depth"]
    2.5
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from mnemonic.data.splits import belongs
from mnemonic.fisher.chunks import each_chunk
from mnemonic.forgetting.strengths import Perturbation, Sign, Strength
from mnemonic.networks.running import double, evaluation_mode, taken

# Both by validation images of seven kinds of networks, on seeds that are not reported.
REACH = 2.0
SHALLOW = 1.25  # a depth below it is worth a warning
SPARED = (1.5, 0.02)  # the loss of the remaining codes: at most so many times, plus
NOTHING = (-math.inf,)  # the rank of outputs that are not finite
FULL = (200.0, True, REACH)  # the highest rank, but for the length of the step


def try_strengths(
    step: Perturbation,
    inputs: Tensor,
    labels: Tensor,
    classes: Sequence[int],
    strengths: Sequence[Strength],
    signs: Sequence[Sign],
    *,
    give_up: bool = False,
) -> list[dict[str, float]]:
    """Score settings on the codes; those that move all weights alike share a run.

    Args:
        step: Of a network that was trained with the codes.
        inputs: The codes ``[N, C, H, W]``, on the model's device.
        labels: Their classes ``[N]``.
        classes: Forget classes.
        strengths: Pairs (λ1, λ2).
        signs: +1, -1 or both.
        give_up: Leave a setting out as soon as it cannot win any more, were all codes
            that it has not seen yet remembered without a loss.

    Returns:
        One row a setting, with ``lambda1``, ``lambda2``, ``sign``,
        ``remaining_accuracy`` and ``forgetting_error`` (percent); ``remaining_loss``
        (mean cross-entropy, nats, infinite where any logit is not finite); whether it
        ``spares`` the remaining codes; ``depth``, how far below its best rival the
        surest forget code is, in how far the surest was above, or in logits if that
        was less than one; and the ``length`` ‖αη‖ of the step.
    """
    settings = itertools.product(strengths, signs)
    moves = {setting: tuple(step.scaled(*setting).items()) for setting in settings}
    distinct = [*dict.fromkeys(moves.values())]
    lengths = {move: step.length(dict(move)) for move in distinct}
    found, best, inputs = {}, NOTHING, taken(step.network, inputs)
    step.move(dict.fromkeys(step.layers, 0.0))  # where it is now may be beyond numbers
    n_bytes = step.bytes_of_one(inputs)
    parts = _in_parts(inputs, labels, belongs(labels, classes))
    with evaluation_mode(step.network), torch.no_grad():
        before = _scores(step.network, n_bytes, parts, 0.0)
        for move in sorted(distinct, key=lengths.get):
            at_most = *FULL, -lengths[move]  # were nothing wrong with it
            if at_most < best:
                found[move] = None
                continue
            step.move(dict(move))
            found[move] = _scores(
                step.network, n_bytes, parts, lengths[move], before, best
            )
            if give_up and found[move]:
                best = max(best, _rank(found[move]))
    return [
        {**vars(strength), "sign": sign, **found[move]}
        for (strength, sign), move in moves.items()
        if found[move]
    ]


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """Pick the largest A_R + E_F on the codes; of those, one that is deep enough.

    Args:
        rows: As ``try_strengths`` gives them.

    Returns:
        One of the rows.

    Raises:
        ValueError: If no setting keeps the network's outputs finite.
    """
    best = max(rows, key=_rank)
    if _rank(best) == NOTHING:
        raise ValueError(
            "every setting tried makes the network's outputs infinite or NaN; give a "
            "smaller strength, such as Strength(1e-6, 0.1)"
        )
    return best


def _rank(scores: dict[str, float]) -> tuple[float, ...]:
    """The larger the better."""
    if not math.isfinite(scores["remaining_loss"]):
        return NOTHING
    score = round(scores["remaining_accuracy"] + scores["forgetting_error"], 9)
    deep = min(scores["depth"], REACH)
    return score, scores["spares"], deep, -scores["length"]


def _in_parts(inputs, labels, forgets) -> list[tuple[Tensor, Tensor]]:
    """The codes to forget, some of the others, and the rest: most refute the first."""
    remaining = (~forgets).nonzero()[:, 0]
    few = -(-len(remaining) // 8)
    chosen = forgets.nonzero()[:, 0], remaining[:few], remaining[few:]
    return [(inputs[i], labels[i]) for i in chosen if len(i)]


def _scores(network, n_bytes, parts, length, before=None, to_reach=NOTHING):
    """Scores on the codes, or None as soon as they cannot have this rank."""
    n_forget, *n_others = (len(labels) for _, labels in parts)
    n_remain = sum(n_others)
    # As if all codes that were not looked at were right, without a loss.
    lost = torch.zeros(3, dtype=torch.float64, device="cpu")
    for number, codes in enumerate(parts):
        sums = partial(_code_sums, network, number == 0)
        chunks = torch.stack([*each_chunk(sums, n_bytes, *codes)]).cpu()
        misread, value, broken = chunks.T
        if number == 0:
            wrong, margin, lost[2] = float(misread.sum()), value.max(), broken.sum()
        else:
            lost += chunks.sum(0)
        n_lost, loss, broken = lost.tolist()
        loss = math.inf if broken else loss / n_remain  # NaN forgets nothing
        scores = {
            "remaining_accuracy": 100 * ((n_remain - n_lost) / n_remain),
            "forgetting_error": 100 * (wrong / n_forget),
            "remaining_loss": loss,
            "length": length,
            "margin": float(margin),
        }
        if before:
            above = max(before["margin"], 1.0)
            most = SPARED[0] * before["remaining_loss"] + SPARED[1]
            scores |= {"spares": loss <= most, "depth": -scores.pop("margin") / above}
            if _rank(scores) < to_reach:
                return None
    return scores


def _code_sums(network, forget, inputs, labels) -> Tensor:
    """How many codes are misread; their largest margin, or loss; and broken logits."""
    logits = network(inputs)
    if forget:
        others = logits.scatter(1, labels[:, None], -math.inf).amax(1)
        found = (logits.gather(1, labels[:, None])[:, 0] - others).amax()
    else:
        found = double(functional.cross_entropy(logits, labels, reduction="none")).sum()
    misread = (logits.argmax(1) != labels).sum()
    broken = (~logits.isfinite()).sum()
    return torch.stack([double(misread), double(found), double(broken)])
