"""Figures of chapter 8, on what the method depends on."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnemonic.press import plots

COLORS = {"A_R": plots.REMAINING, "E_F": plots.FORGET, "change": plots.REMAINING}


def strengths(panels: Sequence[tuple[pd.DataFrame, str, str, float | None]]) -> Figure:
    """Draw A_R and E_F along a cap of the step, in as many panels as there are sweeps.

    Args:
        panels: For each, its rows with ``A_R``, ``E_F`` and ``before`` in percent;
            the column of the cap; its label; where the paper sets it, or None.

    Returns:
        One panel per sweep, side by side.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=(plots.WIDTH, 3.1), sharey=True)
    for ax, (frame, name, label, paper) in zip(axes, panels, strict=True):
        means = frame.groupby([name, "seed"])[["A_R", "E_F"]].mean().reset_index()
        for column in ("A_R", "E_F"):
            color = COLORS[column]
            plots.sweep(means, name, column, ax, color=color, label=f"${column}$")
        if paper is not None:
            ax.axvline(paper, color=plots.PAPER, ls="--", lw=1.5)
        ax.axhline(frame["before"].mean(), color="black", ls=":", lw=1)
        ax.set(xscale="log", xlabel=label, ylim=(-3, 103))
        ax.set_xticks(sorted(frame[name].unique())[1::2], minor=False)
        ax.minorticks_off()
    axes[0].set_ylabel("percent, on test images")
    shown = axes[0].get_legend_handles_labels()
    fig.legend(*shown, loc="outside upper center", ncols=2)
    return fig


def rules(runs: pd.DataFrame) -> Figure:
    """Draw E_F of each network and class, by the rule that chose the strength.

    Args:
        runs: One row per rule, network and class, with ``rule`` and ``E_F`` in percent.

    Returns:
        One panel; a bar is the mean.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.6))
    _dots(runs, "E_F", "rule", ax)
    ax.set(xlabel="$E_F$ on test images (%)", xlim=(-3, 103))
    return fig


def from_images(runs: pd.DataFrame, codes: pd.Series, paper: pd.Series) -> Figure:
    """Draw A_R and E_F of the step from images, against how many there are of a class.

    Args:
        runs: One row per seed and ``n``, with ``A_R`` and ``E_F`` in percent.
        codes: The same of the step from codes.
        paper: A_R in the paper for 1, 5, 10, 100, 1,000 and 5,000 images.

    Returns:
        Two panels.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.3))
    for ax, column in zip(axes, ("A_R", "E_F"), strict=True):
        plots.sweep(runs, "n", column, ax, color=COLORS[column], label="from images")
        ax.axhline(codes[column], color=plots.CODES, ls="--", label="from codes")
        ax.set(xscale="log", xlabel="images of each class", ylim=(0, 104))
        ax.set_ylabel(f"${column}$ (%)")
    counts = [1, 5, 10, 100, 1000, 5000]
    axes[0].plot(counts, paper, "s", color=plots.PAPER, label="paper")
    shown = axes[0].get_legend_handles_labels()
    fig.legend(*shown, loc="outside upper center", ncols=3)
    return fig


def answers(runs: pd.DataFrame) -> Figure:
    """Draw E_F and the change of A_R by what the network answers with.

    Args:
        runs: One row per network and class, with ``answer``, ``E_F`` in percent and
            ``change`` in points.

    Returns:
        Two panels; a bar is a mean.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH, 2.5), sharey=True)
    _dots(runs, "E_F", "answer", left)
    _dots(runs, "change", "answer", right)
    left.set(xlabel="$E_F$ (%)", xlim=(-3, 103))
    right.set(xlabel="change of $A_R$ (points)")
    return fig


def several(runs: pd.DataFrame) -> Figure:
    """Draw E_F and the change of A_R against the number of classes forgotten at once.

    Args:
        runs: One row per set of classes, with ``network``, ``n_forget``, ``E_F`` in
            percent and ``change`` in points.

    Returns:
        One column per network, E_F above the change; a bar is a mean.
    """
    names = list(runs["network"].unique())
    fig, axes = plt.subplots(
        2, len(names), figsize=(plots.WIDTH, 4.4), sharex=True, sharey="row"
    )
    jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(runs))
    for pair, name in zip(axes.T, names, strict=True):
        here = runs[runs["network"] == name]
        where = here["n_forget"] + jitter[here.index]
        for ax, column in zip(pair, ("E_F", "change"), strict=True):
            ax.plot(where, here[column], "o", color=COLORS[column], ms=4, alpha=0.5)
            ax.plot(here.groupby("n_forget")[column].mean(), "_", color="black", ms=14)
        pair[0].set(title=name, ylim=(-3, 103))
        pair[1].set(xlabel="classes at once", xticks=range(1, 6))
    axes[0, 0].set_ylabel("$E_F$ (%)")
    axes[1, 0].set_ylabel("change of $A_R$ (points)")
    return fig


def _dots(runs: pd.DataFrame, column: str, by: str, ax: Axes) -> None:
    """A dot for every run, a bar at their mean; the first kind is at the top."""
    names = list(runs[by].unique())
    jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(runs))
    where = runs[by].map(names.index) + jitter
    ax.plot(runs[column], where, "o", ms=4, alpha=0.5, color=COLORS[column])
    means = runs.groupby(by)[column].mean().reindex(names)
    ax.plot(means, range(len(names)), "|", color="black", ms=22)
    ax.set_yticks(range(len(names)), names)
    ax.yaxis.set_inverted(True)
