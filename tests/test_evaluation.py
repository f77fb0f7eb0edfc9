import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnemonic as mn
from mnemonic.evaluation import scores_of


def test_scores_count_each_image_once(learned):
    learned, data, _ = learned
    answers = learned(data.inputs(data.test)).argmax(1)
    right, labels = answers == data.test.labels, data.test.labels
    for classes in ([0], [1, 2]):
        forgets = torch.isin(labels, torch.tensor(classes))
        for batch_size in (7, 1000):  # the last batch is smaller
            s = mn.evaluate(learned, data, classes, batch_size=batch_size)
            expected = 100 * right[~forgets].double().mean().item()
            assert s.remaining_accuracy == pytest.approx(expected)
            expected = 100 * (~right[forgets]).double().mean().item()
            assert s.forgetting_error == pytest.approx(expected)
            assert s.accuracy == pytest.approx(100 * right.double().mean().item())
            assert s.n == len(labels)
            for c in range(4):
                assert s.class_accuracies[c] == pytest.approx(
                    100 * right[labels == c].double().mean().item()
                )
                for a in range(4):
                    count = ((labels == c) & (answers == a)).sum()
                    assert s.confusion[c, a] == count


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=9, max_size=9),
    st.sets(st.integers(0, 2), min_size=1, max_size=2),
)
def test_scores_stay_within_bounds_and_agree(counts, classes):
    confusion = torch.tensor(counts).reshape(3, 3) + torch.eye(3, dtype=torch.int64)
    s = scores_of(confusion, sorted(classes))
    assert 0 <= s.remaining_accuracy <= 100
    assert 0 <= s.forgetting_error <= 100
    share = confusion.sum(1)[sorted(classes)].sum().item() / s.n
    whole = (1 - share) * s.remaining_accuracy + share * (100 - s.forgetting_error)
    assert whole == pytest.approx(s.accuracy)


def test_splits_and_modes(learned):
    learned, data, _ = learned
    learned.train()
    mn.evaluate(learned, data, [0], split="validation")
    assert learned.training
    sizes = [
        mn.evaluate(learned, data, [0], split=s).n
        for s in ("train", "validation", "test")
    ]
    assert sizes == [540, 60, 400]


def test_wrong_input_is_refused(learned):
    learned, data, _ = learned
    with pytest.raises(ValueError, match="unknown split 'holdout'"):
        mn.evaluate(learned, data, [0], split="holdout")
    with pytest.raises(ValueError, match="class 4 is not in"):
        mn.evaluate(learned, data, [4])
    with pytest.raises(ValueError, match="where logits"):
        mn.evaluate(nn.Flatten(), data, [0])
    with pytest.raises(ValueError, match="0 of 405 train images are of the forget"):
        mn.evaluate(learned, data.without([0]), [0], split="train")
    with pytest.raises(ValueError, match="batch_size is 0"):
        mn.evaluate(learned, data, [0], batch_size=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda logits: logits.mean(0, keepdim=True), r"gives \[1, 4\] where logits"),
        (lambda logits: logits.where(logits > logits.median(), torch.nan), "NaN"),
    ],
)
def test_outputs_of_every_batch_are_looked_at(learned, spoil, message):
    model, data, _ = learned
    seen = []

    def from_the_second_batch(module, inputs, logits):
        seen.append(1)
        return spoil(logits) if len(seen) > 1 else None

    model.register_forward_hook(from_the_second_batch)
    with pytest.raises(ValueError, match=message):
        mn.evaluate(model, data, [0], batch_size=100)
