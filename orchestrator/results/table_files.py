"""The files of the tables: their names, many read at a time, and compact files in place of many
where they are true."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.parquet import decode, encode_compact, encode_compact_parts, encode_small
from orchestrator.results.rows import Row
from orchestrator.results.schema import CHILD_TABLES, TABLES
from workers.storage import Location

log = logging.getLogger(__name__)

NUM_READERS = 16
"""Threads that read small files: an object store answers each request after tens of
milliseconds."""

NUM_DECODERS = 2
"""Threads that decode small files. A footer of 110 columns is parsed without Python's lock (0.2
ms), the rest needs it: on two cores 2,004 trials take 0.6 times as long with 2 threads as with one,
and as long as with one with 16."""

FILES_OF_TASK = 16
"""Small files that a thread takes at a time, so that handing them over costs little."""

ROWS_OF_PART = 200_000
"""Rows of a large table that are in memory at a time while it is compacted."""

SUFFIX = ".parquet"
ANY_KEY = re.compile(r"(.+)\.parquet")
KEYS = dict.fromkeys(("trials", *CHILD_TABLES), re.compile(r"([0-9a-f]{16})\.parquet"))
KEYS["sentences"] = KEYS["trials"]
KEYS["attempts"] = re.compile(r"([0-9a-f]{16}-[0-9a-f]{8})\.parquet")


class TableFiles:
    """`<location>/<table>/<key>.parquet` and `<location>/compact/<table>.parquet`."""

    def __init__(self, location: Location):
        self.location = location

    def path(self, name: str, key: str) -> Location:
        """The file of a table with the rows of one key."""
        return self.location / name / f"{key}{SUFFIX}"

    def keys(self, name: str) -> dict[str, int]:
        """Keys of the files of a table, sorted, and when each was written, in ns."""
        pattern = KEYS.get(name, ANY_KEY)  # so that somebody's "Copy of …" doubles nothing
        entries = (self.location / name).entries()
        return {
            found[1]: entry.mtime_ns
            for entry in entries
            if (found := pattern.fullmatch(entry.name))
        }

    def read_one(self, name: str, key: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One file.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it is damaged, or of another version.
        """
        return self._decode(name, key, self.path(name, key).read_bytes(), columns)

    def write(self, *files: tuple[str, str, Sequence[Row]]) -> None:
        """Files as (table, key, rows), in this order; all rows are checked before the first is
        written.

        Raises:
            StoreError: a row cannot be stored, see `Table.build`.
        """
        encoded = [
            (self.path(name, key), encode_small(TABLES[name], TABLES[name].build(rows)))
            for name, key, rows in files
        ]
        for path, data in encoded:
            path.write_atomic(data)

    def write_compact(self, name: str, rows: pa.Table) -> Location:
        """The compact file of a table; returns where it is."""
        file = self.path("compact", name)
        file.write_atomic(encode_compact(TABLES[name], rows))
        return file

    def write_compact_by_key(self, name: str, keys: Iterable[str]) -> Location:
        """As `write_compact`, from the files of these keys in this order, with a part of them in
        memory at a time."""
        file = self.path("compact", name)
        file.write_atomic(encode_compact_parts(TABLES[name], self._parts(name, keys)))
        return file

    def _parts(self, name: str, keys: Iterable[str]) -> Iterator[pa.Table]:
        """The rows of these keys in tables of `ROWS_OF_PART` rows or little more."""
        order = [(column, "ascending") for column in TABLES[name].sort_by]
        part: list[pa.Table] = []
        for _, rows in self.read_each(name, keys):
            part.append(rows.sort_by(order))
            if sum(rows.num_rows for rows in part) >= ROWS_OF_PART:
                yield pa.concat_tables(part)
                part = []
        yield pa.concat_tables([TABLES[name].arrow_schema.empty_table(), *part])

    def read_each(
        self, name: str, keys: Iterable[str], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """Each key and its rows, with few files in memory at a time.

        Raises:
            StoreError: a file is missing, damaged or of another version.
        """
        left = list(keys)
        with ThreadPoolExecutor(NUM_READERS) as readers:
            for start in range(
                0, len(left), NUM_READERS
            ):  # `map` over all would read ahead without end
                batch = left[start : start + NUM_READERS]
                for key, data in zip(
                    batch, readers.map(lambda key: self._read_bytes(name, key), batch), strict=True
                ):
                    yield key, self._decode(name, key, data, columns)

    def read(
        self, name: str, columns: Sequence[str] | None, completed: Collection[str] | None = None
    ) -> pa.Table:
        """All rows of a table, sorted. Of the tables with numbers of trials, those of the
        `completed` ones."""
        table = TABLES[name]
        names = (
            None if columns is None else list(dict.fromkeys((*columns, table.key, *table.sort_by)))
        )
        wanted = set(self.keys(name)) if completed is None else set(completed)
        old = self._read_unchanged(name, names, wanted)
        new = self._read_many(
            name, sorted(wanted - set(pc.unique(old[table.key]).to_pylist())), names
        )
        rows = pa.concat_tables([old, *new]).cast(table.subset(names)).combine_chunks()
        rows = rows.sort_by([(column, "ascending") for column in table.sort_by])
        return rows if columns is None else rows.select(list(columns))

    def _read_many(
        self, name: str, keys: Sequence[str], columns: Sequence[str] | None
    ) -> list[pa.Table]:
        """The rows of each of these keys. Files are read by many threads, since that is waiting,
        and decoded by few."""

        def read(batch: Sequence[str]) -> list[bytes]:
            return [self._read_bytes(name, key) for key in batch]

        def decode_all(batch: Sequence[str], contents: Sequence[bytes]) -> list[pa.Table]:
            return [
                self._decode(name, key, data, columns)
                for key, data in zip(batch, contents, strict=True)
            ]

        batches = [
            keys[start : start + FILES_OF_TASK] for start in range(0, len(keys), FILES_OF_TASK)
        ]
        with (
            ThreadPoolExecutor(NUM_READERS) as readers,
            ThreadPoolExecutor(NUM_DECODERS) as decoders,
        ):
            decoded = decoders.map(decode_all, batches, readers.map(read, batches))
            return [rows for batch in decoded for rows in batch]

    def _read_bytes(self, name: str, key: str) -> bytes:
        file = self.path(name, key)
        try:
            return file.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{file}: missing; {self._remedy(name, key)}") from None

    def _decode(self, name: str, key: str, data: bytes, columns: Sequence[str] | None) -> pa.Table:
        try:
            return decode(TABLES[name], data, self.path(name, key), columns)
        except StoreError as error:
            raise StoreError(f"{error}; {self._remedy(name, key)}") from error

    def _remedy(self, name: str, key: str) -> str:
        """A trial is run again when its row in `trials` is gone, whichever of its files is
        damaged."""
        if name == "sentences":
            return "delete it and the row in trials of one of those with predictions of this set, then run again"
        of_trial = name == "trials" or name in CHILD_TABLES
        return f"delete {self.path('trials' if of_trial else name, key)}, then run the sweep again"

    def _read_unchanged(self, name: str, names: list[str] | None, wanted: set[str]) -> pa.Table:
        """The rows of the compact file that are wanted and are still true.

        That is sure of what is never replaced: attempts, sets of sentences, and the trials that
        were completed. A trial that was deleted by hand and run again has a newer file than the
        compact one.
        """
        written = self.keys(
            "compact"
        )  # asked before the files are read, which others may renew meanwhile
        if name == "plans" or name not in written:
            return _no_rows(name, names)
        if name not in ("attempts", "sentences"):
            # That of `trials` may be newer than this table's: it is renewed while a sweep runs.
            wanted = wanted & self._unchanged_trials(min(written[name], written.get("trials", 0)))
        return _rows_of(self._read_compact(name, names), TABLES[name].key, wanted)

    def _unchanged_trials(self, since: int) -> set[str]:
        """Trials that are completed in the compact file and whose own file is older than that
        moment, in ns."""
        files, rows = self.keys("trials"), self._read_compact("trials", ["trial_id", "status"])
        return {
            trial_id for trial_id in completed_trials(rows) if files.get(trial_id, since) < since
        }

    def _read_compact(self, name: str, names: list[str] | None) -> pa.Table:
        """All rows of a compact file; none when there is no such file."""
        file = self.path("compact", name)
        try:
            return decode(TABLES[name], file.read_bytes(), file, names)
        except FileNotFoundError:
            return _no_rows(name, names)
        except StoreError as error:
            log.warning("%s; reading the trials' own files instead", error)
            return _no_rows(name, names)


def _no_rows(name: str, columns: Sequence[str] | None) -> pa.Table:
    """An empty table; what pyarrow calls so would import pandas, as `_rows_of` says."""
    return pa.Table.from_batches([], TABLES[name].subset(columns))


def completed_trials(trials: pa.Table) -> list[str]:
    """Ids of the completed ones among these rows of `trials`."""
    columns = (trials[name].to_pylist() for name in ("trial_id", "status"))
    return [trial_id for trial_id, status in zip(*columns, strict=True) if status == "completed"]


def _rows_of(rows: pa.Table, key: str, wanted: Collection[str]) -> pa.Table:
    """The rows whose key is wanted: all of them, as a rule.

    Slices, not a filter: for the values that a filter needs pyarrow imports pandas, which takes
    longer than the rest of reading a compact file.
    """
    kept: list[tuple[int, int]] = []  # from where to where
    start = 0
    for chunk in pc.run_end_encode(rows[key]).chunks:
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
