"""Scores by another rule of matching, computed from the predictions that trials have stored.

A predicted tag and the true one are all that matching looks at, so these scores are those that the
trial would have had if it had been scored by that rule at once, to the last bit. Nothing is trained
and Ray is not needed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.results.store import ResultStore
from workers.result import EntityScore, RobustnessScore
from workers.scoring.evaluate import count_entities, score, score_perturbed
from workers.tags import WIKIANN, TagSet
from workers.trial import CLEAN, TrialSpec

Rows = list[dict[str, Any]]

SET_COLUMNS = ("set_id", "language", "split", "perturbation", "draw")
"""Columns of predictions that say of which set a sentence is."""


def rescore(
    store: ResultStore,
    trials: Sequence[TrialSpec],
    is_stopping: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Add the scores by the rule that trials ask for, of all sets that they have predicted.

    Args:
        store: where the predictions are, and the scores go.
        trials: completed ones, which have been scored by another rule.
        is_stopping: asked before each trial; the others are left when it says so.

    Yields:
        The id of each trial, once its scores are stored.

    Raises:
        StoreError: a file is missing or damaged.
    """
    specs = {spec.trial_id(): spec for spec in trials}
    keys = store.file_keys()
    columns = ("sentence", "gold", "is_seen")
    read_sentences = cache(lambda set_id: store.read_sentences(set_id, columns))
    robustness = store.read_each("robustness", specs)
    for (trial_id, predictions), (_, perturbed) in zip(
        store.read_each("predictions", specs), robustness, strict=True
    ):
        if is_stopping():
            return
        spec = specs[trial_id]
        rule, tags = spec.evaluation.matching, spec.corpus.tags
        scores = score_predictions(predictions, perturbed.to_pylist(), read_sentences, rule, tags)
        store.add_scores(keys[trial_id], specs[trial_id], *scores)
        yield trial_id


def score_predictions(
    predictions: pa.Table,
    perturbed: Rows,
    read_sentences: Callable[[str], pa.Table],
    matching: str,
    tags: TagSet = WIKIANN,
) -> tuple[list[EntityScore], list[RobustnessScore]]:
    """Score all sets that one trial has predicted.

    Args:
        predictions: rows of `predictions` of the trial, in any order.
        perturbed: its rows of `robustness`, by whatever rule, for what no rule changes.
        read_sentences: gives the rows of `sentences` of a set, in any order.
        matching: strict or lenient.
        tags: those of the trial.

    Returns:
        Scores of published sets and of perturbed ones.

    Raises:
        ValueError: a stored tag is not a tag, or a sentence has not as many as words.
    """
    scores: list[EntityScore] = []
    robustness: list[RobustnessScore] = []
    for (set_id, language, split, perturbation, draw), predicted in _sets(predictions):
        known = read_sentences(set_id).sort_by("sentence")
        gold, offsets = _labels(known["gold"], tags)
        labels, their_offsets = _labels(predicted, tags)
        _refuse_other_lengths(set_id, np.diff(offsets), np.diff(their_offsets))
        counts = count_entities(gold, labels, offsets, matching, tags)
        if perturbation == CLEAN:
            scores += score(language, split, counts, known["is_seen"].to_numpy())
        else:
            place = (language, perturbation, draw)
            num_replaced = _num_replaced(perturbed, place, len(predicted), tags)
            robustness += score_perturbed(*place, counts, num_replaced)
    if robustness:
        robustness += _not_applicable(perturbed)
    return scores, robustness


def _sets(predictions: pa.Table) -> Iterator[tuple[tuple[Any, ...], pa.ChunkedArray]]:
    """Each set that a trial has predicted: the values of `SET_COLUMNS`, and the predicted tags of
    its sentences in order."""
    rows = predictions.sort_by([(name, "ascending") for name in (*SET_COLUMNS, "sentence")])
    places = zip(*(rows[name].to_pylist() for name in SET_COLUMNS), strict=True)
    start = 0
    for place, of_set in groupby(places):
        num_sentences = sum(1 for _ in of_set)
        yield place, rows["predicted"].slice(start, num_sentences)
        start += num_sentences


def _labels(stored: pa.ChunkedArray, tags: TagSet) -> tuple[np.ndarray, np.ndarray]:
    """Stored tags by sentence as labels, int64 (num_words,), and where each sentence begins,
    int64 (num_sentences + 1,)."""
    words = pc.list_flatten(stored)
    labels = pc.index_in(words, value_set=pa.array(tags.tags))
    if labels.null_count:
        unknown = words.filter(pc.is_null(labels))[0].as_py()
        raise ValueError(f"tags: {unknown!r} is not known; there are {', '.join(tags.tags)}")
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(stored).to_numpy())])
    return labels.to_numpy().astype(np.int64), offsets


def _refuse_other_lengths(set_id: str, gold: np.ndarray, predicted: np.ndarray) -> None:
    """Compare the words of a set's sentences with the tags that were predicted for them."""
    if len(gold) != len(predicted):
        raise ValueError(
            f"predictions: {len(predicted)} sentences of {set_id}, which has {len(gold)}; "
            "`sparsweep verify` names the trials"
        )
    if (others := np.flatnonzero(gold != predicted)).size:
        number = others[0]
        raise ValueError(
            f"predictions: sentence {number} of {set_id} has {predicted[number]} tags for "
            f"{gold[number]} words; `sparsweep verify` names the trials"
        )


def _num_replaced(
    perturbed: Rows, place: tuple[str, str, int], num_sentences: int, tags: TagSet
) -> np.ndarray:
    """How many entities of each type were replaced in a perturbed set, whatever the rule.

    Their sums over the sentences are stored, and the sums alone are scored: the first sentence gets
    them.

    Returns:
        int64 (num_sentences, num_types), in the order of `tags`.
    """
    sums = {
        row["entity_type"]: row["num_replaced"]
        for row in perturbed
        if (row["language"], row["perturbation"], row["draw"]) == place
    }
    num_replaced = np.zeros((num_sentences, tags.num_types), np.int64)
    num_replaced[0] = [sums[entity_type] for entity_type in tags.entity_types]
    return num_replaced


def _not_applicable(perturbed: Rows) -> Iterable[RobustnessScore]:
    """The rows of perturbations that do not apply to a language, which no rule changes."""
    names = RobustnessScore.__dataclass_fields__
    for row in perturbed:
        if row["status"] == "not_applicable":
            yield RobustnessScore(**{name: row[name] for name in names})
