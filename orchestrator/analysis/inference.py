"""Across languages: signed-rank tests of the changes of F1, and a mixed model of what they depend
on."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests

from orchestrator.analysis.frames import CELL, SERIES, Results, finish, in_order
from orchestrator.analysis.quality import pair_embeddings
from orchestrator.analysis.tables import MODEL, TESTS, AnalysisTable
from orchestrator.wording import counted

OPTIMIZERS = ("bfgs", "cg", "powell", "nm")
"""Tried in turn: where languages hardly differ, the first ones may not converge."""
DIGITS = 12
"""Differences of decimal fractions are rounded, so that what is tied or 0 is seen to be."""
AT_BOUND = 1e-4
"""A variance of languages below this part of the residual one stopped at its bound, 0."""
MIN_LANGUAGES = 3
"""With two, an intercept a language and the slope of the train size say the same."""
Row = dict[str, Any]


def compare_languages(results: Results) -> AnalysisTable:
    """The table `tests`."""
    sparse = results.sparse.rename(columns={"delta": "change"})
    embeddings = pair_embeddings(results)
    rows = [*_tests(sparse, "sparse - dense")]
    if not embeddings.empty:
        embeddings["change"] = embeddings["f1"] - embeddings["f1_dense"]
        rows += _tests(embeddings, "pruned - dense embeddings")
    if not rows:
        return finish(TESTS, pd.DataFrame(), ["No sparse trials: nothing to test."])
    family = ["series", "comparison"]
    table = pd.DataFrame(rows)
    table["num_tests"] = table.groupby(family)["p"].transform("count")
    table["p_holm"] = table.groupby(family)["p"].transform(corrected, method="holm")
    table["p_bh"] = table.groupby(family)["p"].transform(corrected, method="fdr_bh")
    return finish(TESTS, in_order(table, ["comparison"]), _test_notes(table, results))


def _tests(trials: pd.DataFrame, comparison: str) -> Iterator[Row]:
    """One row a level, from the changes of trials and languages."""
    for place, rows in trials.groupby(CELL):
        means = rows.groupby("language")["change"].mean()
        changes = means.dropna().to_numpy()
        statistic, p = signed_rank(changes)
        yield dict(zip(CELL, place, strict=True)) | {
            "comparison": comparison,
            "median_change": float(np.median(changes)) if len(changes) else None,
            "statistic": statistic,
            "p": p,
            "p_least": _least(int(np.count_nonzero(np.round(changes, DIGITS)))),
            "num_languages": len(changes),
            "num_languages_missing": len(means) - len(changes),
            "num_trials": rows.loc[rows["change"].notna(), "trial_id"].nunique(),
        }


def signed_rank(changes: np.ndarray) -> tuple[float | None, float | None]:
    """Wilcoxon's statistic and two-sided p of changes, those of 0 left out; None where no change is
    left.

    p is exact up to 50 languages without ties, else from the normal distribution.
    """
    changes = np.round(changes, DIGITS)
    if not np.any(changes):
        return None, None
    changes = changes[changes != 0]
    found = stats.wilcoxon(changes)
    return float(found.statistic), float(found.pvalue)


def corrected(p: pd.Series, method: str) -> pd.Series:
    """p-values corrected over all that are there; NaN stays NaN."""
    is_there = p.notna()
    out = p.copy()
    if is_there.any():
        out[is_there] = multipletests(p[is_there].to_numpy(), method=method)[1]
    return out


def _test_notes(table: pd.DataFrame, results: Results) -> list[str]:
    num_seeds = int(results.cells["num_seeds"].max())
    notes = []
    if num_seeds:
        notes.append(
            f"Languages are what is counted: a test within one language cannot go below p = {_least(num_seeds):g} with "
            f"{counted(num_seeds, 'seed')}, so none is made."
        )
    few = int(((table["p_least"] > 0.05) & table["p"].notna()).sum())
    if few:
        notes.append(
            f"Out of reach of p = 0.05 with the languages there are: {counted(few, 'test')}, see p_least."
        )
    if (table["regime"] == "multilingual").any():
        notes.append(
            "Languages of a multilingual trial share its model and are not independent: p is too small there."
        )
    undone = int(table["p"].isna().sum())
    if undone:
        notes.append(
            f"No test of {counted(undone, 'level')}: no language with a change other than 0."
        )
    return notes


def _least(number: int) -> float | None:
    """The lowest two-sided p that so many differences from 0 can give."""
    return 2.0 ** (1 - number) if number else None


@dataclass(frozen=True)
class _Fit:
    """The rows of one model, or the reason why there are none."""

    rows: list[Row]
    notes: list[str]


def fit_models(results: Results) -> AnalysisTable:
    """The table `model`: one model a series of sparse trials."""
    fits = []
    for place, cells in results.sparse_cells.groupby(SERIES):
        _, regime, settings = place
        where = f"{regime}, {settings}" if settings else regime
        fit = _fit(cells, results.trials, where)
        place_columns = dict(zip(SERIES, place, strict=True))
        fits.append(_Fit([place_columns | row for row in fit.rows], fit.notes))
    rows = [row for fit in fits for row in fit.rows]
    notes = list(dict.fromkeys(note for fit in fits for note in fit.notes))
    if rows:
        notes += [
            "The mean over seeds is modelled: seeds of a cell share their language's dense trials.",
            "It is linear in sparsity, which losses are not: read signs and order, not sizes. p is of Wald's test, too "
            "small with few languages.",
        ]
        if any(row["regime"] == "multilingual" for row in rows):
            notes.append("Languages of a multilingual trial share its model: p is too small there.")
    if not fits:
        notes.append("No sparse trials: nothing to model.")
    return finish(MODEL, pd.DataFrame(rows), notes)


def _fit(cells: pd.DataFrame, trials: pd.DataFrame, where: str) -> _Fit:
    is_usable = cells["delta_dense_mean"].notna() & cells["num_train_sentences"].gt(0)
    data = pd.DataFrame(
        {
            "delta_f1": cells["delta_dense_mean"],
            "sparsity": cells["target_sparsity"],
            "log10_train": np.log10(cells["num_train_sentences"].where(is_usable)),
            "embeddings_pruned": (cells["embeddings"] != "dense").astype(float),
            "language": cells["language"],
        }
    )[is_usable]
    num_languages = data["language"].nunique()
    if num_languages < MIN_LANGUAGES:
        return _Fit(
            [],
            [
                f"{where}: no model of {counted(num_languages, 'language')}; it takes {MIN_LANGUAGES} or more."
            ],
        )
    varied = [
        name
        for name in ("sparsity", "log10_train", "embeddings_pruned")
        if data[name].nunique() > 1
    ]
    constant = sorted({"sparsity", "log10_train", "embeddings_pruned"} - set(varied))
    if not varied:
        return _Fit([], [f"{where}: no model: neither sparsity, train size nor embeddings vary."])
    for name in set(varied) - {"embeddings_pruned"}:
        data[name] -= data[name].mean()
    counts = {
        "num_observations": len(data),
        "num_languages": num_languages,
        "num_trials": trials.loc[
            trials["cell_id"].isin(cells.loc[is_usable, "cell_id"]) & trials["delta"].notna(),
            "trial_id",
        ].nunique(),
        "num_missing": int((~is_usable).sum()),
    }
    notes = (
        [f"{where}: {', '.join(constant)} does not vary and is left out of the model."]
        if constant
        else []
    )
    rows, why = estimate(data, f"delta_f1 ~ {' * '.join(varied)}")
    return _Fit([row | counts for row in rows], [*notes, *(f"{where}: {reason}" for reason in why)])


def estimate(data: pd.DataFrame, formula: str) -> tuple[list[Row], list[str]]:
    """Terms with estimate, standard error and p, and notes; no terms when the model cannot be
    fitted.

    Args:
        data: the columns of the formula, and `language`.
        formula: fixed effects, as in `delta_f1 ~ sparsity * log10_train`.
    """
    model = MixedLM.from_formula(formula, data, groups="language")
    reasons: dict[str, None] = {}
    for optimizer in OPTIMIZERS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fitted = model.fit(method=optimizer)
                errors = fitted.bse_fe.to_numpy()
            except (np.linalg.LinAlgError, ValueError) as error:
                reasons[" ".join(str(error).split())] = None
                continue
        said = [" ".join(str(one.message).split()) for one in caught]
        if fitted.converged and np.isfinite(errors).all() and (errors > 0).all():
            break
        reasons |= dict.fromkeys(said or ["no standard errors"])
    else:
        return [], [f"the model cannot be fitted ({'; '.join(reasons)}): no numbers."]
    terms, p = list(fitted.fe_params.index), pd.Series(fitted.pvalues[: len(errors)].to_numpy())
    p_holm = pd.concat([pd.Series([np.nan]), corrected(p[1:], "holm")])
    rows: list[Row] = [
        {"term": term, "estimate": value, "std_error": error, "p": one, "p_holm": holm}
        for term, value, error, one, holm in zip(
            terms, fitted.fe_params, errors, p, p_holm, strict=True
        )
    ]
    variances = (
        ("sd_language", float(fitted.cov_re.iloc[0, 0])),
        ("sd_residual", float(fitted.scale)),
    )
    none = dict.fromkeys(("std_error", "p", "p_holm"))
    rows += [{"term": term, "estimate": variance**0.5, **none} for term, variance in variances]
    is_bound = variances[0][1] < AT_BOUND * variances[1][1]
    return rows, [
        "sd_language is estimated at its bound, 0: languages differ no more than by chance."
    ] * is_bound
