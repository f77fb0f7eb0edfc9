"""Figures that several chapters draw, in the look of ``mnemonic.press.style``.

Every function draws data on a given ``ax``; none shows or saves. Figures keep an opaque
white ground, so that they read the same in a dark page.

Example:
    >>> import matplotlib.pyplot as plt
    >>> style()
    >>> fig, ax = plt.subplots()
    >>> class_bars([90, 95], [91, 2], ["cat", "dog"], classes=[1], ax=ax)
    >>> plt.close(fig)
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

# Colours and style are plots' too: ``plots.FORGET``, ``plots.style()``.
from mnemonic.press.style import (  # noqa: F401
    CODES,
    FORGET,
    NEUTRAL,
    PAPER,
    REMAINING,
    WIDTH,
    lettered,
    style,
)


def image_grid(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 10,
    highlight: Sequence[int] = (),
) -> Figure:
    """Images side by side.

    Args:
        images: Shape ``[N, C, H, W]``; values outside [0, 1] are clipped.
        titles: One a picture, such as the name of its class: text, no formula.
        columns: Pictures a row.
        highlight: Pictures to frame in the forget colour.

    Returns:
        The figure.
    """
    rows = -(-len(images) // columns)
    height = rows * (WIDTH / columns + (0.05 if titles is None else 0.24))
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False)
    titles, look = lettered([] if titles is None else titles)
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set(visible=i in highlight, color=FORGET, linewidth=3)
        if i >= len(images):
            ax.set_axis_off()
            continue
        picture(images[i], ax)
        if titles:
            color = FORGET if i in highlight else "black"
            ax.set_title(titles[i], color=color, **look)
    return fig


def picture(image: Tensor, ax: Axes) -> None:
    """One image of shape ``[C, H, W]``; values outside [0, 1] are clipped."""
    seen = image.clamp(0, 1).permute(1, 2, 0).squeeze(-1).cpu().numpy()
    ax.imshow(seen, vmin=0, vmax=1, interpolation="nearest")


def class_bars(
    before: Sequence[float] | Tensor,
    after: Sequence[float] | Tensor,
    class_names: Sequence[str],
    classes: Sequence[int | str],
    ax: Axes,
) -> None:
    """Accuracy of each class before (outline) and after (filled) forgetting.

    Args:
        before: Percent, shape ``[K]``.
        after: Percent, shape ``[K]``.
        class_names: The ``K`` names.
        classes: Forget classes, by index or name.
        ax: Where to draw.
    """
    where, classes = np.arange(len(class_names)), _indices(classes, class_names)
    colours = [FORGET if c in classes else REMAINING for c in where]
    ax.bar(where, np.asarray(after), 0.7, color=colours)
    ax.bar(where, np.asarray(before), 0.7, fill=False, edgecolor="black", linewidth=1.2)
    for c in classes:  # a bar of no height is not seen
        height = float(after[c])
        ax.text(c, height + 1, f"{height:.0f}", color=FORGET, ha="center")
    ax.set(xlabel="class", ylabel="test accuracy (%)", ylim=(0, 105))
    names, look = lettered(class_names)
    turned = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 3 else {}
    ax.set_xticks(where, names, **turned, **look)
    ax.grid(axis="x", visible=False)
    ax.bar([0], [0], color=REMAINING, label="remaining, after")
    ax.bar([0], [0], color=FORGET, label="forgotten, after")
    ax.bar([0], [0], fill=False, edgecolor="black", label="before")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=3)


def sweep(
    frame: pd.DataFrame, x: str, y: str, ax: Axes, *, color: str, label: str = ""
) -> None:
    """A line through the means, a dot for every run, a band of one deviation.

    Args:
        frame: One row a run.
        x: Column of the setting.
        y: Column of the result.
        ax: Where to draw.
        color: Of line, dots and band.
        label: For the legend.
    """
    groups = frame.groupby(x)[y]
    mean, sd = groups.mean(), groups.std().fillna(0)
    ax.plot(mean.index, mean, color=color, label=label)
    ax.fill_between(mean.index, mean - sd, mean + sd, color=color, alpha=0.18, lw=0)
    ax.plot(frame[x], frame[y], "o", color=color, markersize=4, alpha=0.75)


def by_method(
    frame: pd.DataFrame,
    column: str,
    ax: Axes,
    methods: Sequence[str],
    *,
    color: str,
    band: str | None = None,
) -> None:
    """One line a method: a dot for every run, a bar at their mean.

    Args:
        frame: One row a run, with columns ``method`` and ``title``.
        column: What to show.
        ax: Where to draw; the first method is at the top.
        methods: In the order to show.
        color: Of the dots.
        band: Method whose range, mean ± one deviation, is drawn behind all.
    """
    where = {name: -i for i, name in enumerate(methods)}
    rows = frame[frame["method"].isin(where)]
    if band is not None:
        values = frame.loc[frame["method"] == band, column]
        mean, sd = values.mean(), values.std() if len(values) > 1 else 0.0
        ax.axvspan(mean - sd, mean + sd, color=NEUTRAL, alpha=0.2, lw=0)
    places = rows["method"].map(where)
    ax.plot(rows[column], places, "o", color=color, ms=4, alpha=0.6)
    means = rows.groupby("method")[column].mean()
    ax.plot(means, means.index.map(where), "|", color="black", ms=9)
    titles = rows.groupby("method")["title"].first().reindex(methods)
    ax.set_yticks(list(where.values()), titles)
    ax.set_ylim(-len(methods) + 0.4, 0.6)


def confusion(
    counts: Tensor, class_names: Sequence[str], ax: Axes, classes: Sequence = ()
) -> None:
    """A confusion matrix in percent of each true class; forget classes in colour.

    Args:
        counts: Shape ``[K, K]``; row: true class, column: answer.
        class_names: The ``K`` names.
        ax: Where to draw.
        classes: Forget classes, by index or name.
    """
    percent = (100 * counts / counts.sum(1, keepdim=True)).numpy()
    names, look = lettered(class_names)
    sns.heatmap(
        percent, ax=ax, cmap="Greys", vmin=0, vmax=100, square=True, cbar=False,
        annot=True, fmt=".0f", annot_kws={"size": 9},
        xticklabels=names, yticklabels=names,
    )  # fmt: skip
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        label.set(**look)
    ax.set(xlabel="answer", ylabel="true class")
    ax.tick_params(length=0, rotation=0)
    for c in _indices(classes, class_names):
        ax.get_yticklabels()[c].set(color=FORGET, fontweight="bold")


def _indices(classes: Sequence[int | str], names: Sequence[str]) -> list[int]:
    return [[*names].index(c) if isinstance(c, str) else c for c in classes]


def heat(table: pd.DataFrame, ax: Axes, *, label: str, fmt: str = ".0f") -> None:
    """A table of numbers as a heat map, such as a score over λ1 and λ2.

    Args:
        table: Rows and columns are the settings, in the order to show.
        ax: Where to draw.
        label: What the numbers are, with the unit.
        fmt: Of the numbers in the cells.
    """
    sns.heatmap(
        table, ax=ax, cmap="cividis", annot=True, fmt=fmt, annot_kws={"size": 9},
        cbar_kws={"label": label},
    )  # fmt: skip
    ax.tick_params(length=0, rotation=0)


def weight_map(values: Tensor, ax: Axes, *, title: str) -> None:
    """A map of positive values, such as a Fisher; its colours span four decades.

    Args:
        values: Shape ``[H, W]``.
        ax: Where to draw.
        title: Of the panel.
    """
    array = values.cpu().numpy()
    top = max(float(array.max()), 1e-30)  # an all-zero map is drawn as such
    norm = LogNorm(top / 1e4, top, clip=True)
    shown = ax.imshow(array, cmap="magma", norm=norm, interpolation="nearest")
    ax.set(xticks=[], yticks=[], title=title)
    ax.grid(False)
    ax.figure.colorbar(shown, ax=ax, fraction=0.046, pad=0.04)
