import importlib.util
from pathlib import Path

import pandas as pd
import pytest

import mnemonic as mn
from mnemonic.lab.comparison import CONTROLS, NEVER_SAW, TRIVIAL
from mnemonic.press.claims import (
    CLAIMS,
    PROPERTIES,
    claims,
    meanings,
    recorded_rows,
    table,
)

ROOT = Path(__file__).parents[2]
ORIGINAL = {
    "remaining_accuracy": 90.0,
    "before_remaining_accuracy": 90.0,
    "forgetting_error": 10.0,
    "train_forget_accuracy": 99.0,
    "relearned": 90.0,
    "one_number": 85.0,
    "backward_passes": 0,
    "forget_images": 0,
    "remaining_images": 0,
}
RETRAIN = {
    "remaining_accuracy": 91.0,
    "before_remaining_accuracy": 90.0,
    "forgetting_error": 100.0,
    "train_forget_accuracy": 0.0,
    "relearned": 60.0,
    "one_number": 15.0,
    "backward_passes": 9000,
    "forget_images": 0,
    "remaining_images": 3150,
}
# What just holds beside these two, and what just does not.
EDGES = {
    "gone": ("forgetting_error", 95.0, 94.9),
    "gone in training": ("train_forget_accuracy", 5.0, 5.1),
    "there": ("forgetting_error", 15.0, 15.1),
    "kept": ("remaining_accuracy", 88.0, 87.9),
    "as retrained": ("remaining_accuracy", 89.0, 88.9),
    "stays gone": ("relearned", 65.0, 65.1),
    "comes back": ("relearned", 85.0, 84.9),
    "out of reach": ("one_number", 20.0, 20.1),
    "in reach": ("one_number", 80.0, 79.9),
    "one shot": ("backward_passes", 100, 101),
    "no gradient": ("backward_passes", 0, 1),
    "cheaper": ("backward_passes", 8999, 9000),
    "no image": ("remaining_images", 0, 1),
    "no forget image": ("forget_images", 0, 1),
    "no other image": ("remaining_images", 0, 1),
}
each_method = pytest.mark.parametrize("method", CLAIMS)


def record(*rows):
    """Rows ``(method, values)``, after those of the two that all are judged beside."""
    named = {"original": ORIGINAL, "retrain": RETRAIN} | dict(rows)
    return pd.DataFrame([{"method": n} | values for n, values in named.items()])


def just(method, *, broken=()):
    """A row for which the properties of a method just hold, but for those broken."""
    row = dict(ORIGINAL)
    for name in CLAIMS[method]["shows"]:
        column, good, bad = EDGES[name]
        row[column] = bad if name in broken else good
    return row


def judged(method, *rows):
    frames = {f"network {i}": record((method, row)) for i, row in enumerate(rows)}
    return claims(frames).loc[method]


def test_every_method_has_a_claim_of_at_most_fifteen_words():
    assert set(CLAIMS) == set(mn.METHODS)
    assert set(PROPERTIES) == set(EDGES)
    assert {name for c in CLAIMS.values() for name in c["shows"]} == set(PROPERTIES)
    for method, entry in CLAIMS.items():
        assert entry.keys() <= {"claim", "shows", "abstract", "reason"}, method
        assert 5 <= len(entry["claim"].split()) <= 15, method
        assert entry["claim"].endswith("."), method
        assert not entry.get("abstract") or mn.METHODS[method].cites, method


@each_method
def test_a_claim_is_seen_where_all_its_properties_just_hold_and_only_there(method):
    if method != "original":  # which is what it is, whatever it is
        assert judged(method, just(method)).verdict == "seen"
        for name in CLAIMS[method]["shows"]:
            row = judged(method, just(method, broken=[name]))
            assert row.verdict == "not seen", name
            [values] = row.found.values()
            assert [held for _, held in values].count(False) == 1, name


@each_method
def test_what_did_nothing_shows_nothing_but_that(method):
    verdict = judged(method, ORIGINAL).verdict
    assert (verdict == "seen") == (method in ("original", "random-noise"))


def test_networks_are_judged_apart_and_seeds_by_their_mean():
    good, bad = just("ssd"), just("ssd", broken=["kept"])
    assert judged("ssd", good, bad).verdict == "in part"
    assert judged("ssd", good, good).verdict == "seen"
    assert judged("ssd", bad, bad).verdict == "not seen"
    two = [{"method": "ssd"} | good | {"forgetting_error": v} for v in (90.0, 100.0)]
    frame = pd.concat([record(), pd.DataFrame(two)])
    assert claims({"one": frame}).loc["ssd", "verdict"] == "seen"


def test_what_is_not_recorded_is_open_and_what_is_not_known_does_not_hold():
    frame = record(("esc", just("esc")), ("delete", just("delete")))
    assert claims({"one": frame}).loc["esc", "verdict"] == "seen"
    without = claims({"one": frame.drop(columns="relearned")})
    assert without.loc["esc", "verdict"] == "open"
    assert without.loc["delete", "verdict"] == "seen"
    assert without.loc["ssd", "verdict"] == "open"
    assert judged("esc", just("esc") | {"relearned": float("nan")}).verdict != "seen"
    assert set(claims({})["verdict"]) == {"open"}


def test_a_record_without_its_references_is_refused():
    frame = record()
    with pytest.raises(ValueError, match=r"lacks \{'retrain'\}; add"):
        claims({"one": frame[frame["method"] == "original"]})
    with pytest.raises(ValueError, match="no column"):
        claims({"one": frame.drop(columns="remaining_accuracy")})


def test_a_reason_stands_where_a_claim_is_not_seen_and_only_there():
    found = claims(recorded_rows())
    assert (found["verdict"] != "open").sum() > 20
    for method, row in found.iterrows():
        said = row["reason"]
        if row["verdict"] in ("in part", "not seen"):
            assert said.endswith("."), f"{method} is {row['verdict']}: say why"
            assert said.count(". ") == 0, f"{method}: one sentence"
        assert not said or row["verdict"] != "seen", f"{method} is seen: no reason"


def test_the_page_has_a_row_for_each_method_and_each_property():
    path = ROOT / "book" / "_extensions" / "places.py"
    spec = importlib.util.spec_from_file_location("places", path)
    places = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(places)
    page = (ROOT / "book" / "methods.md").read_text(encoding="utf-8")
    text, missing = places.filled(page)
    assert missing == []
    assert "[[" not in text
    for method in mn.METHODS.values():
        cites = f" {{cite:p}}`{','.join(method.cites)}`" if method.cites else ""
        assert text.count(f"\n| {method.title}{cites} |") == 1, method.title
    for name in PROPERTIES:
        assert text.count(f"\n| *{name}* |") == 1, name


def test_a_table_marks_what_misses_and_says_why():
    rows = [(n, just(n, broken=["kept"])) for n in ("scrub", "row-zeroing")]
    text = table(claims({"one": record(*rows)}))
    by_title = {line.split(" | ")[0]: line for line in text.splitlines()}
    scrub = by_title["| SCRUB {cite:p}`kurmanji2023scrub`"]
    assert "one: $E_F$ 95.0, **$A_R$ −2.1**." in scrub.replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert scrub.endswith(f"*Not seen.* {CLAIMS['scrub']['reason']} |")
    assert " *(abstract)* | " in scrub
    assert by_title["| row zeroing"].count("**") == 2  # one value
    assert by_title["| GKT {cite:p}`chundawat2023zero`"].endswith("Not yet recorded. |")
    assert "at most 5 points below" in meanings()


def test_controls_come_first_and_read_in_the_order_of_the_file():
    known = {*CONTROLS, *NEVER_SAW, *TRIVIAL}
    assert set([*CLAIMS][: len(known)]) == known
