"""A number and how far to trust it: means and areas under ROC curves, with intervals.

Intervals are of 95 %: they tell how much another draw of images would change the
number, and where there are repeats (draws, networks) another draw of these too. A mean
of repeats on the same images has the variance

    v = var(means of repeats) / R + var(means of images) / N - var(rest) / (R N)

(a repeat and an image both bring the rest, once too often), and Student's t with the
degrees of freedom of Satterthwaite 1946. Percentages and areas end at 0 and at 1, so
theirs are Wilson's (1927), of the n = p (1 - p) / v independent images that would have
this variance: at 100 of 100 images they still have width. The variance of an area is
that of the placements (DeLong and others 1988). Another training is in none of them,
unless networks are the repeats. ``make soak`` counts how often each holds the truth.

Example:
    >>> import torch
    >>> found = percent_of(torch.arange(100) < 80)
    >>> found.value, round(found.low, 1), round(found.high, 1), found.n
    (80.0, 71.1, 86.7, 100)
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

NORMAL = 1e9  # degrees of freedom of Student's t that is as good as normal
ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes:
        value: The number.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Upper end.
        unit: ``"%"``, ``"nats"``, or ``"1"`` for a number without a unit.
        n: Images behind it.
    """

    value: float
    low: float
    high: float
    unit: str
    n: int


def mean_of(values: Tensor, *, unit: str) -> Estimate:
    """Mean over images, and over repeats.

    Args:
        values: One an image, shape ``[N]``; or ``[R, N]`` for R repeats on the same
            images, where both are samples.
        unit: Of the values; ``"%"`` for numbers from 0 to 100.

    Returns:
        The mean with its interval; of one value that is no percentage, without.
    """
    table = rows_of(values)
    n, mean = table.shape[1], float(table.mean())
    parts = parts_of(table)
    if unit == "%":
        if len(table) == 1:  # a share of independent images: Wilson's own
            parts = [(float(table.var(correction=0)) / n, NORMAL)]
        parts = [(v / 1e4, freedom) for v, freedom in parts]
        low, high = wilson(mean / 100, parts, n)
        return Estimate(mean, 100 * low, 100 * high, unit, n)
    v, quantile = spread(parts)
    half = quantile * math.sqrt(v) if n > 1 else math.nan
    low = mean - half if table.min() < 0 else max(mean - half, 0.0)
    return Estimate(mean, low, mean + half, unit, n)


def percent_of(right: Tensor) -> Estimate:
    """Percentage of true values, of shape ``[N]`` or ``[R, N]``; as ``mean_of``."""
    return mean_of(100 * right.double(), unit="%")


def accuracies(right: dict[str, list[Tensor]]) -> dict[str, Estimate]:
    """``"<whose>_accuracy"`` in percent, of whose images were answered right."""
    return {
        f"{whose}_accuracy": percent_of(torch.stack(rows))
        for whose, rows in right.items()
    }


def auc_of(members: Tensor, others: Tensor) -> Estimate:
    """Area under the ROC curve of a score that is larger for members.

    AUC = P(member > other) + ½ P(member = other), over all pairs.

    Args:
        members: Scores of shape ``[N]``.
        others: Scores of shape ``[M]``.

    Returns:
        The area in [0, 1] with its interval.
    """
    of_members, of_others = placements(*map(_finite, (members, others)))
    area = float(of_members.mean())
    parts = [*parts_of(of_members[None]), *parts_of(of_others[None])]
    low, high = wilson(area, parts, min(len(members), len(others)))
    return Estimate(area, low, high, "1", len(members) + len(others))


def placements(members: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """What each score brings to the AUC, which is the mean of either side.

    Args:
        members: Scores of shape ``[N]``.
        others: Scores of shape ``[M]``.

    Returns:
        The share of others below each member ``[N]``, and of members above each other
        ``[M]``; ties count half.
    """

    def below(values: Tensor, among: Tensor) -> Tensor:
        found = [
            torch.searchsorted(among, values, right=right) for right in (True, False)
        ]
        return sum(found).double() / (2 * len(among))

    return below(members, others.sort().values), 1 - below(
        others, members.sort().values
    )


def alone(value: float, *, unit: str, n: int) -> Estimate:
    """A number without an interval."""
    return Estimate(float(value), math.nan, math.nan, unit, n)


def parts_of(table: Tensor) -> list[tuple[float, float]]:
    """Variance of the mean of a table ``[R, N]``, in parts, each with its freedom.

    Args:
        table: Of repeats on the same images.

    Returns:
        Of repeats, of images, and what both have of the rest, to subtract.
    """
    (r, n), by_image = table.shape, table.mean(0)
    if r == 1:
        return [(float(by_image.var(correction=0)) / max(n - 1, 1), max(n - 1, 1))]
    by_repeat = table.mean(1)
    rest = table - by_image - by_repeat[:, None] + table.mean()
    error = float(rest.square().sum()) / ((r - 1) * max(n - 1, 1)) / (r * n)
    of_images = float(by_image.var(correction=0)) / max(n - 1, 1)
    parts = [(float(by_repeat.var()) / r, r - 1), (of_images, max(n - 1, 1))]
    smaller = min(v for v, _ in parts)
    return [*parts, (-min(error, smaller), (r - 1) * max(n - 1, 1))]


def spread(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Variance of a sum of parts, and Student's 97.5 % quantile for it."""
    v = sum(part for part, _ in parts)
    if v <= 0:
        return 0.0, 0.0
    freedom = v**2 / sum(part**2 / freedom for part, freedom in parts)
    return v, float(student.ppf(0.975, freedom))


def wilson(p: float, parts: list[tuple[float, float]], n: int) -> tuple[float, float]:
    """Wilson's interval of a share.

    Args:
        p: The share, in [0, 1].
        parts: Of its variance, as of ``parts_of``.
        n: Images behind it, for a share without variance, such as 0 or 1.

    Returns:
        Both ends.
    """
    (v, quantile), p = spread(parts), min(max(p, 0.0), 1.0)
    if v == 0 or p * (1 - p) < ROUNDING:  # what varies at 0 or 1 is rounding
        quantile = float(student.ppf(0.975, NORMAL))
    else:
        n = p * (1 - p) / v
    middle = p + quantile**2 / (2 * n)
    half = quantile * math.sqrt(p * (1 - p) / n + (quantile / (2 * n)) ** 2)
    low, high = ((middle + sign * half) / (1 + quantile**2 / n) for sign in (-1, 1))
    return max(min(low, p), 0.0), min(max(high, p), 1.0)  # whatever was rounded


def rows_of(values: Tensor) -> Tensor:
    """Finite numbers as ``[R, N]``, in float64 on the CPU."""
    return torch.atleast_2d(_finite(values))


def _finite(values: Tensor) -> Tensor:
    if not torch.isfinite(values).all():
        raise ValueError("a value is NaN or infinite; give finite ones")
    return values.double().cpu()
