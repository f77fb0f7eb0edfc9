"""Diagnoses of the output, against every number that could have been added."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

import mnemonic as mn
from mnemonic.audits.diagnoses import SCALES, brought_back, diagnoses, output_aucs
from mnemonic.audits.outputs import last_inputs, logits_of

ROOT = Path(__file__).parents[2]


def drawn(seed, n=30, k=4, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    logits = torch.randn(n, k, generator=g, dtype=torch.float64)
    logits[torch.arange(n), labels] += spread
    logits[:, 1] = 0.5 * logits[:, 1] - 2  # out of reach
    return logits.mul(8).round(), labels  # ties happen


def right(logits, labels, classes, a, b):
    """Percent of the classes' images that are right, and of the others', one by one."""
    hits = {True: [], False: []}
    for z, label in zip(logits.tolist(), labels.tolist(), strict=True):
        others = [c for c in range(len(z)) if c not in classes]
        best, lead = max((z[c], -c) for c in others), max(a * z[c] for c in classes)
        if Fraction(lead) + Fraction(b) > Fraction(best[0]):
            answer = max(classes, key=lambda c: a * z[c])
        else:
            answer = -best[1]
        hits[label in classes].append(answer == label)
    return [100 * sum(hits[whose]) / len(hits[whose]) for whose in (True, False)]


def by_hand(one, two, classes, scales, least, most_false=None):
    """The best over all (a, b) on one, counted on two."""
    found = None
    for a in scales:
        z = one[0]
        others = [c for c in range(z.shape[1]) if c not in classes]
        leads = (a * z[:, classes]).amax(1) - z[:, others].amax(1)
        for b in sorted((-leads).tolist(), reverse=True):
            back, kept = right(*one, classes, a, b)
            false = int(
                ((leads + b > 0) & ~torch.isin(one[1], torch.tensor(classes))).sum()
            )
            if kept >= least and (most_false is None or false <= most_false):
                if found is None or back > found[0]:
                    found = back, a, b
                break
    if found is None:
        return None, None
    return right(*two, classes, *found[1:]), found


@pytest.mark.parametrize("classes", [[1], [1, 2]])
@pytest.mark.parametrize("scales", [(1.0,), SCALES])
@pytest.mark.parametrize("seed", range(4))
def test_all_numbers_are_tried(seed, scales, classes):
    one, two = drawn(seed), drawn(seed + 50)
    for least in (None, 30.0, 60.0):
        floor = right(*one, classes, 1.0, 0.0)[1] - 2 if least is None else least
        found = brought_back(one, two, classes, scales=scales, least=least)
        told, best = by_hand(one, two, classes, scales, floor)
        if best is None:
            assert found.back.value == 0
            continue
        (back, kept), (_, a, b) = told, best
        assert found.back.value == pytest.approx(back)
        assert found.remaining_accuracy.value == pytest.approx(kept)
        assert (found.scale, found.shift) == (a, b)


def test_of_many_classes_false_answers_are_counted():
    one, two = drawn(0, n=75, k=25, spread=0.5), drawn(1, n=75, k=25, spread=0.5)
    found = brought_back(one, two, [1], least=0.0)
    (back, kept), (_, _, b) = by_hand(one, two, [1], (1.0,), 0.0, most_false=3)
    assert (found.back.value, found.shift) == (pytest.approx(back), b)
    assert found.remaining_accuracy.value == pytest.approx(kept)


def test_where_nothing_keeps_what_is_asked_nothing_comes_back():
    one = drawn(0)
    found = brought_back(one, one, [1], least=100.0)
    assert found.back.value == 0
    assert found.shift != found.shift


def test_areas_of_the_classes_own_output():
    logits, labels = drawn(0)
    for classes in ([1], [1, 2]):
        found = output_aucs((logits, labels), classes)
        of_class = torch.isin(labels, torch.tensor(classes))
        own = logits[:, classes].amax(1)
        margin = own - logits[:, [c for c in range(4) if c not in classes]].amax(1)
        for name, score in (("logit_auc", own), ("margin_auc", margin)):
            a, b = score[of_class, None], score[None, ~of_class]
            area = ((a > b).double() + 0.5 * (a == b)).mean()
            assert found[name].value == pytest.approx(float(area))


def test_chapter_5_finds_the_same_number(learned):
    cells = json.loads(
        (ROOT / "notebooks" / "05_evaluation.ipynb").read_text(encoding="utf-8")
    )["cells"]
    (source,) = ("".join(c["source"]) for c in cells if c["id"] == "ch5-30")
    chapter = {"torch": torch, "mn": mn}
    exec(compile(source, "chapter 5", "exec"), chapter)
    model, data, codes = learned
    for network in (model, mn.forget(model, codes, [2]).model):
        theirs = chapter["undone"](network, data, 2)
        ours = diagnoses(network, data, [2])
        assert ours["one_number"].value == pytest.approx(theirs["back"])
        then = ours["one_number/remaining_accuracy"].value
        assert then == pytest.approx(theirs["A_R then"])


@pytest.fixture
def after(learned):
    """Diagnoses of what a method makes of the network."""
    model, data, codes = learned

    def made(name, classes=(2,), network=None):
        access = mn.Access(data, classes, codes=codes)
        forgot = mn.METHODS[name](network or model, access).model
        return diagnoses(forgot, data, classes, original=model)

    return made


def test_one_bias_is_undone_by_one_number_and_other_rows_are_not(after):
    for classes in ([2], [0, 2]):
        before = after("original", classes)
        biased = after("one-bias", classes)
        assert biased["one_number"].value == before["one_number"].value > 90
        assert biased["logit_auc"].value == before["logit_auc"].value
    assert after("copied-row")["one_number"].value < 60
    none = after("deleted")
    assert none["one_number"].value == none["known_rule"].value == 0
    assert none["logit_auc"].value == none["margin_auc"].value == 0.5


def test_the_others_tell_of_a_row_that_is_gone(learned, after):
    model, data, codes = learned
    gone = after("deleted")
    assert gone["one_number"].value == 0
    assert gone["other_rows"].value > 90
    for classes in ([2], [0, 2]):
        sides = []
        for part in (data.validation, data.test):
            z = logits_of(model, data, part).double()
            others = [c for c in range(4) if c not in classes]
            for i, row in enumerate(z.tolist()):
                z[i, classes] = -sum(row[c] for c in others)
            sides.append((z, part.labels))
        kept = mn.evaluate(model, data, classes, split="validation").remaining_accuracy
        (told, _), _ = by_hand(*sides, classes, (1.0,), kept - 2)
        found = diagnoses(model, data, classes)["other_rows"].value
        assert found == pytest.approx(told)
    unseen = mn.forget(model, codes, [2], rule="unseen").model  # its rows sum to 0
    found = diagnoses(unseen, data, [2], original=model)
    assert found["other_rows"].value == found["one_number"].value


def test_who_knows_of_the_turn_turns_the_row_back(learned, after):
    model, _, _ = learned
    rows = model[-1].weight.detach()
    others = rows[[0, 1, 3]].double()
    own = rows[2].double()
    outside = own - torch.linalg.pinv(others) @ (others @ own)
    assert (others @ outside).abs().max() < 1e-6
    with torch.no_grad():
        model[-1].weight[2] -= (2 * outside).float()  # a reflection
        model[-1].bias[2] -= 20
    turned = after("original", network=model)
    assert turned["known_rule"].value > 90


def test_the_known_rule_by_hand(learned):
    model, data, _ = learned
    rows = model[-1].weight.detach().double()
    others = rows[[0, 1, 3]]
    outside = rows[2] - torch.linalg.pinv(others) @ (others @ rows[2])
    sides = []
    for part in (data.validation, data.test):
        logits = logits_of(model, data, part).double()
        along = last_inputs(model, model[-1], data, part).double() @ outside
        sides.append((logits, along, part.labels))
    kept = right(sides[0][0], sides[0][2], [2], 1.0, 0.0)[1] - 2
    best = (-1.0, None)
    for a in SCALES:
        moved = []
        for logits, along, labels in sides:
            z = logits.clone()
            z[:, 2] += (a - 1) * along
            moved.append((z, labels))
        (told, _), (back, _, _) = by_hand(*moved, [2], (1.0,), kept)
        best = max(best, (back, told), key=lambda pair: pair[0])
    assert diagnoses(model, data, [2])["known_rule"].value == pytest.approx(best[1])


def test_halves_of_the_test_images_where_no_validation_image_is_of_the_class(learned):
    model, data, _ = learned
    found = diagnoses(model, data, [2])
    few = diagnoses(model, mn.data.arrays.replace(data, validation=data.validation.take(
        (data.validation.labels != 2).nonzero()[:, 0])), [2])  # fmt: skip
    assert found["one_number"].n == 100
    assert 40 <= few["one_number"].n <= 60
    wrapped = nn.Sequential(model, nn.LeakyReLU(0.5))
    assert "known_rule" not in diagnoses(wrapped, data, [2])
