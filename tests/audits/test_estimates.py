import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mnemonic.audits.estimates import auc_of, mean_of, percent_of, spread_of

few_scores = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_interval_of_a_mean_covers_the_truth():
    inside = 0
    for draw in range(100):
        generator = torch.Generator().manual_seed(draw)
        found = percent_of(torch.rand(60, generator=generator) < 0.7, seed=draw)
        inside += found.low <= 70 <= found.high
    assert 0.88 * 100 <= inside <= 0.99 * 100


def test_interval_of_an_area_covers_the_truth():
    truth = scipy.stats.norm.cdf(1 / math.sqrt(2))  # of N(1, 1) against N(0, 1)
    inside = 0
    for draw in range(100):
        found = auc_of(normal(40, seed=draw) + 1, normal(50, seed=draw + 500), seed=0)
        inside += found.low <= truth <= found.high
    assert 0.88 * 100 <= inside <= 99


def test_intervals_are_those_of_scipy():
    members, others = normal(60) + 0.5, normal(90, seed=1)
    found = auc_of(members, others, seed=3)
    theirs = scipy.stats.bootstrap(
        (members.numpy(), others.numpy()),
        lambda a, b, axis: (a[..., :, None] > b[..., None, :]).mean((-2, -1)),
        vectorized=True,
        n_resamples=1000,
        method="percentile",
        random_state=0,
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.015)
    assert found.high == pytest.approx(theirs.high, abs=0.015)
    found = mean_of(members, unit="nats", seed=3)
    middle, error = float(members.mean()), float(members.std()) / math.sqrt(60)
    assert found.low == pytest.approx(middle - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(middle + 1.96 * error, abs=0.03)
    assert (found.unit, found.n) == ("nats", 60)


@settings(max_examples=80, deadline=None)
@given(few_scores, few_scores)
def test_area_is_that_of_the_curve_and_turns_around(members, others):
    truth = [1] * len(members) + [0] * len(others)
    a, b = torch.tensor(members), torch.tensor(others)
    found = auc_of(a, b, seed=0)
    assert found.value == pytest.approx(roc_auc_score(truth, members + others))
    assert 0 <= found.low <= found.high <= 1
    assert auc_of(b, a, seed=0).value == pytest.approx(1 - found.value)
    assert found.n == len(members) + len(others)


def test_several_scores_an_image_are_pooled():
    members, others = normal(3, 20) + 1, normal(2, 20, seed=1)
    pooled = auc_of(members.flatten(), others.flatten(), seed=0)
    by_image = auc_of(members, others, seed=0, paired=True)
    assert by_image.value == pytest.approx(pooled.value)
    assert by_image.n == 20
    same = auc_of(members[0], members[0], seed=0, paired=True)
    assert (same.low, same.high) == pytest.approx((0.5, 0.5))
    repeated = auc_of(members.repeat(5, 1), others.repeat(5, 1), seed=0, paired=True)
    assert repeated.low == pytest.approx(by_image.low)  # the images are the sample


def test_repeats_on_the_same_images_are_resampled_with_them():
    images = normal(1, 50)
    same = mean_of(images.repeat(4, 1), unit="1", seed=0)
    single = mean_of(images[0], unit="1", seed=0)
    assert same.value == pytest.approx(single.value)
    assert same.high - same.low == pytest.approx(single.high - single.low, rel=0.1)
    shifted = images.repeat(4, 1) + 3 * torch.arange(4)[:, None]
    apart = mean_of(shifted, unit="1", seed=0)
    assert apart.high - apart.low > 3 * (same.high - same.low)


def test_seed_decides_and_blocks_do_not(monkeypatch):
    values = normal(300)
    first = mean_of(values, unit="1", seed=1)
    assert mean_of(values, unit="1", seed=1) == first
    assert mean_of(values, unit="1", seed=2).low != first.low
    wide = first.high - first.low
    monkeypatch.setattr("mnemonic.audits.estimates._BLOCK", 2000)
    in_blocks = mean_of(values, unit="1", seed=1)
    assert in_blocks.high - in_blocks.low == pytest.approx(wide, rel=0.1)


def test_spread_of_repeats():
    found = spread_of(torch.arange(101), unit="%", n=7)
    assert (found.value, found.low, found.high, found.n) == (50, 2.5, 97.5, 7)


def test_values_without_a_mean_are_refused():
    values = torch.tensor([0.0, torch.nan])
    with pytest.raises(ValueError, match="NaN"):
        mean_of(values, unit="1", seed=0)
    with pytest.raises(ValueError, match="NaN"):
        auc_of(torch.zeros(3), values, seed=0)
