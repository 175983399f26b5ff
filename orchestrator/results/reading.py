"""What is shown of what is stored: rows of today, of every trial once, from the fewest files.

A compact file stands for the files of single trials where these are older; what is newer, or what
it lacks, is read from them. Files of earlier schema versions are read as today's, see `versions`.
Since the ids of trials have changed between versions, a file is named by a key, which is the id
that its trial had when it was written; and two files may hold what is one trial today. One of them
is shown then (`_rank`). The other is superseded: it stays where it is, and its rows are not seen;
but its scores are where they are by a rule of matching by which the one that is shown has none
(`Reader.earlier_runs`).
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.columns import Table
from orchestrator.results.lacking import shown_beside
from orchestrator.results.parquet import NewerVersionError, Stored
from orchestrator.results.rows import read_spec
from orchestrator.results.schema import CHILD_TABLES, SCHEMA_VERSION, TABLES
from orchestrator.results.table_files import TableFiles, number_of_run
from orchestrator.results.versions import Facts, Identity, TrialFacts, upgrade
from workers.trial import TrialSpec

log = logging.getLogger(__name__)

RANKED_BY = (
    *("status", "num_scores", "num_robustness_scores", "num_predictions"),
    *("ended_at", "file_key"),
)
"""Columns of trials that tell which of two rows of a trial is shown."""

CATALOGUED = ("file_key", "status")
"""Columns of trials that are always read; each more costs every small file a few percent."""

FACTS = ("trial_id", "cell_id", "evaluation_matching", "embedding_sparsity")
"""Columns of trials that rows of earlier versions in other tables need to know."""

ADDED_TO = ("scores", "robustness")
"""Tables that scores by another rule of matching are added to, see `ResultStore.add_scores`."""

COMPACT = "compact"
"""In place of a file's key."""

ROWS_OF_PART = 200_000
"""Rows of a large table that are in memory at a time while it is compacted."""


@dataclass(frozen=True)
class Catalog:
    """All trials that are shown, and which files hold them.

    Attributes:
        rows: of `trials`, sorted, with the columns asked for, those it is sorted by and
            `CATALOGUED`.
        superseded: keys of files that are not shown, each with the key of that which is instead.
    """

    rows: pa.Table
    superseded: dict[str, str]

    def keys(self, count: str | None = None) -> dict[str, str]:
        """Keys of files by the ids of completed trials, sorted by id.

        Args:
            count: a column of `trials`; only trials where it is above 0.
        """
        names = ("trial_id", "file_key", "status", count or "file_key")
        rows = zip(*(self.rows[name].to_pylist() for name in names), strict=True)
        return dict(
            sorted(
                (trial_id, key)
                for trial_id, key, status, number in rows
                if status == "completed" and (count is None or number)
            )
        )

    def facts(self) -> dict[str, TrialFacts]:
        """What files of earlier versions need to know of their trial, by the key of the file; only
        of a catalog with the columns `FACTS`."""
        rows = zip(*(self.rows[name].to_pylist() for name in FACTS), strict=True)
        keys = self.rows["file_key"].to_pylist()
        facts = {
            key: TrialFacts(trial_id, cell_id, matching, embedding_sparsity, is_superseded=False)
            for key, (trial_id, cell_id, matching, embedding_sparsity) in zip(
                keys, rows, strict=True
            )
        }
        for key, shown in self.superseded.items():
            facts[key] = facts[shown]._replace(is_superseded=True)
        return facts


@dataclass(frozen=True)
class EarlierRun:
    """A completed run of a trial that is not shown but for its scores by its rule of matching.

    Attributes:
        key: of its files.
        spec: the trial as it was run, without what is not shown of it.
        num_rows: rows that are shown, of each table in `ADDED_TO`.
    """

    key: str
    spec: TrialSpec
    num_rows: Mapping[str, int]

    @property
    def rule(self) -> str:
        """The rule of matching of its scores."""
        return self.spec.evaluation.matching


class Reader:
    """Reads the tables of a results location. It remembers what old trials are called today, and
    nothing else."""

    def __init__(self, files: TableFiles):
        self.files = files
        self._identities: dict[str, Identity] = {}

    def catalog(self, columns: Iterable[str] | None = ()) -> Catalog:
        """Read the trials.

        Args:
            columns: those wanted beside the ones that are always read; all when None.

        Raises:
            StoreError: a file is damaged, or of a later version.
        """
        table = TABLES["trials"]
        names = None if columns is None else _distinct(table, [*columns, *CATALOGUED])
        written = self.files.keys("compact").get("trials", 0)  # before it is read: see `_unchanged`
        files = self.files.keys("trials")

        compact = self._read_compact("trials", names, dict)
        known = {key for key in _completed(compact.rows) if files.get(key, written) < written}
        skipped = {
            key: shown
            for key, shown in compact.superseded.items()
            if shown in known and files.get(key, written) < written
        }
        left = [key for key in files if key not in known and key not in skipped]

        rows = pa.concat_tables(
            [
                _rows_of(compact.rows, "file_key", known),
                *self._today(table, self.files.read_files("trials", left, names), names, dict),
            ]
        )
        superseded = self._superseded(rows)
        if superseded:
            rows = _rows_of(rows, "file_key", set(rows["file_key"].to_pylist()) - {*superseded})
        superseded |= {key: superseded.get(shown, shown) for key, shown in skipped.items()}
        return Catalog(_sorted(table, rows), superseded)

    def read(
        self, name: str, columns: Sequence[str] | None, catalog: Catalog | None = None
    ) -> pa.Table:
        """Read all rows of a table that are shown, sorted; of `CHILD_TABLES` those of completed
        trials.

        Args:
            name: the table.
            columns: the columns wanted; all when None.
            catalog: the trials; read when None and needed.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """
        table = TABLES[name]
        if name == "trials":
            rows = (catalog or self.catalog(columns)).rows
        elif name in CHILD_TABLES:
            catalog = catalog or self.catalog([CHILD_TABLES[name]])
            rows = self._read_children(table, columns, catalog)
        else:
            rows = self._read_others(table, columns, catalog)
        return rows.select(table.subset(columns).names)

    def read_each(
        self, name: str, trial_ids: Iterable[str], columns: Sequence[str] | None, catalog: Catalog
    ) -> Iterator[tuple[str, pa.Table]]:
        """The id of each of these trials with its rows of one of `CHILD_TABLES`, unsorted, with few
        files in memory at a time.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """
        table, keys, facts = TABLES[name], catalog.keys(), self._facts(catalog)
        ids = {keys.get(trial_id, trial_id): trial_id for trial_id in trial_ids}
        for key, stored in self.files.read_in_turn(name, ids, columns):
            (rows,) = self._today(table, [(key, stored)], columns, facts)
            yield ids[key], rows

    def read_parts(self, name: str, catalog: Catalog) -> Iterator[pa.Table]:
        """All rows of one of `CHILD_TABLES` in tables of `ROWS_OF_PART` rows or little more, sorted
        by trial first."""
        table = TABLES[name]
        part: list[pa.Table] = [_no_rows(table, None)]
        for _, rows in self.read_each(name, catalog.keys(CHILD_TABLES[name]), None, catalog):
            part.append(_sorted(table, rows))
            if sum(rows.num_rows for rows in part) >= ROWS_OF_PART:
                yield pa.concat_tables(part)
                part = [_no_rows(table, None)]
        yield pa.concat_tables(part)

    def upgraded(
        self,
        name: str,
        key: str,
        stored: Stored,
        facts: Facts,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of one file as those of today.

        Args:
            name: the table.
            key: of the file.
            stored: what it holds, read with these columns.
            facts: of its trial, or of all.
            columns: the columns wanted; all when None.

        Raises:
            StoreError: a column that needs a value has none.
        """
        return self._one_version(TABLES[name], [(key, stored)], columns, facts)

    def earlier_runs(self, superseded: Mapping[str, str]) -> dict[str, list[EarlierRun]]:
        """Runs whose scores are shown beside those of the run that took their place, since that was
        scored by another rule of matching: of each other rule the best one.

        Args:
            superseded: keys of files that are not shown, each with the key of that which is.

        Returns:
            The runs, by the key of that which is shown.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """
        if not superseded:
            return {}
        names = (*RANKED_BY, "trial_id", "spec_json")
        files = self.files.read_files("trials", sorted({*superseded, *superseded.values()}), names)
        tables = self._today(TABLES["trials"], files, names, dict)
        rows = pa.concat_tables(tables).to_pylist()
        rows.sort(key=lambda row: _rank(row["trial_id"], *(row[name] for name in RANKED_BY)))
        specs = {
            row["file_key"]: read_spec(row["spec_json"], row["file_key"])
            for row in rows
            if row["status"] == "completed"
        }
        found: dict[str, list[EarlierRun]] = {}
        for row in reversed(rows):
            key = row["file_key"]
            shown = superseded.get(key)
            if shown is None or shown not in specs or key not in specs:
                continue
            runs = found.setdefault(shown, [])
            spec = shown_beside(specs[key], specs[shown])
            rules = {specs[shown].evaluation.matching, *(run.rule for run in runs)}
            if spec.evaluation.matching not in rules:
                num_rows = {name: row[CHILD_TABLES[name]] for name in ADDED_TO}
                if spec.robustness is None:
                    num_rows["robustness"] = 0
                runs.append(EarlierRun(key, spec, num_rows))
        return {shown: runs for shown, runs in found.items() if runs}

    def _superseded(self, trials: pa.Table) -> dict[str, str]:
        """Of rows of one trial all but one: keys of their files, each with that of the one."""
        ids = dict(zip(trials["file_key"].to_pylist(), trials["trial_id"].to_pylist(), strict=True))
        counts = Counter(ids.values())
        rivals = [key for key, trial_id in ids.items() if counts[trial_id] > 1]
        if not rivals:
            return {}
        files = self.files.read_files("trials", rivals, RANKED_BY)
        rows = pa.concat_tables(self._today(TABLES["trials"], files, RANKED_BY, dict))
        best: dict[str, tuple[Any, str]] = {}
        for rank in zip(*(rows[name].to_pylist() for name in RANKED_BY), strict=True):
            key = rank[-1]
            trial_id = ids[key]
            candidate = (_rank(trial_id, *rank), key)
            best[trial_id] = max(best.get(trial_id, candidate), candidate)
        return {key: best[ids[key]][1] for key in rivals if best[ids[key]][1] != key}

    def _read_children(
        self, table: Table, columns: Sequence[str] | None, catalog: Catalog
    ) -> pa.Table:
        names = None if columns is None else _distinct(table, columns)
        keys, facts = catalog.keys(CHILD_TABLES[table.name]), self._facts(catalog)
        earlier = self.earlier_runs(catalog.superseded) if table.name in ADDED_TO else {}
        kept = self._unchanged(table, names, catalog, facts, earlier)
        have = set(pc.unique(kept["trial_id"]).to_pylist())
        left = [key for trial_id, key in keys.items() if trial_id not in have]
        new = self._today(table, self.files.read_files(table.name, left, names), names, facts)
        if table.name in ADDED_TO:
            new += self._added(table, names, keys, kept)
            new += self._of_earlier_runs(table, names, earlier, facts)
        return _sorted(table, pa.concat_tables([kept, *new]))

    def _added(
        self, table: Table, names: list[str] | None, keys: Mapping[str, str], kept: pa.Table
    ) -> list[pa.Table]:
        """Scores by another rule of matching that were added to these trials and are not among the
        rows of the compact file."""
        added = self.files.added_keys(table.name)
        if not added:
            return []
        places = zip(kept["trial_id"].to_pylist(), kept["matching"].to_pylist(), strict=True)
        have = set(places)
        left = [
            f"{key}-{rule}"
            for trial_id, key in keys.items()
            for rule in added.get(key, ())
            if (trial_id, rule) not in have
        ]
        return self._today(table, self.files.read_files(table.name, left, names), names, dict)

    def _of_earlier_runs(
        self,
        table: Table,
        names: list[str] | None,
        earlier: Mapping[str, Sequence[EarlierRun]],
        facts: Facts,
    ) -> list[pa.Table]:
        """Scores of runs that are shown for nothing else, where none by their rule were added to
        the run that took their place."""
        if not earlier:
            return []
        added = self.files.added_keys(table.name)
        runs = {
            run.key: (run, shown)
            for shown, of_trial in earlier.items()
            for run in of_trial
            if run.num_rows[table.name] and run.rule not in added.get(shown, ())
        }

        def own_facts() -> dict[str, TrialFacts]:
            return {
                key: facts()[shown]._replace(matching=run.rule)
                for key, (run, shown) in runs.items()
            }

        files = self.files.read_files(table.name, list(runs), names)
        return self._today(table, files, names, own_facts)

    def _unchanged(
        self,
        table: Table,
        names: list[str] | None,
        catalog: Catalog,
        facts: Facts,
        left_out: Collection[str] = (),
    ) -> pa.Table:
        """The rows of the compact file that are of completed trials and still true.

        That is sure where the trial's own row is older than the compact file: a completed trial is
        never replaced, but somebody may delete it and run it again. A file that is shown in place
        of another one must be known to the compact file as such, since it may have come while the
        compact file was being made.

        Args:
            table: one of `CHILD_TABLES`.
            names: the columns wanted; all when None.
            catalog: the trials.
            facts: of all trials.
            left_out: keys of trials whose rows are not wanted.
        """
        # Asked before the file is read, which others may renew meanwhile.
        written = self.files.keys("compact").get(table.name, 0)
        files = self.files.keys("trials")
        compact = self._read_compact(table.name, names, None)
        unchanged = {
            trial_id: key
            for trial_id, key in catalog.keys(CHILD_TABLES[table.name]).items()
            if files.get(key, written) < written
            and key not in compact.superseded
            and key not in left_out
        }
        if compact.version == SCHEMA_VERSION:
            unknown = {*catalog.superseded.values()} - {*compact.superseded.values()}
            known = {trial_id for trial_id, key in unchanged.items() if key not in unknown}
            return _rows_of(compact.rows, "trial_id", known)
        # Of two trials that are one today it has both, under the ids that they had.
        rows = _rows_of(compact.rows, "trial_id", set(unchanged.values()))
        return self._one_version(table, [(COMPACT, Stored(compact.version, rows))], names, facts)

    def _read_others(
        self, table: Table, columns: Sequence[str] | None, catalog: Catalog | None
    ) -> pa.Table:
        """Attempts and sentences, which are never replaced, and plans, which have no compact file
        that is read."""
        names = None if columns is None else _distinct(table, columns)
        keys = self.files.keys(table.name)
        kept, facts = _no_rows(table, names), self._facts(catalog)
        if table.name != "plans":
            compact = self._read_compact(table.name, names, facts)
            kept = _rows_of(compact.rows, table.key, keys)
        have = set(pc.unique(kept[table.key]).to_pylist())
        left = [key for key in keys if key not in have]
        new = self._today(table, self.files.read_files(table.name, left, names), names, facts)
        return _sorted(table, pa.concat_tables([kept, *new]))

    def _read_compact(self, name: str, names: list[str] | None, facts: Facts | None) -> Stored:
        """A compact file; one without rows when there is none or it is damaged, since all that is
        in it lies in other files, too.

        Args:
            name: the table.
            names: the columns wanted; all when None.
            facts: of all trials, so that rows of an earlier version become those of today; None
                leaves them as they are.
        """
        table = TABLES[name]
        nothing = Stored(SCHEMA_VERSION, _no_rows(table, names))
        try:
            stored = self.files.read_compact(name, names)
            if stored is None or facts is None or stored.version == SCHEMA_VERSION:
                return stored or nothing
            rows = self._one_version(table, [(COMPACT, stored)], names, facts)
        except NewerVersionError:
            raise
        except StoreError as error:
            log.warning("%s; reading the trials' own files instead", error)
            return nothing
        return Stored(SCHEMA_VERSION, rows)

    def _facts(self, catalog: Catalog | None) -> Facts:
        """The facts of all trials; where the catalog lacks them they are read, once, when a file
        needs them."""

        @cache
        def facts() -> dict[str, TrialFacts]:
            has_facts = catalog is not None and {*FACTS} <= {*catalog.rows.column_names}
            return (catalog if catalog and has_facts else self.catalog(FACTS)).facts()

        return facts

    def _today(
        self,
        table: Table,
        files: Sequence[tuple[str, Stored]],
        names: Sequence[str] | None,
        facts: Facts,
    ) -> list[pa.Table]:
        """The rows of files as those of today, in one table a version.

        Args:
            table: what they are of.
            files: each with its key.
            names: the columns wanted; all when None.
            facts: of all trials.
        """
        by_version: dict[int, list[tuple[str, Stored]]] = {}
        for key, stored in files:
            by_version.setdefault(stored.version, []).append((key, stored))
        return [
            self._one_version(table, of_version, names, facts)
            for _, of_version in sorted(by_version.items())
        ]

    def _one_version(
        self,
        table: Table,
        files: Sequence[tuple[str, Stored]],
        names: Sequence[str] | None,
        facts: Facts,
    ) -> pa.Table:
        """`_today` of files of one version, all at a time: that is faster than one by one."""
        version = files[0][1].version
        tables = [stored.rows for _, stored in files]
        if version == SCHEMA_VERSION:
            return pa.concat_tables(tables).cast(table.subset(names))
        # Some columns came within a version: what a file lacks is null.
        rows = pa.concat_tables(tables, promote_options="default")
        try:
            rows = upgrade(table, rows, version, facts=facts, identities=self._identities).select(
                table.subset(names).names
            )
            _refuse_holes(table, rows)
        except StoreError as error:
            if len(files) == 1:
                raise self._located(table.name, files[0][0], error) from error
            for file in files:  # one of them is odd: which?
                self._one_version(table, [file], names, facts)
            raise
        return rows

    def _located(self, name: str, key: str, error: StoreError) -> StoreError:
        """The error with the file that it is about and what to do."""
        if key == COMPACT:
            return StoreError(f"{self.files.path(COMPACT, name)}: {error}; delete it")
        return StoreError(f"{self.files.path(name, key)}: {error}; {self.files.remedy(name, key)}")


def _refuse_holes(table: Table, rows: pa.Table) -> None:
    for column in rows.schema:
        if not column.nullable and rows[column.name].null_count:
            raise StoreError(f"column {column.name} is missing or null")


def _completed(trials: pa.Table) -> list[str]:
    """Keys of the files of completed trials."""
    columns = (trials[name].to_pylist() for name in ("file_key", "status"))
    return [key for key, status in zip(*columns, strict=True) if status == "completed"]


def _rank(
    trial_id: str,
    status: str,
    num_scores: int,
    num_robustness_scores: int,
    num_predictions: int,
    ended_at: Any,
    file_key: str,
) -> tuple[Any, ...]:
    """The larger, the more reason to show these of several rows of a trial: completed before
    failed, run again before that, then more scores, then the newer; the rest decides ties."""
    num_all_scores = num_scores + num_robustness_scores
    return (
        *(status == "completed", number_of_run(file_key, trial_id)),
        *(num_all_scores, num_predictions, ended_at),
        *(file_key == trial_id, file_key),
    )


def _distinct(table: Table, columns: Iterable[str]) -> list[str]:
    """These columns, and those that rows are found and sorted by, each once."""
    return list(dict.fromkeys((*columns, table.key, *table.sort_by)))


def _sorted(table: Table, rows: pa.Table) -> pa.Table:
    return rows.combine_chunks().sort_by([(column, "ascending") for column in table.sort_by])


def _no_rows(table: Table, columns: Sequence[str] | None) -> pa.Table:
    """An empty table; what pyarrow calls so would import pandas, as `_rows_of` says."""
    return pa.Table.from_batches([], table.subset(columns))


def _rows_of(rows: pa.Table, column: str, wanted: Collection[str]) -> pa.Table:
    """The rows whose value of a column is wanted: all of them, as a rule.

    Slices, not a filter: for the values that a filter needs pyarrow imports pandas, which takes
    longer than the rest of reading a compact file.
    """
    kept: list[tuple[int, int]] = []  # from where to where
    start = 0
    for chunk in pc.run_end_encode(rows[column]).chunks:
        begin = start
        for value, length in zip(chunk.values.to_pylist(), chunk.run_ends.to_pylist(), strict=True):
            end = start + length
            if value in wanted:
                is_next = kept and kept[-1][1] == begin
                kept.append((kept.pop()[0] if is_next else begin, end))
            begin = end
        start += len(chunk)
    return pa.concat_tables(
        [rows.slice(0, 0), *(rows.slice(begin, end - begin) for begin, end in kept)]
    )
