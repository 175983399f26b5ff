"""Many numbers of a trial at once, as means over the seeds of its cell: arrays with a row a trial
and language and a column a number, NaN where it was not measured."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from orchestrator.analysis.inputs.frames import CELL, Results, in_order

KEY = ["trial_id", "language", "matching"]
"""What a trial's numbers are known by: they are of one language and one rule of matching."""


class OverSeeds:
    """Means over seeds, of all cells and languages of results.

    Attributes:
        cells: a row each, with the columns of `CELL`, language and num_trials, in the order of
            tables.
    """

    def __init__(self, results: Results):
        self._trials = results.trials
        grouped = self._trials.groupby([*CELL, "language", "cell_id"])
        cells = grouped.size().rename("num_trials").reset_index()
        # Sorted here, once, and not the many rows that are made of them.
        self.cells = in_order(cells.assign(number=np.arange(len(cells))))
        place = np.argsort(self.cells.pop("number").to_numpy())
        self._cell = place[grouped.ngroup().to_numpy()]

    def own(self, numbers: pd.DataFrame) -> np.ndarray:
        """Numbers of the trials themselves, float64 (trials and languages, columns).

        Args:
            numbers: with an index of `KEY`, each once.
        """
        return self._find(numbers, "trial_id")

    def dense(self, numbers: pd.DataFrame) -> np.ndarray:
        """Numbers of the dense trial of the same seed, by the rule of the sparse one's cell."""
        return self._find(numbers, "dense_trial_id")

    def _find(self, numbers: pd.DataFrame, name: str) -> np.ndarray:
        place = self._trials[[name, "language", "matching"]]
        rows = numbers.index.get_indexer(pd.MultiIndex.from_frame(place.fillna({name: ""})))
        found = numbers.to_numpy(np.float64, copy=True)[rows] if len(numbers) else None
        if found is None:
            return np.full((len(rows), numbers.shape[1]), np.nan)
        found[rows < 0] = np.nan
        return np.asarray(found)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means over the seeds that have a number, float64 (cells, columns)."""
        return np.asarray(self._grouped(values).mean().to_numpy())

    def std(self, values: np.ndarray) -> np.ndarray:
        """Sample standard deviations over the seeds that have a number; NaN below two."""
        return np.asarray(self._grouped(values).std().to_numpy())

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sums over the seeds that have a number; NaN where none has."""
        return np.asarray(self._grouped(values).sum(min_count=1).to_numpy())

    def max(self, values: np.ndarray) -> np.ndarray:
        """The largest number of any seed."""
        return np.asarray(self._grouped(values).max().to_numpy())

    def count(self, values: np.ndarray) -> np.ndarray:
        """How many seeds have a number, int64 (cells, columns)."""
        return np.asarray(self._grouped(values).count().to_numpy())

    def _grouped(self, values: np.ndarray) -> "pd.api.typing.DataFrameGroupBy":
        return pd.DataFrame(values).groupby(self._cell)

    def rows(
        self, parts: pd.DataFrame, numbers: Mapping[str, np.ndarray], is_kept: Sequence[bool]
    ) -> pd.DataFrame:
        """A row a cell, language and part.

        Args:
            parts: a row a column of the numbers, saying what it is of.
            numbers: by the name of a column of the outcome, (cells, columns) each.
            is_kept: by column, whether it gets rows.
        """
        kept = np.flatnonzero(is_kept)
        cells = self.cells.loc[self.cells.index.repeat(len(kept))].reset_index(drop=True)
        every = np.tile(kept, len(self.cells))
        frame = pd.concat([cells, parts.iloc[every].reset_index(drop=True)], axis=1)
        return frame.assign(**{name: values[:, kept].ravel() for name, values in numbers.items()})
