"""PIEs: sentences whose modal prediction changes between dense and sparse trials, and what
sentences they are.

The mode over seeds is of whole tag sequences. Source: Hooker et al. 2019, What Do Compressed Deep
Neural Networks Forget?, definition of Pruning Identified Exemplars.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.frames import CELL, Results, finish, in_order
from orchestrator.analysis.predictions import SetPredictions
from orchestrator.analysis.tables import DISAGREEMENT, PIES_PROFILE, AnalysisTable
from orchestrator.results.rows import Row

PROPERTIES = ("words", "entities", "unseen_entities", "subwords_per_word")
"""What sentences are described by."""


def find_disagreement(
    results: Results,
    sets: Sequence[SetPredictions],
    sentences_of: Callable[[str], pa.Table],
) -> list[AnalysisTable]:
    """Make the tables `disagreement` and `pies_profile`.

    Args:
        results: what was run.
        sets: what was predicted, on the same split.
        sentences_of: gives a set's rows of `sentences` by its id, in the order of sentences.

    Raises:
        StoreError: `sentences_of` has no such set.
    """
    of_language: dict[str, list[SetPredictions]] = {}
    for predictions in sets:
        of_language.setdefault(predictions.language, []).append(predictions)

    shares: list[Row] = []
    profiles: list[Row] = []
    properties: dict[str, Mapping[str, np.ndarray]] = {}  # by set, as several cells share one
    for place, trials in results.sparse.groupby([*CELL, "language", "cell_id"]):
        row = dict(zip([*CELL, "language"], place[:-1], strict=True))
        num_seeds = len(trials)
        pairing = _find_pairs(trials, of_language.get(row["language"], []))
        if pairing is None:
            shares.append(row | _no_share() | {"num_pairs": 0, "num_holes": num_seeds})
            continue

        predictions, pairs = pairing
        share, is_pie = _compare(predictions, pairs)
        num_pairs = len(pairs)
        shares.append(row | share | {"num_pairs": num_pairs, "num_holes": num_seeds - num_pairs})

        set_id = predictions.set_id
        if set_id not in properties:
            properties[set_id] = _properties(predictions, sentences_of(set_id))
        for profile in _profiles(is_pie, properties[set_id]):
            profiles.append(row | profile | {"num_trials": num_pairs})
    return [
        finish(DISAGREEMENT, in_order(pd.DataFrame(shares)), _notes(shares)),
        finish(PIES_PROFILE, in_order(pd.DataFrame(profiles)), _profile_notes(profiles)),
    ]


def _find_pairs(
    trials: pd.DataFrame, sets: Sequence[SetPredictions]
) -> tuple[SetPredictions, list[tuple[int, int]]] | None:
    """The set that was predicted, and in it the places of each seed's sparse and dense trial, in
    the seeds' order; None without predictions."""
    ids = list(zip(trials["trial_id"], trials["dense_trial_id"], strict=True))
    for predictions in sets:
        places = {trial_id: place for place, trial_id in enumerate(predictions.trial_ids)}
        pairs = [
            (places[sparse], places[dense])
            for sparse, dense in ids
            if sparse in places and dense in places
        ]
        if pairs:
            return predictions, pairs
    return None


def _no_share() -> Row:
    """The numbers of a cell and language without predictions."""
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided", "seed_share")
    return dict.fromkeys(names)


def _compare(
    predictions: SetPredictions, pairs: Sequence[tuple[int, int]]
) -> tuple[Row, np.ndarray]:
    """The numbers of one cell and language, and bool (n,), whether each sentence's mode changes."""
    # The tag sequences, int32 (seeds, n), of the sparse trials and of the dense ones beside them.
    sparse, dense = (
        np.stack([predictions.sequences[place] for place in side])
        for side in zip(*pairs, strict=True)
    )
    sparse_mode, is_sparse_tied = find_modes(sparse)
    dense_mode, is_dense_tied = find_modes(dense)
    is_pie = sparse_mode != dense_mode
    num_sentences = len(is_pie)

    # What chance alone changes: the share of sentences on which two dense seeds differ.
    between = [
        np.mean(dense[first] != dense[second])
        for first, second in combinations(range(len(dense)), 2)
    ]
    share = {
        "num_pies": int(is_pie.sum()),
        "num_sentences": num_sentences,
        "pie_share": is_pie.mean() if num_sentences else None,
        "num_undecided": int((is_sparse_tied | is_dense_tied).sum()),
        "seed_share": float(np.mean(between)) if between and num_sentences else None,
    }
    return share, is_pie


def find_modes(sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent number of each column; of equally frequent ones the one that is first from
    the top.

    Args:
        sequences: int32 (seeds, sentences).

    Returns:
        The modes, int32 (sentences,), and bool (sentences,), whether another number is as frequent.
    """
    # How many seeds gave the same number as each seed: int (seeds, sentences).
    frequencies = (sequences[:, None, :] == sequences[None, :, :]).sum(axis=1)
    best = frequencies.argmax(axis=0)  # the first of equals
    modes = np.take_along_axis(sequences, best[None, :], axis=0)[0]
    is_tied = ((frequencies == frequencies.max(axis=0)) & (sequences != modes)).any(axis=0)
    return modes, is_tied


def _properties(predictions: SetPredictions, sentences: pa.Table) -> Mapping[str, np.ndarray]:
    """Each of `PROPERTIES` of each sentence, float64 (n,); NaN where it is not defined."""
    words = predictions.num_words.astype(np.float64)
    entities = predictions.support.astype(np.float64)
    unseen = sentences["num_unseen_entities"].to_numpy().astype(np.float64)
    subwords = sentences["num_subwords"].to_numpy().astype(np.float64)
    per_word = np.divide(subwords, words, out=np.full(len(words), np.nan), where=words > 0)
    return dict(zip(PROPERTIES, (words, entities, unseen, per_word), strict=True))


def _profiles(is_pie: np.ndarray, properties: Mapping[str, np.ndarray]) -> Iterator[Row]:
    """For each property, its mean over the sentences that change and over the others."""
    for name, values in properties.items():
        is_defined = ~np.isnan(values)
        pies, others = values[is_pie & is_defined], values[~is_pie & is_defined]
        pies_mean = float(pies.mean()) if len(pies) else None
        others_mean = float(others.mean()) if len(others) else None
        yield {
            "property": name,
            "pies_mean": pies_mean,
            "others_mean": others_mean,
            "difference": _difference(pies_mean, others_mean),
            "num_pies": len(pies),
            "num_others": len(others),
        }


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _notes(shares: Sequence[Row]) -> list[str]:
    if not shares:
        return ["No sparse trials: nothing to compare with dense."]
    notes = []
    without = sum(row["num_pies"] is None for row in shares)
    if without:
        notes.append(
            f"{without:,} of {len(shares):,} cells and languages have no predictions of a sparse "
            "and its dense trial: null. evaluation.predictions in the sweep stores them."
        )
    if any(row["num_pairs"] == 1 for row in shares):
        notes.append(
            "Where num_pairs is 1 the mode is that seed's own prediction: training noise counts as "
            "a change."
        )
    if without < len(shares):
        notes.append(
            "Compare pie_share with seed_share, which is what chance alone changes between two "
            "dense trials."
        )
    return notes


def _profile_notes(profiles: Sequence[Row]) -> list[str]:
    if not profiles:
        return ["No predictions of a sparse and its dense trial are stored: nothing to describe."]
    return [
        "A difference is of sentences' means, without a test: sentences differ in more than one "
        "property."
    ]
