"""What is asked of numbers, seeds and forget classes wherever they come in.

Numbers of numpy and torch are as good as Python's; ``True`` is no number.

Example:
    >>> checked_seed(3)
    3
    >>> try:
    ...     checked_seed(None)
    ... except ValueError as error:
    ...     print(error)
    seed is None; give an integer from -2**63 to 2**64 - 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from torch import Tensor


def checked_number(
    name: str,
    value: object,
    fits: Callable[[float], bool],
    allowed: str,
    *,
    whole: bool = False,
) -> int | float:
    """Make sure that a setting is a number in its range.

    Args:
        name: What the caller calls it.
        value: What was given.
        fits: Whether a number is in the range; it is never asked about other things.
        allowed: The range in words, for the error.
        whole: Take integers only.

    Returns:
        The same number as a Python ``int`` or ``float``.

    Raises:
        ValueError: If it is no number or does not fit.
    """
    number = _number(value)
    if number is None or (whole and isinstance(number, float)) or not fits(number):
        raise ValueError(f"{name} is {value!r}; give {allowed}")
    return number


def _number(value: object) -> int | float | None:
    if isinstance(value, (np.generic, np.ndarray, Tensor)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


def checked_seed(seed: object) -> int:
    """Make sure that a seed is an integer that torch can take."""
    return checked_number(
        "seed",
        seed,
        lambda s: -(2**63) <= s < 2**64,
        "an integer from -2**63 to 2**64 - 1",
        whole=True,
    )


def checked_classes(classes: Sequence[int], n_classes: int) -> tuple[int, ...]:
    """Make sure that some but not all classes are named, each once.

    Args:
        classes: Class indices.
        n_classes: ``K``.

    Returns:
        The indices, in ascending order.

    Raises:
        ValueError: If none, all, an unknown or a repeated class is named.
    """
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable):
        raise ValueError(
            f"forget classes are {classes!r}; give a list of class indices, such as [3]"
        )
    named = []
    for given in classes:
        c = _number(given)
        if c not in range(n_classes):  # nor is None, NaN or 0.5
            raise ValueError(
                f"forget class {given!r} is not in 0..{n_classes - 1}; name classes "
                "by their index"
            )
        named.append(int(c))
    if len(set(named)) < len(named):
        raise ValueError(f"forget classes {named} repeat one; name each class once")
    if not 0 < len(named) < n_classes:
        raise ValueError(
            f"{len(named)} of {n_classes} classes to forget; name at least one and "
            "leave at least one to remember"
        )
    return tuple(sorted(named))
