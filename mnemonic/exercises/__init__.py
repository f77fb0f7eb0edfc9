"""Checks that tell a reader that an exercise of the book is done.

One module a chapter, one function an exercise: ``ch1.predict`` for ``ex-ch1-predict``.
Each takes the reader's answer and what it is about. It prints one line where the answer
is right, raises ``NotImplementedError`` where there is none yet, and ``AssertionError``
with a hint where it is wrong. What is right is computed here, from the reader's own
network and data, and not looked up.

Example:
    >>> from mnemonic.exercises import ch12
    >>> ch12.predict(megabytes=602, passes=1000)
    Done. 602 MB, and 1,000 backward passes.
"""

from mnemonic.exercises import (
    ch1,
    ch2,
    ch3,
    ch4,
    ch5,
    ch6,
    ch7,
    ch8,
    ch9,
    ch10,
    ch11,
    ch12,
    ch13,
    ch14,
    ch15,
)

__all__ = [
    "ch1", "ch2", "ch3", "ch4", "ch5", "ch6", "ch7", "ch8", "ch9", "ch10", "ch11",
    "ch12", "ch13", "ch14", "ch15",
]  # fmt: skip
