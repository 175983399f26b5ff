"""How unequal languages are, from small results worked by hand."""

import warnings

import numpy as np
import pytest

from orchestrator.analysis.topics.disparity import ENDS, spread_ends
from tests.orchestrator.analysis.committing import (
    commit,
    commit_together,
    rows_of,
    shown_tables,
    tables_of,
)


def commit_pairs(store, f1s):
    """A dense and a sparse trial of each language and seed: {(language, seed): (dense, sparse)};
    None where that trial does not exist."""
    for (language, seed), of_sides in f1s.items():
        for sparsity, f1 in zip((0.0, 0.5), of_sides, strict=True):
            if f1 is not None:
                commit(store, language, sparsity, seed, f1)


def only_row(store):
    (row,) = tables_of(store, only=["disparity"])["disparity"].rows.to_pylist()
    return row


def test_worst_language_spread_and_gap_beside_those_of_the_dense_trials(store):
    """Tiers: en and de have 20,000 train sentences, sw 1,000, yo and my 100."""
    f1s = {"en": (0.75, 0.75), "de": (0.5, 0.25), "sw": (0.5, 0.5), "yo": (0.25, 0.125)}
    commit_pairs(store, {(code, 0): f1 for code, f1 in f1s.items()} | {("my", 0): (0.5, 0.0)})
    row = only_row(store)
    assert (row["worst_language"], row["worst_f1"], row["worst_f1_change"]) == ("my", 0.0, -0.25)
    assert (row["dense_worst_language"], row["dense_worst_f1"]) == ("yo", 0.25)
    assert (row["f1_range"], row["dense_f1_range"], row["f1_range_change"]) == (0.75, 0.5, 0.25)

    # Dense: mean 0.5, squares 0.0625 + 0.0625 over four degrees of freedom.
    assert row["dense_f1_std"] == pytest.approx((0.125 / 4) ** 0.5)
    assert row["f1_std_change"] == row["f1_std"] - row["dense_f1_std"] > 0
    assert (row["top_tier"], row["bottom_tier"]) == ("over 10,000", "up to 100")
    gaps = (0.5 - 0.0625, 0.625 - 0.375, 0.1875)
    assert (row["tier_gap"], row["dense_tier_gap"], row["tier_gap_change"]) == gaps
    assert (row["num_top"], row["num_bottom"], row["num_languages"]) == (2, 2, 5)
    assert (row["num_trials"], row["num_languages_missing"], row["reason"]) == (5, 0, None)


def test_only_languages_and_seeds_that_have_both_are_compared(store):
    pairs = {("en", 0): (0.75, 0.5), ("en", 1): (None, 0.0), ("en", 2): (0.0, None)}
    pairs |= {("yo", 0): (0.5, 0.25), ("my", 0): (None, 0.0), ("jv", 0): (0.125, None)}
    commit_pairs(store, pairs)
    row = only_row(store)
    assert (row["worst_language"], row["worst_f1"], row["dense_worst_f1"]) == ("yo", 0.25, 0.5)
    assert (row["f1_range"], row["tier_gap"], row["dense_tier_gap"]) == (0.25, 0.25, 0.25)
    counts = (row["num_languages"], row["num_languages_missing"], row["num_trials"])
    assert counts == (2, 1, 2)  # jv has no sparse trial, not even a planned one


def test_of_equals_the_worst_is_the_first_in_the_alphabet(store):
    commit_pairs(store, {(code, 0): (0.5, 0.25) for code in ("sw", "de", "yo")})
    names = ("worst_language", "dense_worst_language", "f1_std", "f1_range", "tier_gap_change")
    assert rows_of(store, "disparity", *names) == [("de", "de", 0.0, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("pairs", "reason", "absent"),
    [
        (
            {("sw", 0): (None, 0.5), ("de", 0): (None, 0.25)},
            "no F1 beside that of a dense trial",
            {"worst_language", "worst_f1", "worst_f1_change", "top_tier", "f1_std", "tier_gap"},
        ),
        ({("sw", 0): (0.5, 0.25)}, "one language", {"f1_std", "f1_range", "tier_gap"}),
        (
            {("de", 0): (0.5, 0.25), ("en", 0): (0.5, 0.5)},
            "one tier: over 10,000",
            {"tier_gap", "dense_tier_gap", "tier_gap_change"},
        ),
        (
            {("xx", 0): (0.5, 0.25), ("xy", 0): (0.5, 0.5)},
            "one tier: up to 100",
            {"tier_gap"},
        ),
        ({("de", 0): (0.0, 0.0), ("yo", 0): (0.0, 0.0)}, None, set()),
    ],
)
def test_where_there_is_no_number_a_word_says_why(store, pairs, reason, absent):
    commit_pairs(store, pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = tables_of(store, only=["disparity"])["disparity"]
    (row,) = table.rows.to_pylist()
    assert row["reason"] == reason
    assert {name for name in absent if row[name] is None} == absent
    is_said = f"Not all numbers are there in 1 row: {reason}." in table.notes
    assert is_said == (reason is not None)
    assert (row["tier_gap"] is None) == (reason is not None)
    assert max(map(len, shown_tables([table]).splitlines())) <= 100


def test_languages_of_one_trial_whose_sizes_nobody_knows_have_no_tier(store):
    for sparsity in (0.0, 0.5):
        commit_together(store, sparsity, 0, {"xx": 0.5, "xy": 0.25})
    row = only_row(store)
    assert row["reason"] == "no tier is known"
    assert [row[name] for name in ("tier_gap", "top_tier", "bottom_tier")] == [None] * 3


def test_without_sparse_trials_there_is_nothing_to_compare(store):
    commit(store, "sw", 0.0, 0, 0.5)
    table = tables_of(store, only=["disparity"])["disparity"]
    assert (table.rows.num_rows, table.notes) == (
        0,
        ("No sparse trials: nothing to compare with dense.",),
    )


def ends_of(f1s, variances, df=1e6, tiers=None):
    f1s, variances = np.array(f1s, float), np.array(variances, float)
    df = np.full(f1s.shape[1], float(df))
    low, high = spread_ends(f1s, variances, df, tiers, 0.95, np.random.default_rng(0))
    return dict(zip(ENDS, zip(low, high, strict=True), strict=True))


def test_of_one_language_the_interval_is_that_of_its_mean():
    """And that of the change has the variance of the change, not of both sides."""
    found = ends_of([[0.5], [0.7]], [[0.02**2], [0.03**2], [0.01**2]])
    assert found["worst_f1"] == pytest.approx((0.5 - 1.96 * 0.02, 0.5 + 1.96 * 0.02), abs=0.003)
    assert found["worst_f1_change"] == pytest.approx((-0.2196, -0.1804), abs=0.002)
    assert np.isnan(found["f1_std"]).all()


def test_the_gap_has_the_variance_of_its_means():
    top, bottom = np.array([True, True, False, False]), np.array([False, False, True, True])
    found = ends_of([[0.9, 0.7, 0.5, 0.3]] * 2, [[0.01**2] * 4] * 3, tiers=(top, bottom))
    # By hand: 0.8 - 0.4, of two means of two each.
    assert found["tier_gap"] == pytest.approx((0.4 - 1.96 * 0.01, 0.4 + 1.96 * 0.01), abs=0.002)


def test_a_spread_that_noise_enlarges_is_less_than_it_seems():
    """Twenty languages that are all alike, seen with a standard error of 0.05."""
    seen = np.random.default_rng(3).normal(0.5, 0.05, 20)
    found = ends_of([seen, seen], [[0.05**2] * 20] * 3)
    assert found["f1_std"][0] < 0.03 < sum(found["f1_std"]) / 2 < seen.std(ddof=1)
    assert found["f1_std_change"][0] < 0 < found["f1_std_change"][1]


def test_what_does_not_vary_has_intervals_of_no_width():
    found = ends_of([[0.5, 0.25], [0.75, 0.5]], [[0.0, 0.0]] * 3)
    assert found["f1_range"] == (0.25, 0.25)
    assert found["worst_f1_change"] == (-0.25, -0.25)


@pytest.mark.slow
def test_intervals_of_stored_results_hold_their_numbers(store):
    random = np.random.default_rng(0)
    pairs = {
        (code, seed): (0.7 + 0.02 * random.normal(), f1 + 0.02 * random.normal())
        for code, f1 in (("de", 0.6), ("sw", 0.4), ("yo", 0.3))
        for seed in range(3)
    }
    commit_pairs(store, pairs)
    row = only_row(store)
    for name in ENDS:
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"], name


def test_languages_of_one_model_have_no_intervals(store):
    for seed in range(3):
        for sparsity in (0.0, 0.5):
            commit_together(store, sparsity, seed, {"sw": 0.5 - seed / 10, "yo": 0.25 + seed / 10})
    row = only_row(store)
    assert {row[f"{name}_low"] for name in ENDS} == {None}
