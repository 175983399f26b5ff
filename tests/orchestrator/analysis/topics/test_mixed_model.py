"""A mixed model of effects that were planted, beside statsmodels, and with bad input."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.topics.mixed_model import TERMS, fit_slopes
from tests.factories import PRUNING
from tests.orchestrator.analysis.committing import commit, rows_of, tables_of

TRUTH = dict(zip(TERMS, (-0.1, -0.5, 0.04, 0.2), strict=True))
LANGUAGES = ("de", "en", "ja", "my", "sw")


def planted(sd_intercept, sd_slope, num_languages=30, sparsities=(0.5, 0.6, 0.7, 0.8, 0.9)):
    """Changes, sparsities, sizes and numbers of languages of an unbalanced sweep."""
    random = np.random.default_rng(4)
    languages = np.repeat(np.arange(num_languages), len(sparsities))
    sparsity = np.tile(sparsities, num_languages)
    size = random.uniform(2, 4, num_languages)[languages]
    own, slope = random.normal(0, (sd_intercept, sd_slope), (num_languages, 2))[languages].T
    noise = random.normal(0, 0.01, len(languages))
    centred, size_centred = sparsity - 0.7, size - 3
    fixed = np.column_stack([np.ones(len(size)), centred, size_centred, centred * size_centred])
    changes = fixed @ np.array(list(TRUTH.values())) + own + slope * centred + noise
    kept = np.arange(len(languages)) % 11 > 0
    return changes[kept], sparsity[kept], size[kept], languages[kept]


def test_a_model_recovers_what_was_planted():
    fit = fit_slopes(*planted(0.05, 0.2))
    # Centring moves the intercept; slopes at the mean of the other are near those planted.
    for name, estimate, std_error in zip(TERMS, fit.estimates, fit.std_errors, strict=True):
        if name != "intercept":
            assert abs(estimate - TRUTH[name]) < 3 * std_error
    assert fit.sds == pytest.approx([0.05, 0.2], rel=0.4)
    assert fit.sd_residual == pytest.approx(0.01, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("sd_intercept", "sd_slope"), [(0.05, 0.2), (0.02, 0.05)])
def test_it_is_the_restricted_maximum_likelihood_of_statsmodels(sd_intercept, sd_slope):
    from statsmodels.regression.mixed_linear_model import MixedLM

    changes, sparsity, size, languages = planted(sd_intercept, sd_slope)
    fit = fit_slopes(changes, sparsity, size, languages)
    columns = {"y": changes, "x": sparsity - sparsity.mean(), "z": size - size.mean()}
    data = pd.DataFrame(columns | {"language": languages})
    model = MixedLM.from_formula("y ~ x * z", data, groups="language", re_formula="~x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a boundary, which is not met
        expected = model.fit(method="lbfgs")
    assert fit.estimates == pytest.approx(expected.fe_params.to_numpy(), abs=1e-5)
    # statsmodels takes these from numeric derivatives of all parameters together.
    assert fit.std_errors == pytest.approx(expected.bse_fe.to_numpy(), rel=0.02)
    sds = np.sqrt(np.diag(expected.cov_re))
    assert fit.sds == pytest.approx(sds, rel=1e-3)
    assert fit.sd_residual == pytest.approx(expected.scale**0.5, rel=1e-3)


def test_coefficients_are_those_of_generalized_least_squares():
    """Where one of the variances is at its bound, too."""
    changes, sparsity, size, languages = planted(0.05, 0.0)
    fit = fit_slopes(changes, sparsity, size, languages)
    slopes = sparsity - sparsity.mean()
    size = size - size.mean()
    design = np.column_stack([np.ones(len(size)), slopes, size, slopes * size])
    same = languages[:, None] == languages[None, :]
    assert fit.sds[1] < 0.02
    covariance = same * fit.sds[0] ** 2 + fit.sd_residual**2 * np.eye(len(size))
    inverse = np.linalg.inv(covariance)
    expected = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ changes)
    assert fit.estimates == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_lines_without_noise_have_no_model():
    sparsity = np.tile([0.5, 0.7, 0.9], 4)
    languages = np.repeat(np.arange(4), 3)
    changes = -sparsity * (1 + languages)
    assert fit_slopes(changes, sparsity, np.repeat([1.0, 2, 3, 5], 3), languages) is None


def commit_grid(store, f1_of, sparsities=(0.5, 0.7, 0.9), languages=LANGUAGES, num_train=None):
    for number, language in enumerate(languages):
        size = num_train or 100 * 2**number
        commit(store, language, 0.0, 0, 0.8, num_train=size)
        for sparsity in sparsities:
            commit(store, language, sparsity, 0, f1_of(number, sparsity), num_train=size)


def bent(number, sparsity):
    return 0.8 - sparsity**4 * (0.5 - 0.05 * number) - 0.01 * ((3 * number + 10 * sparsity) % 4)


def test_rows_and_counts(store):
    commit_grid(store, lambda number, sparsity: bent(number, sparsity) if number else 0.0)
    names = ("embeddings", "term", "num_observations", "num_languages", "num_collapsed")
    rows = rows_of(store, "model", *names, "num_trials")
    terms = [*TERMS, "sd_intercept", "sd_slope", "sd_residual"]
    assert rows == [("dense", term, 12, 4, 3, 15) for term in terms]


@pytest.mark.slow
def test_embeddings_that_are_pruned_alike_and_to_a_value_are_two_models(store):
    commit_grid(store, bent)
    for number, language in enumerate(LANGUAGES):
        for sparsity in (0.6, 0.7, 0.9):
            for embedding_sparsity in (sparsity, 0.5):
                f1 = bent(number, sparsity) - embedding_sparsity / 10
                commit(
                    store, language, sparsity, 0, f1, num_train=100 * 2**number,
                    pruning=replace(PRUNING, embedding_sparsity=embedding_sparsity),
                )  # fmt: skip
    names = {row[0] for row in rows_of(store, "model", "embeddings")}
    assert names == {"dense", "pruned", "pruned to 0.5"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"languages": ("sw", "en")}, " of 2 languages; it takes 3 or more"),
        ({"sparsities": (0.5, 0.7)}, " of 2 sparsities; it takes 3 or more"),
        ({"num_train": 100}, ": the train size does not vary"),
        ({"f1_of": lambda number, sparsity: 0.5}, ": all languages change alike"),
        ({"f1_of": lambda number, sparsity: 0.0}, " of 0 languages"),
        ({"f1_of": lambda number, sparsity: 0.8 - sparsity / 2}, ": a line fits every language"),
    ],
)
def test_what_cannot_be_modelled_has_a_reason(store, changes, why):
    commit_grid(store, **({"f1_of": bent} | changes))
    table = tables_of(store, only=["model"])["model"]
    assert table.rows.num_rows == 0
    assert f"monolingual, embeddings dense: no model{why}" in " ".join(table.notes)


@pytest.mark.slow
def test_a_variance_at_its_bound_does_not_say_that_languages_are_alike(store):
    # Up and down in all languages: the rest is larger than what lines differ by.
    commit_grid(store, lambda number, sparsity: 0.5 + 0.1 * ((10 * sparsity + number) % 4 < 2))
    notes = " ".join(tables_of(store, only=["model"])["model"].notes)
    assert "sd_intercept and sd_slope is estimated at its bound" in notes or "bound, 0" in notes
    assert "That does not say that languages are alike" in notes
