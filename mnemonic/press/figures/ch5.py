"""Figures of chapter 5, on how forgetting is judged."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mnemonic.data.sources import GARMENTS
from mnemonic.press import plots


def by_class(
    runs: pd.DataFrame, change: pd.Series, class_names: Sequence[str]
) -> Figure:
    """Draw E_F and the change of A_R of every network, by the class it forgot.

    Args:
        runs: One row per network and class, with ``forget_class`` and
            ``forgetting_error`` in percent.
        change: Of A_R, in points, for the same rows.
        class_names: Of all classes.

    Returns:
        Two panels.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.1))
    where = runs["forget_class"]
    left.plot(where, runs["forgetting_error"], "o", color=plots.FORGET, alpha=0.7)
    left.set(xlabel="forget class", ylabel="$E_F$ on test images (%)", ylim=(0, 103))
    right.plot(where, change, "o", color=plots.REMAINING, alpha=0.7)
    right.axhline(0, color="black", lw=1)
    right.set(xlabel="forget class", ylabel="change of $A_R$ (points)", ylim=(-3, 3))
    for ax in (left, right):
        names, look = plots.lettered(class_names)
        ax.set_xticks(range(len(names)), names, **look)
    return fig


def garments(runs: pd.DataFrame) -> Figure:
    """Draw E_F for each garment of Fashion-MNIST, before (bars) and after (points).

    Args:
        runs: One row per network and class, with ``forget_class``,
            ``before_forgetting_error`` and ``forgetting_error`` in percent.

    Returns:
        One panel.
    """
    fig, ax = plt.subplots()
    start = runs.groupby("forget_class")["before_forgetting_error"].mean()
    ax.bar(start.index, start, color=plots.NEUTRAL, alpha=0.35)
    ax.plot(runs["forget_class"], runs["forgetting_error"], "o", color=plots.FORGET)
    ax.set(ylabel="$E_F$ on test images (%)", ylim=(0, 103))
    ax.set_xticks(range(10), GARMENTS, rotation=45, ha="right")
    return fig


def least_error(
    sizes: Sequence[int], least: Sequence[float], n_images: int, bound: float
) -> Figure:
    """Draw the lower end of the interval of E_F against the number of test images.

    Args:
        sizes: Numbers of images, all of them misclassified.
        least: Lower end for each, in percent.
        n_images: How many there are here.
        bound: The lower end for these.

    Returns:
        One panel.
    """
    fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.8))
    ax.fill_between(sizes, least, 100, color=plots.FORGET, alpha=0.2, lw=0)
    ax.plot(sizes, least, color=plots.FORGET)
    ax.plot(n_images, bound, "o", color="black", ms=8)
    ax.set(xscale="log", xlabel="test images, all misclassified")
    ax.set_ylabel("$E_F$ at least (%)")
    return fig


def judged(runs: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Draw four judges of each network: every seed as a point, the mean as a bar.

    Args:
        runs: One row per network and seed, with ``network``, ``E_F``, ``probe``,
            ``back`` and ``A_R then``, in percent.
        means: One row per network, in the order of the figure.

    Returns:
        Four panels.
    """
    place = {name: -i for i, name in enumerate(means["network"])}
    where = runs["network"].map(place)
    fig, axes = plt.subplots(1, 4, figsize=(plots.WIDTH, 2.7), sharey=True)
    heads = {"E_F": "$E_F$", "probe": "probe", "back": "back", "A_R then": "$A_R$ then"}
    for ax, (column, label) in zip(axes, heads.items(), strict=True):
        color = plots.REMAINING if column == "A_R then" else plots.FORGET
        ax.plot(runs[column], where, "o", color=color, alpha=0.6)
        ax.plot(means[column], means["network"].map(place), "|", color="black", ms=16)
        ax.set(xlabel=f"{label} (%)", xlim=(-8, 108), xticks=(0, 50, 100))
    axes[0].set_yticks(list(place.values()), list(place))
    return fig


def undone(
    number: tuple[Tensor, Tensor, Tensor],
    curves: Mapping[str, tuple[Tensor, Tensor]],
    class_name: str,
) -> Figure:
    """Draw what one number, added to one bias, brings back, and what it costs.

    Args:
        number: The numbers, accuracy on the class and A_R for each, in percent, of
            the forgotten network.
        curves: The latter two for original, forgotten, row zeroing, one bias and
            retrained.
        class_name: Of the forget class.

    Returns:
        Two panels.
    """
    looks = {"original": ("black", "-", 5, 0.25), "one bias": ("black", ":", 2, 1)}
    looks |= {"forgotten": (plots.FORGET, "-", 2, 1)}
    looks |= {"row zeroing": ("black", "--", 2, 1)}
    looks |= {"retrained": (plots.NEUTRAL, "-", 2, 1)}
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.9))
    numbers, back, kept = number
    left.plot(numbers, back, color=plots.FORGET, label=f"class {class_name}")
    left.plot(numbers, kept, color=plots.REMAINING, label="others ($A_R$)")
    left.set(xlabel="$b$ (logits)", ylabel="accuracy (%)")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=2)
    for name, (color, line, lw, alpha) in looks.items():
        how = {"color": color, "lw": lw, "alpha": alpha, "label": name}
        accuracy, remaining = curves[name]
        right.plot(remaining, accuracy, line, **how)
    right.set(xlabel="$A_R$ (%)", ylabel=f"accuracy on class {class_name} (%)")
    right.legend(loc="lower left")
    return fig


def losses(train: Mapping[str, Tensor], test: Mapping[str, Tensor], k: int) -> Figure:
    """Draw the losses on images of the forget class, trained on and not.

    Args:
        train: Losses on training images, in nats, for ``before`` and ``after``.
        test: On test images, also for ``never``, a network without the class.
        k: Number of classes.

    Returns:
        Three panels.
    """
    kinds, coarse = ("training", "test"), np.arange(0, 36, 1.5)
    fine, others = np.geomspace(1e-6, 30, 20), ("forgotten", "retrained")
    panels = (
        ("before", fine, kinds, train["before"], test["before"]),
        ("after", coarse, kinds, train["after"], test["after"]),
        ("against retrained", coarse, others, test["after"], test["never"]),
    )
    fig, axes = plt.subplots(1, 3, figsize=(plots.WIDTH, 3.1), sharey=True)
    for ax, (title, edges, labels, filled, outlined) in zip(axes, panels, strict=True):
        _shares(ax, filled, edges, fill=True, label=labels[0])
        _shares(ax, outlined, edges, fill=False, label=labels[1])
        ax.axvline(np.log(k), color="black", ls=":", lw=1)
        ax.set_xlabel("loss (nats)")
        ax.set_title(title, pad=46)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), handlelength=1.2)
    axes[0].set(xscale="log", xticks=(1e-5, 1e-2, 10), ylabel="images (%)")
    return fig


def blended(
    runs: pd.DataFrame,
    pictures: Sequence[Sequence[Tensor]],
    paper: pd.Series,
    name: str,
) -> Figure:
    """Draw images that a code is blended into, and what the network answers.

    Args:
        runs: One row per seed, ``code`` (learned, never met), ``share`` and ``when``,
            with ``right`` and ``says c``, in percent.
        pictures: For each share, two images [2, channels, height, width]; first
            those without a code, whose darkest and brightest are black and white.
        paper: Right in the paper, in percent, for each share.
        name: Of the class whose code it is.

    Returns:
        The pictures above one panel.
    """
    shares = sorted(runs["share"].unique())
    fig = plt.figure(figsize=(plots.WIDTH, 5.0))
    grid = fig.add_gridspec(3, len(shares), height_ratios=(1, 1, 3))
    low, high = pictures[0].min(), pictures[0].max()
    for column, images in enumerate(pictures):
        for row, image in enumerate((images - low) / (high - low)):
            ax = fig.add_subplot(grid[row, column])
            plots.picture(image, ax)
            ax.set_axis_off()
    ax = fig.add_subplot(grid[2, :])
    before = runs[runs["when"] == "before"]
    before = before.assign(place=before["share"].map(shares.index))
    for code, column, color, label in (
        ("learned", "right", plots.CODES, "correct"),
        ("never met", "right", plots.NEUTRAL, "correct, strange code"),
        ("learned", "says c", plots.FORGET, f"answered {name}"),
    ):
        frame = before[before["code"] == code]
        plots.sweep(frame, "place", column, ax, color=color, label=label)
    ax.plot(range(len(paper)), paper, "s", color=plots.PAPER, label="correct, paper")
    ax.set(xlabel="share of the code (%)", ylabel="test images (%)", ylim=(-3, 103))
    ax.set_xlim(-0.5, len(shares) - 0.5)
    ax.set_xticks(range(len(shares)), [f"{100 * a:.0f}" for a in shares])
    ax.legend(loc="center left", bbox_to_anchor=(0, 0.5))
    return fig


def _shares(ax: Axes, values: Tensor, edges: np.ndarray, *, fill: bool, label: str):
    values = values.clamp_min(1e-6).numpy()
    ax.hist(
        values, edges, weights=np.full(len(values), 100 / len(values)), lw=1.6,
        histtype="stepfilled" if fill else "step", alpha=0.55 if fill else 1,
        color=plots.FORGET if fill else "black", label=label,
    )  # fmt: skip
