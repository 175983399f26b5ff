"""Intervals of the change of F1 from dense to sparse, by a paired bootstrap of seeds and sentences.

Seeds and sentences are crossed, not nested: all trials of a language were scored on the same
sentences. So a replicate draws sentences once, for all its seeds and for the sparse and the dense
side. F1 comes from sums over sentences, and a sum over sentences drawn with replacement is a
product of how often each was drawn with what it holds: one matrix product a language serves all its
trials.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.analysis.frames import CELL, Results, finish, in_order
from orchestrator.analysis.predictions import PredictedSet
from orchestrator.analysis.tables import ROUNDING, SIGNIFICANCE, AnalysisTable
from orchestrator.wording import counted

DRAWS_AT_A_TIME = 2_000_000
"""Sentences drawn that are in memory at a time; they and their counts take 40 MB."""

F1Draws = Mapping[str, np.ndarray]
"""By trial: F1 of all sentences, then of each replicate, float64 (1 + replicates,); NaN where it is
0 / 0."""


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How it is done: replicates, the seed of the random draws, and the nominal coverage in (0,
    1)."""

    num_replicates: int = 1_000
    seed: int = 0
    confidence: float = 0.95


def find_intervals(
    results: Results, sets: Sequence[PredictedSet], options: Bootstrap
) -> AnalysisTable:
    """The table `significance`."""
    generator = np.random.default_rng(options.seed)
    of_language: dict[str, list[tuple[int, F1Draws]]] = {}
    for one in sets:
        draws = resample(one, options.num_replicates, generator)
        of_language.setdefault(one.language, []).append((len(one.support), draws))
    rows = []
    for place, trials in results.sparse.groupby([*CELL, "language", "cell_id"]):
        row = dict(zip([*CELL, "language"], place[:-1], strict=True))
        rows.append(
            row | _interval(trials, of_language.get(row["language"], []), options, generator)
        )
    frame = pd.DataFrame(rows)
    return finish(SIGNIFICANCE, in_order(frame) if rows else frame, _notes(frame, options))


def resample(one: PredictedSet, num_replicates: int, generator: np.random.Generator) -> F1Draws:
    """F1 of each trial on the sentences of a set, and on as many drawn with replacement, the same
    for all trials."""
    num_trials = len(one.trial_ids)
    counts = np.stack([one.support, *one.num_predicted, *one.num_correct], axis=1)
    drawn = [
        parts @ counts.astype(np.float32)
        for parts in draw_sentences(len(counts), num_replicates, generator)
    ]
    sums = np.concatenate([counts.sum(axis=0, keepdims=True), *drawn]).astype(np.float64)
    found = sums[:, :1] + sums[:, 1 : 1 + num_trials]
    f1s = np.divide(
        2 * sums[:, 1 + num_trials :], found, out=np.full(found.shape, np.nan), where=found > 0
    )
    return dict(zip(one.trial_ids, f1s.T, strict=True))


def draw_sentences(
    num_sentences: int, num_replicates: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """How often each replicate draws each sentence, in parts: float32 (replicates of the part,
    sentences)."""
    step = max(1, DRAWS_AT_A_TIME // max(1, num_sentences))
    for start in range(0, num_replicates, step):
        size = min(step, num_replicates - start)
        drawn = generator.integers(num_sentences, size=(size, num_sentences))
        drawn += np.arange(size)[:, None] * num_sentences
        times = np.bincount(drawn.ravel(), minlength=size * num_sentences)
        yield times.reshape(size, num_sentences).astype(np.float32)


def _interval(
    trials: pd.DataFrame,
    sets: list[tuple[int, F1Draws]],
    options: Bootstrap,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """The numbers of one cell and language, from its trials."""
    deltas, num_sentences = _deltas(trials, sets)
    has_sentences = num_sentences is not None
    is_measured = trials["delta"].notna()
    if not has_sentences:
        deltas = trials.loc[is_measured, "delta"].to_numpy()[None, :]
    num_seeds = deltas.shape[1]
    row: dict[str, Any] = dict.fromkeys(("delta_mean", "low", "high", "confidence")) | {
        "resampled": "nothing",
        "num_replicates": 0,
        "num_pairs": num_seeds,
        "num_sentences": num_sentences,
        "num_holes": len(trials) - num_seeds,
        "is_odd": has_sentences
        and not np.allclose(deltas[0].mean(), trials["delta"].mean(), atol=ROUNDING),
    }
    if num_seeds:
        row["delta_mean"] = deltas[0].mean()
    if num_seeds < 2 and not has_sentences:
        return row
    times = generator.multinomial(
        num_seeds, np.full(num_seeds, 1 / num_seeds), size=options.num_replicates
    )
    changes = ((deltas[1:] if has_sentences else deltas) * times).sum(axis=1) / num_seeds
    changes = changes[~np.isnan(changes)]
    if not len(changes):
        return row
    tail = (1 - options.confidence) / 2
    low, high = np.quantile(changes, [tail, 1 - tail])
    resampled = (
        "seeds" if not has_sentences else "sentences" if num_seeds == 1 else "seeds and sentences"
    )
    told = {"low": low, "high": high, "confidence": options.confidence}
    return row | told | {"resampled": resampled, "num_replicates": len(changes)}


def _deltas(trials: pd.DataFrame, sets: list[tuple[int, F1Draws]]) -> tuple[np.ndarray, int | None]:
    """Sparse minus dense, float64 (1 + replicates, seeds), and the number of sentences; None
    without predictions."""
    for num_sentences, draws in sets:
        pairs = zip(trials["trial_id"], trials["dense_trial_id"], strict=True)
        deltas = [
            draws[sparse] - draws[dense]
            for sparse, dense in pairs
            if sparse in draws and dense in draws
        ]
        if deltas:
            return np.stack(deltas, axis=1), num_sentences
    return np.empty((1, 0)), None


def _notes(frame: pd.DataFrame, options: Bootstrap) -> list[str]:
    if frame.empty:
        return ["No sparse trials: no change to give an interval of."]
    kinds = frame["resampled"].value_counts()
    notes = [
        f"{options.num_replicates:,} replicates from seed {options.seed}; percentile intervals, each of one cell and "
        "language, not corrected for their number."
    ]
    for num_seeds in sorted(set(frame.loc[frame["resampled"].str.contains("seeds"), "num_pairs"])):
        covered = 1 - 2.0 ** (1 - num_seeds)
        notes.append(
            f"With {num_seeds} seeds the seeds' part of an interval stays within what those seeds gave and covers at "
            f"most {covered:.0%}, whatever was asked for: intervals are too narrow where seeds matter most."
        )
    if "seeds" in kinds:
        notes.append(
            f"Seeds only are resampled for {counted(kinds['seeds'], 'interval')}, as no predictions are stored."
        )
    if "sentences" in kinds:
        notes.append(
            f"One seed is behind {counted(kinds['sentences'], 'interval')}: nothing is said of other seeds."
        )
    if "nothing" in kinds:
        notes.append(
            f"No interval of {counted(kinds['nothing'], 'change')}: no pair, or one seed without predictions."
        )
    if num_odd := int(frame["is_odd"].sum()):
        notes.append(
            f"Scores and predictions do not agree on {counted(num_odd, 'change')}: see quality."
        )
    return notes
