"""How unequal languages are at each sparsity, beside the same languages dense: the worst of them,
their spread, and the gap between resource tiers."""

import pandas as pd

from orchestrator.analysis.frames import CELL, Results, count_trials, finish, in_order
from orchestrator.analysis.tables import DISPARITY, TIERS, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

MEASURED = ("worst_f1", "f1_std", "f1_range", "tier_gap")
"""What is measured of the sparse and of the dense side, and subtracted."""


def find_disparity(results: Results) -> AnalysisTable:
    """Make the table `disparity`."""
    sparse = results.sparse
    if sparse.empty:
        return finish(DISPARITY, sparse, ["No sparse trials: nothing to compare with dense."])

    # A row a cell and language: means over the seeds that have both, so that a change compares the
    # same seeds as well as the same languages.
    has_both = sparse["delta"].notna()
    by_language = (
        sparse.assign(
            sparse_f1=sparse["f1"].where(has_both), dense_f1=sparse["dense_f1"].where(has_both)
        )
        .groupby([*CELL, "language", "tier"])[["sparse_f1", "dense_f1"]]
        .mean()
        .reset_index()
    )
    rows = [
        dict(zip(CELL, place, strict=True)) | _compare(languages)
        for place, languages in by_language.groupby(CELL)
    ]
    table = pd.DataFrame(rows).set_index(CELL)
    table["num_trials"] = count_trials(sparse, CELL, has_both)
    table = in_order(table.reset_index())
    return finish(DISPARITY, table, _notes(table))


def _compare(languages: pd.DataFrame) -> Row:
    """The numbers of one cell, from a row a language in the order of the alphabet."""
    both = languages.dropna(subset=["sparse_f1", "dense_f1"])
    present = [name for _, name in TIERS if name in set(both["tier"])]
    sparse, dense = (_measure(both, side, present) for side in ("sparse_f1", "dense_f1"))
    top, bottom = (present[-1], present[0]) if present else ("", "")
    return {
        **sparse,
        **{f"dense_{name}": value for name, value in dense.items()},
        **{f"{name}_change": sparse[name] - dense[name] for name in MEASURED},
        "top_tier": top,
        "bottom_tier": bottom,
        "num_top": int((both["tier"] == top).sum()) if present else 0,
        "num_bottom": int((both["tier"] == bottom).sum()) if present else 0,
        "reason": _why_not_all(len(both), present),
        "num_languages": len(both),
        "num_languages_missing": len(languages) - len(both),
    }


def _measure(both: pd.DataFrame, side: str, present: list[str]) -> Row:
    """`MEASURED` and the worst language of one side; NaN and an empty text where there is none."""
    f1 = both[side]
    is_spread = len(both) > 1
    of_tiers = f1.groupby(both["tier"]).mean()
    return {
        # Of equals the first in the alphabet.
        "worst_language": both.loc[f1.idxmin(), "language"] if len(both) else "",
        "worst_f1": f1.min(),
        "f1_std": f1.std() if is_spread else float("nan"),
        "f1_range": f1.max() - f1.min() if is_spread else float("nan"),
        "tier_gap": (
            of_tiers[present[-1]] - of_tiers[present[0]] if len(present) > 1 else float("nan")
        ),
    }


def _why_not_all(num_languages: int, present: list[str]) -> str:
    """Why a number is null; nothing where all are there."""
    if not num_languages:
        return "no F1 beside that of a dense trial"
    if num_languages == 1:
        return "one language"
    if not present:
        return "no tier is known"
    return f"one tier: {present[0]}" if len(present) == 1 else ""


def _notes(table: pd.DataFrame) -> list[str]:
    notes = [
        "Means are over the seeds that have both, so that F1 is that of quality only where no seed "
        "is missing."
    ]
    if table["num_languages"].nunique() > 1:
        notes.append(
            "Where num_languages differs, so do the languages: compare changes, not levels."
        )
    reasons = table.loc[table["reason"] != "", "reason"].value_counts(sort=False)
    for reason, num_rows in reasons.items():
        notes.append(f"Not all numbers are there in {counted(num_rows, 'row')}: {reason}.")
    return notes
