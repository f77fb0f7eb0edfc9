"""Figures of chapters: each number is where it belongs, in the colour of its kind."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

import mnemonic as mn

FORGET, REMAINING = mn.plots.FORGET, mn.plots.REMAINING


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(ax, color):
    """Values of all lines of that colour in a panel: x, y."""
    lines = [line for line in ax.lines if to_hex(line.get_color()).upper() == color]
    pairs = [(np.ravel(line.get_xdata()), np.ravel(line.get_ydata())) for line in lines]
    return [np.concatenate(values) for values in zip(*pairs, strict=True)]


def means(ax, color):
    """Of a sweep over two settings: the line comes before the dots."""
    return list(drawn(ax, color)[1][:2])


def rows(**columns):
    """Two seeds, so that what is drawn has a spread."""
    frame = pd.DataFrame(columns)
    return pd.concat([frame.assign(seed=seed) for seed in (0, 1)], ignore_index=True)


def test_valleys_have_the_loss_and_both_parabolas_in_one_scale():
    rows = pd.DataFrame({"step": [-1.0, 0.0, 1.0], "loss": [3.0, 1.0, 3.0]})
    rows = rows.assign(empirical=[2.0, 1.0, 2.0], true=[4.0, 1.0, 4.0])
    steep, flat = mn.figures.ch3.valleys({"a": rows, "b": rows.assign(loss=1.0)}).axes
    assert [ax.get_title() for ax in (steep, flat)] == ["a", "b"]
    for ax, ends in ((steep, [3, 2, 4]), (flat, [1, 2, 4])):
        assert [line.get_ydata()[-1] for line in ax.lines] == ends
        assert ax.get_ylim() == steep.get_ylim()
    labels = [line.get_label() for line in steep.lines]
    assert labels == ["loss", "parabola of $F$", "of the true Fisher"]


def test_by_class():
    runs = pd.DataFrame({"forget_class": [0, 1], "forgetting_error": [97.0, 99.0]})
    fig = mn.figures.ch5.by_class(runs, pd.Series([-1.0, 0.5]), "ab")
    (_, error), (_, change) = (
        drawn(ax, color)
        for ax, color in zip(fig.axes, (FORGET, REMAINING), strict=True)
    )
    assert list(error) == [97, 99]
    assert list(change) == [-1, 0.5]
    assert "E_F" in fig.axes[0].get_ylabel()
    assert "A_R" in fig.axes[1].get_ylabel()


def test_garments():
    runs = pd.DataFrame({"forget_class": range(10)})
    runs["before_forgetting_error"], runs["forgetting_error"] = 10.0, 90.0
    ax = mn.figures.ch5.garments(runs).axes[0]
    assert [bar.get_height() for bar in ax.patches] == [10] * 10
    assert list(drawn(ax, FORGET)[1]) == [90] * 10


def test_judged_puts_each_column_under_its_name():
    columns = {"E_F": [1.0, 2], "probe": [3.0, 4], "back": [5.0, 6]}
    runs = rows(network=["one", "two"], **columns, **{"A_R then": [7.0, 8]})
    by_network = mn.mean_sd(runs, ["network"], [*columns, "A_R then"])
    axes = mn.figures.ch5.judged(runs, by_network).axes
    assert [ax.get_xlabel() for ax in axes] == [
        "$E_F$ (%)",
        "probe (%)",
        "back (%)",
        "$A_R$ then (%)",
    ]
    for ax, color, values in zip(
        axes, [FORGET] * 3 + [REMAINING], ((1, 2), (3, 4), (5, 6), (7, 8)), strict=True
    ):
        assert list(drawn(ax, color)[0]) == [*values, *values]
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["one", "two"]


def test_undone_has_the_number_on_the_left_and_a_r_below_on_the_right():
    curve = torch.tensor([10.0, 20.0]), torch.tensor([90.0, 80.0])  # class c, A_R
    names = ("original", "one bias", "forgotten", "row zeroing", "retrained")
    number = torch.tensor([1.0, 2.0]), *curve
    fig = mn.figures.ch5.undone(number, dict.fromkeys(names, curve), "3")
    left, right = fig.axes
    for color, wanted in ((FORGET, [10, 20]), (REMAINING, [90, 80])):
        x, y = drawn(left, color)
        assert (list(x), list(y)) == ([1, 2], wanted)
    assert "logits" in left.get_xlabel()
    x, y = drawn(right, FORGET)
    assert "A_R" in right.get_xlabel()
    assert (list(x), list(y)) == ([90, 80], [10, 20])
    assert [t.get_text() for t in right.get_legend().get_texts()] == list(names)


def test_losses_are_shares_of_images():
    values = torch.tensor([1.0, 1.0, 4.0, 4.0])
    test = {"before": values, "after": values, "never": values}
    fig = mn.figures.ch5.losses({"before": values, "after": values}, test, 10)
    assert [ax.get_title() for ax in fig.axes] == [
        "before",
        "after",
        "against retrained",
    ]
    for ax in fig.axes:
        for outline in ax.patches:
            assert outline.get_xy()[:, 1].max() == pytest.approx(50)  # of 4 images, 2


def test_blended():
    runs = rows(
        code=["learned", "learned", "never met", "never met"] * 2,
        share=[0.0, 1.0] * 4,
        when=["before"] * 4 + ["after"] * 4,
        right=[90.0, 10, 90, 50, 1, 2, 3, 4],
        **{"says c": [5.0, 95, 5, 6, 0, 0, 0, 0]},
    )
    pictures = [torch.tensor([0.0, 2.0]).repeat(2, 1, 2, 1), torch.ones(2, 1, 2, 2)]
    fig = mn.figures.ch5.blended(runs, pictures, pd.Series([80.0, 20]), "3")
    *images, ax = fig.axes
    seen = [np.asarray(i.images[0].get_array()) for i in images]
    assert [s.max() for s in seen] == [1, 1, 0.5, 0.5]  # by share, both images
    assert means(ax, FORGET) == [5, 95]
    assert means(ax, mn.plots.CODES) == [90, 10]
    assert means(ax, mn.plots.NEUTRAL) == [90, 50]


def test_the_scoreboard_counts_in_deviations_of_the_retrained():
    runs = rows(method=["retrain", "one shot"], title=["retrained", "one shot"])
    runs["auc"], runs["five"] = [0.5, 0.9, 0.5, 0.9], [60.0, 90, 64, 94]
    measures = {"auc": "AUC", "five": "five images (%)"}
    least = {"auc": 0.02, "five": 1.0}
    order = ["one shot", "retrain"]
    ax = mn.figures.ch6.scoreboard(runs, measures, order, least).axes[0]
    far = np.asarray(ax.images[0].get_array())
    assert far[0] == pytest.approx([19, 30 / np.sqrt(8)])  # 20 is more than the scale
    assert list(far[1]) == [0, 0]
    assert [t.get_text() for t in ax.texts] == ["0.90", "92", "0.50", "62"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one shot", "retrained"]


def test_strengths():
    frame = rows(lambda1=[0.1, 1.0], A_R=[98.0, 90], E_F=[20.0, 100], before=[97.0, 97])
    fig = mn.figures.ch8.strengths([(frame, "lambda1", "cap", 0.1)] * 2)
    for ax in fig.axes:
        assert means(ax, FORGET) == [20, 100]
        assert means(ax, REMAINING) == [98, 90]
        assert list(drawn(ax, mn.plots.PAPER)[0]) == [0.1, 0.1]


def test_rules_and_answers_mark_the_mean():
    runs = pd.DataFrame({"rule": ["a", "a", "b", "b"], "E_F": [90.0, 100, 10, 20]})
    ax = mn.figures.ch8.rules(runs).axes[0]
    assert list(drawn(ax, FORGET)[0]) == [90, 100, 10, 20]
    assert list(ax.lines[-1].get_xdata()) == [95, 15]
    runs = runs.rename(columns={"rule": "answer"}).assign(change=[-1.0, -3, 0, 2])
    left, right = mn.figures.ch8.answers(runs).axes
    assert list(left.lines[-1].get_xdata()) == [95, 15]
    assert list(right.lines[-1].get_xdata()) == [-2, 1]
    assert list(drawn(right, REMAINING)[0]) == [-1, -3, 0, 2]


def test_from_images():
    runs = rows(n=[1, 10], A_R=[60.0, 90], E_F=[100.0, 99])
    codes = pd.Series({"A_R": 97.0, "E_F": 98.0})
    fig = mn.figures.ch8.from_images(runs, codes, pd.Series(range(6)))
    left, right = fig.axes
    assert means(left, REMAINING) == [60, 90]
    assert means(right, FORGET) == [100, 99]
    assert [drawn(ax, mn.plots.CODES)[1][0] for ax in (left, right)] == [97, 98]


def test_several():
    runs = pd.DataFrame({"network": ["a", "a", "b"], "n_forget": [1, 2, 1]})
    runs["E_F"], runs["change"] = [90.0, 95, 99], [-1.0, 1, -9]
    axes = mn.figures.ch8.several(runs).axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "", ""]
    assert list(drawn(axes[0], FORGET)[1]) == [90, 95]
    assert list(drawn(axes[3], REMAINING)[1]) == [-9]


def test_stand_ins_tell_whose_directions():
    covered = pd.DataFrame(
        [
            {"layer": layer, "of": of, "class": k, "share": share + k}
            for layer in ("first layer", "last layer")
            for of, share in (("adversarial", 20.0), ("real", 80.0))
            for k in (0, 1)
        ]
    )
    pictures = torch.rand(3, 1, 4, 4)
    fig = mn.figures.ch9.stand_ins(pictures, ["3", "0", "1"], covered)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles == ["3", "0", "1", "first layer", "last layer"]
    shown = {line.get_label(): list(line.get_ydata()) for line in fig.axes[3].lines}
    assert shown == {"adversarial": [20, 21], "real": [80, 81]}


def test_seconds_and_tuning_keep_the_order():
    runs = rows(method=["ssd", "mnemonic"], title=["SSD", "ours"], seconds=[2.0, 0.1])
    paper = pd.Series({"mnemonic": 8.0})
    ax = mn.figures.ch9.seconds(runs, ["ssd", "mnemonic"], paper, retrained=9).axes[0]
    x, y = drawn(ax, mn.plots.PAPER)
    assert (list(x), list(y)) == ([8], [-1])
    tuned = pd.Series({"one": 150.0, "two": 190.0})
    ax = mn.figures.ch9.tuning(tuned - 40, tuned).axes[0]
    found = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert found == {"published": [110, 150], "tuned": [150, 190]}


def test_records_of_methods_have_the_fastest_above():
    methods = ["original", "retrain", "ssd", "mnemonic"]
    runs = rows(method=methods, A_R=[97.0, 97, 90, 96], E_F=[3.0, 100, 90, 99])
    runs["change"] = runs["A_R"] - 97
    runs["title"] = runs["method"].map(lambda name: mn.METHODS[name].title)
    runs["seconds"] = [0.0, 30, 2, 0.1] * 2
    left, right = mn.figures.ch9.methods(runs, methods).axes
    for ax, color, column in ((left, FORGET, "E_F"), (right, REMAINING, "change")):
        assert list(drawn(ax, color)[0]) == list(runs[column])
    assert "E_F" in left.get_xlabel()
    assert "A_R" in right.get_xlabel()
    axes = mn.figures.ch9.recorded(runs).axes
    above = [t.get_text() for t in axes[0].get_yticklabels()]
    titles = [mn.METHODS[n].title for n in ("original", "mnemonic", "ssd", "retrain")]
    assert above == titles
    axes = mn.figures.ch9.side_by_side({"digits": runs, "photos": runs}, methods).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["digits", "", "photos", ""]
    assert "E_F" in axes[0].get_xlabel()
    assert "A_R" in axes[1].get_xlabel()


def test_as_published_has_each_artefact_in_its_panel_from_left_to_right():
    rows = [("fig-5", "code", "code", "rank_correlation", 0.25)]
    for n, value in (("10", 0.5), ("1", 0.0)):
        rows += [("fig-5", "data", n, "rank_correlation", value)]
    for method, metric, values in (
        ("learned", "accuracy", (90.0, 10.0)),
        ("never met", "accuracy", (90.0, 50.0)),
        ("learned", "says_c", (10.0, 100.0)),
    ):
        pairs = zip(("100", "0"), reversed(values), strict=True)
        rows += [("fig-13", method, share, metric, v) for share, v in pairs]
    for cap in ("lambda1", "lambda2"):
        rows += [("fig-6", cap, "1e-06", "forgetting_error", 5.0)]
        rows += [("fig-6", cap, "1e-06", "remaining_accuracy", 95.0)]
    names = ["artefact", "method", "setting", "metric", "value"]
    found = pd.DataFrame(rows, columns=names)
    given = {"lambda1": 1e-5, "lambda2": 1e4}
    fig = mn.figures.ch15.as_published(found, given)
    fisher, mixed, left, right = fig.axes
    assert means(fisher, mn.plots.NEUTRAL) == [0, 0.5]
    assert {*drawn(fisher, mn.plots.CODES)[1]} == {0.25}
    assert [list(v) for v in drawn(mixed, mn.plots.CODES)] == [[0, 100], [90, 10]]
    assert list(drawn(mixed, FORGET)[1]) == [10, 100]
    for ax, cap in ((left, "lambda1"), (right, "lambda2")):
        assert {*drawn(ax, mn.plots.PAPER)[0]} == {given[cap]}
        assert (*drawn(ax, FORGET)[1], *drawn(ax, REMAINING)[1]) == (5, 95)
