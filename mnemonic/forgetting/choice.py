"""How the codes choose a strength.

A setting is a pair (λ1, λ2) and a sign. Of all settings of the paper's search grids the
one with the largest A_R + E_F on the codes of all classes wins. With one code a class
many settings tie, and the tie goes to the smallest loss on the codes: cross-entropy of
the remaining ones plus -log(1 - p_c) of those to be forgotten. (The loss of the
remaining codes alone picks the weakest setting that just tips the code over, and its
class often survives.) No image is looked at: choosing on test data, as is often done,
would report how well the test data was fitted.

Example:
    >>> tie = {"remaining_accuracy": 90.0, "forgetting_error": 100.0}
    >>> losses = [{"remaining_loss": v, "forgetting_loss": 0.0} for v in (0.3, 0.1)]
    >>> best_row([tie | loss for loss in losses])["remaining_loss"]
    0.1
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

NOTHING = (-math.inf, -math.inf)  # the rank of outputs that are not finite


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
        ``remaining_accuracy`` and ``forgetting_error`` (percent), ``remaining_loss``
        (mean cross-entropy) and ``forgetting_loss`` (mean of -log(1 - p_c)), in nats
        and infinite where any logit is not finite.
    """
    settings = itertools.product(strengths, signs)
    moves = {setting: tuple(step.scaled(*setting).items()) for setting in settings}
    distinct = [*dict.fromkeys(moves.values())]
    # From the middle: a good setting soon spares the others, and is rarely at an end.
    order = sorted(range(len(distinct)), key=lambda i: abs(2 * i - len(distinct)))
    found, best, inputs = {}, NOTHING, taken(step.network, inputs)
    n_bytes = step.bytes_of_one(inputs)
    parts = _in_parts(inputs, labels, belongs(labels, classes))
    with evaluation_mode(step.network), torch.no_grad():
        for move in (distinct[i] for i in order):
            step.move(dict(move))
            found[move] = _scores(step.network, n_bytes, parts, to_reach=best)
            if give_up and found[move]:
                best = max(best, _rank(found[move]))
    return [
        {**vars(strength), "sign": sign, **found[move]}
        for (strength, sign), move in moves.items()
        if found[move]
    ]


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """Pick the largest A_R + E_F on the codes; a tie goes to the smallest loss there.

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


def _rank(scores: dict[str, float]) -> tuple[float, float]:
    """The larger the better."""
    if not math.isfinite(scores["remaining_loss"]):
        return NOTHING
    score = round(scores["remaining_accuracy"] + scores["forgetting_error"], 9)
    return score, -scores["remaining_loss"] - scores["forgetting_loss"]


def _in_parts(inputs, labels, forgets) -> list[tuple[Tensor, Tensor]]:
    """The codes to forget, some of the others, and the rest: most refute the first."""
    remaining = (~forgets).nonzero()[:, 0]
    few = -(-len(remaining) // 8)
    chosen = forgets.nonzero()[:, 0], remaining[:few], remaining[few:]
    return [(inputs[i], labels[i]) for i in chosen if len(i)]


def _scores(network, n_bytes, parts, to_reach) -> dict[str, float] | None:
    """Scores on the codes, or None as soon as they cannot have this rank."""
    n_forget, *n_others = (len(labels) for _, labels in parts)
    n_remain = sum(n_others)
    # A row for the codes to forget, one for those to remember.
    total = torch.zeros(2, 3, dtype=torch.float64, device="cpu")
    for number, codes in enumerate(parts):
        sums = partial(_code_sums, network, number == 0)
        total[min(number, 1)] += sum(each_chunk(sums, n_bytes, *codes)).cpu()
        # As if all codes that were not looked at were right, without a loss.
        (misread, loss_f, broken_f), (lost, loss_r, broken_r) = total.tolist()
        broken = math.inf if broken_f or broken_r else 0.0  # NaN forgets nothing
        scores = {
            "remaining_accuracy": 100 * ((n_remain - lost) / n_remain),
            "forgetting_error": 100 * (misread / n_forget),
            "remaining_loss": broken or loss_r / n_remain,
            "forgetting_loss": broken or loss_f / n_forget,
        }
        if _rank(scores) < to_reach:
            return None
    return scores


def _code_sums(network, forget, inputs, labels) -> Tensor:
    """How many codes are misread, their loss, how many logits are not finite."""
    logits = network(inputs)
    log_p = logits.log_softmax(1)
    if forget:
        # log(1 - p_c) as the log-probability of all other classes together
        losses = -log_p.scatter(1, labels[:, None], -math.inf).logsumexp(1)
    else:
        losses = functional.nll_loss(log_p, labels, reduction="none")
    misread = (logits.argmax(1) != labels).sum()
    broken = (~logits.isfinite()).sum()
    return torch.stack([double(misread), double(losses).sum(), double(broken)])
