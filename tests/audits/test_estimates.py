import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mnemonic.audits.estimates import auc_of, mean_of, wilson

few_scores = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_intervals_are_those_of_scipy():
    members, others = normal(60) + 0.5, normal(90, seed=1)
    found = auc_of(members, others)
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
    found = mean_of(members, unit="nats")
    middle, error = float(members.mean()), float(members.std()) / math.sqrt(60)
    assert found.low == pytest.approx(middle - 1.96 * error, abs=0.03)
    assert found.high == pytest.approx(middle + 1.96 * error, abs=0.03)
    assert (found.unit, found.n) == ("nats", 60)


@settings(max_examples=80, deadline=None)
@given(few_scores, few_scores)
def test_area_is_that_of_the_curve_and_turns_around(members, others):
    truth = [1] * len(members) + [0] * len(others)
    a, b = torch.tensor(members), torch.tensor(others)
    found = auc_of(a, b)
    assert found.value == pytest.approx(roc_auc_score(truth, members + others))
    assert 0 <= found.low <= found.high <= 1
    assert auc_of(b, a).value == pytest.approx(1 - found.value)
    assert found.n == len(members) + len(others)


@pytest.mark.parametrize("share", [1.0, 1.0 + 2e-16, 1.0 - 1e-16, 0.0])
def test_what_varies_at_the_ends_is_rounding(share):
    low, high = wilson(share, [(1e-33, 7)], 350)
    assert 0 <= low <= high <= 1
    assert 0.01 < high - low < 0.02


def test_repeats_on_the_same_images_are_resampled_with_them():
    images = normal(1, 50)
    same = mean_of(images.repeat(4, 1), unit="1")
    single = mean_of(images[0], unit="1")
    assert same.value == pytest.approx(single.value)
    assert same.high - same.low == pytest.approx(single.high - single.low, rel=0.01)
    shifted = images.repeat(4, 1) + 3 * torch.arange(4)[:, None]
    apart = mean_of(shifted, unit="1")
    assert apart.high - apart.low > 3 * (same.high - same.low)


def test_values_without_a_mean_are_refused():
    values = torch.tensor([0.0, torch.nan])
    with pytest.raises(ValueError, match="NaN"):
        mean_of(values, unit="1")
    with pytest.raises(ValueError, match="NaN"):
        auc_of(torch.zeros(3), values)
