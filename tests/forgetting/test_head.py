"""The rules at the last layer: other rows for the classes to forget."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnemonic as mn
from mnemonic.forgetting.rows import from_rows, margins, turned, unseen


def drawn(seed, k, d):
    g = torch.Generator().manual_seed(seed)
    draw = {"generator": g, "dtype": torch.float64}
    rows, bias = torch.randn(k, d, **draw), torch.randn(k, **draw)
    return rows, bias, torch.randn(k, d, **draw) + 3 * rows / rows.norm(dim=1)[:, None]


a_head = st.tuples(st.integers(0, 999), st.integers(3, 6), st.integers(6, 9))
sets = st.sampled_from([[0], [2], [0, 2]])


def projected(weight, prototypes, classes, s):
    """W (I − s D Dᵀ) by pseudo-inverses, without a basis."""
    others = prototypes[[k for k in range(len(weight)) if k not in classes]].T
    own = (
        prototypes[classes].T
        - others @ torch.linalg.pinv(others) @ prototypes[classes].T
    )
    return weight - s * weight @ own @ torch.linalg.pinv(own)


@settings(max_examples=40, deadline=None)
@given(a_head, sets, st.floats(0.1, 4))
def test_turned_rows_are_those_of_the_equation(head, classes, s):
    weight, bias, prototypes = drawn(*head)
    new, new_bias, used = turned(weight, bias, prototypes, classes, s)
    assert used == s
    assert torch.allclose(new, projected(weight, prototypes, classes, s), atol=1e-8)
    others = [k for k in range(len(weight)) if k not in classes]
    for k in others:  # what the network says of the other prototypes does not move
        assert torch.allclose(new @ prototypes[k], weight @ prototypes[k], atol=1e-8)
        assert new_bias[k] == bias[k]
    for c in classes:  # as far down as the class won its prototype by
        logits = weight @ prototypes[c] + bias
        margin = float(logits[c] - max(logits[k] for k in others))
        assert float(bias[c] - new_bias[c]) == pytest.approx(max(0.0, margin), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(a_head, sets)
def test_a_mirror_twice_is_no_mirror_and_a_right_angle_is_one(head, classes):
    weight, _, prototypes = drawn(*head)
    once, none, _ = turned(weight, None, prototypes, classes, 2.0)
    twice, _, _ = turned(once, None, prototypes, classes, 2.0)
    assert none is None
    assert torch.allclose(twice, weight, atol=1e-8)
    new, _, s = turned(weight, None, prototypes, classes)
    assert float((new[classes] * weight[classes]).sum()) == pytest.approx(0, abs=1e-7)
    assert s >= 1


def test_prototypes_that_depend_on_each_other_are_one_direction_less():
    weight, bias, prototypes = drawn(0, 5, 6)
    prototypes[4] = prototypes[3] - 2 * prototypes[1]
    new, _, _ = turned(weight, bias, prototypes, [0], 2.0)
    assert torch.allclose(new, projected(weight, prototypes, [0], 2.0), atol=1e-8)
    with pytest.raises(
        ValueError, match=r"prototypes of \[4\] lie in the span of the 4"
    ):
        turned(weight, bias, prototypes, [4])
    with pytest.raises(ValueError, match=r'6 features.*rule="unseen"'):
        turned(*drawn(0, 8, 6), [0])  # seven others fill six dimensions


@settings(max_examples=40, deadline=None)
@given(a_head, sets)
def test_an_unseen_row_says_no_and_nothing_else_changes(head, classes):
    weight, bias, features = drawn(*head)
    features = features.abs()  # as behind a ReLU
    new, new_bias = unseen(weight, bias, features, classes)
    others = [k for k in range(len(weight)) if k not in classes]
    length = sum(float(weight[k].square().sum() ** 0.5) for k in others) / len(others)
    mean = sum(features) / len(features)
    for c in classes:
        expected = -0.5 * length * mean / mean.square().sum() ** 0.5
        assert torch.allclose(new[c], expected)
    # All rows together say nothing, so that minus the others is not the old row.
    assert torch.allclose(new.sum(0), torch.zeros_like(mean), atol=1e-9)
    # Differences between the others are as they were, so they decide as they did.
    differences = weight[others] - weight[others[0]]
    assert torch.allclose(new[others] - new[others[0]], differences)
    logits = features @ new.T + new_bias
    assert set(logits.argmax(1).tolist()) <= set(others)
    again, _ = unseen(new, new_bias, features, classes)  # it stays what it is
    assert torch.allclose(
        torch.cosine_similarity(again[classes], new[classes]), again.new_ones(1)
    )


def test_prototypes_from_rows_are_centred_and_as_long_as_features():
    weight = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    features = torch.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=torch.float64)
    found = from_rows(weight, features) - torch.tensor([1.5, 4.5])
    assert torch.allclose(found.sum(0), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert float(found.norm(dim=1).mean()) == pytest.approx(5)
    assert margins(weight, None, torch.eye(3, 2).double(), [0]).tolist() == [1.0]


class Pooled(nn.Module):
    """A network that ends in a 1×1 convolution and a mean over positions."""

    def __init__(self, linear):
        super().__init__()
        self.head = nn.Conv2d(linear.in_features, linear.out_features, 1)
        self.head.weight.data = linear.weight.data[:, :, None, None].clone()
        self.head.bias.data = linear.bias.data.clone()

    def forward(self, x):
        return self.head(x.flatten(1)[:, :, None, None].expand(-1, -1, 2, 3)).mean(
            (2, 3)
        )


@pytest.mark.parametrize("rule", ["turn", "unseen"])
def test_classes_are_forgotten_at_no_cost(learned, rule):
    model, data, codes = learned
    before = copy.deepcopy(model.state_dict())
    for classes in ([0], [3], [1, 2]):
        kept = mn.evaluate(model, data, classes).remaining_accuracy
        for given_codes in (codes, None):
            shape = None if given_codes else data.input_shape
            how = {"rule": rule, "input_shape": shape}
            result = mn.forget(model, given_codes, classes, **how)
            scores = mn.evaluate(result.model, data, classes)
            assert scores.forgetting_error == 100
            assert scores.remaining_accuracy >= kept
            assert (result.rule, result.classes) == (rule, tuple(classes))
            assert result.forgets_codes is (True if given_codes else None)
            again = mn.forget(model, given_codes, classes, **how | result.settings)
            for name, weight in result.model.named_parameters():
                assert torch.equal(weight, again.model.get_parameter(name))
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("rule", ["turn", "unseen"])
@pytest.mark.filterwarnings("ignore:the network does not know the codes")
def test_requests_one_after_another_bring_nothing_back(learned, rule):
    model, data, codes = learned
    for c in (3, 1, 3, 0, 3):
        model = mn.forget(model, codes, [c], rule=rule).model
        assert mn.evaluate(model, data, [3]).forgetting_error == 100
    assert mn.evaluate(model, data, [0, 1, 3]).forgetting_error == 100


def test_heads_of_other_kinds(learned):
    model, _, codes = learned
    pooled = Pooled(linear := [m for m in model if isinstance(m, nn.Linear)][-1])
    features = nn.Sequential(*list(model)[: list(model).index(linear)])
    other = nn.Sequential(features, pooled)
    wanted = mn.forget(model, codes, [1], rule="turn")
    found = mn.forget(other, codes, [1], rule="turn")
    assert torch.allclose(
        found.model[1].head.weight.flatten(1), wanted.model.get_parameter(
            wanted.layers["layer"][0]
        ), atol=1e-5,
    )  # fmt: skip
    assert found.settings["strength"] == pytest.approx(
        wanted.settings["strength"], 1e-4
    )

    linear.bias = None
    for rule in ("turn", "unseen"):
        result = mn.forget(model, codes, [1], rule=rule)
        assert len(result.layers) == 1
    linear.weight.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"the last layer, is frozen"):
        mn.forget(model, codes, [1], rule="turn")
    with pytest.raises(ValueError, match="not the output of a linear layer"):
        mn.forget(nn.Sequential(model, nn.ReLU()), codes, [1], rule="unseen")


def test_what_does_not_fit_is_said(learned):
    model, _, codes = learned
    for how, match in (
        (
            {"rule": "turns"},
            "unknown rule 'turns'; choose one of amplitude, turn, unseen",
        ),
        ({"rule": "turn", "strength": -1.0}, "strength is -1.0; give a number above 0"),
        (
            {"rule": "unseen", "strength": mn.Strength(1.0, 1.0)},
            "give a number above 0",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            mn.forget(model, codes, [1], **how)
    with pytest.raises(ValueError, match="give input_shape"):
        mn.forget(model, None, [1], rule="unseen")


@pytest.mark.parametrize(
    "given", [{"sign": 1}, {"layers": ["1"]}, {"candidates": True}]
)
def test_what_is_of_another_rule_is_not_taken_without_a_word(learned, given):
    model, _, codes = learned
    for rule in ("turn", "unseen"):
        with pytest.raises(ValueError, match="are of rule 'amplitude'"):
            mn.forget(model, codes, [1], rule=rule, **given)
