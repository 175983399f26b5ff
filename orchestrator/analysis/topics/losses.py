"""Which languages lose more: whether the change of F1 goes with what languages differ in.

At each sparsity by rank correlation; over sparsities in two stages, a slope a language and then how
slopes go with a covariate. p comes from exchanging languages within families.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis.inputs.frames import CELL, SERIES, Results, families_of, finish, in_order
from orchestrator.analysis.statistics.permutations import exchanges, numbered, p_value
from orchestrator.analysis.tables import COLLAPSED, CORRELATIONS, SLOPES, AnalysisTable
from orchestrator.analysis.topics.inference import DIGITS, corrected
from orchestrator.results.columns import Table
from orchestrator.results.rows import Row
from orchestrator.wording import counted

OUTCOMES = {"change": "delta_dense_mean", "relative change": "relative_dense_mean"}
"""What may go with a covariate, and its column."""

MIN_LANGUAGES = 3
"""Two languages always lie on a line."""

CORRELATION = ("rho", "slope", "p", "p_least", "p_independent")
SLOPE = ("estimate", "std_error", "p", "p_least", "p_independent")
"""Columns that a test makes."""


def find_losses(results: Results, described: pd.DataFrame) -> list[AnalysisTable]:
    """Make the tables `correlations` and `slopes`.

    Args:
        results: what was run.
        described: see `describe_languages`.
    """
    cells = results.sparse_cells
    if cells.empty:
        nothing = ["No sparse trials: nothing is lost."]
        return [finish(table, cells, nothing) for table in (CORRELATIONS, SLOPES)]

    # Of each series and covariate the value of each language; those nobody has are left out.
    values = {
        place: of_languages.set_index("language")["value"].dropna()
        for place, of_languages in described.groupby([*SERIES, "covariate"], sort=False)
    }
    levels = [
        dict(zip(CELL, place, strict=True)) | row
        for place, rows in cells.groupby(CELL)
        for row in _test_each(_correlate_level, rows, values, place[: len(SERIES)])
    ]
    whole = [
        dict(zip([*SERIES, "embeddings"], place, strict=True)) | row
        for place, rows in cells.groupby([*SERIES, "embeddings"])
        for row in _test_each(_regress_slopes, rows, values, place[: len(SERIES)])
    ]
    return [
        finish(table, in_order(_with_holm(rows), ["outcome", "covariate"]), _notes(rows, table))
        for table, rows in ((CORRELATIONS, levels), (SLOPES, whole))
    ]


def _test_each(
    test: Callable[[pd.DataFrame, pd.Series, Mapping[str, str]], Row],
    rows: pd.DataFrame,
    values: Mapping[tuple[Hashable, ...], pd.Series],
    series: tuple[Hashable, ...],
) -> Iterator[Row]:
    """The rows of a test of each outcome and covariate that there are values of."""
    families = families_of(rows)
    for outcome, column in OUTCOMES.items():
        losses = rows[["language", "target_sparsity", "f1_mean"]].assign(loss=rows[column])
        for place, of_languages in values.items():
            if place[: len(SERIES)] == series and len(of_languages):
                yield {"outcome": outcome, "covariate": place[-1]} | test(
                    losses, of_languages, families
                )


def _correlate_level(losses: pd.DataFrame, values: pd.Series, families: Mapping[str, str]) -> Row:
    """The numbers of one sparsity, outcome and covariate."""
    losses = losses.set_index("language")
    has_loss = losses["loss"].notna()
    is_collapsed = has_loss & (losses["f1_mean"] < COLLAPSED)
    kept = losses.loc[has_loss & ~is_collapsed, "loss"]
    kept = kept[kept.index.isin(values.index)]
    found = _judge(correlate, CORRELATION, values, kept, families)
    num_collapsed = int(is_collapsed.sum())
    return found | {
        "num_collapsed": num_collapsed,
        "num_languages_missing": len(losses) - num_collapsed - len(kept),
    }


def _regress_slopes(losses: pd.DataFrame, values: pd.Series, families: Mapping[str, str]) -> Row:
    """The numbers of one kind of embeddings, outcome and covariate, over sparsities.

    All slopes are of the same sparsities: those at which no language has collapsed. A language that
    has at the lowest one, or lacks a change, is left out.
    """
    table = losses.pivot(index="language", columns="target_sparsity", values="loss")
    f1s = losses.pivot(index="language", columns="target_sparsity", values="f1_mean")
    num_languages = len(table)
    table = table.dropna(axis=1, how="all")
    table = table.dropna() if len(table.columns) else table[:0]
    is_collapsed = f1s.loc[table.index, table.columns] < COLLAPSED
    is_out = is_collapsed.iloc[:, :1].any(axis=1)
    num_collapsed = int(is_out.sum())
    table, is_collapsed = table[~is_out], is_collapsed[~is_out]
    has_collapsed = is_collapsed.any()
    table = table.loc[:, ~has_collapsed]
    table = table[table.index.isin(values.index)]

    counts = {
        "num_collapsed": num_collapsed,
        "num_levels": len(table.columns),
        "num_levels_collapsed": int(has_collapsed.sum()),
        "num_languages_missing": num_languages - num_collapsed - len(table),
    }
    if len(table.columns) < 2:
        reason = "fewer than 2 sparsities at which no language collapsed"
        return (
            dict.fromkeys(SLOPE) | counts | _counts_of(table.index, families) | {"reason": reason}
        )
    sparsities = table.columns.to_numpy() - table.columns.to_numpy().mean()
    slopes = pd.Series(table.to_numpy() @ sparsities / (sparsities**2).sum(), table.index)
    return _judge(regress, SLOPE, values, slopes, families) | counts


def _judge(
    test: Callable[[np.ndarray, np.ndarray, Sequence[Hashable]], Row],
    names: Sequence[str],
    values: pd.Series,
    losses: pd.Series,
    families: Mapping[str, str],
) -> Row:
    """A test's numbers, how many languages are behind them, and why there are none."""
    first = np.round(values[losses.index].to_numpy(), DIGITS)
    second = np.round(losses.to_numpy(), DIGITS)
    reason = ""
    if len(losses) < MIN_LANGUAGES:
        reason = f"fewer than {MIN_LANGUAGES} languages"
    elif np.ptp(first) == 0:
        reason = "the covariate does not vary"
    elif np.ptp(second) == 0:
        reason = "all languages change alike"
    if reason:
        return dict.fromkeys(names) | _counts_of(losses.index, families) | {"reason": reason}
    numbers = test(first, second, [families[code] for code in losses.index])
    if numbers["p"] is None:
        reason = "no p: languages of one family are too few or too much alike"
    return numbers | _counts_of(losses.index, families) | {"reason": reason}


def _counts_of(languages: pd.Index, families: Mapping[str, str]) -> Row:
    num_families = len({families[code] for code in languages})
    return {"num_languages": len(languages), "num_families": num_families}


def correlate(values: np.ndarray, losses: np.ndarray, families: Sequence[Hashable]) -> Row:
    """Spearman's rank correlation.

    Args:
        values: float64 (languages,), a covariate that varies.
        losses: float64 (languages,), what may go with it; it varies.
        families: that of each language.

    Returns:
        The columns `CORRELATION`: the correlation in [-1, 1]; the least-squares slope of losses;
        the two-sided p within families and the lowest that there could be, None where only one
        value is possible; p as if all languages could be exchanged.

    Source: Spearman 1904, The proof and measurement of association between two things.
    """
    ranks = [stats.rankdata(one) - (len(one) + 1) / 2 for one in (values, losses)]
    rho = float(ranks[0] @ ranks[1] / np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    centred = values - values.mean()
    slope = float(centred @ losses / (centred**2).sum())
    p, p_least = permuted(ranks[0], ranks[1], families)
    p_independent, _ = permuted(ranks[0], ranks[1], [0] * len(values))
    return dict(zip(CORRELATION, (rho, slope, p, p_least, p_independent), strict=True))


def regress(values: np.ndarray, slopes: np.ndarray, families: Sequence[Hashable]) -> Row:
    """The second of two stages: how the slopes of languages go with a covariate.

    Args:
        values: float64 (languages,), a covariate that varies.
        slopes: float64 (languages,), those of the first stage.
        families: that of each language.

    Returns:
        The columns `SLOPE`: the least-squares slope of slopes and its standard error; p as in
        `correlate`, but by values in place of ranks; p of Student's t with languages - 2 degrees of
        freedom, None where the fit is perfect.

    Source: Feldman 1988, Families of lines: random effects in linear regression analysis.
    """
    centred = values - values.mean()
    spread = float((centred**2).sum())
    estimate = float(centred @ slopes / spread)
    residuals = slopes - slopes.mean() - estimate * centred
    freedom = len(values) - 2
    std_error = float(np.sqrt((residuals**2).sum() / freedom / spread))
    p_independent = None
    if std_error > 10.0**-DIGITS:
        p_independent = float(2 * stats.t.sf(abs(estimate / std_error), freedom))
    p, p_least = permuted(values, slopes, families)
    return dict(zip(SLOPE, (estimate, std_error, p, p_least, p_independent), strict=True))


def permuted(
    first: np.ndarray, second: np.ndarray, families: Sequence[Hashable]
) -> tuple[float | None, float | None]:
    """The two-sided p of the sum of products, over exchanges within families; and the lowest that
    there could be. Both None where all exchanges give the same sum.

    What families have in common stays as it is in all exchanges, and so decides nothing.
    """
    # Without the means of families, whose part of the sum no exchange changes.
    numbers = numbered(families)
    within = second - (np.bincount(numbers, second) / np.bincount(numbers))[numbers]
    sums = np.abs(first[exchanges(families)] @ within)
    p, p_least = p_value(sums)
    return (None, None) if p_least == 1 else (p, p_least)


def _with_holm(rows: list[Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    p_of_tests = table.astype({"p": float}).groupby([*SERIES, "outcome"])["p"]
    table["num_tests"] = p_of_tests.transform("count")
    table["p_holm"] = p_of_tests.transform(corrected, method="holm")
    return table


def _notes(rows: list[Row], table: Table) -> list[str]:
    notes = [
        "p compares languages of one family only, so what families have in common decides nothing; "
        "p_independent compares all, and is too small where families differ as a whole.",
        "Covariates go together: what goes with one may be due to another. Noise of dense F1 is in "
        "the change, too, with the opposite sign: that alone makes some correlation.",
    ]
    num_collapsed = sum(row["num_collapsed"] for row in rows if row["covariate"] == "dense_f1")
    if num_collapsed:
        notes.append(
            f"F1 below {COLLAPSED:g} has collapsed, and the change is the dense F1: left out, see "
            "num_collapsed."
        )
    if table is SLOPES and any(row["num_levels_collapsed"] for row in rows):
        notes.append("So are sparsities at which any other language has collapsed.")
    out_of_reach = sum(row["p_least"] is not None and row["p_least"] > 0.05 for row in rows)
    if out_of_reach:
        notes.append(
            "Out of reach of p = 0.05 with so few languages of one family: "
            f"{counted(out_of_reach, 'test')}, see p_least."
        )
    if any(row["regime"] != "monolingual" for row in rows):
        notes.append(
            "Languages of a multilingual trial, and those scored zero-shot, share its model: what "
            "goes with a covariate may be so in these few models only."
        )
    reasons = pd.Series([row["reason"] for row in rows if row["reason"]], dtype=object)
    for reason, number in reasons.value_counts(sort=False).items():
        notes.append(f"Not all numbers are there in {counted(number, 'row')}: {reason}.")
    return notes
