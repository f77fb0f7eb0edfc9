"""A number and how far to trust it: means and areas under ROC curves, with intervals.

Intervals are percentiles (2.5 and 97.5) of the same number on 1,000 bootstrap resamples
of the images, and of the repeats where there are several (Efron and Tibshirani 1993).
They tell how much another draw of images would change the number, not another training.
Where all images agree, such as at an accuracy of 100 %, they have no width.

Example:
    >>> import torch
    >>> found = percent_of(torch.arange(100) < 80, seed=0)
    >>> found.value, found.low < 80 < found.high, found.n
    (80.0, True, 100)
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemonic.storage import generator_for

RESAMPLES = 1000
TAILS = (0.025, 0.975)
_BLOCK = 2**22  # resampled images at a time: 32 MiB of weights


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


def mean_of(values: Tensor, *, unit: str, seed: int) -> Estimate:
    """Mean over images, and over repeats.

    Args:
        values: One an image, shape ``[N]``; or ``[R, N]`` for R repeats on the same
            images, of which both are resampled.
        unit: Of the values.
        seed: Of the resamples.

    Returns:
        The mean with its interval.
    """
    table = rows_of(values)
    repeats, n = table.shape
    means = [
        ((over_images @ table.T) * over_repeats).sum(1)
        for over_repeats, over_images in _weights(seed, repeats, n)
    ]
    return _estimate(float(table.mean()), torch.cat(means), unit, n)


def percent_of(right: Tensor, *, seed: int) -> Estimate:
    """Percentage of true values, of shape ``[N]`` or ``[R, N]``; as ``mean_of``."""
    return mean_of(100 * right.double(), unit="%", seed=seed)


def accuracies(right: dict[str, list[Tensor]], *, seed: int) -> dict[str, Estimate]:
    """``"<whose>_accuracy"`` in percent, of whose images were answered right."""
    return {
        f"{whose}_accuracy": percent_of(torch.stack(rows), seed=seed)
        for whose, rows in right.items()
    }


def auc_of(
    members: Tensor, others: Tensor, *, seed: int, paired: bool = False
) -> Estimate:
    """Area under the ROC curve of a score that is larger for members.

    AUC = P(member > other) + ½ P(member = other), over all pairs.

    Args:
        members: Scores of shape ``[N]``, or ``[S, N]`` for S scores an image.
        others: Scores of shape ``[M]``, or ``[S, M]``.
        seed: Of the resamples.
        paired: Both are of the same N images, which are resampled together.

    Returns:
        The area in [0, 1] with its interval, which resamples images.
    """
    members, others = rows_of(members), rows_of(others)
    n, m = members.shape[1], others.shape[1]
    wins = torch.zeros(n, m, dtype=torch.float64)  # share of score pairs won
    for a in members:
        pairs = a[:, None, None], others.T  # [N, 1, 1] with [M, S]
        for won in (torch.gt, torch.ge):
            wins += 0.5 * won(*pairs).sum(2)
    wins /= len(members) * len(others)
    areas = [
        ((over_members @ wins) * (over_members if paired else over_others)).sum(1)
        for over_members, over_others in _weights(seed, n, m)
    ]
    images = n if paired else n + m
    return _estimate(float(wins.mean()), torch.cat(areas), "1", images)


def spread_of(repeats: Tensor, *, unit: str, n: int) -> Estimate:
    """Mean of some repeats, of shape ``[R]``, between the percentiles of these."""
    return _estimate(float(repeats.double().mean()), repeats.double(), unit, n)


def alone(value: float, *, unit: str, n: int) -> Estimate:
    """A number without an interval."""
    return Estimate(float(value), float("nan"), float("nan"), unit, n)


def _estimate(value: float, draws: Tensor, unit: str, n: int) -> Estimate:
    tails = torch.tensor(TAILS, dtype=draws.dtype)
    low, high = torch.quantile(draws, tails).tolist()
    return Estimate(value, low, high, unit, n)


def _weights(seed: int, *sizes: int) -> Iterator[tuple[Tensor, ...]]:
    """Shares of each image in the resamples, in blocks ``[B, size]``, one a size."""
    generator = generator_for("bootstrap", seed)
    rows = min(max(_BLOCK // max(sizes), 1), RESAMPLES)
    for start in range(0, RESAMPLES, rows):
        b = min(rows, RESAMPLES - start)
        blocks = []
        for size in sizes:
            drawn = torch.randint(size, (b, size), generator=generator)
            counts = torch.zeros(b, size, dtype=torch.float64)
            one = torch.ones((), dtype=torch.float64).expand(b, size)
            blocks.append(counts.scatter_add_(1, drawn, one) / size)
        yield tuple(blocks)


def rows_of(values: Tensor) -> Tensor:
    """Finite numbers as ``[R, N]``, in float64 on the CPU."""
    if not torch.isfinite(values).all():
        raise ValueError("a value is NaN or infinite; give finite ones")
    return torch.atleast_2d(values).double().cpu()
