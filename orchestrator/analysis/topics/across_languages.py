"""Few seeds, many languages: numbers over all runs of a sparsity that one odd run or language does
not decide, with intervals from a stratified bootstrap: seeds are drawn within each language.

A run is a language and seed. All are those of Agarwal et al. 2021, Deep reinforcement learning at
the edge of the statistical precipice, with languages in the place of tasks.
"""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.frames import CELL, Results, finish, in_order, languages_notes
from orchestrator.analysis.statistics.intervals import IntervalOptions
from orchestrator.analysis.tables import ACROSS_LANGUAGES, PROFILES, THRESHOLDS, AnalysisTable
from orchestrator.results.rows import Row

NUM_REPLICATES = 1_000
"""How often seeds are drawn."""

Strata = Sequence[np.ndarray]
"""F1 of the seeds of each language, float64 (seeds,) each."""


def describe_across(results: Results, options: IntervalOptions) -> list[AnalysisTable]:
    """Make the tables `across_languages` and `profiles`.

    Args:
        results: what was run.
        options: how intervals are made.
    """
    numbers: list[Row] = []
    profiles: list[Row] = []
    for place, trials in results.trials.groupby(CELL):
        row = dict(zip(CELL, place, strict=True))
        # Seeded by its place, so that other cells change nothing.
        text = " ".join(map(str, place[1:]))
        generator = np.random.default_rng(zlib.crc32(text.encode()))
        own, dense = _strata(trials)
        drawn = np.concatenate([draw(one, generator) for one in own], axis=1)
        facts = row | {
            "confidence": options.confidence if _has_interval(own) else float("nan"),
            "num_languages": sum(len(one) > 0 for one in own),
            "num_trials": trials.loc[trials["f1"].notna(), "trial_id"].nunique(),
        }
        found = {"iqm": _with_interval(interquartile_mean(drawn), own, options)}
        if row["target_sparsity"] > 0:
            found["improvement"] = _improvement(own, dense, options, generator)
        numbers.extend(facts | {"statistic": name} | value for name, value in found.items())
        profiles.extend(facts | value for value in _profile(drawn, own, options))
    across, of_runs = pd.DataFrame(numbers), pd.DataFrame(profiles)
    mixed = languages_notes(of_runs)
    return [
        finish(ACROSS_LANGUAGES, in_order(across, ["statistic"]), [*_notes(numbers), *mixed]),
        finish(PROFILES, in_order(of_runs, ["threshold"]), mixed),
    ]


def _strata(trials: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """F1 by language of a cell's trials, and of the dense trials beside them; languages without an
    F1 are left out, of the dense side those without both."""
    own, dense = [np.zeros(0)], [np.zeros(0)]
    for _, of_language in trials.groupby("language"):
        f1 = of_language["f1"].dropna().to_numpy()
        beside = of_language.drop_duplicates("dense_trial_id")["dense_f1"].dropna().to_numpy()
        if len(f1):
            own.append(f1)
            dense.append(beside)
    return own[1:] or own, dense[1:] or dense


def draw(f1: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """F1 of a language's seeds as they are, then drawn with replacement, float64 (1 + replicates,
    seeds)."""
    places = generator.integers(max(1, len(f1)), size=(NUM_REPLICATES, len(f1)))
    return np.concatenate([f1[None], f1[places]])


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row without its lowest and highest quarter, float64 (rows,); of n values
    the whole part of n / 4 is left out at each end. NaN of empty rows."""
    size = values.shape[1]
    if not size:
        return np.full(len(values), np.nan)
    left_out = size // 4
    kept: np.ndarray = np.sort(values, axis=1)[:, left_out : size - left_out]
    return np.asarray(kept.mean(axis=1))


def _improvement(
    own: Strata, dense: Strata, options: IntervalOptions, generator: np.random.Generator
) -> Row:
    """The chance that a sparse run is better than a dense one of its language: over all pairs of
    their seeds, of which equal ones count half; mean over languages."""
    both = [(one, other) for one, other in zip(own, dense, strict=True) if len(one) and len(other)]
    if not both:
        return _with_interval(np.full(1, np.nan), [], options, "no dense trial has an F1")
    chances = []
    for one, other in both:
        sparse_f1 = draw(one, generator)[:, :, None]
        dense_f1 = draw(other, generator)[:, None, :]
        wins = (sparse_f1 > dense_f1) + 0.5 * (sparse_f1 == dense_f1)
        chances.append(wins.mean(axis=(1, 2)))
    value = _with_interval(np.mean(chances, axis=0), [*own, *dense], options)
    return value | {"num_languages": len(both)}


def _profile(drawn: np.ndarray, own: Strata, options: IntervalOptions) -> Iterator[Row]:
    """The share of runs above each threshold."""
    for threshold in THRESHOLDS:
        is_above = (drawn > threshold).mean(axis=1) if drawn.size else np.full(1, np.nan)
        yield {"threshold": threshold} | _with_interval(is_above, own, options)


def _has_interval(strata: Strata) -> bool:
    return any(len(one) > 1 for one in strata)


def _with_interval(
    values: np.ndarray, strata: Strata, options: IntervalOptions, reason: str = "no F1"
) -> Row:
    """The first value, the interval of the others, and why one of them is null."""
    row = {"value": values[0], "low": float("nan"), "high": float("nan"), "reason": ""}
    if np.isnan(values[0]):
        return row | {"reason": reason}
    if not _has_interval(strata):
        return row | {"reason": "one seed: no interval"}
    level = (1 - options.confidence) / 2
    low, high = np.quantile(values[1:], [level, 1 - level])
    return row | {"low": low, "high": high}


def _notes(numbers: Sequence[Row]) -> list[str]:
    notes = [
        "Each run counts once, so that a language with more seeds counts more; intervals are of "
        "other seeds of these languages, not of other languages."
    ]
    if few := sum(row["reason"].startswith("one seed") for row in numbers):
        notes.append(f"One seed a language is behind {few:,} of {len(numbers):,} numbers.")
    return notes
