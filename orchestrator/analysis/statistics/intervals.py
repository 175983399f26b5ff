"""Intervals of mean changes of F1, of one language or of several: which seeds and sentences stand
behind a change, and what `uncertainty` makes of them.

The languages of one level of a series (a sparsity, with embeddings dense or pruned) are estimated
together, as their seeds' spread is moderated. A mean over languages is of these languages, each
counted once, not of others that were not run. Languages of different trials are independent;
languages of one trial share its seeds, so their mean has the spread over seeds of that mean itself.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.frames import CELL, Results
from orchestrator.analysis.inputs.predictions import SetPredictions
from orchestrator.analysis.statistics.uncertainty import (
    Estimates,
    Spreads,
    degrees,
    estimate,
    find_ends,
    find_influences,
    sentence_variances,
)
from orchestrator.analysis.tables import ROUNDING
from orchestrator.results.rows import Row


@dataclass(frozen=True, kw_only=True)
class IntervalOptions:
    """How intervals are made.

    Attributes:
        confidence: nominal coverage of the intervals, in (0.5, 1).
        is_identical_one: whether sentences with the same words count as one, as they do where the
            question is about text in general and not about this collection.
    """

    confidence: float = 0.95
    is_identical_one: bool = False


class Mean(NamedTuple):
    """A mean over languages, the variance of it, and degrees of freedom; NaN where not known."""

    mean: float
    variance: float
    df: float

    def ends(self, name: str, options: IntervalOptions) -> Row:
        """The interval, as `<name>_low` and `<name>_high`."""
        mean, variance, df = (np.array([value]) for value in self)
        low, high = find_ends(mean, variance, df, options.confidence)
        return {f"{name}_low": low[0], f"{name}_high": high[0]}


NOT_KNOWN = Mean(np.nan, np.nan, np.nan)


PAIR = ("language", "seed", "trial_id", "other_id", "change", "matching")
"""Columns of pairs that intervals are made of."""

NOTHING = ""
"""In place of the other trial of a pair: the change is F1 itself."""


class Pair(NamedTuple):
    """A trial and the one that it is compared with, or `NOTHING`; the former's F1 minus the
    latter's, and the rule of matching that these are by."""

    trial_id: str
    other_id: str
    change: float
    matching: str


@dataclass(frozen=True)
class _Known:
    """What is known of a trial's sentences in one language: the set that they are of, the rule of
    matching by which its predictions were counted, F1 by them, and the influence of each
    sentence."""

    set_id: str
    matching: str
    f1: float
    influences: np.ndarray


class Sentences:
    """What sentences do to the F1 of trials, from stored predictions.

    Args:
        results: F1 of trials.
        sets: what they predicted.
        words_of: gives, by a set's id, a number for each sentence that is the same of those that
            count as one; None: each is one.
    """

    def __init__(
        self,
        results: Results,
        sets: Sequence[SetPredictions],
        words_of: Callable[[str], np.ndarray] | None = None,
    ):
        trials = results.trials
        self._rules = dict(zip(trials["trial_id"], trials["own_matching"], strict=True))
        self._known: dict[tuple[str, str], _Known] = {}
        for one in sets:
            self._known |= self._know(one, None if words_of is None else words_of(one.set_id))

    def _know(self, one: SetPredictions, words: np.ndarray | None) -> dict[tuple[str, str], _Known]:
        """What is known of the sentences of a set, by trial and language."""
        influences = find_influences(one, words)
        known = {}
        for at, trial_id in enumerate(one.trial_ids):
            if trial_id in influences:
                entities = one.support.sum() + one.num_predicted[at].sum()
                f1 = 2 * float(one.num_correct[at].sum()) / float(entities)
                known[trial_id, one.language] = _Known(
                    one.set_id, self._rules[trial_id], f1, influences[trial_id]
                )
        return known

    @classmethod
    def of_drops(
        cls,
        results: Results,
        published: "Sentences",
        perturbed: Sequence[SetPredictions],
        words_of: Callable[[str], np.ndarray] | None = None,
    ) -> dict[str, "Sentences"]:
        """What sentences do to drops of F1 from published to perturbed ones, by perturbation.

        A sentence is left out together with all that were made from it, one a draw, which stand at
        its place.

        Args:
            results: F1 of trials, on the split that is perturbed.
            published: what sentences as published do to F1.
            perturbed: what trials predicted on perturbed ones, all draws.
            words_of: as of `published`.
        """
        draws: defaultdict[str, defaultdict[tuple[str, str], list[_Known | None]]]
        draws = defaultdict(lambda: defaultdict(list))
        for one in perturbed:
            keys = [(trial_id, one.language) for trial_id in one.trial_ids]
            # All that a set was made from have the same words.
            origins = {published._known[key].set_id for key in keys if key in published._known}
            words = words_of(min(origins)) if words_of is not None and origins else None
            if words is not None and len(words) != len(one.support):
                continue
            known = published._know(one, words)
            for key in keys:
                draws[one.perturbation][key].append(known.get(key))
        found = {}
        for perturbation, of_trials in draws.items():
            found[perturbation] = cls(results, ())
            for key, of_draws in of_trials.items():
                drop = _drop(published._known.get(key), of_draws)
                if drop is not None:
                    found[perturbation]._known[key] = drop
        return found

    def of_changes(self, pairs: Iterable[Pair], language: str) -> tuple[np.ndarray, float]:
        """What sentences do to changes of F1.

        Args:
            pairs: those with a change. Predictions that were counted by another rule than theirs
                are not used.
            language: WikiANN code.

        Returns:
            Influences of the sentences, float (pairs that are known, n), on the first set that is
            met; and the largest difference between a change and that by predictions, 0 without.
        """
        rows: list[np.ndarray] = []
        odds = [0.0]
        set_id = None
        for trial_id, other_id, change, matching in pairs:
            one = self._known.get((trial_id, language))
            if one is None or one.matching != matching or set_id not in (None, one.set_id):
                continue
            if other_id == NOTHING:
                set_id = one.set_id
                rows.append(one.influences)
                odds.append(abs(change - one.f1))
                continue
            other = self._known.get((other_id, language))
            if other is not None and (other.matching, other.set_id) == (matching, one.set_id):
                set_id = one.set_id
                rows.append(one.influences - other.influences)
                odds.append(abs(change - (one.f1 - other.f1)))
        return np.array(rows), max(odds)


def _drop(published: _Known | None, draws: Sequence[_Known | None]) -> _Known | None:
    """F1 as published minus the mean over draws; None where one of these is not known, or is of
    other sentences."""
    if published is None:
        return None
    size = len(published.influences)
    known = [one for one in draws if one is not None and len(one.influences) == size]
    if len(known) < len(draws):
        return None
    return _Known(
        " ".join([published.set_id, *sorted(one.set_id for one in known)]),
        published.matching,
        published.f1 - fmean(one.f1 for one in known),
        published.influences - np.mean([one.influences for one in known], axis=0),
    )


@dataclass(frozen=True)
class LevelChanges:
    """The changes of one level's languages.

    Attributes:
        place: the columns of `CELL`, and what else tells the level from others.
        languages: WikiANN codes. All arrays are in their order.
        spreads: what seeds gave, and what sentences do.
        estimates: means and variances.
        is_shared: whether the languages were trained together.
        num_rows: seeds that were planned or tried.
        is_odd: whether scores and predictions do not agree.
    """

    place: tuple[object, ...]
    languages: list[str]
    spreads: Spreads
    estimates: Estimates
    is_shared: bool
    num_rows: np.ndarray
    is_odd: np.ndarray

    @property
    def num_pairs(self) -> np.ndarray:
        """Seeds behind each language's change."""
        numbers: np.ndarray = (~np.isnan(self.spreads.values)).sum(axis=1)
        return numbers

    def ends(self, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends of each language's interval; NaN where there is none."""
        found = self.estimates
        return find_ends(found.mean, found.variance, found.df, confidence)

    def of_mean(self, languages: Sequence[str]) -> Mean:
        """The mean over those of these languages that have a change; its variance is NaN where the
        spread over seeds of one of them is not known."""
        wanted = set(languages)
        is_wanted = np.array([language in wanted for language in self.languages], bool)
        is_wanted &= self.num_pairs > 0
        number = int(is_wanted.sum())
        if not number:
            return NOT_KNOWN
        found = self.estimates
        mean = float(found.mean[is_wanted].mean())
        if self.is_shared and number > 1:
            together = self._as_one(is_wanted)
            return Mean(mean, float(together.variance[0]), float(together.df[0]))
        # A language whose F1 never varies adds nothing, unless all are such.
        known = np.where(np.isnan(found.variance), 0.0, found.variance)[is_wanted]
        if not found.has_seeds[is_wanted].all() or not known.any():
            return Mean(mean, np.nan, np.nan)
        variance = known.sum() / number**2
        alone, shared = found.alone[is_wanted].sum(), found.shared[is_wanted].sum()
        df = degrees(np.array([variance]), np.array([(alone + shared**2) / number**4]))
        return Mean(mean, float(variance), float(df[0]))

    def _as_one(self, is_wanted: np.ndarray) -> Estimates:
        """The mean over languages that share their seeds: a value a seed that all of them have."""
        spreads, number = self.spreads, is_wanted.sum()
        values = spreads.values[is_wanted]
        has_all = ~np.isnan(values).any(axis=0)
        sums = np.where(np.isnan(values), 0.0, values).mean(axis=0)
        return estimate(
            Spreads(
                np.where(has_all, sums, np.nan)[None, :],
                spreads.of_mean[is_wanted].sum(keepdims=True) / number**2,
                spreads.own[is_wanted].sum(keepdims=True) / number**2,
                spreads.num_sentences[is_wanted].sum(keepdims=True),
            )
        )


Changes = Mapping[tuple[object, ...], LevelChanges]
"""By the place of the level."""


def find_changes(
    pairs: pd.DataFrame, sentences: Sentences | None, by: Sequence[str] = CELL
) -> Changes:
    """Estimate the mean change of each language and level.

    Args:
        pairs: a row a pair of trials, language and seed: the columns `by`, `language`, `seed`,
            `trial_id`, `other_id` and `change`, the former's F1 minus the latter's; NaN where
            either is missing; and `matching` where sentences are known.
        sentences: what sentences do; None where that is not known of this change.
        by: columns that make a level.
    """
    # Narrow, since a wide frame takes most of the time to cut up.
    narrow = pairs[list(dict.fromkeys([*by, *(name for name in PAIR if name in pairs)]))]
    return {
        place: _estimate_level(place, of_level, sentences)
        for place, of_level in narrow.groupby(list(by))
    }


def changes_to_dense(results: Results, sentences: Sentences | None) -> Changes:
    """The changes from dense to sparse, by level."""
    return find_changes(
        results.sparse.rename(columns={"delta": "change", "dense_trial_id": "other_id"}), sentences
    )


def f1s_of(results: Results, sentences: Sentences | None) -> Changes:
    """F1 itself, by level, as changes from `NOTHING`."""
    return find_changes(
        results.trials.rename(columns={"f1": "change"}).assign(other_id=NOTHING), sentences
    )


def _estimate_level(
    place: tuple[object, ...], pairs: pd.DataFrame, sentences: Sentences | None
) -> LevelChanges:
    # Lists, since pandas takes most of the time where groups are of a few rows.
    columns = {name: pairs[name].tolist() for name in PAIR if name in pairs}
    matching = columns.get("matching", [""] * len(pairs))
    rows_of = defaultdict(list)
    for row, language in enumerate(columns["language"]):
        rows_of[language].append(row)
    languages = sorted(rows_of)
    place_of = {seed: at for at, seed in enumerate(sorted(set(columns["seed"])))}
    values = np.full((len(languages), len(place_of)), np.nan)
    of_mean, own = np.zeros(len(languages)), np.zeros(len(languages))
    num_sentences = np.full(len(languages), np.inf)
    num_rows, is_odd = np.zeros(len(languages), int), np.zeros(len(languages), bool)
    for at, language in enumerate(languages):
        rows = rows_of[language]
        num_rows[at] = len(rows)
        for row in rows:
            values[at, place_of[columns["seed"][row]]] = columns["change"][row]
        there = [
            Pair(columns["trial_id"][row], columns["other_id"][row], change, matching[row])
            for row in rows
            if not math.isnan(change := columns["change"][row])
        ]
        if sentences is None or not there:
            continue
        influences, odd = sentences.of_changes(there, language)
        is_odd[at] = odd > ROUNDING
        if len(influences):
            of_mean[at], own[at] = sentence_variances(influences, len(there))
            num_sentences[at] = influences.shape[1]
    spreads = Spreads(values, of_mean, own, num_sentences)

    # Rows of one trial in several languages were trained together.
    parts = set(zip(columns["trial_id"], columns["language"], strict=True))
    is_shared = len(set(columns["trial_id"])) < len(parts)
    estimates = estimate(spreads, is_shared)
    return LevelChanges(place, languages, spreads, estimates, is_shared, num_rows, is_odd)


def tabulate(changes: Changes, options: IntervalOptions, by: Sequence[str] = CELL) -> pd.DataFrame:
    """A row a level and language: the columns `by`, `language`, and those of `_rows_of`.

    Args:
        changes: what was estimated.
        options: how intervals are made.
        by: the columns of the places.
    """
    rows = [
        dict(zip(by, place, strict=True)) | row
        for place, level in changes.items()
        for row in _rows_of(level, options)
    ]
    return pd.DataFrame(rows)


def variances_of(changes: Changes) -> pd.DataFrame:
    """A row a level and language: the columns of `CELL`, `language`, `variance` and `df`."""
    names = [*CELL, "language", "variance", "df"]
    rows = [
        (*place, *row)
        for place, level in changes.items()
        for row in zip(level.languages, level.estimates.variance, level.estimates.df, strict=True)
    ]
    return pd.DataFrame(rows, columns=names)


def with_f1_ends(frame: pd.DataFrame, f1s: Changes, options: IntervalOptions) -> pd.DataFrame:
    """The rows of a level and language with the ends of the interval of F1, as `f1_low` and
    `f1_high`, which lie in [0, 1] as F1 does."""
    frame = with_ends(frame, f1s, options, "f1")
    return frame.assign(**{name: frame[name].clip(0, 1) for name in ("f1_low", "f1_high")})


def with_ends(
    frame: pd.DataFrame,
    changes: Changes,
    options: IntervalOptions,
    name: str,
    by: Sequence[str] = CELL,
) -> pd.DataFrame:
    """The rows of a level and language with the ends of its interval, as `<name>_low` and
    `<name>_high`."""
    ends = tabulate(changes, options, by)[[*by, "language", "low", "high"]]
    ends = ends.rename(columns={"low": f"{name}_low", "high": f"{name}_high"})
    return frame.merge(ends, "left", [*by, "language"])


def _rows_of(level: LevelChanges, options: IntervalOptions) -> Iterator[Row]:
    """The numbers of each language of a level."""
    low, high = level.ends(options.confidence)
    # Two one-sided tests at the level of one two-sided test leave that level out on each side.
    inner_low, inner_high = level.ends(2 * options.confidence - 1)
    found, num_pairs = level.estimates, level.num_pairs
    for at, language in enumerate(level.languages):
        has_sentences = bool(np.isfinite(level.spreads.num_sentences[at]))
        is_known = not np.isnan(low[at])
        yield {
            "language": language,
            "delta_mean": found.mean[at],
            "std_error": np.sqrt(found.variance[at]),
            "df": found.df[at] if is_known else np.nan,
            "low": low[at],
            "high": high[at],
            "equivalence_low": inner_low[at],
            "equivalence_high": inner_high[at],
            "confidence": options.confidence if is_known else np.nan,
            "allows_for": _allowed(is_known, bool(found.has_seeds[at]), has_sentences),
            "reason": "" if is_known else _why_not(int(num_pairs[at]), has_sentences),
            "num_pairs": int(num_pairs[at]),
            "num_sentences": int(level.spreads.num_sentences[at]) if has_sentences else None,
            "num_holes": int(level.num_rows[at] - num_pairs[at]),
            "is_odd": bool(level.is_odd[at]),
        }


def _allowed(is_known: bool, has_seeds: bool, has_sentences: bool) -> str:
    if not is_known:
        return "nothing"
    if not has_seeds:
        return "sentences"
    return "seeds and sentences" if has_sentences else "seeds"


def _why_not(num_pairs: int, has_sentences: bool) -> str:
    if not num_pairs:
        return "no pair"
    if num_pairs == 1 and not has_sentences:
        return "one seed, no predictions"
    return "no seed or sentence changes it"
