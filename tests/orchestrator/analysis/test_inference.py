"""Tests across languages by hand, and a mixed model of effects that were planted."""

import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.inference import corrected, estimate, signed_rank


def test_signed_ranks_by_hand():
    # |1| |2| |3| |4| |5|, signs - + + + +: the smaller sum of ranks is 1; sums of 0 and 1 in 2 of
    # 32 ways, twice
    assert signed_rank(np.array([-0.01, 0.02, 0.03, 0.04, 0.05])) == (1.0, pytest.approx(4 / 32))


def test_changes_of_zero_have_no_rank():
    assert signed_rank(np.array([0.0, 0.02, 0.81 - 0.8 - 0.01, 0.03])) == (
        0.0,
        pytest.approx(2 / 4),
    )
    assert signed_rank(np.zeros(3)) == (None, None)
    assert signed_rank(np.array([])) == (None, None)


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


def planted(sd_language, num_languages=30):
    random = np.random.default_rng(4)
    rows = []
    for language in range(num_languages):
        own, size = random.normal(0, sd_language), random.uniform(-1, 1)
        for sparsity in (-0.2, 0.0, 0.2):
            for pruned in (0.0, 1.0):
                mean = -0.03 - 0.2 * sparsity + 0.04 * size + 0.1 * sparsity * size - 0.05 * pruned
                rows.append(
                    {
                        "delta_f1": mean + own + random.normal(0, 0.005),
                        "sparsity": sparsity,
                        "log10_train": size,
                        "embeddings_pruned": pruned,
                        "language": f"l{language}",
                    }
                )
    return pd.DataFrame(rows)


def test_a_model_recovers_what_was_planted():
    rows, notes = estimate(planted(0.02), "delta_f1 ~ sparsity * log10_train + embeddings_pruned")
    found = {row["term"]: row for row in rows}
    truth = {"Intercept": -0.03, "sparsity": -0.2, "log10_train": 0.04, "sparsity:log10_train": 0.1}
    truth |= {"embeddings_pruned": -0.05}
    for term, value in truth.items():
        assert abs(found[term]["estimate"] - value) < 3 * found[term]["std_error"]
        assert found[term]["p"] < 0.01
    assert found["sd_language"]["estimate"] == pytest.approx(0.02, rel=0.4)
    assert found["sd_residual"]["estimate"] == pytest.approx(0.005, rel=0.2)
    assert notes == []


def test_coefficients_are_those_of_generalized_least_squares():
    data = planted(0.02)
    rows, _ = estimate(data, "delta_f1 ~ sparsity * log10_train + embeddings_pruned")
    found = {row["term"]: row["estimate"] for row in rows}
    own = (data["language"].to_numpy()[:, None] == data["language"].to_numpy()[None, :]).astype(
        float
    )
    covariance = found["sd_language"] ** 2 * own + found["sd_residual"] ** 2 * np.eye(len(data))
    sparsity, size = data["sparsity"], data["log10_train"]
    design = np.column_stack(
        [np.ones(len(data)), sparsity, size, sparsity * size, data["embeddings_pruned"]]
    )
    inverse = np.linalg.inv(covariance)
    expected = np.linalg.solve(
        design.T @ inverse @ design, design.T @ inverse @ data["delta_f1"].to_numpy()
    )
    names = ("Intercept", "sparsity", "log10_train", "sparsity:log10_train", "embeddings_pruned")
    assert [found[name] for name in names] == pytest.approx(expected, rel=1e-6)


def test_languages_that_do_not_differ_are_said_to_be_at_the_bound():
    rows, notes = estimate(planted(0.0), "delta_f1 ~ sparsity * log10_train")
    assert {row["term"] for row in rows} >= {"sparsity", "sd_language"}
    assert any("at its bound, 0" in note for note in notes)


def test_a_model_that_cannot_be_fitted_has_no_numbers():
    data = planted(0.02)
    data["log10_train"] = data["sparsity"] * 2
    rows, notes = estimate(data, "delta_f1 ~ sparsity + log10_train")
    assert rows == []
    assert len(notes) == 1
    assert "cannot be fitted" in notes[0]
    assert "no numbers" in notes[0]
