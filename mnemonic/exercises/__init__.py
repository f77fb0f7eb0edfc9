"""Checks that tell a reader that an exercise of the book is done.

One function an exercise, named like its label: ``ch1_predict`` for ``ex-ch1-predict``.
Each takes the reader's answer and what it is about. It prints one line where the answer
is right, raises ``NotImplementedError`` where there is none yet, and ``AssertionError``
with a hint where it is wrong. What is right is computed here, from the reader's own
network, never looked up.

Example:
    >>> from mnemonic import exercises
    >>> exercises.ch1_implement(
    ...     lambda confusion, classes: 0.0, lambda confusion, classes: 0.0
    ... )
    Traceback (most recent call last):
    AssertionError: remaining_accuracy: it should be 80.0 for ...
"""

from mnemonic.exercises.evidence import (
    ch5_change,
    ch5_critique,
    ch5_implement,
    ch5_predict,
    ch6_change,
    ch6_critique,
    ch6_implement,
    ch6_predict,
    ch7_change,
    ch7_critique,
    ch7_implement,
    ch7_predict,
    ch8_change,
    ch8_critique,
    ch8_implement,
    ch8_predict,
)
from mnemonic.exercises.the_method import (
    ch1_change,
    ch1_critique,
    ch1_implement,
    ch1_predict,
    ch2_change,
    ch2_critique,
    ch2_implement,
    ch2_predict,
    ch3_change,
    ch3_critique,
    ch3_implement,
    ch3_predict,
    ch4_change,
    ch4_critique,
    ch4_implement,
    ch4_predict,
)

__all__ = [
    f"ch{chapter}_{kind}"
    for chapter in range(1, 9)
    for kind in ("predict", "change", "implement", "critique")
]
