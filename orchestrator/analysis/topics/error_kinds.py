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

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.inputs.frames import Results, finish
from orchestrator.analysis.inputs.predictions import SetPredictions, as_bytes
from orchestrator.analysis.statistics.over_seeds import KEY, OverSeeds
from orchestrator.analysis.tables import ERRORS, SUBSETS, AnalysisTable
from orchestrator.errors import StoreError
from workers.data.entities import Entities, count_by_sentence, find_entities
from workers.tags import WIKIANN, TagSet
from workers.trial import CLEAN, MICRO

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

TRUE_CORRECT = COUNTED.index(("true", "correct"))


def shape_of(tags: TagSet) -> tuple[int, int, int]:
    """The shape of the counts of a trial and language, which are laid flat in `ErrorCounts`."""
    return len(SUBSETS), len(COUNTED), tags.num_types


ErrorCounts = Mapping[str, pd.DataFrame]
"""By perturbation, `CLEAN` included: a row a trial, language and rule of matching, with an index of
`KEY` and the columns `HEAD`, then counts of `shape_of`, means over draws. Where nothing is stored
there is no frame."""

NUMBERS = tuple(f"num_{subset}" for subset in SUBSETS)
F1S = tuple(f"f1_{subset}" for subset in SUBSETS)

HEAD = ["set", *NUMBERS, *F1S]
"""Before the counts: a number of the sentences that were predicted, how many there are of each
subset, and micro F1 on them, a mean over the draws that have one. Of perturbed sentences those of
subsets are NaN where the sentences that they were made from are not known."""


def count_errors(
    results: Results,
    sets: Sequence[SetPredictions],
    sentences_of: Callable[[str], pa.Table],
) -> ErrorCounts:
    """Count what became of entities, for each trial, part of the sentences and entity type.

    Args:
        results: what was run.
        sets: what was predicted, on the same split; perturbed ones have each draw.
        sentences_of: gives a set's rows of `sentences` by its id, see `read_sentences`.

    Raises:
        StoreError: `sentences_of` has no such set, or it has other words than were predicted.
    """
    # A trial that was only planned has no rule, and no predictions either.
    rules = sorted(set(results.trials["matching"]) - {""})
    subsets = _Subsets(sets, sentences_of)
    counts: defaultdict[str, defaultdict[tuple[str, str, str], list[np.ndarray]]]
    counts = defaultdict(lambda: defaultdict(list))
    met: defaultdict[str, defaultdict[tuple[str, str, str], list[str]]]
    met = defaultdict(lambda: defaultdict(list))
    for one in sets:
        gold = as_bytes(sentences_of(one.set_id)["gold"], "sentences", one.set_id, one.tags)
        weights = [subsets.of(one, trial_id) for trial_id in one.trial_ids]
        for rule in rules:
            of_trials = count_of_trials(one, gold, weights, rule)
            for (trial_id, of_trial), of_subsets in zip(of_trials, weights, strict=True):
                key = (trial_id, one.language, rule)
                counts[one.perturbation][key].append(
                    np.concatenate([of_subsets.sum(axis=1), _f1s(of_trial), of_trial.ravel()])
                )
                met[one.perturbation][key].append(one.set_id)
    return {
        perturbation: _as_frame(of_keys, met[perturbation])
        for perturbation, of_keys in counts.items()
    }


class _Subsets:
    """Which sentences are of which of `SUBSETS`.

    Perturbed sentences are of those of the sentences that they were made from, which stand at the
    same places of the set that the trial predicted as published.
    """

    def __init__(self, sets: Sequence[SetPredictions], sentences_of: Callable[[str], pa.Table]):
        self._origins = {
            (trial_id, one.language): one.set_id
            for one in sets
            if one.perturbation == CLEAN
            for trial_id in one.trial_ids
        }
        self._known = cache(lambda set_id: _weights(sentences_of(set_id)))
        self._unknown = cache(_only_all)

    def of(self, one: SetPredictions, trial_id: str) -> np.ndarray:
        """Of a trial's sentences: float32 (subsets, sentences) of 0 and 1, or NaN."""
        num_sentences = len(one.support)
        origin = self._origins.get((trial_id, one.language))
        known = self._known(origin) if origin is not None else None
        if known is None or known.shape[1] != num_sentences:
            return self._unknown(num_sentences)
        return known


def _only_all(num_sentences: int) -> np.ndarray:
    weights = np.full((len(SUBSETS), num_sentences), np.nan, np.float32)
    weights[SUBSETS.index("all")] = 1
    return weights


def _f1s(counts: np.ndarray) -> np.ndarray:
    """Micro F1 of each subset, float64 (subsets,), from counts of `shape_of`; NaN where no entity
    is there or predicted."""
    kinds = counts.sum(axis=-1, dtype=np.float64)
    entities = kinds @ (
        SIDE_SUMS[TRUE_CORRECT] + SIDE_SUMS[COUNTED.index(("predicted", "correct"))]
    )
    f1s = np.full(len(kinds), np.nan)
    np.divide(2 * kinds[:, TRUE_CORRECT], entities, out=f1s, where=entities > 0)
    return f1s


def _weights(rows: pa.Table) -> np.ndarray:
    """Which sentences are of which of `SUBSETS`, float32 (subsets, sentences) of 0 and 1."""
    is_seen, is_first = (
        np.asarray(rows[name].to_numpy(), bool) for name in ("is_seen", "is_first")
    )
    of_subsets = {
        "all": np.ones(len(is_seen), bool),
        "seen": is_seen,
        "unseen": ~is_seen,
        "distinct": is_first,
    }
    return np.stack([of_subsets[name] for name in SUBSETS]).astype(np.float32)


def _as_frame(
    counts: Mapping[tuple[str, str, str], Sequence[np.ndarray]],
    met: Mapping[tuple[str, str, str], Sequence[str]],
) -> pd.DataFrame:
    """Means over draws, with a number of the sets that they are of."""
    numbers: dict[tuple[str, ...], int] = {}
    f1s = slice(len(NUMBERS), len(NUMBERS) + len(F1S))
    rows = []
    for key, of_draws in counts.items():
        means = np.mean(of_draws, axis=0)
        means[f1s] = _mean_of_known(np.stack(of_draws)[:, f1s])
        rows.append([numbers.setdefault(tuple(sorted(met[key])), len(numbers)), *means])
    frame = pd.DataFrame(rows, pd.MultiIndex.from_tuples(counts, names=KEY))
    return frame.rename(columns=dict(enumerate(HEAD)))


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Means over rows of what is not NaN, where numpy would warn of columns of NaN."""
    is_known = ~np.isnan(values)
    means = np.full(values.shape[1], np.nan)
    sums, numbers = np.where(is_known, values, 0.0).sum(axis=0), is_known.sum(axis=0)
    np.divide(sums, numbers, out=means, where=numbers > 0)
    return means


def find_errors(results: Results, counts: ErrorCounts) -> AnalysisTable:
    """Make the table `errors`: all sentences and types together, then each subset, entity type and
    perturbation by itself.

    Args:
        results: what was run.
        counts: what became of entities.
    """
    over, tags = OverSeeds(results), results.tags
    nothing = pd.DataFrame(
        index=pd.MultiIndex.from_arrays([[], [], []], names=KEY),
        columns=range(len(HEAD) + math.prod(shape_of(tags))),
    )
    parts = []
    num, dense = [], []
    for perturbation in (CLEAN, *sorted(set(counts) - {CLEAN})):
        frame = counts.get(perturbation, nothing)
        own, others = over.own(frame), over.dense(frame)
        if perturbation != CLEAN:
            is_other = results.trials["own_perturbed_as"] != results.trials["perturbed_as"]
            own[is_other.to_numpy()] = np.nan
        others[own[:, 0] != others[:, 0]] = np.nan  # shares of other sentences are no pair
        for subset, entity_type in _margins(perturbation, tags):
            parts.append((perturbation, subset, entity_type))
            num.append(part_of(own, subset, entity_type, tags))
            dense.append(part_of(others, subset, entity_type, tags))

    shares = [_shares(values) for values in num]
    deltas = [own - _shares(other) for own, other in zip(shares, dense, strict=True)]
    totals = [values @ SIDE_SUMS.T for values in num]
    stacked = np.hstack(num), np.hstack(totals), np.hstack(shares), np.hstack(deltas)
    num_seeds = over.count(stacked[0])
    names = ("perturbation", "subset", "entity_type", "side", "kind")
    rows = over.rows(
        pd.DataFrame(
            [dict(zip(names, (*part, *name), strict=True)) for part in parts for name in COUNTED]
        ),
        {
            "num_mean": over.mean(stacked[0]),
            "total_mean": over.mean(stacked[1]),
            "share_mean": over.mean(stacked[2]),
            "share_std": over.std(stacked[2]),
            "delta_dense_mean": over.mean(stacked[3]),
            "num_seeds": num_seeds,
            "num_pairs": over.count(stacked[3]),
            "num_holes": over.cells["num_trials"].to_numpy()[:, None] - num_seeds,
        },
        [name in COUNTED[SHOWN] for _ in parts for name in COUNTED],
    )
    rows = rows[results.has_type(rows)]
    return finish(ERRORS, rows, _notes(rows, len(over.cells)))


def _margins(perturbation: str, tags: TagSet) -> Iterator[tuple[str, str]]:
    """The subset and entity type of each part that is told of: one at a time."""
    yield "all", MICRO
    if perturbation == CLEAN:
        yield from ((subset, MICRO) for subset in SUBSETS if subset != "all")
        yield from (("all", entity_type) for entity_type in tags.entity_types)


def part_of(flat: np.ndarray, subset: str, entity_type: str, tags: TagSet = WIKIANN) -> np.ndarray:
    """`COUNTED` of a subset and entity type, float64 (rows, counts), from rows of `ErrorCounts`."""
    counts = flat[:, len(HEAD) :].reshape(len(flat), *shape_of(tags))[:, SUBSETS.index(subset)]
    if entity_type == MICRO:
        return counts.sum(axis=-1)  # type: ignore[no-any-return]
    return counts[..., tags.entity_types.index(entity_type)]


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each count as a part of its side, float64; NaN where the side is empty or unknown."""
    total = counts @ SIDE_SUMS.T
    out = np.full(counts.shape, np.nan)
    np.divide(counts, total, out=out, where=total > 0)
    return out


def count_of_trials(
    predictions: SetPredictions, gold: pa.Array, weights: Sequence[np.ndarray], matching: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Count what became of the entities of a set, for each trial.

    Args:
        predictions: what trials predicted on the set, of n sentences.
        gold: binary (n,), true tags of its sentences, one byte a tag.
        weights: of each trial, float32 (subsets, n): how often each sentence counts in each subset.
        matching: strict or lenient.

    Yields:
        Each trial's id and counts of `shape_of`, float32.

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
    tags = predictions.tags
    counts = count_kinds(true_labels[from_true], predicted, offsets, matching, tags.num_types)
    flat = counts.reshape(len(counts), -1).astype(np.float32)
    trials = zip(predictions.trial_ids, which.reshape(places.shape), weights, strict=True)
    for trial_id, of_trial, of_subsets in trials:
        yield trial_id, (of_subsets @ flat[of_trial]).reshape(shape_of(tags))


def count_kinds(
    gold: np.ndarray,
    predicted: np.ndarray,
    offsets: np.ndarray,
    matching: str,
    num_types: int = WIKIANN.num_types,
) -> np.ndarray:
    """Count what became of the entities of each sentence.

    Args:
        gold: the true label of each word, integers (num_words,), see `TagSet`.
        predicted: the predicted ones of the same words.
        offsets: int64 (num_sentences + 1,), first word of each sentence.
        matching: strict or lenient.
        num_types: entity types that there are.

    Returns:
        `COUNTED` by the type of the entity itself, int64 (num_sentences, counts, entity types).
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
    begun = find_entities(predicted, offsets, "lenient")
    sides = [
        (true, _sort_out(len(true), pairs[0], has_words, has_type), len(OVERLAPS) + 1),
        (guessed, _sort_out(len(guessed), pairs[1], has_words, has_type), len(OVERLAPS) + 1),
        (begun, predicted[begun.start] % 2, 2),
    ]
    counts = [
        count_by_sentence(
            entities.sentence, kinds * num_types + entities.kind, num_sentences, num * num_types
        )
        for entities, kinds, num in sides
    ]
    return np.concatenate(counts, axis=1).reshape(num_sentences, len(COUNTED), num_types)


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


def _notes(rows: pd.DataFrame, num_cells: int) -> list[str]:
    whole = rows[_is_whole(rows)]
    without = int((whole["num_seeds"] == 0).sum()) // len(COUNTED[SHOWN])
    notes = []
    if without:
        notes.append(
            f"{without:,} of {num_cells:,} cells and languages have no predictions: null. "
            "evaluation.predictions in the sweep stores them."
        )
    if without < num_cells:
        notes.append(
            "Shares of true entities add up to 1, and those of predicted ones. A collapsed model "
            "predicts few entities: read total_mean beside shares of what was predicted."
        )
    if (rows["share_mean"].isna() & (rows["num_seeds"] > 0)).any():
        notes.append("A share is null where no seed has an entity of that side.")
    if without < num_cells:
        notes.append(
            "The terminal shows all sentences and types together; files have seen, unseen and "
            "distinct sentences, entity types and perturbations, too."
        )
    if without < num_cells and rows["perturbation"].nunique() == 1:
        notes.append(
            "Nothing is told of perturbed sentences: predictions of them are not stored; "
            "perturbed in evaluation.predictions stores them."
        )
    return notes


def _is_whole(rows: pd.DataFrame) -> pd.Series:
    """Rows of all published sentences and entity types together."""
    is_all = (rows["subset"] == "all") & (rows["entity_type"] == MICRO)
    return is_all & (rows["perturbation"] == CLEAN)
