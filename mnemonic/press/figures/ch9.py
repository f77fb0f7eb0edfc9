"""Figures of chapter 9, on the other ways to forget."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mnemonic.press import plots


def methods(runs: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw E_F and the change of A_R of each method, next to those of retraining.

    Args:
        runs: As ``comparison.tidy`` gives them.
        order: Names of the methods, from above.

    Returns:
        Two panels.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 8.8), sharey=True)
    _panels(runs, axes, order)
    return fig


def stand_ins(pictures: Tensor, names: Sequence[str], covered: pd.DataFrame) -> Figure:
    """Draw what ZS-PAG has in place of the remaining images.

    Args:
        pictures: A forget image, then what an attack made of it for each other class,
            ``[K, C, H, W]``.
        names: Of the classes, in this order.
        covered: Share of the squared inputs of a layer, percent, that lies in its
            protected directions; columns ``layer``, ``class``, ``of`` (whose
            directions) and ``share``.

    Returns:
        A row of pictures, and a panel a layer.
    """
    fig = plt.figure(figsize=(plots.WIDTH, 3.6))
    rows = fig.add_gridspec(2, len(pictures), height_ratios=(1, 3))
    for i, (image, name) in enumerate(zip(pictures, names, strict=True)):
        ax = fig.add_subplot(rows[0, i])
        plots.picture(image, ax)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(name, color="black" if i else plots.FORGET)
    half = len(pictures) // 2
    left = fig.add_subplot(rows[1, :half])
    right = fig.add_subplot(rows[1, half:], sharey=left)
    markers = dict(zip(covered["of"].unique(), "os", strict=True))
    for ax, (layer, part) in zip(
        (left, right), covered.groupby("layer", sort=False), strict=True
    ):
        for of, found in part.groupby("of", sort=False):
            look = {"mfc": "white"} if markers[of] == "o" else {}
            look |= {"color": plots.REMAINING, "label": of, "alpha": 0.8}
            ax.plot(found["class"], found["share"], markers[of], **look)
        ax.set(title=layer, xlabel="remaining class", ylim=(0, 105))
    left.set(ylabel="inputs covered (%)")
    right.tick_params(labelleft=False)
    right.legend(title="directions of … images", loc="lower center")
    return fig


def seconds(
    runs: pd.DataFrame, order: Sequence[str], paper: pd.Series, retrained: float
) -> Figure:
    """Draw the seconds that each method takes to forget.

    Args:
        runs: As ``comparison.tidy`` gives them.
        order: Names of the methods, from above.
        paper: The paper's seconds on complete MNIST, by name, for some.
        retrained: Seconds of training again.

    Returns:
        One panel.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 5.8))
    plots.by_method(runs, "seconds", ax, order, color=plots.NEUTRAL)
    places = [-list(order).index(n) for n in paper.index]
    ax.plot(paper, places, "s", color=plots.PAPER, label="paper, complete MNIST")
    ax.axvline(retrained, color="black", ls="--", lw=1, label="retrained")
    ax.set(xscale="log", xlabel="seconds to forget")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 1.1), ncols=2)
    return fig


def tuning(published: pd.Series, tuned: pd.Series) -> Figure:
    """Draw A_R + E_F of each method with its published and with its tuned settings.

    Args:
        published: In percent, by the method's title.
        tuned: The same methods in the same order, from below.

    Returns:
        One panel.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 4.6))
    ax.hlines(tuned.index, published, tuned, color="#BBBBBB")
    hollow = {"mfc": "white", "color": plots.NEUTRAL}
    ax.plot(published, tuned.index, "o", label="published", **hollow)
    ax.plot(tuned, tuned.index, "o", color="black", label="tuned")
    ax.set(xlabel="$A_R + E_F$ (%)")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 1.13), ncols=2)
    return fig


def recorded(runs: pd.DataFrame) -> Figure:
    """Draw E_F, the change of A_R and the seconds of each method of a record.

    Args:
        runs: As ``comparison.tidy`` gives them.

    Returns:
        Three panels, the fastest method above.
    """
    order = list(runs.groupby("method")["seconds"].mean().sort_values().index)
    fig, axes = plt.subplots(1, 3, figsize=(plots.WIDTH, 7.2), sharey=True)
    _panels(runs, axes, order)
    none = runs["method"].isin(["original", "row-zeroing"])
    timed = runs.assign(seconds=runs["seconds"].mask(none))
    plots.by_method(timed, "seconds", axes[2], order, color=plots.NEUTRAL)
    axes[2].set(xlabel="seconds", xscale="log")
    axes[1].set_xticks([-50, -5, 0], ["−50", "−5", "0"])
    axes[1].set_xlabel("change of $A_R$")
    return fig


def side_by_side(networks: dict[str, pd.DataFrame], order: Sequence[str]) -> Figure:
    """Draw E_F and the change of A_R of each method on two networks.

    Args:
        networks: Two titles, and for each the rows of ``comparison.tidy``.
        order: Names of the methods, from above.

    Returns:
        Two panels per network.
    """
    fig, axes = plt.subplots(1, 4, figsize=(plots.WIDTH, 7.2), sharey=True)
    for pair, (title, runs) in zip((axes[:2], axes[2:]), networks.items(), strict=True):
        _panels(runs, pair, order)
        pair[0].set(xlim=(-8, 125), xticks=(0, 100))
        pair[1].set(xlabel="$A_R$ change")
        pair[1].set_xticks([-50, -5, 0], ["−50", "−5", "0"])
        pair[0].set_title(title, loc="left")
    return fig


def _panels(runs: pd.DataFrame, axes: Sequence[Axes], order: Sequence[str]) -> None:
    plots.by_method(runs, "E_F", axes[0], order, color=plots.FORGET, band="retrain")
    look = {"color": plots.REMAINING, "band": "retrain"}
    plots.by_method(runs, "change", axes[1], order, **look)
    axes[0].set(xlabel="$E_F$ (%)", xlim=(-8, 116), xticks=(0, 50, 100))
    axes[1].set(xlabel="change of $A_R$ (points)")
    axes[1].set_xscale("symlog", linthresh=2)
    axes[1].set_xticks([-50, -5, -1, 0, 1], ["−50", "−5", "−1", "0", "1"])
    axes[1].axvline(0, color="black", lw=1)
    axes[1].margins(x=0.08)
