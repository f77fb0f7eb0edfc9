"""What forgetting gives back: the new network, and the account of how."""

import math
from dataclasses import dataclass

import pandas as pd
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Forgotten:
    """A network that forgot, and the account of how.

    Attributes:
        model: A new network in evaluation mode; the one given is as it was.
        classes: What was forgotten.
        rule: One of ``RULES``.
        settings: What ``forget`` takes besides, as given or chosen: ``strength``, and
            of ``"amplitude"`` the ``sign`` (Eq. 5).
        seconds: Wall clock of the whole rule, device synchronised.
        forgets_codes: Whether ``model`` misreads every code of the forget classes; none
            where no codes were given.
        depth: Of ``"amplitude"``: how far below its best rival the surest of these
            codes ended, in how far the surest was above.
        layers: One row a parameter tensor that may move: ``layer``, ``alpha`` (α_l, of
            ``"amplitude"``), the
            ``largest_step`` and ``median_step`` of its weights (absolute; the median
            of at most 10,000 of them, evenly spaced),
            ``share_moved`` (of weights whose stored value changed, in [0, 1]) and the
            number of ``weights``.
        candidates: Where it was asked for, one row a setting, as ``try_strengths``
            scores it on the codes: ``lambda1``, ``lambda2``, ``sign``,
            ``remaining_accuracy`` and ``forgetting_error`` (percent),
            ``remaining_loss`` (nats), ``spares`` and ``depth``.
    """

    model: nn.Module
    classes: tuple[int, ...]
    rule: str
    settings: dict[str, object]
    seconds: float
    forgets_codes: bool | None
    depth: float | None
    layers: pd.DataFrame
    candidates: pd.DataFrame | None


def layers_of(
    old: dict[str, Tensor], new: dict[str, Tensor], alphas: dict[str, float]
) -> pd.DataFrame:
    """``Forgotten.layers``, of weights by parameter name, before and after."""
    rows = []
    for name, before in old.items():
        moves = (new[name] - before).abs_().flatten()
        n = moves.numel()
        rows.append((name, abs(alphas.get(name, math.nan)), float(moves.amax()),
                     float(moves[:: -(-n // 10_000)].median()),
                     int(moves.count_nonzero()) / n, n))  # fmt: skip
    heads = ["layer", "alpha", "largest_step", "median_step", "share_moved", "weights"]
    return pd.DataFrame(rows, columns=heads)
