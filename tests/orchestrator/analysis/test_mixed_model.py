"""A mixed model of effects that were planted."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.mixed_model import estimate


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
