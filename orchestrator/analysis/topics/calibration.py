"""How far a model's probabilities can be believed: those that it gave the tags that it predicted,
against how often these were right.

Probabilities are stored in 255ths (`confidence` in predictions). They are of words, most of which
lie outside of entities and are easy; so words that were predicted as a part of an entity are told
of by themselves, too.

Sources: expected calibration error with bins of equal width, Guo et al. 2017, "On Calibration of
Modern Neural Networks" (equation 3); Brier 1950, here of the predicted tag alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import Results, finish
from orchestrator.analysis.inputs.predictions import split_by_set
from orchestrator.analysis.statistics.over_seeds import KEY, OverSeeds
from orchestrator.analysis.tables import CALIBRATION, NUM_BINS, RELIABILITY, AnalysisTable
from orchestrator.errors import StoreError
from orchestrator.wording import counted
from workers.trial import CLEAN

STEPS = 255
"""A stored probability of 1."""
WORDS = ("all", "entity")
VALUES = ("num_words", "accuracy", "confidence", "ece", "brier")
SUMS = ("num_words", "num_right", "confidence")
"""Of the words of a bin."""


class Calibrations:
    """Numbers of trials on sets of sentences, taken while their predictions are read.

    Args:
        split: validation or test.
        sentences_of: gives a set's rows of `sentences` by its id, in the order of sentences.
    """

    def __init__(self, split: str, sentences_of: Callable[[str], pa.Table]):
        self._split, self._sentences_of = split, sentences_of
        self.found: dict[tuple[str, str], list[float]] = {}
        """By trial and language: the `VALUES` of each of `WORDS` in turn."""
        self.bins: dict[tuple[str, str], np.ndarray] = {}
        """By trial and language: the `SUMS` of each of `WORDS` and bins, laid flat."""

    def taking(self, tables: Iterable[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
        """Each trial's id and its rows of `predictions`, as they are given, with `confidence`.

        Raises:
            StoreError: a set has other words than were predicted.
        """
        for trial_id, rows in tables:
            for set_id, of_set in split_by_set(_wanted(rows, self._split)):
                gold = self._sentences_of(set_id)["gold"]
                key = trial_id, of_set["language"][0].as_py()
                parts = list(_parts_of(of_set, gold, set_id))
                bins = [count_bins(*part) for part in parts]
                self.bins[key] = np.ravel(bins)
                self.found[key] = [
                    value
                    for part, of_part in zip(parts, bins, strict=True)
                    for value in measure_calibration(*part, of_part)
                ]
            yield trial_id, rows


def find_calibration(results: Results, measured: Calibrations) -> AnalysisTable:
    """Make the table `calibration`.

    Args:
        results: what was run.
        measured: of all its trials that have predictions.
    """
    numbers = _by_rule(results, measured.found, len(WORDS) * len(VALUES))
    over = OverSeeds(results)
    own, dense = (
        side(numbers).reshape(-1, len(WORDS), len(VALUES)) for side in (over.own, over.dense)
    )
    of = {name: own[..., place] for place, name in enumerate(VALUES)}
    delta = {name: of[name] - dense[..., VALUES.index(name)] for name in ("ece", "brier")}
    num_seeds = over.count(of["num_words"])
    rows = over.rows(
        pd.DataFrame({"words": WORDS}),
        {
            "num_words": over.mean(of["num_words"]),
            **{f"{name}_mean": over.mean(of[name]) for name in VALUES[1:]},
            **{f"{name}_std": over.std(of[name]) for name in delta},
            **{f"delta_{name}_mean": over.mean(delta[name]) for name in delta},
            "num_seeds": num_seeds,
            "num_pairs": over.count(delta["brier"]),
            "num_holes": over.cells["num_trials"].to_numpy()[:, None] - num_seeds,
        },
        [True] * len(WORDS),
    )
    rows["split"] = results.split
    return finish(CALIBRATION, rows, _notes(rows))


def find_reliability(results: Results, measured: Calibrations) -> AnalysisTable:
    """Make the table `reliability`, without cells that have no probabilities.

    Args:
        results: what was run.
        measured: of all its trials that have predictions.
    """
    over = OverSeeds(results)
    num_parts = len(WORDS) * NUM_BINS
    own = over.own(_by_rule(results, measured.bins, num_parts * len(SUMS)))
    sums = over.sum(own).reshape(-1, num_parts, len(SUMS))
    num_words, num_right, confidence = np.moveaxis(sums, -1, 0)
    is_empty = num_words == 0
    lows = np.arange(NUM_BINS) / NUM_BINS
    rows = over.rows(
        pd.DataFrame(
            {
                "words": np.repeat(WORDS, NUM_BINS),
                "bin_low": np.tile(lows, len(WORDS)),
                "bin_high": np.tile(lows + 1 / NUM_BINS, len(WORDS)).round(6),
            }
        ),
        {
            "num_words": num_words,
            "confidence": confidence / np.where(is_empty, np.nan, num_words),
            "accuracy": num_right / np.where(is_empty, np.nan, num_words),
            "num_seeds": over.count(own[:, : num_parts * len(SUMS) : len(SUMS)]),
        },
        [True] * num_parts,
    )
    rows = rows[rows["num_seeds"] > 0].assign(split=results.split)
    notes = ["Seeds count together, as one model that has said all their words."]
    if rows.empty:
        notes = [
            "No probabilities: predictions of schema version 6 or later have them, where they are "
            "stored."
        ]
    return finish(RELIABILITY, rows, notes)


def _by_rule(
    results: Results,
    found: Mapping[tuple[str, str], Sequence[float] | np.ndarray],
    num_columns: int,
) -> pd.DataFrame:
    """Numbers of trials and languages, which are the same by each rule of matching: an index of
    `KEY`, and so many columns."""
    rules = sorted(set(results.trials["matching"]) - {""})
    of_rules = {(*key, rule): values for key, values in found.items() for rule in rules}
    index = pd.MultiIndex.from_tuples(list(of_rules), names=KEY) if of_rules else _no_keys()
    return pd.DataFrame(list(of_rules.values()), index, range(num_columns)).astype(float)


def _wanted(rows: pa.Table, split: str) -> pa.Table:
    """The rows of the split's sentences as published that have probabilities."""
    is_wanted = pc.and_(pc.equal(rows["split"], split), pc.equal(rows["perturbation"], CLEAN))
    is_wanted = pc.and_(is_wanted, pc.is_valid(rows["confidence"]))
    # To copy all of them takes longer than all else.
    return rows if pc.all(is_wanted).as_py() else rows.filter(is_wanted)


def _no_keys() -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([[] for _ in KEY], names=KEY)


def _parts_of(
    rows: pa.Table, gold: pa.ChunkedArray, set_id: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The probabilities of a trial's tags on a set and whether these are right, of each of `WORDS`
    in turn."""
    predicted, true = pc.list_flatten(rows["predicted"]), pc.list_flatten(gold)
    stored = pc.list_flatten(rows["confidence"])
    if not len(predicted) == len(true) == len(stored):
        raise StoreError(
            f"predictions: {len(predicted):,} tags and {len(stored):,} probabilities for "
            f"{len(true):,} words of set {set_id}; `sparsweep verify` names the trials"
        )
    is_right = np.asarray(pc.equal(predicted, true).to_numpy(), bool)
    chances = stored.to_numpy().astype(float) / STEPS
    is_entity = np.asarray(pc.not_equal(predicted, "O").to_numpy(), bool)
    yield chances, is_right
    yield chances[is_entity], is_right[is_entity]


def count_bins(chances: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """The `SUMS` of the words of each bin, float64 (`NUM_BINS`, 3).

    Args:
        chances: the probability of each predicted tag, float64 (num_words,) in [0, 1].
        is_right: whether it is the true one, bool (num_words,).
    """
    bins = np.minimum((chances * NUM_BINS).astype(int), NUM_BINS - 1)
    sums = [
        np.bincount(bins, weights=weights, minlength=NUM_BINS)
        for weights in (None, is_right, chances)
    ]
    return np.stack(sums, axis=1).astype(float)


def measure_calibration(
    chances: np.ndarray, is_right: np.ndarray, in_bins: np.ndarray
) -> list[float]:
    """The `VALUES` of some words; NaN but for their number where there are none.

    Args:
        chances: as in `count_bins`.
        is_right: as there.
        in_bins: what that counts of them.
    """
    if not len(chances):
        return [0.0, *[float("nan")] * (len(VALUES) - 1)]
    gaps = in_bins[:, SUMS.index("num_right")] - in_bins[:, SUMS.index("confidence")]
    return [
        float(len(chances)),
        float(is_right.mean()),
        float(chances.mean()),
        float(np.abs(gaps).sum() / len(chances)),
        float(np.square(chances - is_right).mean()),
    ]


def _notes(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return ["Nothing was run: no probabilities."]
    is_all = rows["words"] == "all"
    without = int((rows[is_all]["num_seeds"] == 0).sum())
    notes = [
        "Probabilities are those of single words' tags, most of which lie outside of entities; "
        "confidence above accuracy: surer than right."
    ]
    if without:
        notes.append(
            f"{without:,} of {counted(int(is_all.sum()), 'cell')} and languages have no stored "
            "probabilities: predictions of schema version 6 or later have them."
        )
    return notes
