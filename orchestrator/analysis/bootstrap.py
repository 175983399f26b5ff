"""Intervals of the change of F1 from dense to sparse, by a paired bootstrap of seeds and sentences.

Seeds and sentences are crossed, not nested: all trials of a language were scored on the same
sentences. So a replicate draws sentences once, for all its seeds and for the sparse and the dense
side. F1 comes from sums over sentences, and a sum over sentences drawn with replacement is a
product of how often each was drawn with what it holds: one matrix product a language serves all its
trials.

Source: Owen 2007, The pigeonhole bootstrap.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.frames import CELL, Results, in_order
from orchestrator.analysis.predictions import SetPredictions
from orchestrator.analysis.tables import ROUNDING
from orchestrator.results.rows import Row
from orchestrator.wording import counted

DRAWS_AT_A_TIME = 2_000_000
"""Sentences drawn that are in memory at a time; they and their counts take 40 MB."""

F1Draws = Mapping[str, np.ndarray]
"""By trial: F1 of all sentences, then of each replicate, float64 (1 + replicates,); NaN where it is
0 / 0."""


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        num_replicates: how often seeds and sentences are drawn, 1 or more.
        seed: of the random draws.
        confidence: nominal coverage of the intervals, in (0.5, 1).
    """

    num_replicates: int = 1_000
    seed: int = 0
    confidence: float = 0.95


@dataclass(frozen=True)
class _SetDraws:
    """A set of sentences, resampled."""

    num_sentences: int
    f1s: F1Draws


def find_intervals(
    results: Results, sets: Sequence[SetPredictions], options: Bootstrap
) -> pd.DataFrame:
    """Find the interval of each change.

    Args:
        results: F1 of trials; where no predictions are stored, their seeds alone are resampled.
        sets: what trials predicted, on the same split.
        options: how intervals are made.

    Returns:
        A row a sparse cell and language: the columns of the table `significance` but the verdict.
    """
    generator = np.random.default_rng(options.seed)
    of_language: dict[str, list[_SetDraws]] = {}
    for predictions in sets:
        f1s = resample(predictions, options.num_replicates, generator)
        draws = _SetDraws(len(predictions.support), f1s)
        of_language.setdefault(predictions.language, []).append(draws)

    # Predictions that were counted by another rule of matching than a cell's are not resampled.
    trials = results.trials
    rules = dict(zip(trials["trial_id"], trials["own_matching"], strict=True))
    rows = []
    for place, of_cell in results.sparse.groupby([*CELL, "language", "cell_id"]):
        row = dict(zip([*CELL, "language"], place[:-1], strict=True))
        is_by_rule = of_cell["matching"] == of_cell["trial_id"].map(rules)
        is_by_rule &= of_cell["matching"] == of_cell["dense_trial_id"].map(rules)
        deltas, num_sentences = _pair_draws(
            of_cell[is_by_rule], of_language.get(row["language"], [])
        )
        rows.append(row | _find_interval(of_cell, deltas, num_sentences, options, generator))
    return in_order(pd.DataFrame(rows))


def resample(
    predictions: SetPredictions, num_replicates: int, generator: np.random.Generator
) -> F1Draws:
    """F1 of each trial on the sentences of a set, and on as many drawn with replacement, the same
    for all trials.

    Args:
        predictions: what n trials predicted on the set.
        num_replicates: how often sentences are drawn.
        generator: of the draws.
    """
    num_trials = len(predictions.trial_ids)

    # A row a sentence: entities annotated, then those predicted by each trial, then the right ones.
    counts = np.stack(
        [predictions.support, *predictions.num_predicted, *predictions.num_correct], axis=1
    )
    drawn = [
        times_drawn @ counts.astype(np.float32)
        for times_drawn in draw_sentences(len(counts), num_replicates, generator)
    ]
    # A row a replicate, after that of the sentences as they are: float64 (1 + replicates, 1 + 2 n).
    sums = np.concatenate([counts.sum(axis=0, keepdims=True), *drawn]).astype(np.float64)

    # F1 is 2 correct / (annotated + predicted).
    num_entities = sums[:, :1] + sums[:, 1 : 1 + num_trials]
    f1s = np.full(num_entities.shape, np.nan)
    np.divide(2 * sums[:, 1 + num_trials :], num_entities, out=f1s, where=num_entities > 0)
    return dict(zip(predictions.trial_ids, f1s.T, strict=True))


def draw_sentences(
    num_sentences: int, num_replicates: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Draw as many sentences as there are, with replacement, for each replicate.

    Yields:
        How often each replicate draws each sentence, float32 (replicates of the part, sentences),
        in parts that fit into memory.
    """
    step = max(1, DRAWS_AT_A_TIME // max(1, num_sentences))
    for start in range(0, num_replicates, step):
        size = min(step, num_replicates - start)
        drawn = generator.integers(num_sentences, size=(size, num_sentences))

        # Sentences of each replicate get numbers of their own, so that one count serves all.
        drawn += np.arange(size)[:, None] * num_sentences
        times_drawn = np.bincount(drawn.ravel(), minlength=size * num_sentences)
        yield times_drawn.reshape(size, num_sentences).astype(np.float32)


def _find_interval(
    trials: pd.DataFrame,
    deltas: np.ndarray,
    num_sentences: int | None,
    options: Bootstrap,
    generator: np.random.Generator,
) -> Row:
    """The numbers of one cell and language, from its trials' rows, one a seed, and what
    `_pair_draws` gives."""
    # Without predictions the seeds' own changes stand in the one row that there is.
    has_sentences = num_sentences is not None
    if not has_sentences:
        deltas = trials.loc[trials["delta"].notna(), "delta"].to_numpy()[None, :]
    num_seeds = deltas.shape[1]

    is_odd = has_sentences and not np.allclose(
        deltas[0].mean(), trials["delta"].mean(), atol=ROUNDING
    )
    row: Row = {
        "delta_mean": deltas[0].mean() if num_seeds else None,
        "low": None,
        "high": None,
        "equivalence_low": None,
        "equivalence_high": None,
        "confidence": None,
        "resampled": "nothing",
        "num_replicates": 0,
        "num_pairs": num_seeds,
        "num_sentences": num_sentences,
        "num_holes": len(trials) - num_seeds,
        "is_odd": is_odd,
    }
    if num_seeds < 2 and not has_sentences:
        return row

    # Each replicate draws seeds, too: a mean over seeds, weighted by how often each was drawn.
    times_drawn = generator.multinomial(
        num_seeds, np.full(num_seeds, 1 / num_seeds), size=options.num_replicates
    )
    changes = ((deltas[1:] if has_sentences else deltas) * times_drawn).sum(axis=1) / num_seeds
    changes = changes[~np.isnan(changes)]
    if not len(changes):
        return row

    # Two one-sided tests at the level of one two-sided test leave that level out on each side.
    level = 1 - options.confidence
    places = [level / 2, 1 - level / 2, level, 1 - level]
    names = ("low", "high", "equivalence_low", "equivalence_high")
    return row | {
        **dict(zip(names, np.quantile(changes, places), strict=True)),
        "confidence": options.confidence,
        "resampled": _what_was_resampled(has_sentences, num_seeds),
        "num_replicates": len(changes),
    }


def _what_was_resampled(has_sentences: bool, num_seeds: int) -> str:
    if not has_sentences:
        return "seeds"
    return "sentences" if num_seeds == 1 else "seeds and sentences"


def _pair_draws(trials: pd.DataFrame, draws: Sequence[_SetDraws]) -> tuple[np.ndarray, int | None]:
    """Sparse minus dense F1, float64 (1 + replicates, seeds with both), the first row of the
    sentences as they are; and the number of sentences, None without predictions."""
    for of_set in draws:
        pairs = zip(trials["trial_id"], trials["dense_trial_id"], strict=True)
        deltas = [
            of_set.f1s[sparse] - of_set.f1s[dense]
            for sparse, dense in pairs
            if sparse in of_set.f1s and dense in of_set.f1s
        ]
        if deltas:
            return np.stack(deltas, axis=1), of_set.num_sentences
    return np.empty((1, 0)), None


def interval_notes(table: pd.DataFrame, options: Bootstrap) -> list[str]:
    """What must be said of intervals.

    Args:
        table: what `find_intervals` found, one or more.
        options: how they were made.
    """
    kinds = table["resampled"].value_counts()
    notes = [
        f"{options.num_replicates:,} replicates from seed {options.seed}; percentile intervals, "
        "each of one cell and language, not corrected for their number."
    ]
    with_seeds = table["resampled"].str.contains("seeds")
    for num_seeds in sorted(set(table.loc[with_seeds, "num_pairs"])):
        # The interval misses when all seeds lie on one side of the truth.
        covered = 1 - 2.0 ** (1 - num_seeds)
        notes.append(
            f"With {num_seeds} seeds the seeds' part of an interval stays within what those seeds "
            f"gave and covers at most {covered:.0%}, whatever was asked for: intervals are too "
            "narrow where seeds matter most."
        )
    if "seeds" in kinds:
        intervals = counted(kinds["seeds"], "interval")
        notes.append(f"Seeds only are resampled for {intervals}, as no predictions are stored.")
    if "sentences" in kinds:
        intervals = counted(kinds["sentences"], "interval")
        notes.append(f"One seed is behind {intervals}: nothing is said of other seeds.")
    if "nothing" in kinds:
        changes = counted(kinds["nothing"], "change")
        notes.append(f"No interval of {changes}: no pair, or one seed without predictions.")
    if num_odd := int(table["is_odd"].sum()):
        changes = counted(num_odd, "change")
        notes.append(f"Scores and predictions do not agree on {changes}: see quality.")
    return notes
