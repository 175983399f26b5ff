"""How unequal languages are, from small results worked by hand."""

import warnings

import pytest

from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of


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
            "no tier is known",
            {"tier_gap", "top_tier", "bottom_tier"},
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


def test_without_sparse_trials_there_is_nothing_to_compare(store):
    commit(store, "sw", 0.0, 0, 0.5)
    table = tables_of(store, only=["disparity"])["disparity"]
    assert (table.rows.num_rows, table.notes) == (
        0,
        ("No sparse trials: nothing to compare with dense.",),
    )
