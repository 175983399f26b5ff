"""A linear mixed model of languages' changes of F1: what they lose as sparsity rises, and whether
that goes with the train size, with an intercept and a slope of each language's own."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from orchestrator.analysis.inputs.frames import SERIES, Results, count_trials, finish, in_order
from orchestrator.analysis.tables import COLLAPSED, MODEL, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

TERMS = ("intercept", "sparsity", "log10_train", "sparsity:log10_train")
"""The fixed effects, in the order of the columns of the design."""

PLACE = [*SERIES, "embeddings"]
"""Columns that tell models apart."""

MIN_LANGUAGES, MIN_SPARSITIES = 3, 3
"""With fewer languages the train size explains all; with fewer sparsities a line explains each."""

AT_BOUND = 1e-3
"""A standard deviation below this part of the residual one is at its bound, 0."""


@dataclass(frozen=True)
class Fit:
    """A mixed model that was fitted.

    Attributes:
        estimates: float64 (effects,), the fixed effects.
        std_errors: float64 (effects,).
        sds: float64 (2,), standard deviation over languages of intercepts and of slopes.
        sd_residual: of the rest.
    """

    estimates: np.ndarray
    std_errors: np.ndarray
    sds: np.ndarray
    sd_residual: float


def fit_models(results: Results) -> AnalysisTable:
    """Make the table `model`: one model a series and kind of embeddings, of sparse trials."""
    rows: list[Row] = []
    reasons: list[str] = []
    for place, cells in results.sparse_cells.groupby(PLACE):
        _, regime, settings, embeddings = place
        terms, why = _model(cells)
        rows += [dict(zip(PLACE, place, strict=True)) | row for row in terms]
        where = ", ".join(filter(None, (regime, settings, f"embeddings {embeddings}")))
        reasons += [f"{where}: {reason}" for reason in why]
    if results.sparse_cells.empty:
        reasons.append("No sparse trials: nothing to model.")
    if not rows:
        return finish(MODEL, pd.DataFrame(), reasons)

    table = pd.DataFrame(rows).set_index(PLACE)
    trials = results.sparse
    table["num_trials"] = count_trials(trials, PLACE, trials["delta"].notna())
    # In the order of the model, not of the alphabet.
    frame = table.reset_index().assign(order=lambda one: one.groupby(PLACE).cumcount())
    frame = in_order(frame, ["embeddings", "order"])
    notes = [
        *reasons,
        "The mean over seeds is modelled: seeds of a cell share their language's dense trials.",
        "It is linear in sparsity, which losses are not: read signs and order, not sizes. "
        "p_independent takes languages as independent, and is too small where languages of a "
        "family are alike: slopes has a p within families.",
    ]
    if set(frame["regime"]) - {"monolingual"}:
        notes.append(
            "Languages of a multilingual trial, and those scored zero-shot, share its model: "
            "p_independent is too small there."
        )
    return finish(MODEL, frame, notes)


def _model(cells: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """The rows of one model, from a row a cell and language; and why there are none, or what is to
    be known of them."""
    is_known = cells["delta_dense_mean"].notna() & cells["num_train_sentences"].gt(0)
    is_collapsed = is_known & cells["f1_mean"].lt(COLLAPSED)
    data = cells[is_known & ~is_collapsed]
    num_languages, sparsities = data["language"].nunique(), data["target_sparsity"]
    if num_languages < MIN_LANGUAGES:
        languages = counted(num_languages, "language")
        return [], [f"no model of {languages}; it takes {MIN_LANGUAGES} or more."]
    if sparsities.nunique() < MIN_SPARSITIES:
        number = sparsities.nunique()
        return [], [f"no model of {number} sparsities; it takes {MIN_SPARSITIES} or more."]
    sizes = np.log10(data["num_train_sentences"].to_numpy(float))
    if np.ptp(sizes) == 0:
        return [], ["no model: the train size does not vary."]
    changes = data["delta_dense_mean"].to_numpy()
    if np.ptp(changes) == 0:
        return [], ["no model: all languages change alike."]

    languages = pd.factorize(data["language"])[0]
    fit = fit_slopes(changes, sparsities.to_numpy(), sizes, languages)
    if fit is None:
        return [], ["no model: a line fits every language, so nothing is left to judge it by."]
    counts = {
        "num_observations": len(data),
        "num_languages": num_languages,
        "num_collapsed": int(is_collapsed.sum()),
        "num_missing": int((~is_known).sum()),
    }
    return [row | counts for row in _rows(fit, num_languages)], _limits(fit)


def _rows(fit: Fit, num_languages: int) -> list[Row]:
    p = p_values(fit, num_languages)
    rows: list[Row] = [
        {"term": term, "estimate": estimate, "std_error": std_error, "p_independent": one_p}
        for term, estimate, std_error, one_p in zip(
            TERMS, fit.estimates, fit.std_errors, p, strict=True
        )
    ]
    for term, sd in zip(
        ("sd_intercept", "sd_slope", "sd_residual"), (*fit.sds, fit.sd_residual), strict=True
    ):
        rows.append({"term": term, "estimate": sd, "std_error": None, "p_independent": None})
    return rows


def p_values(fit: Fit, num_languages: int) -> np.ndarray:
    """The two-sided p of each of `TERMS`, of Student's t; float64 (effects,).

    Slopes and train sizes are of languages, so languages less 2 are the degrees of freedom.
    """
    t = np.abs(fit.estimates / fit.std_errors)
    return 2 * stats.t.sf(t, num_languages - 2)  # type: ignore[no-any-return]


def _limits(fit: Fit) -> list[str]:
    at_bound = [
        name
        for name, sd in zip(("sd_intercept", "sd_slope"), fit.sds, strict=True)
        if sd < AT_BOUND * fit.sd_residual
    ]
    if not at_bound:
        return []
    return [
        f"{' and '.join(at_bound)} is estimated at its bound, 0. That does not say that languages "
        "are alike: losses that are not linear in sparsity do it, too."
    ]


def fit_slopes(
    changes: np.ndarray, sparsities: np.ndarray, sizes: np.ndarray, languages: np.ndarray
) -> Fit | None:
    """Fit changes ~ sparsity x size by restricted maximum likelihood, with an intercept and a slope
    on sparsity of each language's own, which may go together.

    Args:
        changes: float64 (observations,).
        sparsities: float64 (observations,); centred here, as sizes are, so that the effect of one
            is that at the mean of the other.
        sizes: float64 (observations,), of each observation's language.
        languages: int (observations,), 0 and up.

    Returns:
        The fit; None where no residual is left.

    Source: Laird and Ware 1982, Random-effects models for longitudinal data; the profiled criterion
        of Bates et al. 2015, Fitting linear mixed-effects models using lme4, section 3.4.
    """
    sparsities, sizes = sparsities - sparsities.mean(), sizes - sizes.mean()
    scale = sparsities.std()
    own = np.column_stack([np.ones(len(changes)), sparsities / scale])
    design = np.column_stack([np.ones(len(changes)), sparsities, sizes, sparsities * sizes])
    total = np.column_stack([design, changes])
    # Sums of products, over all and by language: the criterion needs nothing else.
    products = total.T @ total
    members = np.eye(languages.max() + 1)[languages]
    own_own = np.einsum("nl,ni,nj->lij", members, own, own)
    own_total = np.einsum("nl,ni,nj->lij", members, own, total)
    freedom = len(changes) - design.shape[1]

    def profile(root: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
        """Of relative covariances with this root: -2 log likelihood, effects, variance, and the
        covariance of effects by it."""
        factor = np.array([[root[0], 0.0], [root[1], root[2]]])
        inner = np.eye(2) + factor.T @ own_own @ factor
        weighed = factor.T @ own_total
        reduced = products - np.einsum("lij,lik->jk", weighed, np.linalg.solve(inner, weighed))
        inverse = np.linalg.inv(reduced[:-1, :-1])
        effects = inverse @ reduced[:-1, -1]
        variance = max(reduced[-1, -1] - reduced[-1, :-1] @ effects, 0.0) / freedom
        deviance = (
            freedom * np.log(max(variance, np.finfo(float).tiny))
            + np.linalg.slogdet(inner)[1].sum()
            - np.linalg.slogdet(inverse)[1]
        )
        return float(deviance), effects, variance, inverse

    fits = [
        optimize.minimize(
            lambda root: profile(root)[0],
            start,
            method="Nelder-Mead",
            options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 4_000, "maxfev": 4_000},
        )
        for start in ([1.0, 0.0, 1.0], [0.1, 0.0, 0.1])
    ]
    root = min(fits, key=lambda one: one.fun).x
    _, effects, variance, inverse = profile(root)
    if variance < 1e-12 * products[-1, -1] / len(changes):
        return None
    sd = float(np.sqrt(variance))
    sds = np.array([abs(root[0]), np.hypot(root[1], root[2]) / scale]) * sd
    return Fit(effects, np.sqrt(np.diag(inverse) * variance), sds, sd)
