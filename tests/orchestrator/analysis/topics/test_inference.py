"""Tests across languages by hand."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.analysis.topics.inference import corrected, signed_rank
from tests.benchmarks import false_positives
from tests.orchestrator.analysis.committing import commit, tables_of


def values_of(changes, families=None):
    found = signed_rank(np.array(changes, float), families or list(range(len(changes))))
    return tuple(found[name] for name in ("statistic", "p", "p_least", "p_independent"))


def test_signed_ranks_by_hand():
    # |1| |2| |3| |4| |5|, signs - + + + +: the smaller sum of ranks is 1; sums of 0 and 1 in 2 of
    # 32 ways, twice. Families of one language each: the same.
    expected = (1.0, 4 / 32, 2 / 32, 4 / 32)
    assert values_of([-0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(expected)


def test_changes_of_zero_have_no_rank():
    expected = (0.0, 2 / 4, 2 / 4, 2 / 4)
    assert values_of([0.0, 0.02, 0.81 - 0.8 - 0.01, 0.03]) == pytest.approx(expected)
    for changes in ([0.0] * 3, []):
        assert values_of(changes) == (None,) * 4
    assert signed_rank(np.array([0.0, 0.1]), ["a", "b"])["num_families"] == 1


def test_languages_of_a_family_are_flipped_together():
    # Ranks 1 to 4, all of one sign; sums by family 1 + 2 and 3 + 4: the other way gives 4 of 10.
    expected = (0.0, 1 / 2, 1 / 2, 2 / 16)
    assert values_of([0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b"]) == pytest.approx(expected)
    # A family whose ranks cancel can decide nothing.
    assert values_of([0.1, -0.2, 0.3, 0.4], ["a", "b", "a", "b"])[1:3] == (1 / 2, 1 / 2)
    assert values_of([0.1, 0.2, 0.3], ["a", "a", "a"])[1:3] == (1.0, 1.0)


@pytest.mark.parametrize("num_families", [1, 3, 7])
def test_p_is_that_of_all_flips_counted_one_by_one(num_families):
    random = np.random.default_rng(num_families)
    changes = np.round(random.normal(0.5, 1, 12), 1)  # with ties
    families = random.integers(0, num_families, 12)
    signed = np.sign(changes) * stats.rankdata(np.abs(changes))
    sums = [
        abs(sum(signs[family] * value for family, value in zip(families, signed, strict=True)))
        for signs in product((1, -1), repeat=num_families)
    ]
    found = values_of(changes[changes != 0], families[changes != 0].tolist())
    assert found[1] == np.mean(np.array(sums) >= abs(signed.sum()) - 1e-9)


def test_ranks_of_independent_languages_have_the_p_of_wilcoxon():
    random = np.random.default_rng(2)
    for size in (1, 6, 40):
        changes = random.normal(0.3, 1, size)
        expected = stats.wilcoxon(changes, method="exact")
        statistic, _, _, p = values_of(changes)
        assert (statistic, p) == pytest.approx((expected.statistic, expected.pvalue))
    # with ties, counted by hand: |1| four times, of which three have a rank of 2, and |3|
    assert values_of([1, 1, 2, -1, 3])[3] == 8 / 32


@pytest.mark.slow
def test_languages_that_are_alike_within_families_are_no_evidence():
    """A nominal 5 % where half of the variance is common to a family of the real 40 languages."""
    for table, test in (("tests", false_positives.tests), ("slopes", false_positives.slopes)):
        p, p_independent = false_positives.find_rate(test, 40, 0.5, 400)
        assert p <= 0.07, table
        assert table != "tests" or p_independent > 0.25


@pytest.mark.slow
def test_reasons_tell_missing_dense_trials_from_changes_of_zero(store):
    def notes():
        return " ".join(tables_of(store, only=["tests"])["tests"].notes)

    for language in ("sw", "yo", "en", "my"):
        commit(store, language, 0.5, 0, 0.5)
    assert "No test of 1 level (sparse - dense): no dense trial has an F1." in notes()
    commit(store, "sw", 0.0, 0, 0.5)
    assert "No test of 1 level (sparse - dense): no language with a change other than 0" in notes()
    commit(store, "ja", 0.0, 0, 0.75)
    commit(store, "ja", 0.5, 1, 0.5)
    commit(store, "ja", 0.7, 1, 0.5)
    assert "1 level (sparse - dense): no language has an F1 on both sides, of one seed" in notes()
    commit(store, "yo", 0.0, 0, 0.75)
    assert "No test of 1 level" in notes()
    assert "Out of reach of p = 0.05 with the language families there are: 1 test" in notes()


def test_corrections_by_hand():
    p = pd.Series([0.01, math.nan, 0.04, 0.03])
    # Holm: 3 * 0.01, 2 * 0.03, then 0.04 raised to what came before; BH: 3/3 * 0.04, min(3/2 *
    # 0.03, 0.04), 3 * 0.01
    assert corrected(p, "holm").tolist() == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert corrected(p, "fdr_bh").tolist() == pytest.approx(
        [0.03, math.nan, 0.04, 0.04], nan_ok=True
    )


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
def test_corrections_are_those_of_statsmodels(method):
    from statsmodels.stats.multitest import multipletests

    random = np.random.default_rng(3)
    for size in (1, 2, 30):
        p = random.choice([random.random(), *random.random(size) ** 2], size)  # with ties
        assert (
            corrected(pd.Series(p), method).tolist() == multipletests(p, method=method)[1].tolist()
        )
    assert corrected(pd.Series([math.nan]), method).isna().all()
