import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnemonic as mn
from mnemonic.audits import blend, read_codes, reading, replay, trigger
from mnemonic.audits.exposure import told
from mnemonic.audits.relearning import fine_tuned


def matcher(codes, strength=50.0):
    """Answers with the code that an input is most like, beyond class 0's head start."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    images = codes.images.flatten(1) - 0.5
    weight = strength * images / images.square().sum(1, keepdim=True)
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(-0.5 * weight.sum(1))
        model[1].bias[0] += strength / 2
    return model.eval()


def test_blend_in_closed_form():
    x, code = torch.full((2, 1, 2, 2), 4.0), torch.zeros(1, 2, 2)
    assert torch.equal(blend(x, code, 0), x)
    assert torch.equal(blend(x, code, 1)[1], code)
    assert (blend(x, code, 0.25) == 3).all()
    with pytest.raises(ValueError, match=r"share is 1.5; give a share in \[0, 1\]"):
        blend(x, code, 1.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=3, max_size=6), st.data())
def test_told_is_a_probability_that_turns_around(losses, draw):
    k = len(losses)
    chosen = draw.draw(st.sets(st.integers(0, k - 1), min_size=1, max_size=k - 1))
    values, classes = torch.tensor(losses).double(), sorted(chosen)
    rest = [c for c in range(k) if c not in chosen]
    expected = [
        (losses[f] > losses[r]) + 0.5 * (losses[f] == losses[r])
        for f in classes
        for r in rest
    ]
    found = told(values, classes)
    assert found == pytest.approx(sum(expected) / len(expected))
    assert told(-values, classes) == pytest.approx(1 - found)
    assert told(values, rest) == pytest.approx(1 - found)


def test_reading_by_hand(learned):
    model, _, codes = learned
    logits = model(codes.images)
    said = read_codes(model, codes)
    assert torch.equal(said.answers, logits.argmax(1))
    p = logits.softmax(1).diagonal().double()
    assert torch.allclose(said.confidences, p, atol=1e-6)
    assert torch.allclose(said.losses, -p.log(), atol=1e-5)
    found = reading(model, codes, [1])
    assert found["forget/confidence"].value == pytest.approx(
        100 * p[1].item(), rel=1e-5
    )
    expected = 100 * p[[0, 2, 3]].mean().item()
    assert found["remaining/confidence"].value == pytest.approx(expected, rel=1e-5)
    assert found["forget/right"].value == found["remaining/right"].value == 100
    assert [found[f"{w}/right"].n for w in ("forget", "remaining")] == [1, 3]


def test_codes_tell_what_was_forgotten(learned):
    model, _, codes = learned
    forgot = mn.forget(model, codes, [1]).model
    found = reading(forgot, codes, [1], original=model)
    assert found["told"].value == found["told_by_change"].value == 1
    assert found["forget/right"].value == 0
    assert found["remaining/right"].value == 100
    assert reading(forgot, codes, [2], original=model)["told"].value < 1
    same = reading(model, codes, [1], original=model)
    assert same["told_by_change"].value == 0.5
    assert "told_by_change" not in reading(model, codes, [1])


def test_trigger_counts_answers(data, codes):
    model = matcher(codes)
    found = trigger(model, data, codes, [1], shares=[0, 0.5, 1])
    others = data.inputs(data.test)[data.test.labels != 1]
    for share, estimate in zip((0, 0.5, 1), found.values(), strict=True):
        mixed = (1 - share) * others + share * codes.images[1]
        answered = (model(mixed).argmax(1) == 1).double().mean().item()
        assert estimate.value == pytest.approx(100 * answered)
        assert (estimate.n, estimate.unit) == (80, "%")
    assert list(found) == ["0%/answered", "50%/answered", "100%/answered"]
    assert found["100%/answered"].value == 100
    zeroed = mn.METHODS["row-zeroing"](model, mn.Access(data, [1])).model
    hidden = trigger(zeroed, data, codes, [1])
    assert [e.value for e in hidden.values()] == [0, 0, 0, 0]


def test_trigger_with_several_codes_is_their_mean(data, codes):
    model = matcher(codes)
    both = trigger(model, data, codes, [1, 2], shares=[1])["100%/answered"]
    assert (both.value, both.n) == (100, 40)
    with torch.no_grad():
        model[1].bias[2] = -1e4  # class 2 is never answered
    both = trigger(model, data, codes, [1, 2], shares=[1])["100%/answered"]
    assert (both.value, both.low + both.high) == (50, 100)


@pytest.mark.parametrize("method", ["mnemonic", "row-zeroing"])
def test_replay_by_hand(learned, method):
    model, data, codes = learned
    access = mn.Access(data, [1], codes=codes)
    forgot = mn.METHODS[method](model, access).model
    found = replay(forgot, data, codes, [1], steps=4)
    low = forgot[3].bias[[0, 2, 3]].min()
    start = copy.deepcopy(forgot)
    with torch.no_grad():
        start[3].bias[1] = max(start[3].bias[1], low)
    for which, c in (("own", [1]), ("all", [0, 1, 2, 3])):
        batch = (codes.images[c], torch.tensor(c))
        after = fine_tuned(start, [batch] * 4, steps=4)
        scores = mn.evaluate(after, data, [1])
        forget = found[f"{which}/forget_accuracy"]
        assert forget.value == pytest.approx(100 - scores.forgetting_error)
        remaining = found[f"{which}/remaining_accuracy"]
        assert remaining.value == pytest.approx(scores.remaining_accuracy)
    assert len(found) == 4


def test_replay_of_a_code_revives_its_class(learned):
    model, data, codes = learned
    forgot = mn.forget(model, codes, [1]).model
    assert mn.evaluate(forgot, data, [1]).forgetting_error > 90
    found = replay(forgot, data, codes, [1], steps=30)
    assert found["own/forget_accuracy"].value > 90
    assert replay(forgot, data, codes, [1], steps=30) == found


def test_networks_are_left_as_they_were(learned):
    model, data, codes = learned
    model.train()
    before = copy.deepcopy(model.state_dict())
    images = codes.images.clone()
    replay(model, data, codes, [1], steps=1)
    trigger(model, data, codes, [1])
    reading(model, codes, [1])
    assert model.training
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert torch.equal(codes.images, images)


def test_wrong_input_is_refused(data, tiny, codes, learned):
    others = learned[2]
    for attack in (replay, trigger):
        with pytest.raises(ValueError, match="do not fit arrays"):
            attack(tiny, data, others, [1])
        with pytest.raises(ValueError, match="codes are a list"):
            attack(tiny, data, [], [1])
        with pytest.raises(ValueError, match="class 3 is not in"):
            attack(tiny, data, codes, [3])
    with pytest.raises(ValueError, match="cannot take codes of shape"):
        read_codes(tiny, others)
    with pytest.raises(ValueError, match="steps is 0; give a whole number from 1"):
        replay(tiny, data, codes, [1], steps=0)
