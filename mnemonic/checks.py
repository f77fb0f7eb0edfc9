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

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

MOST_NAMES = 10  # in an error


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


def checked_whole(name: str, value: object, least: int, most: float = math.inf) -> int:
    """Make sure that a setting is a whole number in a range, the ends included."""
    allowed = f"a whole number of {least} or more"
    if most < math.inf:
        allowed = f"a whole number from {least} to {most}"
    return checked_number(
        name, value, lambda n: least <= n <= most, allowed, whole=True
    )


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


def checked_classes(
    classes: Sequence[int | str], known: Sequence[str] | range
) -> tuple[int, ...]:
    """Make sure that some but not all classes are named, each once.

    Args:
        classes: Their indices, or their names.
        known: Names of all ``K``; ``range(K)`` where they have none.

    Returns:
        The indices, in ascending order.

    Raises:
        ValueError: If none, all, an unknown or a repeated class is named.
    """
    several = isinstance(classes, Iterable) and getattr(classes, "ndim", 1) > 0
    if not several or isinstance(classes, (str, bytes, type)):
        raise ValueError(
            f"forget classes are {classes!r}; give a list of class indices, such as [3]"
        )
    named, n_classes = [], len(known)
    for given in classes:
        is_name = isinstance(given, str) and known.count(given) == 1
        c = known.index(given) if is_name else _number(given)
        if c not in range(n_classes):  # nor is None, NaN or 0.5
            names = "" if isinstance(known, range) else f", or one of {listed(known)}"
            raise ValueError(
                f"forget class {given!r} is not in 0..{n_classes - 1}; name classes "
                f"by their index{names}"
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


def checked_device(device: object) -> torch.device:
    """Make sure that tensors can be put on a device.

    Args:
        device: Its name, or torch's object.

    Returns:
        Torch's object.

    Raises:
        ValueError: If there is no such device here, or it holds no values.
    """
    try:
        found = torch.empty(0, device=torch.device(device)).device
        reason = "it holds no values" if found.type == "meta" else None
    except Exception as error:  # each backend has its own
        reason = str(error).partition("\n")[0]
    if reason is not None:
        raise ValueError(
            f"device is {device!r} ({reason}); give 'cpu', or 'cuda' where there is a "
            "GPU"
        )
    return found


def checked_path(name: str, path: object) -> Path:
    """Make sure that this can be the name of a file or folder.

    Args:
        name: What the caller calls it.
        path: What was given.

    Returns:
        The path, ``~`` resolved.

    Raises:
        ValueError: If it is no text, or an empty one.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path) or "\0" in str(path):
        raise ValueError(f"{name} is {path!r}; give the name of a file or folder")
    return Path(os.path.expanduser(path))


def listed(names: Sequence[object]) -> str:
    """Names with commas, the first ten of many."""
    more = len(names) - MOST_NAMES
    text = ", ".join(map(str, names[:MOST_NAMES]))
    return f"{text} and {more} more" if more > 0 else text


def described(value: object) -> str:
    """Type of a value; of a tensor dtype and shape."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{value.dtype} of shape {list(value.shape)}"


def checked_tensors(ndim: int, **tensors: object) -> None:
    """Make sure that these are tensors of floats, alike in shape.

    Args:
        ndim: Number of dimensions.
        tensors: By the caller's names.

    Raises:
        ValueError: If one is not, or their shapes differ.
    """
    first = next(iter(tensors.values()))
    for name, value in tensors.items():
        if (
            not isinstance(value, Tensor)
            or value.ndim != ndim
            or 0 in value.shape
            or not value.is_floating_point()
            or value.shape != first.shape
        ):
            raise ValueError(
                f"{name} is {described(value)}; give floats with {ndim} dimensions, "
                f"the same shape for each of {', '.join(tensors)}"
            )


def check_samples(inputs: Tensor, labels: Tensor) -> None:
    """Make sure that there are inputs ``[N, ...]`` and class indices ``[N]``.

    Args:
        inputs: At least one.
        labels: One for each.

    Raises:
        ValueError: If not.
    """
    if not (
        all(isinstance(t, Tensor) for t in (inputs, labels))
        and labels.dtype == torch.int64
        and inputs.ndim > 0
        and labels.shape == (len(inputs),) != (0,)
    ):
        raise ValueError(
            f"inputs are {described(inputs)} and labels {described(labels)}; give at "
            "least one input and one label for each, a class index of torch.int64"
        )


def checked_frame(name: str, frame: object, columns: Iterable[object] = ()) -> None:
    """Make sure that this is a table with some columns.

    Args:
        name: What the caller calls it.
        frame: What was given.
        columns: What it needs to have.

    Raises:
        ValueError: If it is no table, or lacks a column.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"{name} is a {type(frame).__name__}; give a pandas DataFrame")
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise ValueError(f"the columns are {columns!r}; give a list of names")
    there = list(frame.columns)
    missing = [column for column in columns if column not in there]
    if missing:
        raise ValueError(f"{name} has no column {missing}; name some of {there}")
