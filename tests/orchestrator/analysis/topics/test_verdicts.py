"""Verdicts against tests of hypotheses that are counted out, and against cases worked by hand."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.statistics.intervals import IntervalOptions, Sentences, changes_to_dense
from orchestrator.analysis.topics.verdicts import find_tolerated, judge, judge_changes
from orchestrator.errors import StoreError
from tests.orchestrator.analysis.committing import commit, tables_of
from tests.orchestrator.analysis.statistics.test_intervals import (
    PLACE,
    make_results,
    make_set,
    trial_rows,
)

ENDS = ("delta_mean", "low", "high", "equivalence_low", "equivalence_high")


def verdict_of(delta, low, high, inner_low, inner_high, *, margin=0.01, is_short=False):
    row = pd.DataFrame([(delta, low, high, inner_low, inner_high)], columns=ENDS)
    (verdict,) = judge(row, margin, pd.Series([is_short]))
    return verdict


@pytest.mark.parametrize(
    ("ends", "options", "expected"),
    [
        ((0.0, -0.004, 0.005, -0.003, 0.004), {}, "equivalent"),
        ((0.004, 0.001, 0.008, 0.002, 0.007), {}, "equivalent"),  # not 0, and does not matter
        ((0.0, -0.012, 0.012, 0.80 - 0.81, 0.81 - 0.80), {}, "equivalent"),  # 0.01 + 1e-17
        ((0.0, -0.012, 0.012, -0.0101, 0.01), {}, "undecided"),
        ((0.02, 0.001, 0.04, 0.002, 0.03), {}, "better"),
        ((0.02, 0.0, 0.04, 0.002, 0.03), {}, "undecided"),
        ((-0.02, -0.04, -0.001, -0.03, -0.002), {}, "worse"),
        ((-0.02, -0.04, -0.001, -0.03, -0.002), {"margin": 0.03}, "equivalent"),
        ((-0.02, -0.04, 0.001, -0.03, -0.002), {}, "undecided"),
        ((-0.02, -0.04, -0.001, -0.03, -0.002), {"is_short": True}, "undecided"),
        ((-0.02, None, None, None, None), {}, "undecided"),
        ((None, None, None, None, None), {"is_short": True}, ""),
    ],
)
def test_a_verdict_from_an_interval(ends, options, expected):
    assert verdict_of(*ends, **options) == expected


def judged(rows, sets=(), margin=0.01):
    """The tables significance, tally and tolerance of these rows of trials."""
    results = make_results(rows)
    changes = changes_to_dense(results, Sentences(results, sets))
    return judge_changes(results, changes, IntervalOptions(), margin)


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.01, 0.05, 0.2])
def test_verdicts_are_those_of_t_tests(margin):
    """Without predictions a language alone has the tests of Student."""
    found = set()
    for case, effect in enumerate([-0.4, -0.2, -0.1, -0.03, 0.0, 0.0, 0.03, 0.1, 0.2, 0.4]):
        spread = 0.02 if case % 2 else 0.004
        changes = np.random.default_rng(case).normal(effect, spread, 4)
        pairs = [(f"s{seed}", f"d{seed}", change) for seed, change in enumerate(changes)]
        (row,) = judged(trial_rows(pairs), margin=margin)[0].rows.to_pylist()

        def p(limit, side, changes=changes):
            return stats.ttest_1samp(changes, limit, alternative=side).pvalue

        if max(p(-margin, "greater"), p(margin, "less")) <= 0.05:
            expected = "equivalent"
        elif min(p(0, "greater"), p(0, "less")) <= 0.025:
            expected = "better" if changes.mean() > 0 else "worse"
        else:
            expected = "undecided"
        assert row["verdict"] == expected, (case, row)
        found.add(expected)
    assert {"better", "worse"} <= found
    assert "undecided" in found or margin == 0.2
    assert "equivalent" in found or margin == 0.01


def test_one_seed_decides_nothing_and_two_do_only_by_the_spread_of_other_languages():
    one = make_set({"s0": ([2] * 9, [0] * 8 + [1]), "d0": ([2] * 9, [2] * 9)})
    tables = judged(trial_rows([("s0", "d0", -17 / 18)]), [one])
    (row,) = tables[0].rows.to_pylist()
    assert (row["verdict"], row["allows_for"]) == ("undecided", "sentences")
    assert row["high"] < -0.5
    assert any("no spread over seeds is known: 1 change" in note for note in tables[1].notes)

    pairs = [("s0", "d0", -0.2), ("s1", "d1", -0.24)]
    assert judged(trial_rows(pairs))[0].rows["verdict"].to_pylist() == ["undecided"]
    rows = [
        row
        for at, language in enumerate(("af", "de", "en", "my", "sw", "yo"))
        for row in trial_rows(
            [
                (f"{language}s{seed}", f"{language}d{seed}", -0.2 - 0.01 * at * seed)
                for seed in (0, 1)
            ],
            language,
        )
    ]
    tables = judged(rows)
    assert tables[0].rows["verdict"].to_pylist() == ["worse"] * 6


def test_tally_counts_verdicts_and_what_is_missing():
    deltas = {"c0": -0.2, "c1": -0.2, "c2": 0.0, "c3": 0.3, "c4": math.nan}
    rows = [
        row
        for number, (cell, delta) in enumerate(deltas.items())
        for row in trial_rows(
            [
                (f"{cell}s{seed}", f"{cell}d{seed}", delta + 0.01 * (-1) ** seed)
                for seed in range(6)
            ],
            f"l{number}",
        )
    ]
    names = ("better", "worse", "equivalent", "undecided", "missing", "languages", "trials")
    (row,) = judged(rows, margin=0.02)[1].rows.to_pylist()
    assert [row[f"num_{name}"] for name in names] == [1, 2, 1, 0, 1, 4, 24]
    assert row["margin"] == 0.02


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["equivalent", "better", "worse"], (0.7, -0.7, None, 0.9)),
        (["worse", "equivalent", "better"], (0.0, None, None, 0.5)),  # not found again above
        (["equivalent", "undecided", "worse"], (0.5, -0.5, 0.7, 0.9)),
        (["undecided", "worse", "worse"], (0.0, None, 0.5, 0.7)),
        (["better", "", "equivalent"], (0.9, -0.9, None, None)),
        (["", "", ""], (None, None, None, None)),
    ],
)
def test_a_sparsity_is_tolerated_if_all_below_it_are(verdicts, expected):
    rows = [
        PLACE
        | {"target_sparsity": sparsity, "verdict": verdict, "margin": 0.01}
        | {"delta_mean": -sparsity, "num_pairs": 3 if verdict else 0}
        for sparsity, verdict in zip((0.5, 0.7, 0.9), verdicts, strict=True)
    ]
    (row,) = find_tolerated(pd.DataFrame(rows[::-1])).astype(object).to_dict("records")
    names = ("tolerated_sparsity", "change_at_tolerated", "undecided_at", "worse_at")
    assert tuple(None if pd.isna(row[name]) else row[name] for name in names) == expected
    measured = [verdict for verdict in verdicts if verdict]
    assert (row["num_sparsities"], row["num_trials"]) == (len(measured), 3 * len(measured))
    assert row["num_sparsities_missing"] == 3 - len(measured)


@pytest.mark.slow
def test_equal_f1_everywhere_says_why_there_is_no_interval_and_no_library_warns(store):
    for language in ("de", "yo"):
        for sparsity in (0.0, 0.5):
            for seed in range(6):
                commit(store, language, sparsity, seed, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = tables_of(store, only=["significance", "tally"])
    for row in tables["significance"].rows.to_pylist():
        assert (row["delta_mean"], row["verdict"], row["low"]) == (0.0, "undecided", None)
        assert row["reason"] == "no seed or sentence changes it"
    assert tables["tally"].rows["num_undecided"].to_pylist() == [2]


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, 10.0, math.nan, math.inf])
def test_a_margin_that_is_none_is_refused(store, margin):
    told = (
        rf"margin: {margin:g} is no margin of F1; give a number above 0 and below 1, such as 0.01"
    )
    with pytest.raises(StoreError, match=told):
        analyze(store, margin=margin)
