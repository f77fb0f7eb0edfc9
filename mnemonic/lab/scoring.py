"""A_R and E_F, by one rule for whoever compares and whoever tunes."""

import contextlib
from collections.abc import Sequence

from torch import nn

from mnemonic.data.arrays import ImageData
from mnemonic.evaluation import evaluate
from mnemonic.networks.asked import NotFinite

SCORES = ("remaining_accuracy", "forgetting_error")


def two_numbers(
    network: nn.Module | None,
    data: ImageData,
    classes: Sequence[int],
    split: str = "test",
) -> dict[str, float]:
    """A_R and E_F, in percent, and whether the network diverged.

    One that answers NaN or infinity, or that never came to be, has kept nothing and has
    forgotten nothing: both are 0, for whoever compares and whoever tunes.

    Args:
        network: After a method; nothing where that gave none.
        data: With the forget classes.
        classes: The forget classes.
        split: As in ``evaluate``.

    Returns:
        ``remaining_accuracy``, ``forgetting_error`` and ``diverged``.
    """
    found = dict.fromkeys(SCORES, 0.0)
    if network is not None:
        with contextlib.suppress(NotFinite):
            scores = evaluate(network, data, classes, split=split)
            found = {name: getattr(scores, name) for name in SCORES}
            return found | {"diverged": False}
    return found | {"diverged": True}
