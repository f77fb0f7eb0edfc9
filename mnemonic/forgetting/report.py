"""What forgetting gives back: the new network, and the account of how."""

from dataclasses import dataclass

import pandas as pd
from torch import nn

from mnemonic.forgetting.strengths import Perturbation, Sign, Strength


@dataclass(frozen=True, eq=False)
class Forgotten:
    """A network that forgot, and the account of how.

    Attributes:
        model: A new network in evaluation mode; the one given is as it was.
        classes: What was forgotten.
        strength: Used, or chosen on the codes.
        sign: +1 or -1 (Eq. 5).
        seconds: Wall clock of Fisher, choice and perturbation, device synchronised.
        forgets_codes: Whether ``model`` misreads every code of the forget classes.
        layers: One row a parameter tensor: ``layer``, ``alpha`` (α_l), the
            ``largest_step`` and ``median_step`` of its weights (absolute; the median
            of at most 10,000 of them, evenly spaced),
            ``share_moved`` (of weights whose stored value changed, in [0, 1]) and the
            number of ``weights``.
        candidates: Where it was asked for, one row a setting, as ``try_strengths``
            scores it on the codes: ``lambda1``, ``lambda2``, ``sign``,
            ``remaining_accuracy`` and ``forgetting_error`` (percent),
            ``remaining_loss`` and ``forgetting_loss`` (nats).
    """

    model: nn.Module
    classes: tuple[int, ...]
    strength: Strength
    sign: Sign
    seconds: float
    forgets_codes: bool
    layers: pd.DataFrame
    candidates: pd.DataFrame | None


def layers_of(step: Perturbation) -> pd.DataFrame:
    """``Forgotten.layers``, of where a network was moved last."""
    rows = []
    for name, (old, _, new) in step.layers.items():
        moves = (new - old).abs_().flatten()
        n = moves.numel()
        rows.append((name, abs(step.alphas[name]), float(moves.amax()),
                     float(moves[:: -(-n // 10_000)].median()),
                     int(moves.count_nonzero()) / n, n))  # fmt: skip
    heads = ["layer", "alpha", "largest_step", "median_step", "share_moved", "weights"]
    return pd.DataFrame(rows, columns=heads)
