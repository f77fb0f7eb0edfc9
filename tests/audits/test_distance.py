import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mnemonic as mn
from mnemonic.audits import (
    activation_distance,
    distances,
    js,
    over_unlearning,
    zrf,
)
from mnemonic.audits.distance import BOUND, fresh_weights, towards_runner_up
from mnemonic.audits.outputs import logits_of, part_of

rows = st.lists(st.floats(-60, 60), min_size=4, max_size=4)


def one_hot(k):
    return torch.tensor([[1e4] + (k - 1) * [0.0]])


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_js_is_symmetric_and_bounded(p, q):
    p, q = torch.tensor([p]), torch.tensor([q])
    found = js(p, q).item()
    assert 0 <= found <= math.log(2)
    assert js(q, p).item() == pytest.approx(found, abs=1e-12)
    assert js(p, p + 3).item() == pytest.approx(0, abs=1e-6)
    assert 1 - math.log(2) <= zrf(p, q).value <= 1
    assert 0 <= activation_distance(p, q).item() <= math.sqrt(2)


def test_distances_of_known_answers():
    even = torch.zeros(1, 10)
    assert js(one_hot(10), even).item() == pytest.approx(0.5256, abs=5e-5)
    assert zrf(one_hot(10), even).value == pytest.approx(0.4744, abs=5e-5)
    apart = one_hot(10), one_hot(10).flip(1)
    assert js(*apart).item() == pytest.approx(math.log(2))
    assert activation_distance(*apart).item() == pytest.approx(math.sqrt(2))
    to_even = activation_distance(one_hot(10), even).item()
    assert to_even == pytest.approx(math.sqrt(0.9**2 + 9 * 0.1**2))
    removed = torch.tensor([[-torch.inf, 0.0, 0.0]])  # c at 0 and renormalised
    halves = torch.tensor([[-1e4, 0.0, 0.0]])
    assert js(removed, halves).item() == pytest.approx(0)


def test_js_by_hand():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 20, 5, generator=generator, dtype=torch.float64)
    p, q = a.softmax(1), b.softmax(1)
    m = (p + q) / 2
    expected = 0.5 * (p * (p / m).log() + q * (q / m).log()).sum(1)
    assert torch.allclose(js(a, b), expected)


def test_distances_of_networks(learned):
    model, data, _ = learned
    other = mn.build_model("mlp", data, seed=5).eval()
    found = distances(model, [other], data, [1])
    images = data.test.labels != 1
    p, q = (m(data.inputs(data.test)[images]).double() for m in (model, other))
    p, q = p.softmax(1), q.softmax(1)
    kl = (q * (q / p).log()).sum(1).mean().item()  # the reference comes first
    assert found["remaining-test/kl"].value == pytest.approx(kl, rel=1e-4)
    norm = (p - q).norm(dim=1).mean().item()
    away = found["remaining-test/activation_distance"]
    assert away.value == pytest.approx(norm, rel=1e-5)
    assert away.low < away.value < away.high
    assert (away.n, away.unit) == (300, "1")
    assert len(found) == 12
    same = distances(model, [copy.deepcopy(model)], data, [1])
    assert all(e.value == pytest.approx(0, abs=1e-9) for e in same.values())
    both = distances(model, [model, other], data, [1])
    for what, estimate in both.items():
        assert estimate.value == pytest.approx(found[what].value / 2, abs=1e-9)


def test_fresh_weights_are_those_of_a_new_network(learned):
    model, data, _ = learned
    before = copy.deepcopy(model.state_dict())
    fresh = fresh_weights(model, seed=7).state_dict()
    built = mn.build_model("mlp", data, seed=7).state_dict()
    for name, weight in fresh.items():
        assert torch.equal(weight, built[name])
        assert torch.equal(model.state_dict()[name], before[name])


def test_fresh_weights_where_a_module_cannot_reset_itself():
    net = nn.Module()
    net.token = nn.Parameter(torch.full((1000,), 5.0))
    net.norm = nn.BatchNorm1d(3)
    net.norm.running_mean += 1
    fresh = fresh_weights(net, seed=0)
    assert fresh.token.std().item() == pytest.approx(0.02, rel=0.1)
    assert fresh.norm.running_mean.tolist() == [0, 0, 0]
    assert net.token.min() == 5
    assert torch.equal(fresh_weights(net, seed=0).token, fresh.token)
    assert not torch.equal(fresh_weights(net, seed=1).token, fresh.token)


def perturbed(model, data, seed=0):
    inputs = data.inputs(part_of(data, "train", [1]))
    generator = torch.Generator().manual_seed(seed)
    return inputs, towards_runner_up(model, data, inputs, [1], generator)


def test_attack_goes_towards_the_runner_up(learned):
    model, data, _ = learned
    inputs, moved = perturbed(model, data)
    logits = model(inputs)
    others = logits.clone()
    others[:, 1] = -torch.inf
    runner_up = others.argmax(1)[:, None]
    before, after = (m(x).softmax(1) for m, x in ((model, inputs), (model, moved)))
    assert (after.gather(1, runner_up) > before.gather(1, runner_up)).all()
    assert after[:, 1].mean() < before[:, 1].mean()


def test_attack_stays_near_and_among_images(learned):
    model, data, _ = learned
    inputs, moved = perturbed(model, data)
    mean, std = data.mean[:, None, None], data.std[:, None, None]
    pixels = moved * std + mean
    assert (pixels - (inputs * std + mean)).abs().max() <= BOUND + 1e-6
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6
    assert torch.equal(perturbed(model, data)[1], moved)
    assert not torch.equal(perturbed(model, data, seed=1)[1], moved)


def test_over_unlearning_in_closed_form(learned):
    model, data, _ = learned
    access = mn.Access(data, [1])
    hidden = mn.METHODS["row-zeroing"](model, access).model
    # Row zeroing is what the measure compares with: class c at 0, renormalised.
    assert over_unlearning(hidden, model, data, [1]).value == pytest.approx(0, abs=1e-9)
    kept = over_unlearning(model, model, data, [1])
    _, near = perturbed_as_measured(model, data)
    p = model(near).double().softmax(1)
    c = p[:, 1]  # JS of p without c, renormalised, to p: a function of p_c alone
    m = (1 / (1 - c) + 1) / 2
    expected = 0.5 * (-((1 - c) * m).log() - (1 - c) * m.log() + c * math.log(2))
    assert kept.value == pytest.approx(expected.mean().item(), rel=1e-4)
    assert (kept.n, kept.unit) == (135, "nats")


def perturbed_as_measured(model, data):
    """The images that ``over_unlearning`` looks at with seed 0."""
    from mnemonic.storage import generator_for

    inputs = data.inputs(part_of(data, "train", [1]))
    generator = generator_for("over-unlearning", 0)
    return inputs, towards_runner_up(model, data, inputs, [1], generator)


def test_networks_are_left_as_they_were(learned):
    model, data, _ = learned
    other = mn.build_model("mlp", data, seed=5)
    for p in other.parameters():
        p.requires_grad_(False)
    before = [copy.deepcopy(m.state_dict()) for m in (model, other)]
    over_unlearning(other, model, data, [1])
    over_unlearning(model, other, data, [1])
    distances(model, [other], data, [1])
    assert other.training
    for network, state in zip((model, other), before, strict=True):
        assert all(torch.equal(v, state[n]) for n, v in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())


def test_wrong_input_is_refused(learned):
    model, data, _ = learned
    with pytest.raises(ValueError, match="0 of 405 train images are of the forget"):
        over_unlearning(model, model, data.without([1]), [1])
    with pytest.raises(ValueError, match="where logits"):
        logits_of(nn.Flatten(), data, data.test)
