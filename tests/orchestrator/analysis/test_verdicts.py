"""Verdicts against tests of hypotheses that are counted out, and against cases worked by hand."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.bootstrap import Bootstrap
from orchestrator.analysis.verdicts import find_tolerated, judge, judge_changes
from orchestrator.errors import StoreError
from tests.orchestrator.analysis.committing import commit, tables_of
from tests.orchestrator.analysis.test_bootstrap import PLACE, make_results, make_set

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


def p_values(changes, margin):
    """Bootstrap p: of two one-sided tests that the change is beyond the margin, the larger one; and
    of the tests that it is not above, and not below 0."""
    below, above = (changes < -margin).mean(), (changes > margin).mean()
    return max(below, above), (changes <= 0).mean(), (changes >= 0).mean()


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.2])
def test_verdicts_are_those_of_tests_counted_over_replicates(margin):
    """Of 401 replicates the ends of intervals are replicates themselves, none lies between two."""
    found = set()
    for case, effect in enumerate([-0.4, -0.2, -0.1, -0.03, 0.0, 0.0, 0.03, 0.1, 0.2, 0.4]):
        random = np.random.default_rng(case)
        counts = {}
        for seed in range(3):
            hard = random.random(60)
            for name, chance in ((f"s{seed}", 0.5 + effect), (f"d{seed}", 0.5)):
                right = 2 * (hard < chance).astype(int)
                counts[name] = (np.full(60, 2), right)
        pairs = [(f"s{seed}", f"d{seed}", 0.0) for seed in range(3)]
        options = Bootstrap(num_replicates=401, seed=case)
        table = judge_changes(make_results(pairs), [make_set(counts)], options, margin)[0]
        (row,) = table.rows.to_pylist()

        # All is predicted, two entities a sentence: F1 is the part that is right.
        generator = np.random.default_rng(case)
        drawn = generator.integers(60, size=(401, 60))
        times = generator.multinomial(3, [1 / 3] * 3, size=401)
        changes = np.zeros(401)
        for seed in range(3):
            of_sentence = (counts[f"s{seed}"][1] - counts[f"d{seed}"][1]) / 2
            changes += times[:, seed] / 3 * of_sentence[drawn].mean(axis=1)
        beyond, not_above, not_below = p_values(np.round(changes, 12), margin)
        if beyond <= 0.05:
            expected = "equivalent"
        elif min(not_above, not_below) <= 0.025:
            expected = "better" if not_above < not_below else "worse"
        else:
            expected = "undecided"
        assert row["verdict"] == expected, (case, row)
        found.add(expected)
    assert {"better", "worse"} <= found or margin == 0.2
    assert "equivalent" in found


def test_few_seeds_without_sentences_and_one_seed_decide_nothing():
    """Five seeds lie on one side by chance in 1 of 16 cases, six in 1 of 32."""
    for num_seeds, expected in ((1, "undecided"), (2, "undecided"), (5, "undecided"), (6, "worse")):
        pairs = [(f"s{seed}", f"d{seed}", -0.2) for seed in range(num_seeds)]
        tables = judge_changes(make_results(pairs), [], Bootstrap(num_replicates=50), 0.01)
        assert [row["verdict"] for row in tables[0].rows.to_pylist()] == [expected]
        is_said = any("want of seeds: 1 change" in note for note in tables[1].notes)
        assert is_said == (expected == "undecided")
    one = make_set({"s0": ([2] * 9, [0] * 9), "d0": ([2] * 9, [2] * 9)})
    tables = judge_changes(make_results([("s0", "d0", -1.0)]), [one], Bootstrap(), 0.01)
    assert tables[0].rows.select(["verdict", "high"]).to_pylist() == [
        {"verdict": "undecided", "high": -1.0}
    ]


def test_tally_counts_verdicts_and_what_is_missing():
    deltas = {"c0": -0.2, "c1": -0.2, "c2": 0.0, "c3": 0.3, "c4": math.nan}
    parts = []
    for number, (cell, delta) in enumerate(deltas.items()):
        pairs = [(f"{cell}s{seed}", f"{cell}d{seed}", delta) for seed in range(6)]
        part = make_results(pairs).trials
        parts.append(part.assign(language=f"l{number}"))
    results = make_results([])
    results = type(results)(
        split="test", trials=pd.concat(parts), cells=pd.DataFrame(), holes=[], notes=[]
    )
    names = ("better", "worse", "equivalent", "undecided", "missing", "languages", "trials")
    table = judge_changes(results, [], Bootstrap(num_replicates=50), 0.02)[1]
    (row,) = table.rows.to_pylist()
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


def test_equal_f1_everywhere_is_equivalent_and_no_library_warns(store):
    for language in ("de", "yo"):
        for sparsity in (0.0, 0.5):
            for seed in range(6):
                commit(store, language, sparsity, seed, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = tables_of(store, only=["significance", "tally"])
    assert tables["significance"].rows["verdict"].to_pylist() == ["equivalent"] * 2
    assert tables["tally"].rows["num_equivalent"].to_pylist() == [2]


@pytest.mark.parametrize("margin", [0.0, -0.01, 1.0, 10.0, math.nan, math.inf])
def test_a_margin_that_is_none_is_refused(store, margin):
    told = (
        rf"margin: {margin:g} is no margin of F1; give a number above 0 and below 1, such as 0.01"
    )
    with pytest.raises(StoreError, match=told):
        analyze(store, margin=margin)
