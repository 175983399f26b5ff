"""Kinds of error: how the entities that are there and those that were predicted come apart.

Each side is told by itself, so that every entity is of exactly one kind. An entity is `correct`
where one of the other side has its words and its type, `type` where it has its words and another
type, `boundary` where it overlaps one of its type, `boundary_and_type` where it overlaps others
only, and `missed` or `spurious` where it overlaps none. An entity that overlaps several takes the
first of these that any of them gives it. So `correct` and `type` count as many on both sides;
the kinds of overlap need not, since one predicted entity may cover two true ones.

Source of the categories: MUC-5 (Chinchor and Sundheim 1993), which counts correct, incorrect,
partial, missing and spurious; here the type and the words of an entity are told apart.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.frames import CELL, Results, finish, in_order
from orchestrator.analysis.predictions import SetPredictions, as_bytes
from orchestrator.analysis.tables import ERRORS, AnalysisTable
from orchestrator.errors import StoreError
from orchestrator.results.rows import Row
from workers.data.entities import Entities, count_by_sentence, find_entities

OVERLAPS = ("correct", "type", "boundary", "boundary_and_type")
"""What an entity is that overlaps one of the other side, the first that holds."""

COUNTED = (
    *(("true", kind) for kind in (*OVERLAPS, "missed")),
    *(("predicted", kind) for kind in (*OVERLAPS, "spurious")),
    ("tags", "ill_formed"),
    ("tags", "well_formed"),
)
"""Side and kind of each count. Kinds of one side add up to all of it."""

SHOWN = slice(len(COUNTED) - 1)
"""Those with a row: tags that are well-formed are the rest."""

SIDE_SUMS = np.array([[one[0] == other[0] for one in COUNTED] for other in COUNTED], np.int64)
"""Of each count, those that add up to its side: (counts, counts)."""

Counts = Mapping[tuple[str, str], tuple[str, np.ndarray]]
"""By trial and language: the set that was predicted, and `COUNTED` in it, int64 (counts,)."""


def find_errors(
    results: Results,
    sets: Sequence[SetPredictions],
    sentences_of: Callable[[str], pa.Table],
) -> AnalysisTable:
    """Make the table `errors`.

    Args:
        results: what was run.
        sets: what was predicted, on the same split.
        sentences_of: gives a set's rows of `sentences` by its id, in the order of sentences.

    Raises:
        StoreError: `sentences_of` has no such set, or it has other words than were predicted.
    """
    # A trial that was only planned has no rule, and no predictions either.
    rules = sorted(set(results.trials["matching"]) - {""})
    gold = {
        one.set_id: as_bytes(sentences_of(one.set_id)["gold"], "sentences", one.set_id)
        for one in sets
    }
    by_rule = {
        rule: {
            (trial_id, one.language): (one.set_id, counts)
            for one in sets
            for trial_id, counts in count_of_trials(one, gold[one.set_id], rule)
        }
        for rule in rules
    }
    rows: list[Row] = []
    for place, trials in results.trials.groupby([*CELL, "language", "cell_id"]):
        row = dict(zip([*CELL, "language"], place[:-1], strict=True))
        counts = by_rule.get(trials["matching"].iloc[0], {})
        rows.extend(row | numbers for numbers in _of_cell(trials, row["language"], counts))
    return finish(ERRORS, in_order(pd.DataFrame(rows)), _notes(rows))


def count_of_trials(
    predictions: SetPredictions, gold: pa.Array, matching: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Count what became of the entities of a set, for each trial.

    Args:
        predictions: what trials predicted on the set, of n sentences.
        gold: binary (n,), true tags of its sentences, one byte a tag.
        matching: strict or lenient.

    Yields:
        Each trial's id and `COUNTED`, int64 (counts,).

    Raises:
        StoreError: the set has other words than were predicted.
    """
    num_sentences = len(predictions.support)
    true_labels, true_offsets = _flat(gold)
    if not np.array_equal(np.diff(true_offsets), predictions.num_words):
        raise StoreError(
            f"sentences: the set {predictions.set_id} has other words than predictions of it; "
            "delete its file and its predictions, then run the sweep again"
        )
    # Most trials predict the same for a sentence: each prediction of it is looked at once.
    places = np.stack(predictions.sequences).astype(np.int64) * num_sentences
    places += np.arange(num_sentences)
    distinct, which = np.unique(places, return_inverse=True)
    numbers, sentences = np.divmod(distinct, max(1, num_sentences))
    predicted, offsets = _flat(predictions.known.take(pa.array(numbers)))
    from_true = np.arange(len(predicted)) + np.repeat(
        true_offsets[sentences] - offsets[:-1], np.diff(offsets)
    )
    counts = count_kinds(true_labels[from_true], predicted, offsets, matching)
    for trial_id, of_trial in zip(predictions.trial_ids, which.reshape(places.shape), strict=True):
        yield trial_id, counts[of_trial].sum(axis=0)


def count_kinds(
    gold: np.ndarray, predicted: np.ndarray, offsets: np.ndarray, matching: str
) -> np.ndarray:
    """Count what became of the entities of each sentence.

    Args:
        gold: the true label of each word, integers (num_words,), indices into `TAGS`.
        predicted: the predicted ones of the same words.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        matching: strict or lenient.

    Returns:
        `COUNTED`, int64 (num_sentences, counts).
    """
    true, guessed = (find_entities(labels, offsets, matching) for labels in (gold, predicted))

    # A pair a word that lies in both a true entity and a predicted one.
    of_true, of_guessed = _owners(true, len(gold)), _owners(guessed, len(gold))
    is_both = (of_true >= 0) & (of_guessed >= 0)
    pairs = of_true[is_both], of_guessed[is_both]
    has_words, has_type = (
        np.ones(len(pairs[0]), bool),
        true.kind[pairs[0]] == guessed.kind[pairs[1]],
    )
    for name in ("start", "end"):
        has_words &= getattr(true, name)[pairs[0]] == getattr(guessed, name)[pairs[1]]

    num_sentences = len(offsets) - 1
    num_kinds = len(OVERLAPS) + 1
    sides = []
    for entities, places in zip((true, guessed), pairs, strict=True):
        kinds = _sort_out(len(entities), places, has_words, has_type)
        sides.append(count_by_sentence(entities.sentence, kinds, num_sentences, num_kinds))
    begun = find_entities(predicted, offsets, "lenient")
    is_well_formed = predicted[begun.start] % 2 == 1
    sides.append(count_by_sentence(begun.sentence, is_well_formed, num_sentences, 2))
    return np.concatenate(sides, axis=1)


def _owners(entities: Entities, num_words: int) -> np.ndarray:
    """The entity that each word lies in, int64 (num_words,); -1 for none."""
    lengths = entities.end - entities.start
    skipped = entities.start - (np.cumsum(lengths) - lengths)
    owners = np.full(num_words, -1, np.int64)
    owners[np.arange(lengths.sum()) + np.repeat(skipped, lengths)] = np.repeat(
        np.arange(len(entities)), lengths
    )
    return owners


def _sort_out(
    num_entities: int, places: np.ndarray, has_words: np.ndarray, has_type: np.ndarray
) -> np.ndarray:
    """The kind of each entity of a side: a place in `OVERLAPS`, or the one after the last."""
    kinds = np.full(num_entities, len(OVERLAPS))
    # From the last to the first, so that the first that holds stays.
    is_all = np.ones(len(places), bool)
    for kind, holds in reversed(
        list(enumerate((has_words & has_type, has_words, has_type, is_all)))
    ):
        kinds[places[holds]] = kind
    return kinds


def _flat(sequences: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Strings of bytes end to end, uint8, and where each begins, int64 (sequences + 1,)."""
    _, starts, content = sequences.buffers()
    first = sequences.offset
    offsets = np.frombuffer(starts, np.int32)[first : first + len(sequences) + 1].astype(np.int64)
    held = np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)
    return held[offsets[0] : offsets[-1]], offsets - offsets[0]


def _of_cell(trials: pd.DataFrame, language: str, counts: Counts) -> Iterator[Row]:
    """The numbers of one cell and language, a row a side and kind, from its trials' rows, one a
    seed."""
    num, total, share, delta = [], [], [], []
    for sparse_id, dense_id in zip(trials["trial_id"], trials["dense_trial_id"], strict=True):
        if (sparse_id, language) not in counts:
            continue
        set_id, own = counts[sparse_id, language]
        num.append(own)
        total.append(SIDE_SUMS @ own)
        share.append(_shares(own))
        # Shares of other sentences are no pair.
        dense_set, dense = counts.get((dense_id, language), ("", own))
        delta.append(
            share[-1] - _shares(dense) if dense_set == set_id else np.full(len(own), np.nan)
        )
    means = {
        "num_mean": _means(num),
        "total_mean": _means(total),
        "share_mean": _means(share),
        "share_std": _deviations(share),
        "delta_dense_mean": _means(delta),
    }
    num_pairs = np.isfinite(_stacked(delta)).sum(axis=0)
    for place, (side, kind) in enumerate(COUNTED[SHOWN]):
        yield {
            "side": side,
            "kind": kind,
            **{name: float(values[place]) for name, values in means.items()},
            "num_seeds": len(num),
            "num_pairs": int(num_pairs[place]),
            "num_holes": len(trials) - len(num),
        }


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each count as a part of its side, float64; NaN where the side is empty."""
    total = SIDE_SUMS @ counts
    out = np.full(len(counts), np.nan)
    np.divide(counts, total, out=out, where=total > 0)
    return out


def _stacked(of_seeds: Sequence[np.ndarray]) -> np.ndarray:
    """Seeds' numbers, float64 (seeds, counts), also where there is no seed."""
    return np.array(of_seeds, np.float64).reshape(-1, len(COUNTED))


def _means(of_seeds: Sequence[np.ndarray]) -> np.ndarray:
    """Means over the seeds that have a number; NaN where none has."""
    values = _stacked(of_seeds)
    num = np.isfinite(values).sum(axis=0)
    out = np.full(len(num), np.nan)
    np.divide(np.nansum(values, axis=0), num, out=out, where=num > 0)
    return out


def _deviations(of_seeds: Sequence[np.ndarray]) -> np.ndarray:
    """Sample standard deviations over the seeds that have a number; NaN below two."""
    squares = (_stacked(of_seeds) - _means(of_seeds)) ** 2
    num = np.isfinite(squares).sum(axis=0)
    out = np.full(len(num), np.nan)
    np.divide(np.nansum(squares, axis=0), num - 1, out=out, where=num > 1)
    deviations: np.ndarray = np.sqrt(out)
    return deviations


def _notes(rows: Sequence[Row]) -> list[str]:
    cells = rows[:: len(COUNTED[SHOWN])]  # a row of each
    notes = []
    without = sum(row["num_seeds"] == 0 for row in cells)
    if without:
        notes.append(
            f"{without:,} of {len(cells):,} cells and languages have no predictions: null. "
            "evaluation.predictions in the sweep stores them."
        )
    if without < len(cells):
        notes.append(
            "Shares of true entities add up to 1, and those of predicted ones. A collapsed model "
            "predicts few entities: read total_mean beside shares of what was predicted."
        )
    if any(row["share_mean"] != row["share_mean"] and row["num_seeds"] for row in rows):
        notes.append("A share is null where no seed has an entity of that side.")
    return notes
