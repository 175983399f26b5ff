"""How unequal languages are at each sparsity, beside the same languages dense: the worst of them,
their spread, and the gap between resource tiers."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.frames import (
    CELL,
    Results,
    count_trials,
    finish,
    in_order,
    languages_notes,
)
from orchestrator.analysis.statistics.intervals import (
    NOTHING,
    Changes,
    IntervalOptions,
    LevelChanges,
    Sentences,
    find_changes,
)
from orchestrator.analysis.tables import DISPARITY, TIERS, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

MEASURED = ("worst_f1", "f1_std", "f1_range", "tier_gap")
"""What is measured of the sparse and of the dense side, and subtracted."""


NUM_DRAWS = 2_000
"""For intervals: of all languages, each from what is known of its mean."""

ENDS = (*MEASURED, *(f"{name}_change" for name in MEASURED))
"""What has an interval."""


def find_disparity(
    results: Results, changes: Changes, sentences: Sentences, options: IntervalOptions
) -> AnalysisTable:
    """Make the table `disparity`.

    Args:
        results: F1 of trials.
        changes: from dense to sparse.
        sentences: what sentences do to F1.
        options: how intervals are made.
    """
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
    paired = sparse[has_both].assign(other_id=NOTHING)
    sides = (
        find_changes(paired.rename(columns={"f1": "change"}), sentences),
        find_changes(
            paired.assign(change=paired["dense_f1"], trial_id=paired["dense_trial_id"]), sentences
        ),
        changes,
    )
    rows = [
        dict(zip(CELL, place, strict=True))
        | _compare(languages)
        | _find_ends(place, languages, [side.get(place) for side in sides], options)
        for place, languages in by_language.groupby(CELL)
    ]
    table = pd.DataFrame(rows).set_index(CELL)
    table["num_trials"] = count_trials(sparse, CELL, has_both)
    table = in_order(table.reset_index())
    return finish(DISPARITY, table, _notes(table))


def _compare(languages: pd.DataFrame) -> Row:
    """The numbers of one cell, from a row a language in the order of the alphabet."""
    both = languages.dropna(subset=["sparse_f1", "dense_f1"])
    present = _tiers_of(both)
    top, bottom = (present[-1], present[0]) if present else ("", "")
    sides = {"": "sparse_f1", "dense_": "dense_f1"}
    sparse, dense = (
        dict(zip(MEASURED, measure_spread(both[side].to_numpy(), _ends_of(both)), strict=True))
        for side in sides.values()
    )
    # Of equals the first in the alphabet.
    worst = {
        f"{prefix}worst_language": both.loc[both[side].idxmin(), "language"] if len(both) else ""
        for prefix, side in sides.items()
    }
    return {
        **worst,
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


def _find_ends(
    place: tuple[object, ...],
    languages: pd.DataFrame,
    levels: Sequence[LevelChanges | None],
    options: IntervalOptions,
) -> Row:
    """The ends of the intervals of a cell's numbers; NaN where there are none.

    Args:
        place: the columns of `CELL`.
        languages: a row each.
        levels: of the sparse F1, the dense F1 beside it, and the change.
        options: how intervals are made.
    """
    nothing = {f"{name}_{end}": float("nan") for name in ENDS for end in ("low", "high")}
    both = languages.dropna(subset=["sparse_f1", "dense_f1"])
    if both.empty or any(level is None or level.is_shared for level in levels):
        return nothing
    known = [_known(level, both["language"]) for level in levels if level is not None]
    variances = np.array([of_level[0] for of_level in known])
    if np.isnan(variances).any() or not variances.any():
        return nothing
    # Its own stream, which no other cell changes: a series' number depends on the others.
    generator = np.random.default_rng(zlib.crc32(repr(place[1:]).encode()))
    low, high = spread_ends(
        both[["sparse_f1", "dense_f1"]].to_numpy().T,
        variances,
        known[2][1],
        _ends_of(both),
        options.confidence,
        generator,
    )
    return {
        f"{name}_{end}": values[at]
        for end, values in (("low", low), ("high", high))
        for at, name in enumerate(ENDS)
    }


def _tiers_of(languages: pd.DataFrame) -> list[str]:
    """The known tiers of these languages, the lowest first."""
    return [name for _, name in TIERS if name in set(languages["tier"])]


def _ends_of(languages: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """Which of these languages are of the top and which of the bottom tier, bool (L,) each; None
    where there are no two."""
    present, tiers = _tiers_of(languages), languages["tier"].to_numpy()
    return (tiers == present[-1], tiers == present[0]) if len(present) > 1 else None


def measure_spread(f1s: np.ndarray, tiers: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """How unequal L languages are.

    Args:
        f1s: means, float64 (..., L).
        tiers: which languages are of the top and which of the bottom tier, bool (L,) each; None
            where there are no two.

    Returns:
        `MEASURED`, float64 (..., 4); NaN where a number is not defined.
    """
    nothing = np.full(f1s.shape[:-1], np.nan)
    worst = spread = span = gap = nothing
    if f1s.shape[-1]:
        worst = f1s.min(axis=-1)
    if f1s.shape[-1] > 1:
        spread, span = f1s.std(axis=-1, ddof=1), np.ptp(f1s, axis=-1)
    if tiers is not None:
        top, bottom = tiers
        gap = f1s[..., top].mean(axis=-1) - f1s[..., bottom].mean(axis=-1)
    return np.stack([worst, spread, span, gap], axis=-1)


def _known(level: LevelChanges, languages: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom of a level's means, by language; NaN where seeds are not
    allowed for, and 0 where nothing varies."""
    found = level.estimates
    places: Mapping[str, int] = {code: at for at, code in enumerate(level.languages)}
    at = [places[code] for code in languages]
    variance = np.where(np.isnan(found.variance), 0.0, found.variance)
    return np.where(found.has_seeds, variance, np.nan)[at], found.df[at]


def spread_ends(
    f1s: np.ndarray,
    variances: np.ndarray,
    df: np.ndarray,
    tiers: tuple[np.ndarray, np.ndarray] | None,
    confidence: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of how unequal L languages are.

    Means that are known roughly differ by more than the truth, and those drawn around them by still
    more. So the interval is the basic one: as far below the number as draws lie above it.

    Args:
        f1s: means of the sparse and of the dense side, float64 (2, L).
        variances: of these, and of the change, float64 (3, L).
        df: degrees of freedom of the variances, float64 (L,).
        tiers: see `measure_spread`.
        confidence: nominal coverage, in (0, 1).
        generator: of the draws.

    Returns:
        Lower and upper ends of `ENDS`, float64 (8,) each; NaN where a number is not defined.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 5.2.
    """
    of_sparse, of_dense, of_change = variances
    together = np.sqrt(of_sparse * of_dense)
    shared = np.divide(
        of_sparse + of_dense - of_change, 2 * together, out=np.zeros_like(df), where=together > 0
    ).clip(-1, 1)
    first, second = generator.standard_normal((2, NUM_DRAWS, len(df)))
    wide = np.sqrt(df / generator.chisquare(df, (NUM_DRAWS, len(df))))
    errors = np.stack(
        [
            np.sqrt(of_sparse) * first * wide,
            np.sqrt(of_dense) * (shared * first + np.sqrt(1 - shared**2) * second) * wide,
        ],
        axis=1,
    )

    def measure(values: np.ndarray) -> np.ndarray:
        of_each = measure_spread(values, tiers)
        return np.concatenate(
            [of_each[..., 0, :], of_each[..., 0, :] - of_each[..., 1, :]], axis=-1
        )

    found = measure(f1s)
    below, above = np.quantile(
        measure(f1s + errors), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0
    )
    low, high = 2 * found - above, 2 * found - below
    # F1, spreads and spans of it have ends of their own.
    low[:3], high[:3] = low[:3].clip(0, 1), high[:3].clip(0, 1)
    return low, high


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
    notes += languages_notes(table)
    if without := int((table["worst_f1_low"].isna() & table["worst_f1"].notna()).sum()):
        notes.append(
            f"{counted(without, 'row')} without intervals: languages share a model, or how far "
            "seeds differ is not known."
        )
    reasons = table.loc[table["reason"] != "", "reason"].value_counts(sort=False)
    for reason, num_rows in reasons.items():
        notes.append(f"Not all numbers are there in {counted(num_rows, 'row')}: {reason}.")
    return notes
