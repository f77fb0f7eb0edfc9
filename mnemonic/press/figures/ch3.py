"""Figures of chapter 3, on the Fisher."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from mnemonic.press import plots

LINES = {
    "loss": {"color": "black", "label": "loss"},
    "empirical": {"color": plots.NEUTRAL, "ls": "--", "label": "parabola of $F$"},
    "true": {"color": plots.NEUTRAL, "ls": ":", "label": "of the true Fisher"},
}


def valleys(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the loss over single weights, with the parabolas of two Fishers.

    Args:
        panels: By title, rows with the ``step`` of one weight and, in nats, the
            ``loss`` there and what each Fisher expects, ``empirical`` and ``true``.

    Returns:
        One panel a weight, side by side, with one vertical axis.
    """
    fig, axes = plt.subplots(
        1, len(panels), figsize=(plots.WIDTH, 3), sharey=True, squeeze=False
    )
    for ax, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for column, look in LINES.items():
            ax.plot(rows["step"], rows[column], **look)
        ax.set(xlabel="weight moved by", title=title)
    axes[0, 0].set(ylabel="loss (nats)", ylim=(0, None))
    shown = axes[0, 0].get_legend_handles_labels()
    fig.legend(*shown, loc="outside upper center", ncols=3)
    return fig
