"""PIEs: sentences whose modal prediction changes between dense and sparse trials, and what
sentences they are.

The mode over seeds is of whole tag sequences. Source: Hooker et al. 2019, What Do Compressed Deep
Neural Networks Forget?, definition of Pruning Identified Exemplars.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.frames import CELL, Results, finish, in_order
from orchestrator.analysis.predictions import PredictedSet
from orchestrator.analysis.tables import DISAGREEMENT, PIES_PROFILE, AnalysisTable

PROPERTIES = ("words", "entities", "unseen_entities", "subwords_per_word")
Row = dict[str, Any]


def find_disagreement(
    results: Results, sets: Sequence[PredictedSet], sentences_of: Callable[[str], pa.Table]
) -> list[AnalysisTable]:
    """The tables `disagreement` and `pies_profile`.

    Args:
        results: what was run.
        sets: what was predicted.
        sentences_of: gives a set's rows of `sentences` by its id, in the order of sentences.
    """
    of_language: dict[str, list[PredictedSet]] = {}
    for one in sets:
        of_language.setdefault(one.language, []).append(one)
    shares: list[Row] = []
    profiles: list[Row] = []
    properties: dict[str, Mapping[str, np.ndarray]] = {}
    for place, trials in results.sparse.groupby([*CELL, "language", "cell_id"]):
        row = dict(zip([*CELL, "language"], place[:-1], strict=True))
        predicted, pairs = _find_pairs(trials, of_language.get(row["language"], []))
        share, is_pie = _compare(predicted, pairs)
        shares.append(
            row | share | {"num_pairs": len(pairs), "num_holes": len(trials) - len(pairs)}
        )
        if predicted is not None and is_pie is not None:
            set_id = predicted.set_id
            if set_id not in properties:
                properties[set_id] = _properties(predicted, sentences_of(set_id))
            behind = row | {"num_trials": len(pairs)}
            profiles += [behind | profile for profile in _profiles(is_pie, properties[set_id])]
    return [
        finish(
            DISAGREEMENT,
            in_order(pd.DataFrame(shares)) if shares else pd.DataFrame(),
            _notes(shares),
        ),
        finish(
            PIES_PROFILE,
            in_order(pd.DataFrame(profiles)) if profiles else pd.DataFrame(),
            _profile_notes(profiles),
        ),
    ]


def _find_pairs(
    trials: pd.DataFrame, sets: list[PredictedSet]
) -> tuple[PredictedSet | None, list[tuple[int, int]]]:
    """The set that was predicted, and in it the places of each seed's sparse and dense trial, in
    the seeds' order."""
    pairs = list(zip(trials["trial_id"], trials["dense_trial_id"], strict=True))
    for one in sets:
        places = {trial_id: place for place, trial_id in enumerate(one.trial_ids)}
        found = [
            (places[sparse], places[dense])
            for sparse, dense in pairs
            if sparse in places and dense in places
        ]
        if found:
            return one, found
    return None, []


def _compare(
    one: PredictedSet | None, pairs: list[tuple[int, int]]
) -> tuple[Row, np.ndarray | None]:
    """The numbers of one cell and language, and bool (n,), whether each sentence's mode changes."""
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided", "seed_share")
    if one is None:
        return dict.fromkeys(names), None
    sparse, dense = (
        np.stack([one.sequences[place] for place in side]) for side in zip(*pairs, strict=True)
    )
    (sparse_mode, is_sparse_tied), (dense_mode, is_dense_tied) = (
        find_modes(sparse),
        find_modes(dense),
    )
    is_pie = sparse_mode != dense_mode
    between = [
        np.mean(dense[first] != dense[second])
        for first, second in combinations(range(len(dense)), 2)
    ]
    values = (
        int(is_pie.sum()),
        len(is_pie),
        is_pie.mean() if len(is_pie) else None,
        int((is_sparse_tied | is_dense_tied).sum()),
        float(np.mean(between)) if between and len(is_pie) else None,
    )
    return dict(zip(names, values, strict=True)), is_pie


def find_modes(sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent number of each column; of equally frequent ones the one that is first from
    the top.

    Args:
        sequences: int32 (seeds, sentences).

    Returns:
        The modes, int32 (sentences,), and bool (sentences,), whether another number is as frequent.
    """
    equal = sequences[:, None, :] == sequences[None, :, :]
    frequencies = equal.sum(axis=1)
    best = frequencies.argmax(axis=0)  # the first of equals
    modes = np.take_along_axis(sequences, best[None, :], axis=0)[0]
    is_tied = ((frequencies == frequencies.max(axis=0)) & (sequences != modes)).any(axis=0)
    return modes, is_tied


def _properties(one: PredictedSet, sentences: pa.Table) -> Mapping[str, np.ndarray]:
    """Of each sentence, float64 (n,); NaN where it is not defined."""
    words = one.num_words.astype(np.float64)
    subwords = sentences["num_subwords"].to_numpy().astype(np.float64)
    per_word = np.divide(subwords, words, out=np.full(len(words), np.nan), where=words > 0)
    unseen = sentences["num_unseen_entities"].to_numpy().astype(np.float64)
    return dict(
        zip(PROPERTIES, (words, one.support.astype(np.float64), unseen, per_word), strict=True)
    )


def _profiles(is_pie: np.ndarray, properties: Mapping[str, np.ndarray]) -> Iterator[Row]:
    for name, values in properties.items():
        parts = [values[is_pie & ~np.isnan(values)], values[~is_pie & ~np.isnan(values)]]
        pies, others = (float(part.mean()) if len(part) else None for part in parts)
        yield {
            "property": name,
            "pies_mean": pies,
            "others_mean": others,
            "difference": None if pies is None or others is None else pies - others,
            "num_pies": len(parts[0]),
            "num_others": len(parts[1]),
        }


def _notes(shares: list[Row]) -> list[str]:
    if not shares:
        return ["No sparse trials: nothing to compare with dense."]
    notes = []
    without = sum(row["num_pies"] is None for row in shares)
    if without:
        notes.append(
            f"{without:,} of {len(shares):,} cells and languages have no predictions of a sparse and its dense trial: "
            "null. evaluation.predictions in the sweep stores them."
        )
    if any(row["num_pairs"] == 1 for row in shares):
        notes.append(
            "Where num_pairs is 1 the mode is that seed's own prediction: training noise counts as a change."
        )
    if without < len(shares):
        notes.append(
            "Compare pie_share with seed_share, which is what chance alone changes between two dense trials."
        )
    return notes


def _profile_notes(profiles: list[Row]) -> list[str]:
    if not profiles:
        return ["No predictions of a sparse and its dense trial are stored: nothing to describe."]
    return [
        "A difference is of sentences' means, without a test: sentences differ in more than one property."
    ]
