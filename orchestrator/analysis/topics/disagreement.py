"""What pruning changes in predictions beyond what seeds change: how often a sparse and a dense
trial differ, beside two trials of a kind; and PIEs, sentences whose modal prediction changes, and
what sentences they are.

The mode over seeds is of whole tag sequences. Source: Hooker et al. 2019, What Do Compressed Deep
Neural Networks Forget?, definition of Pruning Identified Exemplars.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa

from orchestrator.analysis.inputs.frames import CELL, Results, finish, in_order
from orchestrator.analysis.inputs.predictions import SetPredictions
from orchestrator.analysis.statistics.permutations import p_value, sign_flips
from orchestrator.analysis.tables import DISAGREEMENT, PIES_PROFILE, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

PROPERTIES = ("words", "entities", "unseen_entities", "subwords_per_word")
"""What sentences are described by."""

OF_SEEDS = ("dense_share", "sparse_share", "cross_share", "excess_share", "p", "p_least")
"""Columns that compare single trials of different seeds."""


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
        # The tag sequences, int32 (seeds, n), of the sparse trials and of the dense ones.
        sparse, dense = (
            np.stack([predictions.sequences[at] for at in side])
            for side in zip(*pairs, strict=True)
        )
        share, is_pie = _compare_modes(sparse, dense)
        share |= compare_seeds(sparse, dense)
        num_pairs = len(pairs)
        shares.append(row | share | {"num_pairs": num_pairs, "num_holes": num_seeds - num_pairs})

        set_id = predictions.set_id
        if set_id not in properties:
            properties[set_id] = _properties(predictions, sentences_of(set_id))
        for profile in _profiles(is_pie, _differ_by_seed(dense), properties[set_id]):
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
    names = ("num_pies", "num_sentences", "pie_share", "num_undecided")
    return dict.fromkeys((*names, *OF_SEEDS))


def _compare_modes(sparse: np.ndarray, dense: np.ndarray) -> tuple[Row, np.ndarray]:
    """The numbers of one cell and language, and bool (n,), whether each sentence's mode changes."""
    sparse_mode, is_sparse_tied = find_modes(sparse)
    dense_mode, is_dense_tied = find_modes(dense)
    is_pie = sparse_mode != dense_mode
    num_sentences = len(is_pie)
    share = {
        "num_pies": int(is_pie.sum()),
        "num_sentences": num_sentences,
        "pie_share": is_pie.mean() if num_sentences else None,
        "num_undecided": int((is_sparse_tied | is_dense_tied).sum()),
    }
    return share, is_pie


def compare_seeds(sparse: np.ndarray, dense: np.ndarray) -> Row:
    """How often trials of two seeds differ: both dense, both sparse, or one of each.

    Trials of one seed, which begin alike, are never compared. The test exchanges the sparse and the
    dense trial of seeds: if pruning changes nothing but what another seed would, they may stand for
    each other.

    Args:
        sparse: int32 (seeds, sentences), numbers of tag sequences.
        dense: the same of the dense trials of these seeds.

    Returns:
        The columns `OF_SEEDS`; None for one seed or no sentences.
    """
    num_seeds, num_sentences = dense.shape
    if num_seeds < 2 or not num_sentences:
        return dict.fromkeys(OF_SEEDS)

    pairs = list(combinations(range(num_seeds), 2))
    shares = np.array(
        [
            [
                np.mean(dense[one] != dense[other]),
                np.mean(sparse[one] != sparse[other]),
                (np.mean(sparse[one] != dense[other]) + np.mean(dense[one] != sparse[other])) / 2,
            ]
            for one, other in pairs
        ]
    )
    excesses = shares[:, 2] - shares[:, :2].mean(axis=1)
    # An exchange within one of two seeds turns pairs of a kind into mixed ones, and the reverse;
    # within both it changes nothing.
    signs = sign_flips(num_seeds)
    products = np.stack([signs[:, one] * signs[:, other] for one, other in pairs], axis=1)
    p, _ = p_value(products @ excesses)
    numbers = (*shares.mean(axis=0), excesses.mean(), p, 1 / len(signs))
    return dict(zip(OF_SEEDS, map(float, numbers), strict=True))


def _differ_by_seed(dense: np.ndarray) -> np.ndarray:
    """Bool (n,): whether the dense trials do not all predict a sentence alike."""
    return (dense != dense[:1]).any(axis=0)  # type: ignore[no-any-return]


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


def _profiles(
    is_pie: np.ndarray, is_unstable: np.ndarray, properties: Mapping[str, np.ndarray]
) -> Iterator[Row]:
    """For each property, its mean over the sentences that change, over the others, and over those
    on which dense seeds differ."""
    for name, values in properties.items():
        is_defined = ~np.isnan(values)
        masks = {"pies": is_pie, "others": ~is_pie, "unstable": is_unstable}
        groups = {group: values[mask & is_defined] for group, mask in masks.items()}
        means = {
            group: float(members.mean()) if len(members) else None
            for group, members in groups.items()
        }
        yield {
            "property": name,
            **{f"{group}_mean": mean for group, mean in means.items()},
            "difference": _difference(means["pies"], means["others"]),
            "unstable_difference": _difference(means["pies"], means["unstable"]),
            **{f"num_{group}": len(members) for group, members in groups.items()},
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
    if any(row["num_pairs"] in (1, 2) for row in shares):
        notes.append(
            "Where num_pairs is 1 or 2 there is no mode over seeds: it is the lowest seed's own "
            "prediction, and training noise counts as a change."
        )
    if without == len(shares):
        return notes
    notes.append(
        "What seeds alone change is in dense_share and sparse_share: compare cross_share with "
        "them. pie_share has no such measure beside it, since a mode varies less than one trial."
    )
    fewest = min(row["num_pairs"] for row in shares if row["num_pairs"])
    if fewest < 6:
        notes.append(
            f"p cannot go below {2.0 ** (1 - fewest):g} with {counted(fewest, 'seed')}; it takes "
            "6 for p = 0.05."
        )
    return notes


def _profile_notes(profiles: Sequence[Row]) -> list[str]:
    if not profiles:
        return ["No predictions of a sparse and its dense trial are stored: nothing to describe."]
    return [
        "Some sentences are changed by seeds alone: compare with these (unstable_difference). It "
        "is null with one seed, and where all dense seeds agree.",
        "A difference is of sentences' means, without a test: sentences differ in more than one "
        "property.",
    ]
