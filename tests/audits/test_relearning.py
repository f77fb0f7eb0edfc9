import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import mnemonic as mn
from mnemonic.audits import prototype_attack, relearn, relearn_remaining
from mnemonic.audits.prototypes import moved_rows
from mnemonic.audits.relearning import drawn, fine_tuned
from mnemonic.audits.rows import levelled


def linear(data, classes=None, seed=0):
    """A linear network that learned the data, with or without some classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    used = data if classes is None else data.without(classes)
    recipe = mn.Recipe(epochs=40, batch_size=16, learning_rate=0.05)
    mn.train(model, used, recipe=recipe, progress=False)
    return model


def accuracies(model, data, classes):
    scores = mn.evaluate(model, data, classes)
    return 100 - scores.forgetting_error, scores.remaining_accuracy


@pytest.fixture
def hidden(data):
    """Row zeroing of a linear network: nothing is forgotten."""
    model = linear(data)
    assert accuracies(model, data, [1])[0] > 95
    return mn.METHODS["row-zeroing"](model, mn.Access(data, [1])).model


def test_few_samples_revive_a_row_of_zeros(data, hidden):
    assert accuracies(hidden, data, [1])[0] == 0
    found = relearn(hidden, data, [1], samples=5)
    assert found["forget_accuracy"].value > 90
    assert found["remaining_accuracy"].value > 90
    assert (found["forget_accuracy"].n, found["remaining_accuracy"].n) == (40, 80)


def test_a_retrained_network_relearns_more_slowly(data, hidden):
    retrained = linear(data, [1])
    gaps = [
        relearn(hidden, data, [1], samples=k)["forget_accuracy"].value
        - relearn(retrained, data, [1], samples=k)["forget_accuracy"].value
        for k in (1, 5)
    ]
    assert min(gaps) >= 0


def test_no_samples_is_levelling_alone(data, hidden):
    found = relearn(hidden, data, [1], samples=0)
    expected = accuracies(levelled(hidden, data, [1]), data, [1])
    assert [e.value for e in found.values()] == pytest.approx(expected)


def test_levelling_raises_low_forget_biases_only(data, tiny):
    with torch.no_grad():
        tiny[3].bias.copy_(torch.tensor([0.2, -7.0, -0.1]))
    assert levelled(tiny, data, [1])[3].bias.tolist() == pytest.approx(
        [0.2, -0.1, -0.1]
    )
    both = levelled(tiny, data, [1, 2])[3].bias.tolist()
    assert both == pytest.approx([0.2, 0.2, 0.2])
    assert levelled(tiny, data, [0])[3].bias.tolist() == tiny[3].bias.tolist()
    assert tiny[3].bias[1] == -7
    bare = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False))
    ends_otherwise = nn.Sequential(bare, nn.LogSoftmax(1))
    for model in (bare, ends_otherwise):
        copied = levelled(model, data, [1])
        assert copied is not model
        assert torch.equal(
            copied(data.images(data.test)), model(data.images(data.test))
        )


def test_honest_fine_tuning_does_not_level(data, hidden):
    found = relearn_remaining(hidden, data, [1], samples=20)
    assert found["forget_accuracy"].value == found["forget_accuracy"].low == 0
    assert found["remaining_accuracy"].value > 95


def test_remaining_images_alone_are_drawn(data):
    model = linear(data)
    before, _ = accuracies(model, data, [1])
    found = relearn_remaining(model, data, [1], samples=30)
    with_forget = relearn(model, data, [1], samples=30)
    # Half as many images, none of class 1: it can only be answered less.
    assert found["forget_accuracy"].value <= with_forget["forget_accuracy"].value
    for part, _ in drawn(data, [0, 2], 30, 2, 0):
        assert torch.bincount(part.labels, minlength=3).tolist() == [30, 0, 30]
    assert before > 95


def test_fewer_samples_are_some_of_the_more(data):
    def rows(samples):
        return [
            {tuple(image.flatten().tolist()) for image in part.pixels}
            for part, _ in drawn(data, [0, 2], samples, 3, 5)
        ]

    few, more = rows(2), rows(6)
    assert all(a < b for a, b in zip(few, more, strict=True))
    assert few[0] != few[1]
    assert rows(2) == few


def test_fine_tuning_by_hand(data, tiny):
    inputs, labels = data.inputs(data.train)[:20], data.train.labels[:20]
    tuned = fine_tuned(tiny, [(inputs, labels)] * 9, steps=3)
    by_hand = copy.deepcopy(tiny)
    moments = [torch.zeros_like(p) for p in by_hand.parameters()]
    for _ in range(3):
        loss = functional.cross_entropy(by_hand(inputs), labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        length = torch.cat([g.flatten() for g in gradients]).norm()
        assert length < 5  # nothing to cut here
        with torch.no_grad():
            for p, m, g in zip(by_hand.parameters(), moments, gradients, strict=True):
                m.mul_(0.9).add_(g)
                p -= 0.01 * m
    for p, q in zip(tuned.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-7)


def test_steep_losses_are_cut(data, tiny):
    steep = copy.deepcopy(tiny)
    with torch.no_grad():
        steep[3].weight *= 1e4
    inputs, labels = data.inputs(data.train)[:20], data.train.labels[:20]
    tuned = fine_tuned(steep, [(inputs, labels)], steps=1)
    moved = [
        (p - q).flatten()
        for p, q in zip(tuned.parameters(), steep.parameters(), strict=True)
    ]
    assert torch.cat(moved).norm() <= 0.01 * 5 * 1.05


def test_frozen_weights_and_modes_are_left_alone(data):
    model = mn.build_model("slim-resnet", data)
    for p in model.parameters():
        p.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    model.train()
    inputs, labels = data.inputs(data.train)[:6], data.train.labels[:6]
    tuned = fine_tuned(model, [(inputs, labels)], steps=1)
    assert model.training
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())
    after = tuned.state_dict()
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])
    # Batch statistics stay: a batch of one class would spoil them.
    name = "stem.1.running_mean"
    assert torch.equal(after[name], before[name])


def test_rows_move_by_the_formula():
    layer = nn.Linear(2, 3)
    features = torch.tensor([[3.0, 0.0], [3.0, 8.0], [9.0, 9.0]])
    labels = torch.tensor([1, 1, 0])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, -2.0], [0.0, 5.0]]))
        layer.bias.copy_(torch.tensor([1.0, -4.0, 3.0]))
    weight, bias = moved_rows(layer, features, labels, [1])
    # The mean (3, 4) has length 5: half of (0.6, 0.8) and half of (2, -2).
    assert weight[1].tolist() == pytest.approx([1.3, -0.6])
    assert bias.tolist() == [1, -2, 3]
    assert weight[[0, 2]].tolist() == [[1, 1], [0, 5]]
    assert layer.weight[1].tolist() == [2, -2]
    _, bias = moved_rows(nn.Linear(2, 3, bias=False), features, labels, [0, 1])
    assert bias.tolist() == [0, 0, 0]


def test_prototypes_find_a_hidden_class_once_its_bias_is_level(data):
    model = linear(data)
    with torch.no_grad():  # rows as long as a prototype
        scale = model[1].weight.norm(dim=1).mean()
        model[1].weight /= scale
        model[1].bias /= scale
    hidden = mn.METHODS["row-zeroing"](model, mn.Access(data, [1])).model
    assert prototype_attack(hidden, data, [1])["forget_accuracy"].value == 0
    found = prototype_attack(hidden, data, [1], level=True)
    assert found["forget_accuracy"].value > 90
    assert found["remaining_accuracy"].value > 50


def test_prototype_attack_is_its_formula_over_draws(data):
    model = linear(data)
    found = prototype_attack(model, data, [1, 2], samples=3, draws=4, seed=2)
    right = []
    for part, _ in drawn(data, [1, 2], 3, 4, 2):
        shown = data.inputs(part).flatten(1)
        weight, bias = moved_rows(model[1], shown, part.labels, [1, 2])
        answers = (data.inputs(data.test).flatten(1) @ weight.T + bias).argmax(1)
        right.append((answers == data.test.labels)[data.test.labels > 0])
    expected = 100 * torch.stack(right).double().mean().item()
    assert found["forget_accuracy"].value == pytest.approx(expected)
    assert found["forget_accuracy"].n == 80


def test_seed_decides(data, hidden):
    for attack in (
        lambda seed: relearn(hidden, data, [1], samples=1, draws=2, seed=seed),
        lambda seed: relearn_remaining(hidden, data, [1], samples=9, seed=seed),
        lambda seed: prototype_attack(hidden, data, [1], level=True, seed=seed),
    ):
        assert attack(3) == attack(3)
    a, b = (relearn(hidden, data, [1], samples=1, seed=s) for s in (3, 4))
    assert a != b


def test_networks_are_left_as_they_were(data, hidden):
    hidden.train()
    before = copy.deepcopy(hidden.state_dict())
    relearn(hidden, data, [1], samples=1, draws=1)
    relearn_remaining(hidden, data, [1], samples=1, draws=1)
    prototype_attack(hidden, data, [1], draws=1, level=True)
    assert hidden.training
    assert all(torch.equal(v, before[n]) for n, v in hidden.state_dict().items())


def test_wrong_input_is_refused(data, tiny):
    with pytest.raises(
        ValueError, match="40 samples of class a, which has 36 training"
    ):
        relearn(tiny, data, [1], samples=40)
    for samples in (-1, 2.5, None):
        with pytest.raises(ValueError, match=f"samples is {samples}"):
            relearn(tiny, data, [1], samples=samples)
    with pytest.raises(ValueError, match="draws is 0"):
        relearn_remaining(tiny, data, [1], samples=1, draws=0)
    with pytest.raises(ValueError, match="class 3 is not in"):
        prototype_attack(tiny, data, [3])
    with pytest.raises(ValueError, match="not the output of a linear layer"):
        prototype_attack(nn.Sequential(tiny, nn.LogSoftmax(1)), data, [1])
    with pytest.raises(ValueError, match="cut off from its weights"):
        fine_tuned(_Cut(), [(torch.zeros(2, 4), torch.zeros(2).long())], steps=1)


class _Cut(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, inputs):
        return super().forward(inputs).detach()
