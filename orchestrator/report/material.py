"""What figures are drawn from: the tables of the analysis, and stored rows."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.tables import AnalysisTable
from orchestrator.results.store import ResultStore


class Material:
    """What was analysed, as frames in which null is None or NaN.

    Attributes:
        store: the results.
        split: the split that was analysed, validation or test.
    """

    def __init__(self, store: ResultStore, split: str, tables: Sequence[AnalysisTable]) -> None:
        self.store = store
        self.split = split
        self._tables = {table.name: table for table in tables}
        self._frame = cache(self._make_frame)
        self.read = cache(self._read)

    def table(self, name: str) -> pd.DataFrame:
        """A table of the analysis, with one more column: `series`, the regime and the settings in
        one text. A figure that reads it names it in its `needs`."""
        return self._frame(name).copy(deep=False)

    def notes(self, name: str) -> tuple[str, ...]:
        """The sentences that must be said of a table of the analysis, but for what the terminal
        leaves out of it."""
        notes = self._tables[name].notes
        return tuple(note for note in notes if not note.startswith("The terminal"))

    @property
    def num_scored(self) -> int:
        """Trials with an F1 that is compared; needs the table `groups`."""
        groups = self.table("groups")
        return int(groups.loc[groups["grouping"] == "all", "num_trials"].sum())

    @property
    def num_compared(self) -> int:
        """Sparse trials with a change to dense; needs the table `groups`."""
        groups = self.table("groups")
        return int(groups.loc[groups["grouping"] == "all", "num_trials_compared"].sum())

    def meanings(self, needs: Collection[str]) -> Mapping[str, str]:
        """What the columns of tables of the analysis mean, by their name.

        Args:
            needs: names of the tables; of a column that several have, the first one says it.
        """
        return {
            column.name: column.meaning
            for name in reversed(list(needs))
            for column in self._tables[name].table.columns
        }

    def _make_frame(self, name: str) -> pd.DataFrame:
        rows = to_frame(self._tables[name].rows)
        of_series = zip(rows["regime"], rows["settings"], strict=True)
        rows.insert(0, "series", [_name_series(*one) for one in of_series])
        return rows

    def _read(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        """Columns of a stored table, of all recipes; read once."""
        return to_frame(self.store.read(name, list(columns)))


def read_material(
    store: ResultStore, needs: Collection[str], split: str = "test", **options: Any
) -> Material:
    """Analyze results, as far as figures need it.

    Args:
        store: the results.
        needs: names of tables of the analysis.
        split: validation or test.
        options: further arguments of `orchestrator.analysis.analyze.analyze`.

    Raises:
        StoreError: see `analyze`.
    """
    tables = analyze(store, split, only=needs, **options)
    return Material(store, split, tables)


def to_frame(rows: pa.Table) -> pd.DataFrame:
    """Rows as a frame; whole numbers stay whole where some are null."""
    whole = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
    frame: pd.DataFrame = rows.to_pandas(types_mapper=whole.get)
    return frame


def _name_series(regime: str, settings: str | None) -> str:
    return regime if settings is None or pd.isna(settings) else f"{regime}, {settings}"
