"""Ranges that a setting is searched in, and how far the search goes on.

Example:
    >>> Range(1e-4, 1e-2).at(0.5)
    0.001
    >>> Range(1, 100).at(0.5), Range(0.1, 0.9, share=True).at(0.5)
    (10, 0.5)
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Values of a setting, drawn log-uniformly; where the winner lies is the search's.

    Attributes:
        low: The least at first, ``at(0)``.
        high: The largest at first, ``at(1)``. Whole numbers if ``low`` is one.
        share: Of numbers below 1, such as a weight of two losses: their odds are drawn.
    """

    low: float
    high: float
    share: bool = False

    def at(self, place: float) -> float:
        """The value at a place: 0 for ``low``, 1 for ``high``, beyond for others."""
        low, high = (self._log(v) for v in (self.low, self.high))
        value = math.exp(low + place * (high - low))
        if isinstance(self.low, int):
            return max(round(value), 1)
        if not self.share:
            return float(f"{value:.3g}")
        rest = float(f"{1 / (1 + value):.3g}")
        return float(f"{value / (1 + value):.3g}") if value < 1 else round(1 - rest, 12)

    def place(self, value: float) -> float:
        """Where a value is."""
        low, high = (self._log(v) for v in (self.low, self.high))
        return (self._log(value) - low) / (high - low)

    def beyond(self, value: float, sign: int) -> float:
        """The next value outwards, a quarter of the range away; itself at an end."""
        there = self.at(self.place(value) + sign / 4)
        if there == value and isinstance(self.low, int):
            there = max(value + sign, 1)
        return there if not self.share or 0 < there < 1 else value

    def _log(self, value: float) -> float:
        return math.log(value / (1 - value) if self.share else value)
