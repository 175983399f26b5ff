"""What the change of a language's F1 comes to: better, worse, equivalent or undecided, from its
interval; how many languages are which; and up to which sparsity a language keeps its F1.

Equivalent is what two one-sided tests say at the level at which the interval says that a change is
not 0: the interval that both of them leave out of, by that level on each side, lies within the
margin. It comes first, since a change that is shown to be smaller than what matters does not matter
by being shown not to be 0.

Source: Schuirmann 1987, two one-sided tests.
"""

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.frames import (
    CELL,
    SERIES,
    Results,
    count_trials,
    finish,
    in_order,
)
from orchestrator.analysis.statistics.intervals import Changes, IntervalOptions, tabulate
from orchestrator.analysis.tables import (
    MARGIN,
    ROUNDING,
    SIGNIFICANCE,
    TALLY,
    TOLERANCE,
    VERDICTS,
    AnalysisTable,
)
from orchestrator.errors import StoreError
from orchestrator.results.rows import Row
from orchestrator.wording import counted

VERDICT_TABLES = (SIGNIFICANCE, TALLY, TOLERANCE)
"""The tables that are made here."""


def check_margin(margin: float) -> None:
    """Refuse a margin that is none.

    Raises:
        StoreError: it is not above 0 and below 1.
    """
    if not 0 < margin < 1:
        raise StoreError(
            f"margin: {margin:g} is no margin of F1; give a number above 0 and below 1, such as "
            f"{MARGIN:g}"
        )


def judge_changes(
    results: Results,
    changes: Changes,
    options: IntervalOptions,
    margin: float,
    each_is_one: Changes | None = None,
) -> list[AnalysisTable]:
    """Make the tables significance, tally and tolerance.

    Args:
        results: F1 of trials.
        changes: from dense to sparse.
        options: how intervals are made.
        margin: the largest change of F1 that does not matter, as a fraction in (0, 1).
        each_is_one: the changes as they are where identical sentences count as several, if they
            count as one in `changes`: what this does is noted.
    """
    intervals = in_order(tabulate(changes, options))
    if intervals.empty:
        nothing = ["No sparse trials: nothing to compare with dense."]
        return [finish(table, intervals, nothing) for table in VERDICT_TABLES]

    intervals["margin"] = margin
    is_short = ~intervals["allows_for"].str.contains("seeds") & (intervals["num_pairs"] > 0)
    intervals["verdict"] = judge(intervals, margin, is_short)
    few = _few_seeds_notes(int(is_short.sum()))
    notes = []
    if each_is_one is not None:
        notes = [_identical_note(intervals, in_order(tabulate(each_is_one, options)))]
    passed_over = "A sparsity without a change to dense is passed over."
    return [
        finish(SIGNIFICANCE, intervals, [*_interval_notes(intervals), *notes]),
        finish(TALLY, tally(results, intervals), few),
        finish(TOLERANCE, find_tolerated(intervals), [passed_over, *few]),
    ]


def _interval_notes(table: pd.DataFrame) -> list[str]:
    """What must be said of intervals, from a row each."""
    kinds = table["allows_for"].value_counts()
    notes = ["Each interval is of one cell and language; they are not corrected for their number."]
    if "seeds" in kinds:
        intervals = counted(kinds["seeds"], "interval")
        notes.append(
            f"No predictions are stored for {intervals}: other seeds are allowed for, other "
            "sentences are not."
        )
    if "sentences" in kinds:
        intervals = counted(kinds["sentences"], "interval")
        notes.append(f"One seed is behind {intervals}: nothing is said of other seeds.")
    for reason, number in table.loc[table["reason"] != "", "reason"].value_counts().items():
        notes.append(f"No interval of {counted(number, 'change')}: {reason}.")
    if num_odd := int(table["is_odd"].sum()):
        changes = counted(num_odd, "change")
        notes.append(f"Scores and predictions do not agree on {changes}: see quality.")
    return notes


def _identical_note(together: pd.DataFrame, apart: pd.DataFrame) -> str:
    """What it does that identical sentences count as one, from the same rows with and without."""
    widths = [table["high"] - table["low"] for table in (together, apart)]
    is_known = together["num_sentences"].notna() & widths[1].gt(0) & widths[0].notna()
    if not is_known.any():
        return "Identical sentences would count as one; no interval allows for sentences."
    ratios = (widths[0] / widths[1])[is_known]
    return (
        f"Identical sentences count as one: {counted(int(is_known.sum()), 'interval')} "
        f"{ratios.median():.2f} times as wide in the median, {ratios.min():.2f} to "
        f"{ratios.max():.2f} times."
    )


def judge(intervals: pd.DataFrame, margin: float, is_short: pd.Series) -> np.ndarray:
    """The verdict on each change; an empty text where there is no change.

    Args:
        intervals: with the columns delta_mean, low, high, equivalence_low and equivalence_high;
            NaN or None where there is none.
        margin: the largest change of F1 that does not matter.
        is_short: bool, by the rows of `intervals`: the spread over seeds is not known.
    """
    names = ["delta_mean", "low", "high", "equivalence_low", "equivalence_high"]
    delta, low, high, inner_low, inner_high = intervals[names].astype(float).to_numpy().T
    limit = margin + ROUNDING
    better, worse, equivalent, undecided = VERDICTS
    cases = {
        "": np.isnan(delta),
        undecided: is_short.to_numpy(),
        equivalent: (inner_low >= -limit) & (inner_high <= limit),
        better: low > ROUNDING,
        worse: high < -ROUNDING,
    }
    return np.select(list(cases.values()), list(cases), undecided)


def _few_seeds_notes(num_short: int) -> list[str]:
    if not num_short:
        return []
    return [
        f"Undecided, as no spread over seeds is known: {counted(num_short, 'change')}. One seed "
        "says nothing of others."
    ]


def tally(results: Results, intervals: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `tally`.

    Args:
        results: what was run.
        intervals: a row a cell and language, with its verdict.
    """
    kinds = {f"num_{name}": intervals["verdict"] == name for name in VERDICTS}
    kinds["num_missing"] = intervals["verdict"] == ""
    kinds["num_languages"] = intervals["verdict"] != ""
    # A row is one language, so that the sum of a kind is the number of its languages.
    table = intervals.assign(**kinds).groupby([*CELL, "margin"])[list(kinds)].sum()
    table = table.reset_index("margin")
    table["num_trials"] = count_trials(results.sparse, CELL, results.sparse["delta"].notna())
    return in_order(table.reset_index())


def find_tolerated(intervals: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `tolerance`, from a row a cell and language with its verdict."""
    # Where everything is pruned to one value, that is a point of two curves: of the one on which
    # embeddings stay there, and of the one on which they follow the rest, if there is such a one.
    is_both = intervals["embedding_sparsity"] == intervals["target_sparsity"]
    curve = [*SERIES, "language"]
    following = intervals.loc[intervals["embeddings"] == "pruned", curve].drop_duplicates()
    is_fixed = intervals["embeddings"].str.startswith("pruned to")
    shared = intervals[is_both & is_fixed].merge(following, on=curve)
    intervals = pd.concat([intervals, shared.assign(embeddings="pruned")], ignore_index=True)

    keys = [*SERIES, "language", "embeddings", "margin"]
    rows = [
        dict(zip(keys, place, strict=True)) | _find_tolerated(of_language)
        for place, of_language in intervals.groupby(keys)
    ]
    return in_order(pd.DataFrame(rows))


def _find_tolerated(intervals: pd.DataFrame) -> Row:
    """What one language tolerates, from its rows, one a sparsity."""
    measured = intervals[intervals["verdict"] != ""].sort_values("target_sparsity")
    better, worse, equivalent, undecided = VERDICTS

    # A sparsity is tolerated if all lower ones are, too.
    is_kept = measured["verdict"].isin([better, equivalent])
    tolerated = measured[is_kept.cummin().astype(bool)]
    highest = tolerated["target_sparsity"].max() if len(tolerated) else 0.0

    def lowest(verdict: str) -> float | None:
        found = measured.loc[measured["verdict"] == verdict, "target_sparsity"]
        return found.min() if len(found) else None

    return {
        "tolerated_sparsity": highest if len(measured) else None,
        "change_at_tolerated": tolerated["delta_mean"].iloc[-1] if len(tolerated) else None,
        "undecided_at": lowest(undecided),
        "worse_at": lowest(worse),
        "num_sparsities": len(measured),
        "num_sparsities_missing": len(intervals) - len(measured),
        "num_trials": measured["num_pairs"].sum(),
    }
