"""The files of the tables: their names, and many read at a time.

Nothing is known here of which file is true: see `orchestrator.results.reading`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa

from orchestrator.errors import StoreError
from orchestrator.results.parquet import (
    NewerVersionError,
    Stored,
    decode,
    encode_compact_parts,
    encode_small,
)
from orchestrator.results.rows import Row
from orchestrator.results.schema import CHILD_TABLES, TABLES
from workers.storage import Location

NUM_READERS = 16
"""Threads that read small files: an object store answers each request after tens of
milliseconds."""

NUM_DECODERS = 2
"""Threads that decode small files. A footer of 110 columns is parsed without Python's lock (0.2
ms), the rest needs it: on two cores 2,004 trials take 0.6 times as long with 2 threads as with one,
and as long as with one with 16."""

FILES_OF_TASK = 16
"""Small files that a thread takes at a time, so that handing them over costs little."""

SUFFIX = ".parquet"
ANY_KEY = re.compile(r"(.+)\.parquet")
TRIAL_KEY = re.compile(r"([0-9a-f]{16}(?:-[1-9][0-9]{0,3})?)\.parquet")
KEYS = dict.fromkeys(("trials", *CHILD_TABLES), TRIAL_KEY) | {
    "sentences": re.compile(r"([0-9a-f]{16})\.parquet"),
    "attempts": re.compile(r"([0-9a-f]{16}-[0-9a-f]{8})\.parquet"),
}
"""Names of files, so that somebody's "Copy of …" doubles nothing."""

RULES = ("strict", "lenient")
"""All rules of matching."""
ADDED_KEY = re.compile(rf"([0-9a-f]{{16}}(?:-[1-9][0-9]{{0,3}})?)-({'|'.join(RULES)})\.parquet")
"""Names of files with scores by another rule of matching than that of the trial's own file."""


class TableFiles:
    """`<location>/<table>/<key>.parquet` and `<location>/compact/<table>.parquet`."""

    def __init__(self, location: Location):
        self.location = location

    def path(self, name: str, key: str) -> Location:
        """The file of a table with the rows of one key."""
        return self.location / name / f"{key}{SUFFIX}"

    def keys(self, name: str) -> dict[str, int]:
        """Keys of the files of a table, sorted, and when each was written, in ns since 1970."""
        pattern = KEYS.get(name, ANY_KEY)
        matches = (
            (pattern.fullmatch(entry.name), entry.mtime_ns)
            for entry in (self.location / name).entries()
        )
        return {match[1]: mtime_ns for match, mtime_ns in matches if match}

    def later_runs(self, trial_id: str) -> list[str]:
        """Keys of the files of a trial that was run again, the last run first.

        Runs are numbered without a gap. It is asked for at each trial's begin and end, so it does
        not list the folder, which may have thousands of files.
        """
        keys: list[str] = []
        while self.path("trials", key := f"{trial_id}-{len(keys) + 2}").is_file():
            keys.append(key)
        return keys[::-1]

    def added_keys(self, name: str) -> dict[str, list[str]]:
        """Of `scores` or `robustness`: keys of trials with files of scores that were added, each
        with the rules of matching.

        When the files were written tells nothing here: whoever copies results writes them anew, in
        any order.
        """
        added: dict[str, list[str]] = {}
        for file in sorted((self.location / name).names()):
            if match := ADDED_KEY.fullmatch(file):
                key, rule = match.groups()
                added.setdefault(key, []).append(rule)
        return added

    def delete_added(self, name: str, key: str) -> None:
        """Remove the files of `scores` or `robustness` with scores that were added to a trial.

        Raises:
            OSError: one cannot be removed.
        """
        for rule in RULES:
            file = self.path(name, f"{key}-{rule}")
            with suppress(FileNotFoundError):
                file.read_bytes()  # there are none, as a rule, and looking is faster than deleting
                file.delete()

    def read_file(self, name: str, key: str, columns: Sequence[str] | None = None) -> Stored:
        """Read one file.

        Args:
            name: the table.
            key: of the file.
            columns: today's columns that are wanted; all when None.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it is damaged, or of a later version.
        """
        return self._decode(name, key, self.path(name, key).read_bytes(), columns)

    def read_files(
        self, name: str, keys: Sequence[str], columns: Sequence[str] | None = None
    ) -> list[tuple[str, Stored]]:
        """Read the files of these keys, each with its key, in this order.

        Files are read by many threads, since that is waiting, and decoded by few.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """

        def read(batch: Sequence[str]) -> list[bytes]:
            return [self._read_bytes(name, key) for key in batch]

        def decode_all(batch: Sequence[str], contents: Sequence[bytes]) -> list[Stored]:
            pairs = zip(batch, contents, strict=True)
            return [self._decode(name, key, data, columns) for key, data in pairs]

        starts = range(0, len(keys), FILES_OF_TASK)
        batches = [keys[start : start + FILES_OF_TASK] for start in starts]
        if len(batches) == 1:  # threads would have nothing to share
            return list(zip(keys, decode_all(keys, read(keys)), strict=True))
        with (
            ThreadPoolExecutor(NUM_READERS) as readers,
            ThreadPoolExecutor(NUM_DECODERS) as decoders,
        ):
            decoded = decoders.map(decode_all, batches, readers.map(read, batches))
            files = [stored for batch in decoded for stored in batch]
        return list(zip(keys, files, strict=True))

    def read_in_turn(
        self, name: str, keys: Iterable[str], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[str, Stored]]:
        """As `read_files`, with few files in memory at a time."""
        left = list(keys)
        with ThreadPoolExecutor(NUM_READERS) as readers:
            for start in range(0, len(left), NUM_READERS):  # one `map` would read ahead without end
                batch = left[start : start + NUM_READERS]
                contents = readers.map(lambda key: self._read_bytes(name, key), batch)
                for key, data in zip(batch, contents, strict=True):
                    yield key, self._decode(name, key, data, columns)

    def read_compact(self, name: str, columns: Sequence[str] | None = None) -> Stored | None:
        """Read the compact file of a table; None when there is none.

        Raises:
            StoreError: it is damaged, or of a later version.
        """
        file = self.path("compact", name)
        try:
            return decode(TABLES[name], file.read_bytes(), file, columns)
        except FileNotFoundError:
            return None
        except NewerVersionError as error:
            message = f"{error}; or delete it: compact files are made from the others"
            raise NewerVersionError(message) from error

    def write(self, *files: tuple[str, str, Sequence[Row]]) -> None:
        """Write files, in this order; all rows are checked before the first is written.

        Args:
            files: each as table, key and rows.

        Raises:
            StoreError: a row cannot be stored, see `Table.build`.
        """
        encoded = [
            (self.path(name, key), encode_small(TABLES[name], TABLES[name].build(rows)))
            for name, key, rows in files
        ]
        for path, data in encoded:
            path.write_atomic(data)

    def write_compact(
        self, name: str, parts: Iterable[pa.Table], superseded: Mapping[str, str]
    ) -> Location:
        """Write the compact file of a table, as a whole.

        Args:
            name: the table.
            parts: its rows, a row group each.
            superseded: see `parquet.Stored`.

        Returns:
            Where the file is.
        """
        file = self.path("compact", name)
        file.write_atomic(encode_compact_parts(TABLES[name], parts, superseded))
        return file

    def remedy(self, name: str, key: str) -> str:
        """What to do about a file that is damaged or missing: a trial is run again when its row in
        `trials` is gone, whichever of its files is damaged."""
        if name == "sentences":
            return "delete it; `sparsweep verify` then names a trial to run again, which has it"
        if ADDED_KEY.fullmatch(f"{key}{SUFFIX}"):  # computed again, from predictions
            return f"delete {self.path('scores', key)}, then run the sweep again"
        of_trial = name == "trials" or name in CHILD_TABLES
        return f"delete {self.path('trials' if of_trial else name, key)}, then run the sweep again"

    def _read_bytes(self, name: str, key: str) -> bytes:
        file = self.path(name, key)
        try:
            return file.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{file}: missing; {self.remedy(name, key)}") from None

    def _decode(self, name: str, key: str, data: bytes, columns: Sequence[str] | None) -> Stored:
        try:
            return decode(TABLES[name], data, self.path(name, key), columns)
        except NewerVersionError:
            raise
        except StoreError as error:
            raise StoreError(f"{error}; {self.remedy(name, key)}") from error


def number_of_run(file_key: str, trial_id: str) -> int:
    """Which of the runs of a trial a file is of, from 1: the first has the trial's id as its key,
    those that took its place have a number, too."""
    number = file_key.removeprefix(f"{trial_id}-")
    return int(number) if number != file_key else 1
