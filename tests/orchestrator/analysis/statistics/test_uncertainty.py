"""Variances of means of F1 against loops and densities written out, and what happens at edges."""

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.inputs.predictions import SetPredictions
from orchestrator.analysis.statistics.uncertainty import (
    FLOORS,
    PRIOR_DFS,
    SLOPES,
    Spreads,
    _fit_level,
    estimate,
    find_ends,
    find_influences,
    sentence_variances,
    shrink,
)


def make_set(support, predicted, correct):
    return SetPredictions(
        set_id="s",
        language="sw",
        perturbation="none",
        support=np.array(support, np.int32),
        num_words=np.full(len(support), 5, np.int32),
        trial_ids=[f"t{at}" for at in range(len(predicted))],
        num_predicted=[np.array(one, np.int32) for one in predicted],
        num_correct=[np.array(one, np.int32) for one in correct],
    )


def spreads(values, of_mean=0.0, own=0.0, num_sentences=math.inf):
    values = np.array(values, float)
    full = [np.broadcast_to(np.array(one, float), len(values)).copy() for one in (of_mean, own)]
    return Spreads(values, *full, np.full(len(values), float(num_sentences)))


def test_what_a_sentence_does_equals_a_loop_that_leaves_it_out():
    random = np.random.default_rng(1)
    support, predicted = random.integers(1, 4, 8), random.integers(1, 4, (2, 8))
    correct = np.minimum(support, random.integers(0, 3, (2, 8)) % (predicted + 1))
    found = find_influences(make_set(support, predicted, correct))

    without = np.zeros((2, 8))
    for trial in range(2):
        for left_out in range(8):
            rest = [at for at in range(8) if at != left_out]
            right = sum(correct[trial][at] for at in rest)
            entities = sum(support[at] + predicted[trial][at] for at in rest)
            without[trial, left_out] = 2 * right / entities
    for trial in range(2):
        mean = sum(without[trial]) / 8
        variance = 7 / 8 * sum((value - mean) ** 2 for value in without[trial])
        assert (found[f"t{trial}"] ** 2).sum() == pytest.approx(variance, rel=1e-5)

    of_mean, own = sentence_variances(np.stack([found["t0"], found["t1"]]), 2)
    of_both = without.mean(axis=0)
    assert of_mean == pytest.approx(7 / 8 * ((of_both - of_both.mean()) ** 2).sum(), rel=1e-5)
    half = (without[0] - without[1]) / 2
    assert own == pytest.approx(7 / 8 * 2 * ((half - half.mean()) ** 2).sum(), rel=1e-5)


def test_identical_sentences_that_count_as_one_are_left_out_together():
    random = np.random.default_rng(2)
    support, predicted = random.integers(1, 4, 8), random.integers(1, 4, (1, 8))
    correct = np.minimum(support, predicted)
    words = np.array([0, 1, 0, 2, 3, 1, 0, 4])
    found = find_influences(make_set(support, predicted, correct), words)["t0"]

    without = []
    for left_out in range(5):
        rest = [at for at in range(8) if words[at] != left_out]
        entities = sum(support[at] + predicted[0][at] for at in rest)
        without.append(2 * sum(correct[0][at] for at in rest) / entities)
    mean = sum(without) / 5
    variance = 4 / 5 * sum((value - mean) ** 2 for value in without)
    assert len(found) == 5
    assert (found**2).sum() == pytest.approx(variance, rel=1e-5)
    apart = make_set(support, predicted, correct)
    assert np.array_equal(find_influences(apart, np.arange(8))["t0"], find_influences(apart)["t0"])


def test_a_trial_has_no_influences_where_one_sentence_decides_whether_there_is_an_f1():
    assert find_influences(make_set([2, 0, 0], [[1, 0, 0]], [[1, 0, 0]])) == {}
    assert find_influences(make_set([2], [[1]], [[1]])) == {}
    assert find_influences(make_set([2, 0, 0], [[1, 0, 1]], [[1, 0, 0]])).keys() == {"t0"}


def test_one_language_without_sentences_has_the_interval_of_student():
    values = [0.1, 0.13, 0.18]
    found = estimate(spreads([values]))
    low, high = find_ends(found.mean, found.variance, found.df, 0.95)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low[0], high[0]) == (pytest.approx(wanted.low), pytest.approx(wanted.high))


def test_a_level_is_fitted_where_its_density_is_highest():
    random = np.random.default_rng(3)
    own = random.uniform(1, 9, 12) * 1e-4
    df = np.full(12, 2)
    sample = (3e-4 + 2 * own) * random.chisquare(2, 12) / 2
    found = _fit_level(sample, df, own)

    def density(floor, slope, prior_df):
        prior = floor + (1 + slope) * own
        return (stats.f.logpdf(sample / prior, df, prior_df) - np.log(prior)).sum()

    top = max(sample.max(), own.max())
    grid = [(top * a, b, c) for a in FLOORS for b in SLOPES for c in PRIOR_DFS]
    assert density(*found) == pytest.approx(max(density(*one) for one in grid))


def test_seeds_of_other_languages_narrow_an_interval_and_are_not_counted_twice():
    random = np.random.default_rng(4)
    values = random.normal(0, 0.02, (20, 3))
    alone = estimate(spreads(values[:1]))
    level = estimate(spreads(values))
    assert alone.df[0] == pytest.approx(2)
    assert 10 < level.df[0] <= 40
    together = np.repeat(values[:1], 20, axis=0) + random.normal(0, 0.001, (20, 3))
    assert estimate(spreads(together), is_shared=True).df[0] < 3
    assert estimate(spreads(values), is_shared=True).df[0] > 10


def test_seeds_count_even_where_fewer_than_sentences_explain_and_never_for_less():
    # Three seeds that agree by luck: what sentences do to each of them is known and stays.
    found = estimate(spreads([[0.1, 0.1001, 0.0999]], of_mean=4e-4, own=6e-4, num_sentences=100))
    assert found.variance[0] == pytest.approx(4e-4)


def test_a_single_seed_takes_the_spread_of_the_other_languages():
    random = np.random.default_rng(5)
    values = random.normal(0, 0.02, (6, 3))
    values[0, 1:] = math.nan
    found = estimate(spreads(values))
    assert found.has_seeds.all()
    assert found.variance[0] == pytest.approx(3 * found.variance[1:].mean(), rel=0.05)
    only = estimate(spreads(values[:1], of_mean=1e-4, num_sentences=50))
    assert not only.has_seeds[0]
    assert only.variance[0] == pytest.approx(1e-4)


@pytest.mark.parametrize("num_seeds", [1, 2, 3])
def test_where_nothing_varies_nothing_is_known(num_seeds):
    found = estimate(spreads(np.full((3, num_seeds), -0.25)))
    low, high = find_ends(found.mean, found.variance, found.df, 0.95)
    assert found.mean.tolist() == [-0.25] * 3
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_no_seed_at_all_is_nothing():
    found = estimate(spreads([[math.nan, math.nan], [0.1, 0.2]]))
    assert np.isnan(found.mean[0])
    assert np.isnan(found.variance[0])
    assert found.df[1] == pytest.approx(1)


def test_languages_that_do_not_vary_leave_the_others_as_they_are():
    values = np.array([[0.0, 0.0], [0.1, 0.14], [0.2, 0.23], [-0.1, -0.12]])
    own = np.array([0.0, 1e-4, 1e-4, 1e-4])
    with_it = estimate(spreads(values, of_mean=own, own=own))
    without = estimate(spreads(values[1:], of_mean=own[1:], own=own[1:]))
    assert with_it.variance[1:] == pytest.approx(without.variance)


def test_means_that_differ_by_chance_only_are_drawn_together_and_others_stay():
    random = np.random.default_rng(6)
    variances = np.full(20, 0.02**2)
    alike, _ = shrink(random.normal(-0.05, 0.02, 20), variances)
    assert np.ptp(alike) < 0.04
    apart = random.normal(-0.05, 0.5, 20)
    drawn, after = shrink(apart, variances)
    assert drawn == pytest.approx(apart, abs=0.005)
    assert after == pytest.approx(variances, rel=0.02)
    few = np.array([0.1, 0.2, 0.3])
    assert shrink(few, few)[0] is few


def test_the_worst_of_many_is_held_by_its_interval():
    """Of 20 languages the largest loss is mostly luck: its own interval misses the truth often."""
    random, held, missed = np.random.default_rng(7), 0, 0
    for _ in range(400):
        truth = random.normal(-0.05, 0.01, 20)
        seen = random.normal(truth, 0.02)
        drawn, variances = shrink(seen, np.full(20, 0.02**2))
        at = drawn.argmin()
        held += abs(drawn[at] - truth[at]) <= 1.96 * math.sqrt(variances[at])
        missed += abs(seen.min() - truth[seen.argmin()]) > 1.96 * 0.02
    assert held / 400 > 0.94
    assert missed / 400 > 0.2
