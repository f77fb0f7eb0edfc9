"""Figures of chapter 15, on photographs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from mnemonic.press import plots

BLENDS = {
    ("fig-13", "learned", "accuracy"): (plots.CODES, "correct"),
    ("fig-13", "never met", "accuracy"): (plots.NEUTRAL, "correct, strange code"),
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
    fig, axes = plt.subplots(2, 2, figsize=(plots.WIDTH, 6.2))
    (fisher, mixed), caps = axes
    rows = dict(list(found.groupby(["artefact", "method", "metric"])))
    images = _line(rows["fig-5", "data", "top_overlap"])
    plots.sweep(images, "at", "share", fisher, color=plots.NEUTRAL, label="images")
    [level] = rows["fig-5", "code", "top_overlap"]["value"]
    fisher.axhline(100 * level, color=plots.CODES, label="one code")
    fisher.set(xscale="log", xlabel="images", ylabel="top 1 % of weights found (%)")
    for key, (color, label) in BLENDS.items():
        line = _line(rows[key])
        mixed.plot(line["at"], line["value"], "o-", color=color, label=label)
    mixed.set(xlabel="share of the code (%)", ylabel="test images (%)")
    for ax, (cap, name) in zip(caps, CAPS.items(), strict=True):
        for score, (color, label) in SCORES.items():
            line = _line(rows["fig-6", cap, score])
            ax.plot(line["at"], line["value"], "o-", color=color, label=label)
        ax.axvline(given[cap], color=plots.PAPER, ls="--", lw=1, label="the paper's")
        ax.set(xscale="log", xlabel=name, ylabel="test images (%)")
    for ax in axes.flat:
        ax.set_ylim(-3, 103)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return fig


def _line(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = rows["setting"].astype(float)
    return rows.assign(at=numbers, share=100 * rows["value"]).sort_values("at")
