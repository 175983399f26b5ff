"""How many seeds and sentences it takes to see a change of F1, from the variances of results.

The mean change over K seeds on n sentences has the variance

    common n0 / n + (own n0 / n + seeds) / K

with what sentences do to all seeds alike, what they do to each seed by itself, both on the n0
sentences that there are, and what seeds differ by apart from sentences (`uncertainty`). More seeds
leave the first part as it is. So below some number of sentences no number of seeds is enough.

Source: Student's t test of a mean; its power by the difference of quantiles, which for the numbers
of seeds that count here is within a seed of the noncentral distribution's.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis.inputs.frames import CELL, finish, in_order
from orchestrator.analysis.statistics.intervals import Changes, LevelChanges
from orchestrator.analysis.tables import POWER, AnalysisTable
from orchestrator.results.rows import Row
from orchestrator.wording import counted

LEVEL_OF_TEST = 0.05
"""Two-sided."""
WANTED_POWER = 0.8
MOST_SEEDS = 1_000
"""Where more would be needed, there is no number."""
ALL_LANGUAGES = "mean"
"""In place of a language: the mean over those of the level."""


class Parts:
    """The parts of the variance of a mean change.

    Args:
        common: what sentences do to all seeds alike.
        own: what they do to each seed by itself.
        seeds: what seeds differ by apart from sentences.
        num_sentences: behind `common` and `own`; infinite where sentences are not known.
    """

    def __init__(self, common: float, own: float, seeds: float, num_sentences: float):
        self.common, self.own, self.seeds = common, own, seeds
        self.num_sentences = num_sentences

    def detectable(self, num_seeds: int, scale: float = 1.0) -> float:
        """The smallest change that is seen with `WANTED_POWER`.

        Args:
            num_seeds: 2 or more.
            scale: how many times the sentences there are.
        """
        by_seeds = (self.own / scale + self.seeds) / num_seeds
        variance = self.common / scale + by_seeds
        if variance <= 0:
            return 0.0
        # Of the variance what seeds contribute is known by their number only (Satterthwaite 1946).
        df = (num_seeds - 1) * (variance / by_seeds) ** 2 if by_seeds else np.inf
        quantiles = stats.t.ppf([1 - LEVEL_OF_TEST / 2, WANTED_POWER], df)
        return float(quantiles.sum() * math.sqrt(variance))

    def seeds_needed(self, change: float) -> int | None:
        """The fewest seeds that see a change on the sentences there are; None: none do."""
        return _least(lambda seeds: self.detectable(seeds) <= change, 2, MOST_SEEDS)

    def sentences_needed(self, change: float, num_seeds: int) -> int | None:
        """The fewest sentences on which so many seeds see a change; None: seeds differ by too much,
        or sentences are not known."""
        return self._sentences(change, num_seeds)

    def sentences_at_least(self, change: float) -> int | None:
        """Below so many sentences no number of seeds sees a change; None: sentences are not
        known."""
        return self._sentences(change, MOST_SEEDS)

    def _sentences(self, change: float, num_seeds: int) -> int | None:
        if num_seeds < 2 or not math.isfinite(self.num_sentences):
            return None
        size = self.num_sentences
        most = 10_000 * size
        return _least(lambda n: self.detectable(num_seeds, n / size) <= change, 1, int(most))


def _least(is_enough: Callable[[int], bool], first: int, last: int) -> int | None:
    """The smallest number from first to last that is enough, where all larger ones are; None: even
    the last is not."""
    if not is_enough(last):
        return None
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if is_enough(middle) else (middle + 1, last)
    return first


def find_power(changes: Changes, change: float) -> AnalysisTable:
    """Make the table `power`.

    Args:
        changes: from dense to sparse.
        change: the change of F1 that is to be seen, in (0, 1).
    """
    rows = [
        dict(zip(CELL, level.place, strict=True)) | row
        for level in changes.values()
        for row in _rows_of(level, change)
    ]
    table = in_order(pd.DataFrame(rows))
    return finish(POWER, table, _notes(rows))


def _rows_of(level: LevelChanges, change: float) -> Iterator[Row]:
    """A row a language, and one of their mean where they have trials of their own."""
    found, spreads = level.estimates, level.spreads
    of_language: list[tuple[Parts, int]] = []
    for at, language in enumerate(level.languages):
        num_seeds = int(level.num_pairs[at])
        parts = None
        if found.has_seeds[at] and not np.isnan(found.variance[at]):
            of_mean = float(spreads.of_mean[at])
            # Both are estimates, and a mean can seem to differ less than its seeds say.
            own = min(float(spreads.own[at]), of_mean * num_seeds)
            seeds = max(float(found.variance[at]) - of_mean, 0.0) * num_seeds
            common = of_mean - own / num_seeds
            parts = Parts(common, own, seeds, float(spreads.num_sentences[at]))
            of_language.append((parts, num_seeds))
        yield _row(language, 1, parts, num_seeds, change)
    if len(of_language) > 1 and not level.is_shared:
        number = len(of_language)
        each = [parts for parts, _ in of_language]
        mean = Parts(
            common=sum(parts.common for parts in each) / number**2,
            own=sum(parts.own for parts in each) / number**2,
            seeds=sum(parts.seeds for parts in each) / number**2,
            num_sentences=sum(parts.num_sentences for parts in each),
        )
        yield _row(ALL_LANGUAGES, number, mean, min(seeds for _, seeds in of_language), change)


def _row(
    language: str, num_languages: int, parts: Parts | None, num_seeds: int, change: float
) -> Row:
    row: Row = {
        "language": language,
        "change": change,
        "num_languages": num_languages,
        "num_seeds": num_seeds,
        "num_sentences": None,
        "detectable": None,
        "seeds_needed": None,
        "sentences_needed": None,
        "sentences_at_least": None,
        "reason": None if parts else "how far seeds differ is not known",
    }
    if parts is None:
        return row
    if math.isfinite(parts.num_sentences):
        row["num_sentences"] = int(parts.num_sentences)
    return row | {
        "detectable": parts.detectable(num_seeds) if num_seeds > 1 else None,
        "seeds_needed": parts.seeds_needed(change),
        "sentences_needed": parts.sentences_needed(change, num_seeds),
        "sentences_at_least": parts.sentences_at_least(change),
    }


def _notes(rows: list[Row]) -> list[str]:
    if not rows:
        return ["No sparse trials: how far seeds and sentences differ is known from these."]
    notes = [
        f"Seen means p < {LEVEL_OF_TEST:g} in {WANTED_POWER:.0%} of such sweeps, if seeds and "
        "sentences differ as they do here; with few seeds that itself is known roughly."
    ]
    never = [row for row in rows if row["seeds_needed"] is None and row["reason"] is None]
    if never:
        notes.append(
            f"In {counted(len(never), 'row')} no number of seeds is enough, up to {MOST_SEEDS:,}: "
            "sentences_at_least says from how many sentences on there is one."
        )
    if unknown := sum(row["reason"] is not None for row in rows):
        notes.append(f"{counted(unknown, 'row')} without numbers, see reason: run a second seed.")
    return notes
