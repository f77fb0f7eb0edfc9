"""Figures of chapter 15, on photographs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from mnemonic.press import plots

BLENDS = {
    ("fig-13", "learned", "accuracy"): (plots.CODES, "correct"),
    ("fig-13", "never met", "accuracy"): (plots.NEUTRAL, "correct, code never met"),
    ("fig-13", "learned", "says_c"): (plots.FORGET, "answered with the class"),
}
SCORES = {
    "forgetting_error": (plots.FORGET, "$E_F$"),
    "remaining_accuracy": (plots.REMAINING, "$A_R$"),
}
CAPS = {"lambda1": r"$\lambda_1$", "lambda2": r"$\lambda_2$"}


def as_published(found: pd.DataFrame, given: Mapping[str, float]) -> Figure:
    """Draw Fig. 5, 13 and 6 to 9 of the paper for one network.

    Args:
        found: Rows of ``lab.as_published``.
        given: The paper's ``lambda1`` and ``lambda2``.

    Returns:
        Four panels: the Fisher's, the blends', one a cap.
    """
    fig, axes = plt.subplots(2, 2, figsize=(plots.WIDTH, 6.6))
    (fisher, mixed), caps = axes
    rows = dict(list(found.groupby(["artefact", "method", "metric"])))
    images = _line(rows["fig-5", "data", "rank_correlation"])
    plots.sweep(images, "at", "value", fisher, color=plots.NEUTRAL, label="images")
    [level] = rows["fig-5", "code", "rank_correlation"]["value"]
    fisher.axhline(level, color=plots.CODES, label="one code")
    fisher.set(xscale="log", xlabel="images", ylabel="rank correlation")
    for key, (color, label) in BLENDS.items():
        line = _line(rows[key])
        mixed.plot(line["at"], line["value"], "o-", color=color, label=label)
    mixed.set(xlabel="share of the code (%)", ylabel="test images (%)")
    for ax, (cap, name) in zip(caps, CAPS.items(), strict=True):
        for score, (color, label) in SCORES.items():
            line = _line(rows["fig-6", cap, score])
            ax.plot(line["at"], line["value"], "o-", color=color, label=label)
        ax.axvline(given[cap], color=plots.PAPER, ls="--", lw=1, label="paper")
        ax.set(xscale="log", xlabel=name, ylabel="test images (%)")
    for ax in axes.flat:
        ax.set_ylim((-0.03, 1.03) if ax is fisher else (-3, 103))
        side_by_side = {"ncols": 3, "columnspacing": 1} if ax in caps else {}
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1)}
        ax.legend(**above, handlelength=1.2, **side_by_side)
    return fig


def _line(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = rows["setting"].astype(float)
    return rows.assign(at=numbers).sort_values("at")
