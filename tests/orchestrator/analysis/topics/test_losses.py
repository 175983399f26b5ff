"""Which languages lose more: by hand, by exchanges counted one by one, and with bad input."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.topics.losses import correlate, permuted, regress
from tests.orchestrator.analysis.committing import commit, rows_of, tables_of

LANGUAGES = ("af", "en", "de", "sw", "yo", "fi", "et", "hu")  # 3 + 2 + 3 of a family
FAMILIES = ("i", "i", "i", "n", "n", "u", "u", "u")


def test_rank_correlation_by_hand():
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    found = correlate(np.array([1.0, 2, 3, 10]), np.array([-0.3, -0.4, -0.1, -0.2]), "aaaa")
    assert found["rho"] == pytest.approx(0.6)
    ranks = np.array([1, 2, 3, 4])
    sums = [abs(ranks @ np.array(way) - 25) for way in permutations((2, 1, 4, 3))]
    assert found["p"] == found["p_independent"] == np.mean(np.array(sums) >= 3)
    assert found["p_least"] == 2 / 24


def test_correlation_and_slope_are_those_of_scipy():
    random = np.random.default_rng(1)
    values, losses = random.normal(size=(2, 12)).round(1)  # with ties
    found = correlate(values, losses, range(12))
    assert found["rho"] == pytest.approx(stats.spearmanr(values, losses).statistic)
    line = stats.linregress(values, losses)
    assert found["slope"] == pytest.approx(line.slope)
    assert found["p"] is found["p_least"] is None  # nobody has a relative
    found = regress(values, losses, range(12))
    names = ("estimate", "std_error", "p_independent")
    expected = (line.slope, line.stderr, line.pvalue)
    assert tuple(found[name] for name in names) == pytest.approx(expected)


def test_p_is_that_of_all_exchanges_within_families_counted_one_by_one():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 8))
    groups = [[0, 1, 2], [3, 4], [5, 6, 7]]
    sums = []
    for ways in product(*(permutations(group) for group in groups)):
        taken = np.empty(8, int)
        for group, way in zip(groups, ways, strict=True):
            taken[group] = way
        sums.append(first[taken] @ second)
    distances = np.abs(np.array(sums) - np.mean(sums))
    expected = (
        np.mean(distances >= distances[0] - 1e-12),
        np.mean(distances >= distances.max() - 1e-12),
    )
    assert permuted(first, second, FAMILIES) == pytest.approx(expected)


def test_what_a_family_has_in_common_decides_nothing():
    values = np.array([1.0, 1, 1, 5, 5, 9, 9, 9]) + np.array([0, 1, 2, 0, 1, 2, 0, 1]) / 10
    losses = np.array([-0.5, -0.5, -0.5, -0.3, -0.3, -0.1, -0.1, -0.1])
    assert permuted(values, losses, FAMILIES) == (None, None)
    assert correlate(values, losses, FAMILIES)["p_independent"] < 0.01


def commit_grid(store, f1_of, sparsities=(0.5, 0.7, 0.9), languages=LANGUAGES):
    for number, language in enumerate(languages):
        num_train = 100 * 2**number
        commit(store, language, 0.0, 0, f1_of(number, 0.0), num_train=num_train)
        for sparsity in sparsities:
            commit(store, language, sparsity, 0, f1_of(number, sparsity), num_train=num_train)


@pytest.mark.slow
def test_a_loss_that_goes_with_the_train_size_is_found(store):
    commit_grid(store, lambda number, sparsity: 0.8 - sparsity * (0.5 - 0.05 * number))
    names = ("outcome", "covariate", "target_sparsity", "rho", "num_languages", "num_families")
    rows = [row for row in rows_of(store, "correlations", *names) if row[1] == "log10_train"]
    assert rows == [
        (outcome, "log10_train", sparsity, pytest.approx(1), 8, 3)
        for outcome in ("change", "relative change")
        for sparsity in (0.5, 0.7, 0.9)
    ]
    # The slope on sparsity rises by 0.05 for twice the train size; all exchanges: 3! * 2 * 3!.
    names = ("outcome", "covariate", "estimate", "p", "p_least", "num_levels", "num_collapsed")
    assert [row for row in rows_of(store, "slopes", *names) if row[1] == "log10_train"] == [
        ("change", "log10_train", pytest.approx(0.05 / np.log10(2)), 2 / 72, 2 / 72, 3, 0),
        (
            "relative change",
            "log10_train",
            pytest.approx(0.0625 / np.log10(2)),
            2 / 72,
            2 / 72,
            3,
            0,
        ),
    ]


@pytest.mark.slow
def test_collapsed_cells_are_left_out_and_counted(store):
    def f1_of(number, sparsity):
        is_collapsed = (number == 0 and sparsity > 0) or (number == 1 and sparsity == 0.9)
        return 0.001 if is_collapsed else 0.8 - sparsity * (0.5 - 0.05 * number)

    commit_grid(store, f1_of)
    names = ("outcome", "covariate", "target_sparsity", "num_languages", "num_collapsed")
    found = [row[2:] for row in rows_of(store, "correlations", *names)[:3]]
    assert found == [(0.5, 7, 1), (0.7, 7, 1), (0.9, 6, 2)]
    names = ("num_languages", "num_collapsed", "num_levels", "num_levels_collapsed")
    assert rows_of(store, "slopes", *names)[0] == (7, 1, 2, 1)
    notes = " ".join(tables_of(store, only=["slopes"])["slopes"].notes)
    assert "F1 below 0.01 has collapsed" in notes
    assert "So are sparsities at which any other language has collapsed" in notes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f1_of", "languages", "reason"),
    [
        (lambda number, sparsity: 0.5, LANGUAGES, "all languages change alike"),
        (lambda number, sparsity: 0.0, LANGUAGES, "fewer than 3 languages"),
        (lambda number, sparsity: 0.7 - sparsity / 2, ("sw",), "fewer than 3 languages"),
        (lambda number, sparsity: 0.5 + number * (1 - sparsity) / 20, ("sw", "en", "ja"), "no p"),
    ],
)
def test_what_cannot_be_tested_has_a_reason(store, f1_of, languages, reason):
    commit_grid(store, f1_of, languages=languages)
    tables = tables_of(store, only=["correlations", "slopes"])
    for table in tables.values():
        rows = [row for row in table.rows.to_pylist() if row["covariate"] == "log10_train"]
        assert {row["p"] for row in rows} == {None}
        assert all(row["reason"] for row in rows)
        assert reason in " ".join(table.notes)


@pytest.mark.slow
def test_one_sparsity_or_no_dense_trial_has_no_slope(store):
    commit_grid(store, lambda number, sparsity: 0.8 - sparsity * number / 10, sparsities=(0.5,))
    reasons = set(rows_of(store, "slopes", "reason"))
    assert reasons == {("fewer than 2 sparsities at which no language collapsed",)}


@pytest.mark.slow
def test_without_dense_trials_nothing_is_lost(store):
    for language in LANGUAGES:
        for sparsity in (0.5, 0.7):
            commit(store, language, sparsity, 0, 0.5)
    for name in ("correlations", "slopes"):
        names = ("num_languages", "num_languages_missing", "p")
        assert set(rows_of(store, name, *names)) == {(0, 8, None)}


@pytest.mark.slow
def test_a_language_without_a_change_is_counted_as_missing(store):
    commit_grid(store, lambda number, sparsity: 0.8 - sparsity * (0.5 - 0.05 * number))
    commit(store, "ja", 0.5, 0, 0.5)
    names = ("target_sparsity", "num_languages", "num_languages_missing")
    assert rows_of(store, "correlations", *names)[0] == (0.5, 8, 1)
    assert rows_of(store, "slopes", *names[1:])[0] == (8, 1)
