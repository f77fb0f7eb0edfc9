import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mnemonic.press import plots
from mnemonic.press.tables import table

PALETTE = ["FORGET", "REMAINING", "CODES", "PAPER", "NEUTRAL"]


@pytest.fixture(autouse=True)
def _book_style(monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("a plot function showed or saved its figure")

    monkeypatch.setattr(plt, "show", forbidden)
    monkeypatch.setattr(Figure, "savefig", forbidden)
    with plt.rc_context():
        plots.style()
        yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.figure().add_subplot()


def texts(artists):
    return [artist.get_text() for artist in artists]


def bars(ax):
    """The bars drawn one a class: outlines first, then what is filled, by place."""
    wide = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_width() == 0.7]
    return [p for p in wide if not p.get_fill()], [p for p in wide if p.get_fill()]


METHODS = pd.DataFrame(
    {
        "method": ["a", "b"],
        "title": ["A", "B"],
        "E_F": [1.0, 2.0],
        "change": [-9.0, 0.0],
    }
)
DRAWN = {
    "class_bars": lambda ax: plots.class_bars([90, 95], [91, 2], ["a", "b"], [1], ax),
    "sweep": lambda ax: plots.sweep(
        pd.DataFrame({"x": [1, 1, 2, 2], "y": [1.0, 3.0, 5.0, 5.0]}),
        "x", "y", ax, color=plots.CODES,
    ),
    "confusion": lambda ax: plots.confusion(torch.tensor([[8, 2], [1, 9]]), "ab", ax),
    "by_method": lambda ax: plots.by_method(
        METHODS, "E_F", ax, ["b", "a"], color=plots.FORGET
    ),
    "heat": lambda ax: plots.heat(pd.DataFrame([[1.0, 2.0]]), ax, label="score (%)"),
    "picture": lambda ax: plots.picture(torch.rand(3, 2, 2), ax),
    "weight_map": lambda ax: plots.weight_map(torch.ones(2, 2), ax, title="t"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_it_draws_on_the_given_ax_only(name, ax):
    elsewhere = plt.figure().add_subplot()  # the current one
    assert DRAWN[name](ax) is None
    assert ax.has_data()
    assert not elsewhere.has_data()
    assert plt.gca() is elsewhere
    assert len(plt.get_fignums()) == 2
    ax.figure.canvas.draw()  # under warnings as errors: the layout works out


def test_methods_stand_on_lines_of_their_own_with_a_dot_a_run():
    frame = pd.DataFrame(
        {
            "method": ["b", "a", "b", "retrain", "retrain", "left out"],
            "E_F": [10.0, 90.0, 20.0, 40.0, 60.0, 0.0],
        }
    )
    frame["title"] = frame["method"].str.upper()
    _, ax = plt.subplots()
    order = ["a", "b", "retrain"]
    plots.by_method(frame, "E_F", ax, order, color="red", band="retrain")
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown == ["A", "B", "RETRAIN"]
    dots, means = ax.get_lines()
    assert sorted(zip(dots.get_ydata(), dots.get_xdata(), strict=True)) == [
        (-2, 40.0), (-2, 60.0), (-1, 10.0), (-1, 20.0), (0, 90.0),
    ]  # fmt: skip
    assert sorted(zip(means.get_ydata(), means.get_xdata(), strict=True)) == [
        (-2, 50.0), (-1, 15.0), (0, 90.0),
    ]  # fmt: skip
    (band,) = ax.patches
    spread = np.std([40.0, 60.0], ddof=1)
    assert band.get_x() == pytest.approx(50 - spread)
    assert band.get_width() == pytest.approx(2 * spread)


def test_every_public_function_is_tried_here():
    public = {
        name
        for name, f in vars(plots).items()
        if getattr(f, "__module__", "") == plots.__name__ and not name.startswith("_")
    }
    assert public == {*DRAWN, "image_grid"}


def test_style_forgets_what_was_set_before_and_keeps_a_white_ground():
    plt.rcParams["lines.linewidth"] = 17
    plt.rcParams["lines.markersize"] = 17
    plots.style()
    assert plt.rcParams["lines.linewidth"] == 2
    assert plt.rcParams["lines.markersize"] == plt.rcParamsDefault["lines.markersize"]
    assert plt.rcParams["figure.facecolor"] == "white"
    assert plt.rcParams["savefig.dpi"] >= 200


def test_style_without_a_notebook_at_hand(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib_inline.backend_inline", None)
    plots.style()
    assert plt.rcParams["savefig.dpi"] >= 200


def luminance(colour):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgb(colour)
    ]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                  [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                    [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                  [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def seen(colour, vision):
    """What is left of a colour, as CIE L*a*b*."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722],
              [0.0193, 0.1192, 0.9505]]  # fmt: skip
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089] + 1e-9)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_forget_and_remaining_are_told_apart(vision):
    forget, remaining = seen(plots.FORGET, vision), seen(plots.REMAINING, vision)
    assert np.linalg.norm(forget - remaining) > 40  # 2 is just noticeable


def test_palette_has_no_colour_twice_and_is_read_on_white():
    colours = [getattr(plots, name) for name in PALETTE]
    assert len({c.lower() for c in colours}) == len(colours)
    for colour in colours:  # graphics need a contrast of 3 (WCAG 1.4.11)
        assert 1.05 / (luminance(colour) + 0.05) > 3


def test_grid_of_images_frames_what_is_highlighted():
    images = torch.rand((5, 1, 4, 4)) * 3 - 1
    images[4] = 0.4  # a flat picture is grey, not black
    fig = plots.image_grid(images, list("abcde"), columns=3, highlight=[1])
    assert isinstance(fig, Figure)
    assert len(fig.axes) == 6
    for i, ax in enumerate(fig.axes[:5]):
        (picture,) = ax.images
        drawn = np.asarray(picture.get_array())
        assert np.allclose(drawn, images[i, 0].clamp(0, 1))
        assert picture.get_clim() == (0, 1)
        assert ax.get_title() == "abcde"[i]
        framed = [s.get_visible() for s in ax.spines.values()]
        assert framed == [i == 1] * 4
    colours = {to_hex(s.get_edgecolor()) for s in fig.axes[1].spines.values()}
    assert colours == {plots.FORGET.lower()}
    assert to_hex(fig.axes[1].title.get_color()) == plots.FORGET.lower()
    assert to_hex(fig.axes[0].title.get_color()) == "#000000"
    assert not fig.axes[5].images
    assert not fig.axes[5].axison


def test_grid_of_colour_images_without_titles():
    images = torch.rand((2, 3, 4, 4))
    fig = plots.image_grid(images)
    assert len(fig.axes) == 10
    drawn = np.asarray(fig.axes[1].images[0].get_array())
    assert np.allclose(drawn, images[1].permute(1, 2, 0))
    assert fig.axes[0].get_title() == ""


NAMES = ["$5 {bill$", "$10", "a_b^", "кот", "猫", "tab\t", "\udce9"]


def test_names_of_classes_are_drawn_as_text(ax):
    fig = plots.image_grid(torch.rand((7, 1, 4, 4)), NAMES)
    fig.canvas.draw()  # a glyph that is missing would warn
    titles = [a.get_title() for a in fig.axes[:7]]
    assert titles[:4] == [r"\$5 {bill\$", r"\$10", "a_b^", "кот"]  # no formulas
    assert titles[4] in ("猫", "\\u732b")  # as fonts are here
    assert titles[5:] == ["tab\\u0009", "\\udce9"]
    plots.class_bars([9.0] * 7, [8.0] * 7, NAMES, ["$10"], ax)
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_xticklabels()] == titles
    assert to_hex(bars(ax)[1][1].get_facecolor()) == plots.FORGET.lower()
    ax.clear()
    plots.confusion(torch.eye(7), NAMES, ax, ["кот"])
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_yticklabels()] == titles
    assert to_hex(ax.get_yticklabels()[3].get_color()) == plots.FORGET.lower()


def test_letters_come_from_another_font_that_has_them():
    assert plots.lettered(["cat", "кот"]) == (["cat", "кот"], {})
    plt.rcParams["font.family"] = ["cmss10"]  # matplotlib brings it; it has Latin alone
    names, look = plots.lettered(["cat", "кот"])
    assert names == ["cat", "кот"]
    own, other = look["fontfamily"]
    assert own == "cmss10"
    assert "DejaVu" in other
    plots.image_grid(torch.rand((2, 1, 4, 4)), names, columns=2).canvas.draw()


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_bars_have_the_heights_and_colours_of_their_classes(ax, kind):
    before, after = [90.0, 95.0, 80.0], [91.0, 2.5, 79.0]
    plots.class_bars(kind(before), kind(after), ["cat", "dog", "eel"], [1], ax)
    outlines, filled = bars(ax)
    assert [b.get_height() for b in outlines] == pytest.approx(before)
    assert [b.get_height() for b in filled] == pytest.approx(after)
    centres = [b.get_x() + b.get_width() / 2 for b in filled]
    assert centres == pytest.approx([0, 1, 2])
    assert [to_hex(b.get_facecolor()) for b in filled] == [
        plots.REMAINING.lower(),
        plots.FORGET.lower(),
        plots.REMAINING.lower(),
    ]
    assert texts(ax.get_xticklabels()) == ["cat", "dog", "eel"]
    (number,) = ax.texts  # of the forgotten class, whose bar may have no height
    assert (number.get_text(), number.get_position()[0]) == ("2", 1)
    assert "%" in ax.get_ylabel()
    assert ax.get_ylim()[1] > 100


def test_legend_of_the_bars_says_which_colour_is_which(ax):
    plots.class_bars([90, 95], [91, 2], ["a", "b"], [1], ax)
    legend = ax.get_legend()
    said = {
        label: to_hex(patch.get_facecolor())
        for label, patch in zip(
            texts(legend.get_texts()), legend.get_patches(), strict=True
        )
        if patch.get_fill()
    }
    assert said == {
        "remaining, after": plots.REMAINING.lower(),
        "forgotten, after": plots.FORGET.lower(),
    }
    assert "before" in texts(legend.get_texts())


def test_long_class_names_are_turned(ax):
    plots.class_bars([90, 95], [91, 2], ["aeroplane", "dog"], [1], ax)
    assert {t.get_rotation() for t in ax.get_xticklabels()} == {45}


@pytest.fixture
def runs():
    return pd.DataFrame(
        {
            "t": [0.3, 0.1, 0.1, 0.3, 0.1],
            "score": [70.0, 90.0, 94.0, 76.0, 92.0],
        }
    )


def test_sweep_draws_mean_deviation_and_every_run(ax, runs):
    plots.sweep(runs, "t", "score", ax, color=plots.REMAINING, label="ours")
    line, dots = ax.lines
    assert np.allclose(line.get_xydata(), [[0.1, 92], [0.3, 73]])
    assert np.allclose(dots.get_xydata(), runs[["t", "score"]])
    assert dots.get_linestyle() == "None"
    (band,) = ax.collections
    corners = pd.DataFrame(band.get_paths()[0].vertices, columns=["t", "y"])
    by_t = corners.groupby(corners["t"].round(6))["y"]
    sd = [2.0, 18**0.5]  # ddof 1
    assert np.allclose(by_t.max(), [92 + sd[0], 73 + sd[1]])
    assert np.allclose(by_t.min(), [92 - sd[0], 73 - sd[1]])
    colours = [line.get_color(), dots.get_color(), band.get_facecolor()[0]]
    assert {to_hex(c) for c in colours} == {plots.REMAINING.lower()}
    assert texts(ax.legend().get_texts()) == ["ours"]
    assert ax.get_xscale() == "linear"


def test_sweep_of_single_runs_has_a_band_of_no_height(ax, runs):
    plots.sweep(runs.iloc[[0, 1]], "t", "score", ax, color=plots.FORGET)
    vertices = ax.collections[0].get_paths()[0].vertices
    assert np.isfinite(vertices).all()
    assert set(vertices[:, 1]) == {70.0, 90.0}


def test_confusion_is_in_percent_of_each_row(ax):
    counts = torch.tensor([[3, 1, 0], [0, 50, 150], [5, 5, 10]])
    plots.confusion(counts, ["a", "b", "c"], ax, classes=[1])
    (mesh,) = ax.collections
    shown = np.asarray(mesh.get_array()).reshape(3, 3)
    assert np.allclose(shown, [[75, 25, 0], [0, 25, 75], [25, 25, 50]])
    assert texts(ax.texts) == ["75", "25", "0", "0", "25", "75", "25", "25", "50"]
    assert mesh.get_clim() == (0, 100)
    rows = ax.get_yticklabels()
    assert texts(rows) == texts(ax.get_xticklabels()) == ["a", "b", "c"]
    assert [to_hex(t.get_color()) == plots.FORGET.lower() for t in rows] == [
        False,
        True,
        False,
    ]
    assert ax.get_ylabel() == "true class"
    assert ax.yaxis_inverted()  # the first class on top


def test_heat_map_keeps_the_order_and_names_the_unit(ax):
    table = pd.DataFrame([[1.26, 2.0], [3.0, 4.0]], index=[10.0, 0.1], columns=[5, 1])
    plots.heat(table, ax, label="score (%)", fmt=".1f")
    shown = np.asarray(ax.collections[0].get_array()).reshape(2, 2)
    assert np.allclose(shown, table)
    assert texts(ax.texts) == ["1.3", "2.0", "3.0", "4.0"]
    assert texts(ax.get_yticklabels()) == ["10.0", "0.1"]
    assert texts(ax.get_xticklabels()) == ["5", "1"]
    bar = next(a for a in ax.figure.axes if a is not ax)
    assert bar.get_ylabel() == "score (%)"


def test_map_of_weights_tells_four_decades_apart(ax):
    values = torch.tensor([[1.0, 1e-2], [1e-5, 1e-9]])
    plots.weight_map(values, ax, title="F")
    (picture,) = ax.images
    norm = picture.norm
    assert (norm.vmin, norm.vmax) == pytest.approx((1e-4, 1.0))
    assert np.allclose(norm(np.array([1.0, 1e-2, 1e-4])), [1, 0.5, 0])
    below = picture.cmap(norm(np.array([1e-5, 1e-9, 0.0])))
    assert np.allclose(below, picture.cmap(0.0))  # clipped, neither blank nor an error
    assert np.allclose(np.asarray(picture.get_array()), values)
    assert ax.get_title() == "F"
    plots.weight_map(torch.zeros(2, 2), plt.figure().add_subplot(), title="F")
    ax.figure.canvas.draw()


def test_a_table_shows_markup_as_text():
    bad = "<img src=x onerror=alert(1)>"
    frame = pd.DataFrame({bad: [bad, Path(bad)]}, index=pd.Index([bad, "b"], name=bad))
    soup = BeautifulSoup(table(frame).to_html(), "html.parser")
    assert soup.find("img") is None
    assert soup.get_text().count(bad) == 5
    many = frame.set_axis(
        pd.MultiIndex.from_tuples([(bad, bad)], names=[bad, bad]), axis=1
    )
    assert "<img" not in table(many).to_html()


def test_the_same_table_is_shown_alike_each_time():
    shown = [table(pd.DataFrame({"A_R": [v]})) for v in (1.0, 1.0, 2.0)]
    pages = [(repr(s), s.to_html()) for s in shown]
    assert pages[0] == pages[1] != pages[2]
    assert "A_R" in pages[0][0]


def test_table_reads_like_the_text():
    frame = pd.DataFrame(
        {
            ("ours", "A_R"): [-1.25, float("nan")],
            ("ours", "worst E_F"): ["-0.5 ± 0.1", "1e-3"],
            ("n", ""): [1000, -2],
            ("step", ""): [1e-3, -1e-3],
        },
        index=pd.Index([0.1, 1.0], name="t_mix"),
    )
    shown = table(frame, {("step", ""): "{:.0e}"}, digits=2).to_html()
    page = BeautifulSoup(shown, "html.parser")
    heads = [str(th.decode_contents()) for th in page.find_all("th")]
    assert {"A<sub>R</sub>", "worst E<sub>F</sub>", "t<sub>mix</sub>"} <= {*heads}
    assert {"0.1", "1"} <= {*heads}
    rows = [[td.get_text() for td in tr.find_all("td")] for tr in page.tbody("tr")]
    assert rows == [
        ["−1.25", "−0.5 ± 0.1", "1000", "1e−03"],
        ["–", "1e−3", "−2", "−1e−03"],
    ]
    assert "dataframe" in page.table["class"]


def test_table_shows_no_numbers_of_rows_and_no_negative_zero():
    page = BeautifulSoup(
        table(pd.DataFrame({"x": [-0.01], "y": ["a"]})).to_html(), "html.parser"
    )
    assert [cell.get_text() for cell in page.tbody(["th", "td"])] == ["0.0", "a"]
