"""A mixed model of what languages' changes of F1 depend on."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM

from orchestrator.analysis.frames import SERIES, Results, finish
from orchestrator.analysis.inference import corrected
from orchestrator.analysis.tables import MODEL, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

OPTIMIZERS = ("bfgs", "cg", "powell", "nm")
"""Tried in turn: where languages hardly differ, the first ones may not converge."""

AT_BOUND = 1e-4
"""A variance of languages below this part of the residual one stopped at its bound, 0."""

MIN_LANGUAGES = 3
"""With two, an intercept a language and the slope of the train size say the same."""


@dataclass(frozen=True)
class _Fit:
    """The rows of one model, or none where there is no model; notes say why."""

    rows: list[Row]
    notes: list[str]


def fit_models(results: Results) -> AnalysisTable:
    """Make the table `model`: one model a series of sparse trials."""
    rows: list[Row] = []
    notes: list[str] = []
    for place, cells in results.sparse_cells.groupby(SERIES):
        _, regime, settings = place
        fit = _fit_series(cells, results.trials)
        rows += [dict(zip(SERIES, place, strict=True)) | row for row in fit.rows]
        where = f"{regime}, {settings}" if settings else regime
        notes += [f"{where}: {note}" for note in fit.notes]
    if results.sparse_cells.empty:
        notes.append("No sparse trials: nothing to model.")
    notes = list(dict.fromkeys(notes))

    if rows:
        notes += [
            "The mean over seeds is modelled: seeds of a cell share their language's dense trials.",
            "It is linear in sparsity, which losses are not: read signs and order, not sizes. p is "
            "of Wald's test, too small with few languages.",
        ]
    if any(row["regime"] == "multilingual" for row in rows):
        notes.append("Languages of a multilingual trial share its model: p is too small there.")
    return finish(MODEL, pd.DataFrame(rows), notes)


def _fit_series(cells: pd.DataFrame, trials: pd.DataFrame) -> _Fit:
    """The model of one series, from its sparse cells, a row a cell and language."""
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
        languages = counted(num_languages, "language")
        return _Fit([], [f"no model of {languages}; it takes {MIN_LANGUAGES} or more."])

    # What does not vary has no effect that could be told from the intercept.
    effects = ("sparsity", "log10_train", "embeddings_pruned")
    varied = [name for name in effects if data[name].nunique() > 1]
    if not varied:
        return _Fit([], ["no model: neither sparsity, train size nor embeddings vary."])
    notes = []
    if constant := sorted(set(effects) - set(varied)):
        notes.append(f"{', '.join(constant)} does not vary and is left out of the model.")

    # Centred, so that the effect of one is that at the mean of the other.
    for name in set(varied) - {"embeddings_pruned"}:
        data[name] -= data[name].mean()
    terms, why = estimate(data, f"delta_f1 ~ {' * '.join(varied)}")

    is_behind = trials["cell_id"].isin(cells.loc[is_usable, "cell_id"]) & trials["delta"].notna()
    counts = {
        "num_observations": len(data),
        "num_languages": num_languages,
        "num_trials": trials.loc[is_behind, "trial_id"].nunique(),
        "num_missing": int((~is_usable).sum()),
    }
    return _Fit([term | counts for term in terms], [*notes, *why])


def estimate(data: pd.DataFrame, formula: str) -> tuple[list[Row], list[str]]:
    """Fit a linear mixed model with a random intercept a language.

    Args:
        data: the columns of the formula, and `language`.
        formula: fixed effects, as in `delta_f1 ~ sparsity * log10_train`.

    Returns:
        A row a term with `estimate`, `std_error`, `p` of Wald's test and `p_holm`, then the
        standard deviations `sd_language` and `sd_residual`; no rows when the model cannot be
        fitted. And notes.

    Source: Laird and Ware 1982, Random-effects models for longitudinal data.
    """
    model = MixedLM.from_formula(formula, data, groups="language")
    fitted, reasons = _fit_model(model)
    if fitted is None:
        return [], [f"the model cannot be fitted ({'; '.join(reasons)}): no numbers."]

    std_errors = fitted.bse_fe.to_numpy()
    p = pd.Series(fitted.pvalues[: len(std_errors)].to_numpy())
    # The first term is the intercept, which nobody tests.
    p_holm = pd.concat([pd.Series([np.nan]), corrected(p[1:], "holm")])
    columns = (fitted.fe_params.index, fitted.fe_params, std_errors, p, p_holm)
    names = ("term", "estimate", "std_error", "p", "p_holm")
    rows: list[Row] = [
        dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)
    ]

    variance_of_languages = float(fitted.cov_re.iloc[0, 0])
    variance_of_residuals = float(fitted.scale)
    for term, variance in (
        ("sd_language", variance_of_languages),
        ("sd_residual", variance_of_residuals),
    ):
        rows.append(dict.fromkeys(names) | {"term": term, "estimate": variance**0.5})

    notes = []
    if variance_of_languages < AT_BOUND * variance_of_residuals:
        notes.append(
            "sd_language is estimated at its bound, 0: languages differ no more than by chance."
        )
    return rows, notes


def _fit_model(model: MixedLM) -> tuple[Any, Sequence[str]]:
    """The first fit of `OPTIMIZERS` that converged and has standard errors, or None; and why the
    others are none."""
    reasons: dict[str, None] = {}  # each once, in the order in which they came
    for optimizer in OPTIMIZERS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fitted = model.fit(method=optimizer)
                std_errors = fitted.bse_fe.to_numpy()
            except (np.linalg.LinAlgError, ValueError) as error:
                reasons[_in_one_line(error)] = None
                continue
        if fitted.converged and np.isfinite(std_errors).all() and (std_errors > 0).all():
            return fitted, list(reasons)
        said = [_in_one_line(warning.message) for warning in caught]
        reasons |= dict.fromkeys(said or ["no standard errors"])
    return None, list(reasons)


def _in_one_line(error: object) -> str:
    return " ".join(str(error).split())
