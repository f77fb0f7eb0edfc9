"""The likelihood-ratio attack on unlearning, with shadow networks (U-LiRA).

For each of S pairs of shadow networks, one is trained on all data and made to forget,
the other is trained without the forget classes. The score of a forget image is

    φ = log p_c - log(1 - p_c),    c its label.

For each image, Gaussians are fitted to its φ in the networks that forgot, (μ_u, σ_u),
and in the retrained ones, (μ_r, σ_r), of S - 1 pairs; the networks of the left-out pair
are told apart by

    Λ = log N(φ; μ_u, σ_u) - log N(φ; μ_r, σ_r).

An AUC of ½ means that what was forgotten cannot be told from what was never learned.
After Carlini et al. (2022), Kurmanji et al. (2023) and Hayes et al. (2025). The caller
trains the shadows; the arrays of their logits come in here.

Example:
    >>> import torch
    >>> g = torch.Generator().manual_seed(0)
    >>> shadows = torch.randn(2, 8, 50, 10, generator=g)  # both alike
    >>> found = lira(shadows[0], shadows[1], torch.zeros(50, dtype=int))
    >>> 0.4 < found["auc"].value < 0.6
    True
"""

import math
import sys

import torch
from torch import Tensor
from torch.nn import functional

from mnemonic.audits.estimates import (
    Estimate,
    alone,
    parts_of,
    placements,
    rows_of,
    wilson,
)
from mnemonic.checks import checked_number, checked_tensors, described

FALSE_POSITIVES = 0.01


def lira(
    unlearned: Tensor,
    retrained: Tensor,
    labels: Tensor,
    *,
    sd_floor: float = 0.1,
) -> dict[str, Estimate]:
    """How well networks that forgot are told from networks that never knew.

    Args:
        unlearned: Logits of the forget images in S networks that forgot them, shape
            ``[S, N, K]``.
        retrained: Logits of the same images in S networks trained without them.
        labels: Class indices of the images, shape ``[N]``.
        sd_floor: Smallest σ, in nats: with few shadows some are near 0 by chance, and
            a single image would then decide.

    Returns:
        Estimates over all N images and S left-out pairs, both of which are samples for
        their intervals: ``"auc"`` in [0, 1],
        ``"balanced_accuracy"`` at Λ > 0 in percent, and
        ``"true_positives_at_1_percent"``, the percentage of unlearned scores above a
        threshold that at most 1 % of the retrained ones exceed, without an interval.

    Raises:
        ValueError: If shapes differ, there are fewer than three pairs, or a number is
            not finite.
    """
    checked_tensors(3, unlearned=unlearned, retrained=retrained)
    s, n, k = unlearned.shape
    if s < 3 or k < 2:
        raise ValueError(
            f"logits are of shape {[s, n, k]}; give [S, N, K] of K = 2 classes or more "
            "in S = 3 pairs or more: two are left to fit to"
        )
    whole = isinstance(labels, Tensor) and labels.dtype == torch.int64
    if not (whole and labels.shape == (n,) and {*labels.tolist()} <= {*range(k)}):
        raise ValueError(
            f"labels are {described(labels)}; give int64 [N] of classes 0..{k - 1}, "
            f"one for each of {n} images"
        )
    forgot, never = (rows_of(scores(z, labels)) for z in (unlearned, retrained))
    told = _told(forgot, never, sd_floor)
    fewer = []
    for i in range(s if s > 3 else 0):  # of three pairs, two are too few to leave out
        others = torch.arange(s) != i
        fewer.append(_told(forgot[others], never[others], sd_floor))
    found = {}
    for name, unit in (("auc", "1"), ("balanced_accuracy", "%")):
        means = [float(f[name].mean()) for f in fewer]
        found[name] = _estimate(told[name], means, unit)
    at_few = 100 * float(told["at_few"])
    return found | {"true_positives_at_1_percent": alone(at_few, unit="%", n=n)}


def _told(forgot: Tensor, never: Tensor, sd_floor: float) -> dict[str, Tensor]:
    """What each left-out pair and image brings: tables ``[S, N]`` with these means."""
    s, pairs = len(forgot), []
    for i in range(s):
        others = torch.arange(s) != i
        pair = torch.stack([forgot[i], never[i]])
        shadows = forgot[others], never[others]
        pairs.append(log_ratios(pair, *shadows, sd_floor=sd_floor))
    positive, negative = torch.stack(pairs, 1)  # [S, N]
    one, two = placements(positive.flatten(), negative.flatten())
    few = negative.flatten().sort(descending=True).values
    few = few[int(FALSE_POSITIVES * len(few))]  # at most 1 % are above
    return {
        "auc": (one + two - one.mean()).view_as(positive),
        "balanced_accuracy": ((positive > 0).double() + (negative <= 0)) / 2,
        "at_few": (positive > few).double().mean(),
    }


def _estimate(table: Tensor, fewer: list[float], unit: str) -> Estimate:
    """The mean of a table ``[S, N]`` of shares, with its interval."""
    # The variance over pairs of networks is the jackknife's, which fits anew without
    # each pair. Where nothing can be told, at ½, that counts the networks twice, in the
    # fit and in what is told (Efron and Stein 1981), so that half of it excludes ½.
    # Three pairs are too few for it: there it is thrice that of their own means.
    (s, n), value = table.shape, float(table.mean())
    of_pairs, (of_images, _), (rest, _) = parts_of(table)
    of_images = max(of_images + rest, 0.0)
    jackknifed = torch.tensor(fewer, dtype=torch.float64)
    deviations = (jackknifed - jackknifed.mean()).square().sum()
    of_pairs = (s - 1) / s * float(deviations) if fewer else 3 * of_pairs[0]
    # Fits that all pairs share are in both variances, so the larger counts.
    parts = max((of_pairs, s - 1), (of_images, max(n - 1, 1)))
    low, high = wilson(value, [parts], n)
    low_if_none, high_if_none = wilson(value, [(of_pairs / 2, s - 1)], n)
    if fewer and low_if_none > 0.5:
        low = max(low, math.nextafter(0.5, 1))
    if fewer and high_if_none < 0.5:
        high = min(high, math.nextafter(0.5, 0))
    ends = (v * (100 if unit == "%" else 1) for v in (value, low, high))
    return Estimate(*ends, unit, n)


def scores(logits: Tensor, labels: Tensor) -> Tensor:
    """φ = log p_c - log(1 - p_c) of each image.

    Args:
        logits: Shape ``[S, N, K]``, or ``[N, K]``.
        labels: Class indices, shape ``[N]``.

    Returns:
        Nats, shape ``[S, N]`` or ``[N]``; computed as z_c - log Σ_{j≠c} exp z_j, which
        does not overflow where p_c is 1.
    """
    logits = logits.double()
    own = functional.one_hot(labels, logits.shape[-1]).bool().expand(logits.shape)
    others = logits.masked_fill(own, -torch.inf).logsumexp(-1)
    return logits[own].reshape(others.shape) - others


def log_ratios(
    audited: Tensor, unlearned: Tensor, retrained: Tensor, *, sd_floor: float = 0.1
) -> Tensor:
    """Λ of each image: above 0, the network looks as if it had learned and forgotten.

    Args:
        audited: φ in the audited networks, shape ``[A, N]`` or ``[N]``; of their own
            logits, not of a shadow's.
        unlearned: φ in networks that forgot, shape ``[S, N]``.
        retrained: φ in retrained networks, shape ``[S, N]``.
        sd_floor: Smallest σ, in nats.

    Returns:
        Nats, of the shape of ``audited``.
    """
    floor = checked_number(
        "sd_floor", sd_floor, lambda v: 0 < v <= sys.float_info.max, "nats above 0"
    )
    forgot, never = (
        torch.distributions.Normal(phi.mean(0), phi.std(0).clamp_min(float(floor)))
        for phi in (unlearned, retrained)
    )
    return forgot.log_prob(audited) - never.log_prob(audited)
