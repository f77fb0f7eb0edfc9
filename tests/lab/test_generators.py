"""Gradient surgery, and how generators are scored, against sums done otherwise."""

from itertools import islice

import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from mnemonic.data.arrays import ImageData
from mnemonic.lab import generators
from mnemonic.lab.surgery import operated, without
from mnemonic.storage import generator_for

F, R = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[0.5, 1.0, 3.0]])


def test_without_leaves_a_right_angle_and_takes_nothing_else():
    g, along = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    left = without(g, along)
    assert abs(left @ along) < 1e-5
    torch.testing.assert_close(without(left, along), left)
    torch.testing.assert_close((g - left) / along, ((g - left) / along)[:1].expand(50))


def line():
    """One weight row [3] whose losses, w · f and w · r, have gradients F and R."""
    model = nn.Linear(3, 1, bias=False)
    return model, [lambda x=x: model(x).sum() for x in (F, R)]


def steps(rule, n=1, **how):
    """The steps that a rule takes, and what it says of them."""
    model, losses = line()
    before, found = model.weight.detach().clone(), []
    for told in islice(operated(model, *losses, rule, 0.1, **how), n):
        after = model.weight.detach().clone()
        found.append(((after - before)[0], told))
        before = after
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("surgery", F[0] - (F @ R.T).item() / (R @ R.T).item() * R[0]),
        ("mirror", -R[0] + (F @ R.T).item() / (F @ F.T).item() * F[0]),
        ("ascent", F[0]),
        ("alternation", F[0]),
        ("descent", -R[0]),
    ],
)
def test_a_step_of_sgd_is_the_rate_times_the_rule(rule, expected):
    ((step, told),) = steps(rule)
    torch.testing.assert_close(step, 0.1 * expected, rtol=1e-4, atol=1e-6)
    assert told["between"] == pytest.approx(float(torch.cosine_similarity(F, R)))
    cosine = torch.cosine_similarity(expected, R[0], dim=0)
    assert told["to_r"] == pytest.approx(float(cosine), abs=1e-5)
    assert (rule == "surgery") == (abs(told["to_r"]) < 1e-5)


def test_alternation_goes_down_the_other_at_every_second_step():
    (up, _), (down, _) = steps("alternation", 2)
    torch.testing.assert_close(up, 0.1 * F[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(down, -0.1 * R[0], rtol=1e-4, atol=1e-6)


def test_adam_leaves_the_plane_and_a_projected_step_does_not():
    ((step, told),) = steps("surgery", optimizer="adam")
    torch.testing.assert_close(step.abs(), torch.full((3,), 0.1))  # by its signs
    assert abs(told["to_r"]) > 0.1
    for rule, kept, name in (("surgery", R, "to_r"), ("mirror", F, "to_f")):
        ((step, _),) = steps(rule, optimizer="adam")
        ((projected, told),) = steps(rule, optimizer="adam, projected")
        expected = without(step, kept[0])
        torch.testing.assert_close(projected, expected, rtol=1e-4, atol=1e-6)
        assert abs(told[name]) < 1e-5


def test_frozen_weights_do_not_move():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    before = [w.detach().clone() for w in model.parameters()]
    losses = [lambda x=x: model(x).sum() for x in (F, R)]
    next(operated(model, *losses, "surgery", 0.1))
    moved = [
        not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)
    ]
    assert moved[:2] == [False, False]
    assert any(moved[2:])


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return generators.VAE((1, 4, 4))


def test_the_loss_is_the_negative_elbo(vae):
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = vae.losses(images, torch.Generator().manual_seed(2))
        mean, log_sd = vae.encoder(images).chunk(2, 1)
        latent = Normal(mean, log_sd.exp())
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
        drawn = vae.decoder(mean + latent.stddev * noise)
        likely = Bernoulli(logits=drawn, validate_args=False).log_prob(images)
        kl = kl_divergence(latent, Normal(torch.zeros(1), torch.ones(1)))
    torch.testing.assert_close(found, kl.sum(1) - likely.sum((1, 2, 3)))


def test_samples_follow_the_seed(vae):
    assert torch.equal(vae.samples(3, 0), vae.samples(3, 0))
    assert not torch.equal(vae.samples(3, 0), vae.samples(3, 1))


def test_the_distance_is_that_of_two_gaussians():
    draw = {"generator": torch.Generator().manual_seed(0), "dtype": torch.double}
    a, b = (
        torch.randn(30, 4, **draw),
        1 + torch.randn(20, 4, **draw) @ torch.randn(4, 4, **draw),
    )
    root = torch.tensor(sqrtm((a.T.cov() @ b.T.cov()).numpy()).real)
    apart = (a.mean(0) - b.mean(0)).square().sum()
    expected = apart + torch.trace(a.T.cov() + b.T.cov() - 2 * root)
    assert generators.frechet(a, b) == pytest.approx(float(expected))
    assert generators.frechet(a, a) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def data():
    pixels = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    both = {
        "train": (pixels, torch.arange(40) % 4),
        "test": (pixels, [0, 1, 2, 3] * 10),
    }
    return ImageData.from_arrays(**both, class_names=list("abcd"))


def test_the_digit_is_counted_and_the_rest_measured_without_it(vae, data):
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    score = generators.Scorer(judge, data, 2, "test")
    assert (len(score.forget), len(score.rest)) == (10, 30)
    found = score(vae, 0, more=True)
    inputs = (vae.samples(1000, 0) - data.mean) / data.std
    with torch.no_grad():
        answers = judge(inputs).argmax(1)
        features = inputs[answers != 2].flatten(1)[:500]
        rest = vae.losses(score.rest, generator_for("scores", 0)).mean()
    theirs = ((score.rest - data.mean) / data.std).flatten(1)
    assert found["share"] == pytest.approx(100 * float((answers == 2).double().mean()))
    assert found["rest"] == pytest.approx(float(rest))
    expected = generators.frechet(features, theirs)
    assert found["distance"] == pytest.approx(expected, rel=1e-4)


def test_batches_are_of_the_digit_and_of_the_others(data):
    class Seen(nn.Module):
        def losses(self, images, generator):
            return torch.stack([(data.images(data.train) == x).flatten(1).all(1)
                                .nonzero()[0, 0] for x in images]).double()  # fmt: skip

    of_class, others = generators.batched(Seen(), data, 2, seed=0, n=1)
    labels = data.train.labels
    assert {int(labels[int(of_class())]) for _ in range(20)} == {2}
    assert {int(labels[int(others())]) for _ in range(40)} == {0, 1, 3}


def test_plans_are_told_of_step_by_step():
    rows = generators.forgotten(
        0, "smoke-fast", [["surgery", "sgd", 1e-3], ["ascent", "sgd", 1e6]], 3,
        "validation", 3, 1,
    )  # fmt: skip
    assert [r["rule"] for r in rows[:2]] == ["before", "never saw"]
    assert [r["step"] for r in rows if r["rule"] == "surgery"] == [1, 3]
    last = [r for r in rows if r["rule"] == "surgery"][-1]
    assert abs(last["to_r"]) < 1e-3
    assert last["distance"] > 0
    # One that diverges has no row of its wreck.
    assert [r["step"] for r in rows if r["rule"] == "ascent"] in ([], [1])
