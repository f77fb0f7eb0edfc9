"""Figures of chapter 6, on what is left of a class."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from mnemonic.press import plots

EDGES = (0, 2, 5, 10, 20)  # deviations; the last shade is also for more
SHADES = ("#FFFFFF", "#FBE3D3", "#F2B48C", "#E58246")


def scoreboard(
    runs: pd.DataFrame,
    measures: dict[str, str],
    order: Sequence[str],
    least: dict[str, float],
) -> Figure:
    """Draw networks × audits, coloured by the distance from the retrained networks.

    Args:
        runs: One row a network, with columns ``method``, ``title`` and the measures.
        measures: What each column is called, by its name in ``runs``.
        order: Methods, from above; ``"retrain"`` is what they are held against.
        least: Of each measure, the deviation that counts where the retrained networks
            lie closer together: three networks may agree by chance.

    Returns:
        One panel: means, and their distance from the mean of the retrained networks in
        these networks' own standard deviations.
    """
    groups = runs.groupby("method")[list(measures)]
    means, never = groups.mean().loc[list(order)], groups.std().loc["retrain"]
    deviation = never.fillna(0).clip(lower=pd.Series(least))
    far = ((means - means.loc["retrain"]) / deviation).abs()
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 0.32 * len(order) + 1.5))
    look = {"cmap": ListedColormap(SHADES), "norm": BoundaryNorm(EDGES, len(SHADES))}
    shown = ax.imshow(far.clip(upper=EDGES[-1] - 1), aspect="auto", **look)
    for (row, column), value in np.ndenumerate(means.to_numpy()):
        text = (
            "–"
            if np.isnan(value)
            else f"{value:.2f}"
            if value < 1.5
            else f"{value:.0f}"
        )
        ax.text(column, row, text, ha="center", va="center", size=9)
    titles = runs.groupby("method")["title"].first()
    ax.set_yticks(range(len(order)), titles[list(order)])
    ax.set_xticks(range(len(measures)), measures.values(), rotation=40, ha="left")
    ax.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.grid(visible=False)
    bar = fig.colorbar(shown, ax=ax, orientation="horizontal", fraction=0.05)
    bar.set_label("deviations from the retrained networks")
    return fig
