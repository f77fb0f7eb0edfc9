"""Neighbours' probabilities, coarser weights, nearest neighbours, a small step away."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.audits import (
    nearest_neighbours,
    neighbour_attack,
    pruned,
    quantised,
    residual_knowledge,
    transfer,
)
from mnemonic.audits.outputs import halves, last_inputs, part_of
from mnemonic.storage import generator_for


def shifted(model, row, by):
    """A copy whose bias of one class is another."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        made[-1].bias[row] += by
    return made


# Neighbours


def test_the_same_answers_are_not_told_apart(learned):
    model, data, _ = learned
    found = neighbour_attack(model, [model], data, [1])["told_apart"]
    assert (found.value, found.unit, found.n) == (50, "%", 100)
    assert found.low < 50 < found.high


def test_what_stands_at_the_class_itself_gives_nothing_away(learned):
    """Row zeroing and one bias leave the remaining logits, and so do others."""
    model, data, _ = learned
    hidden = mn.METHODS["row-zeroing"](model, mn.Access(data, [1])).model
    found = neighbour_attack(hidden, [model], data, [1])["told_apart"]
    assert found.value == 50


def test_one_more_likely_neighbour_gives_a_network_away(learned):
    model, data, _ = learned
    other = shifted(model, 2, 3.0)
    found = neighbour_attack(other, [model], data, [1])["told_apart"]
    assert found.value > 99
    assert found.low > 90
    # Among two references of which one is the same, as good as guessing there.
    two = neighbour_attack(other, [model, other], data, [1])["told_apart"]
    assert 50 < two.value < 99
    assert two.high - two.low > found.high - found.low


def test_only_the_likeliest_neighbours_are_looked_at():
    """Three classes remain; the second of them, all but never answered, differs."""
    x = torch.rand(60, 1, 2, 2)
    labels = torch.arange(60) % 4
    data = mn.ImageData.from_arrays(
        train=(x, labels), test=(x, labels), class_names="abcd"
    )
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([5.0, 0.0, -60.0, 4.0]))
    other = shifted(model, 2, 2.0)
    how = {"references": [model], "data": data, "classes": [1]}
    assert neighbour_attack(other, **how, neighbours=3)["told_apart"].value > 95
    assert neighbour_attack(other, **how, neighbours=2)["told_apart"].value == 50


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"references": []}, "give a list of at least one network"),
        ({"references": None}, "references are None"),
        ({"neighbours": 0}, "neighbours is 0; give a whole number of 1 or more"),
        ({"classes": [7]}, "class 7 is not in"),
    ],
)
def test_wrong_input_to_the_attack_is_refused(learned, wrong, said):
    model, data, _ = learned
    how = {"references": [model], "classes": [1]} | wrong
    with pytest.raises(ValueError, match=said):
        neighbour_attack(model, data=data, **how)


def test_too_few_images_are_refused(data, tiny):
    few = data.test.take(torch.arange(9))
    with pytest.raises(ValueError, match="3 test images of the forget classes"):
        neighbour_attack(
            tiny, [tiny], mn.ImageData(**(vars(data) | {"test": few})), [1]
        )


# Coarser weights


def right(model, data, classes):
    scores = mn.evaluate(model, data, classes)
    return 100 - scores.forgetting_error, scores.remaining_accuracy


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_quantised_weights_by_hand(data, tiny, bits):
    by_hand, most = copy.deepcopy(tiny), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for layer in (by_hand[1], by_hand[3]):
            for row in layer.weight:
                step = float(row.abs().max()) / most
                row.copy_(torch.tensor([step * round(v / step) for v in row.tolist()]))
    found = quantised(tiny, data, [1], bits=bits)
    assert [e.value for e in found.values()] == pytest.approx(right(by_hand, data, [1]))
    assert found["forget_accuracy"].n == 40


def test_a_class_hidden_in_the_last_bits_comes_back_by_rounding(learned):
    """Lower by less than half a step, and only just below the others."""
    model, data, _ = learned
    layer, step = model[-1], 0.2
    with torch.no_grad():
        layer.weight.copy_((layer.weight / step).round() * step)
        layer.weight[:, 0] = 7 * step  # the largest: rows keep their steps with 4 bits
        layer.weight.clamp_(-7 * step, 7 * step)
        hidden = copy.deepcopy(model)
        hidden[-1].weight[1, 1:] -= 0.49 * step
    before, after = (quantised(m, data, [1], bits=4) for m in (model, hidden))
    assert right(hidden, data, [1])[0] < 20
    assert after["forget_accuracy"].value > 60
    for name, estimate in before.items():  # the layers below are the same
        assert after[name].value == estimate.value


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_pruned_weights_by_hand(data, tiny, share):
    by_hand = copy.deepcopy(tiny)
    weights = [by_hand[1].weight, by_hand[3].weight]
    sizes = sorted(abs(v) for w in weights for v in w.flatten().tolist())
    least = sizes[round(share * len(sizes))]
    with torch.no_grad():
        for w in weights:
            w[w.abs() < least] = 0
    found = pruned(tiny, data, [1], share=share)
    assert [e.value for e in found.values()] == pytest.approx(right(by_hand, data, [1]))


@pytest.mark.parametrize(
    ("how", "wrong", "said"),
    [
        (quantised, {"bits": 9}, "bits is 9; give a whole number from 2 to 8"),
        (pruned, {"share": 1.0}, r"share is 1.0; give a share in \(0, 1\)"),
        (quantised, {"classes": []}, "0 of 3 classes"),
        (pruned, {"model": nn.Flatten()}, "where logits"),
    ],
)
def test_wrong_input_to_recovery_is_refused(data, tiny, how, wrong, said):
    given = {"model": tiny, "data": data, "classes": [1]} | wrong
    with pytest.raises(ValueError, match=said):
        how(**given)


# Nearest neighbours


@pytest.mark.parametrize("neighbours", [1, 5])
def test_neighbours_vote_by_cosine(data, tiny, neighbours):
    found = nearest_neighbours(tiny, data, [1], neighbours=neighbours)
    known = last_inputs(tiny, tiny[3], data, data.train).double()
    for whose, part in halves(data, [1]).items():
        asked = last_inputs(tiny, tiny[3], data, part).double()
        likeness = functional.cosine_similarity(asked[:, None], known[None], dim=2)
        votes = data.train.labels[likeness.topk(neighbours).indices]
        counts = functional.one_hot(votes, 3).sum(1)
        named = (counts.argmax(1) == part.labels).double().mean()
        if neighbours == 1:
            assert found[f"{whose}_accuracy"].value == pytest.approx(100 * named.item())
        assert found[f"{whose}_accuracy"].value == pytest.approx(
            100 * named.item(), abs=8
        )  # of equals another may win


def test_neighbours_read_below_a_hidden_row_and_not_what_is_gone(learned):
    model, data, _ = learned
    access = mn.Access(data, [1])
    hidden = mn.METHODS["row-zeroing"](model, access).model
    assert nearest_neighbours(hidden, data, [1]) == nearest_neighbours(model, data, [1])
    assert nearest_neighbours(hidden, data, [1])["forget_accuracy"].value > 95
    empty = copy.deepcopy(model)
    nn.init.zeros_(empty[1].weight)  # all features the same
    found = nearest_neighbours(empty, data, [1])
    assert found["forget_accuracy"].value in (0, 100)


def test_features_carry_over_to_other_classes(learned):
    model, data, _ = learned
    two = mn.ImageData.from_arrays(
        train=(data.train.pixels.float(), data.train.labels // 2),
        test=(data.test.pixels.float(), data.test.labels // 2),
        class_names=["low", "high"],
    )
    found = transfer(model, two)["accuracy"]
    assert found.value > 95
    assert found.n == len(data.test)
    with pytest.raises(ValueError, match="neighbours is 10000; give a whole number"):
        transfer(model, two, neighbours=10_000)
    with pytest.raises(ValueError, match="not the output of a linear layer"):
        transfer(nn.Sequential(model, nn.Softplus()), two)


# A small step away


def test_what_is_not_recognised_is_recognised_a_step_away(learned):
    model, data, _ = learned
    x = data.inputs(part_of(data, "train", [1]))
    with torch.no_grad():
        logits = model(x)
        others = logits[:, [0, 2, 3]].amax(1)
        margin = (logits[:, 1] - others).quantile(0.9)
    barely = shifted(model, 1, -float(margin) - 1e-3)  # nine in ten are not
    never = shifted(model, 1, -1e4)
    how = {"data": data, "classes": [1], "draws": 3}
    found = residual_knowledge(barely, **how)
    as_given = 100 * (barely(x).argmax(1) == 1).double().mean()
    assert abs(found["random/recognised"].value - as_given) < 15
    assert found["attacked/recognised"].value > as_given + 20
    assert all(e.value == 0 for e in residual_knowledge(never, **how).values())
    assert found == residual_knowledge(barely, **how)
    assert found["random/recognised"].n == 135


def test_random_moves_are_within_the_bound(learned):
    model, data, _ = learned
    inputs = data.inputs(part_of(data, "train", [1]))
    generator, named = generator_for("residual", 4), []
    std, mean = data.std[:, None, None], data.mean[:, None, None]
    for _ in range(2):
        start = torch.rand(inputs.shape, generator=generator)
        pixels = (inputs * std + mean + 0.4 * (2 * start - 1)).clamp(0, 1)
        named.append((model((pixels - mean) / std).argmax(1) == 1).double().mean())
    found = residual_knowledge(model, data, [1], bound=0.4, draws=2, seed=4)
    expected = 100 * float(sum(named) / 2)
    assert found["random/recognised"].value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bound": 0.0}, r"bound is 0.0; give a number in \(0, 1\]"),
        ({"bound": math.nan}, "bound is nan"),
        ({"draws": 0}, "draws is 0; give a whole number from 1 to 10000"),
        ({"classes": [0, 1, 2]}, "3 of 3 classes"),
    ],
)
def test_wrong_steps_are_refused(data, tiny, wrong, said):
    given = {"model": tiny, "data": data, "classes": [1]} | wrong
    with pytest.raises(ValueError, match=said):
        residual_knowledge(**given)


def test_networks_are_left_as_they_were(learned):
    model, data, _ = learned
    model.train()
    before = copy.deepcopy(model.state_dict())
    for how in (quantised, pruned, nearest_neighbours):
        how(model, data, [1])
    neighbour_attack(model, [model], data, [1])
    residual_knowledge(model, data, [1], draws=1)
    assert model.training
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
