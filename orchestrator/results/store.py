"""The results location: which file is written where and when, and how all of them are read.

    <results>/trials/<trial_id>.parquet            one row; written last, and only then does the
    trial exist <results>/{scores,robustness,predictions,curves,layers}/<trial_id>.parquet
    <results>/sentences/<set_id>.parquet           sentences that predictions are of, once for all
    trials <results>/attempts/<trial_id>-<8 hex>.parquet  one row a try; never replaced
    <results>/plans/<sweep>.parquet                what a sweep consists of, as of its last run
    <results>/compact/<table>.parquet              all of a table in one file, from `compact`; that
    of `trials` also
                                                   from time to time while a sweep runs
    <results>/checkpoints/<trial_id>.safetensors   the state of a trial that runs or was interrupted

A completed trial is never overwritten; a failed one may be, by a better outcome or a newer failure.
Whoever dies between a trial's files and its row leaves files that nobody reads; the trial is run
again and they are replaced.

Several processes may commit at once. In a local folder they wait for one another's lock. In an
object store two that commit the same trial in the same second overwrite each other's files: the
last one wins, and where trials are deterministic both wrote equal numbers.
"""

import logging
import secrets
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Unpack

import pyarrow as pa

from orchestrator.errors import StoreError
from orchestrator.results.rows import (
    Circumstances,
    Failure,
    Outcome,
    Row,
    attempt_row,
    check_circumstances,
    child_rows,
    plan_rows,
    sentence_rows,
    trial_row,
)
from orchestrator.results.schema import CHILD_TABLES, LARGE_TABLES, TABLES
from orchestrator.results.table_files import NUM_READERS, TableFiles, completed_trials
from orchestrator.results.verify import Problem, find_problem
from workers.result import TrialResult
from workers.storage import Location
from workers.trial import TrialSpec

log = logging.getLogger(__name__)

COMPACT_EVERY_ATTEMPTS = 200
"""How often the compact file of `trials` is renewed while a sweep runs, so that whoever asks how it
stands reads one file and at most so many small ones (0.1 s). Of 2,000 trials it takes 0.4 s, which
is 2 ms an attempt."""


class ResultStore:
    """The results at a location, a folder or an address such as s3://bucket/folder. Making one
    opens nothing.

    Raises:
        StoreError: the location is not one.
    """

    def __init__(self, location: str):
        try:
            self.location = Location.parse(location)
        except ValueError as error:
            raise StoreError(f"results: {error}") from error
        self._files = TableFiles(self.location)

    def check_writable(self) -> None:
        """Try to write there.

        Raises:
            StoreError: that failed.
        """
        try:
            self.location.check_writable()
        except OSError as error:
            raise StoreError(f"results: {error}") from error

    def checkpoint(self, trial_id: str) -> Location:
        """Where a trial keeps its state while it runs."""
        return self.location / "checkpoints" / f"{trial_id}.safetensors"

    def commit_completed(
        self, spec: TrialSpec, result: TrialResult, **circumstances: Unpack[Circumstances]
    ) -> bool:
        """Keep a trial's numbers, and a record of the attempt.

        Returns:
            False if the trial was completed before: then what is stored stays, and these numbers
            are dropped.

        Raises:
            StoreError: a value cannot be stored, such as NaN; nothing has been written.
            OSError: writing failed; the trial does not exist, or is as it was.
        """
        return self._commit(spec, result, circumstances)

    def commit_failed(
        self,
        spec: TrialSpec,
        *,
        kind: str,
        message: str,
        traceback: str | None,
        **circumstances: Unpack[Circumstances],
    ) -> bool:
        """Keep that a trial failed for good, and a record of the attempt. Returns and raises as
        `commit_completed`."""
        return self._commit(
            spec, Failure(kind=kind, message=message, traceback=traceback), circumstances
        )

    def record_attempt(
        self,
        spec: TrialSpec,
        *,
        kind: str,
        message: str,
        traceback: str | None,
        **circumstances: Unpack[Circumstances],
    ) -> None:
        """Keep a record of a failed attempt that will be followed by another one. Raises as
        `commit_completed`."""
        failure = Failure(kind=kind, message=message, traceback=traceback)
        self._commit(spec, failure, circumstances, is_final=False)

    def is_completed(self, trial_id: str) -> bool:
        """Whether the numbers of a trial are there."""
        try:
            return (
                "completed"
                in self._files.read_one("trials", trial_id, ["status"])["status"].to_pylist()
            )
        except FileNotFoundError:
            return False

    def statuses(self) -> dict[str, str]:
        """`completed` or `failed`, of each trial there is."""
        rows = self.read("trials", ["trial_id", "status"])
        return dict(zip(rows["trial_id"].to_pylist(), rows["status"].to_pylist(), strict=True))

    def write_plan(self, sweep: str, trials: Iterable[TrialSpec]) -> None:
        """Keep what a sweep consists of, in its order, in place of what it consisted of before."""
        self._files.write(("plans", sweep, plan_rows(sweep, trials)))

    def planned_sweeps(self) -> list[str]:
        """Names of the sweeps that have been run here, sorted."""
        return list(self._files.keys("plans"))

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a table, sorted as `schema` says; of the tables in `CHILD_TABLES` those of
        completed trials.

        What the compact file has and cannot have changed is taken from there, the rest from the
        trials' files.

        Args:
            name: the table.
            columns: the columns wanted; all when None.

        Raises:
            StoreError: a file is damaged, or of another version.
        """
        completed = (
            completed_trials(self.read("trials", ["trial_id", "status"]))
            if name in CHILD_TABLES
            else None
        )
        return self._files.read(name, columns, completed)

    def compact(self) -> list[Location]:
        """Write each table to one file, for analysts and for `read`; returns these files. Equal
        rows, equal bytes."""
        trials = self.read("trials")
        completed = completed_trials(trials)  # not asked again: trials may be committed meanwhile
        written = []
        for name in TABLES:
            if name in LARGE_TABLES:
                written.append(self._files.write_compact_by_key(name, sorted(completed)))
            elif name in CHILD_TABLES:
                written.append(
                    self._files.write_compact(name, self._files.read(name, None, completed))
                )
            elif name != "trials":
                written.append(self._files.write_compact(name, self.read(name)))
        # Last: a newer file of a trial than this one tells `read` to look at that.
        return [self._files.write_compact("trials", trials), *written]

    def verify(self, expected: Iterable[str]) -> list[Problem]:
        """Read all files of the trials expected, and name those that are not completed or whose
        files are not right."""
        with ThreadPoolExecutor(NUM_READERS) as readers:
            found = readers.map(lambda trial_id: find_problem(self._files, trial_id), expected)
            return [problem for problem in found if problem]

    def _commit(
        self,
        spec: TrialSpec,
        outcome: Outcome,
        circumstances: Circumstances,
        *,
        is_final: bool = True,
    ) -> bool:
        check_circumstances(circumstances)
        trial_id = spec.trial_id()
        with self.location.locked():
            is_first = not self.is_completed(trial_id)
            status = (
                outcome.status
                if isinstance(outcome, Failure)
                else "completed"
                if is_first
                else "duplicate"
            )
            attempts = (self.location / "attempts").names()
            number = 1 + sum(name.startswith(trial_id) for name in attempts)
            attempt_id = f"{trial_id}-{secrets.token_hex(4)}"
            row = attempt_row(attempt_id, number, status, spec, outcome, circumstances)
            files: list[tuple[str, str, Sequence[Row]]] = [("attempts", attempt_id, [row])]
            if is_first and is_final:
                if isinstance(outcome, TrialResult):
                    files += self._new_sentences(outcome)
                    files += [
                        (name, trial_id, rows) for name, rows in child_rows(spec, outcome).items()
                    ]
                files += [
                    ("trials", trial_id, [trial_row(spec, outcome, circumstances, number)])
                ]  # last
            self._files.write(*files)
            if (len(attempts) + 1) % COMPACT_EVERY_ATTEMPTS == 0:
                self._renew_compact_trials()
        return is_first

    def _renew_compact_trials(self) -> None:
        """Write the compact file of `trials` alone. What is committed stays committed if that
        fails."""
        try:
            self._files.write_compact("trials", self.read("trials"))
        except (StoreError, OSError) as error:
            log.warning("compact/trials.parquet is not renewed: %s", error)

    def _new_sentences(self, result: TrialResult) -> list[tuple[str, str, Sequence[Row]]]:
        """The sets of sentences that no trial before this one has left."""
        if not result.predictions:
            return []
        known = self._files.keys("sentences")
        sets = {one.sentences.set_id: one.sentences for one in result.predictions}
        return [
            ("sentences", set_id, sentence_rows(one))
            for set_id, one in sets.items()
            if set_id not in known
        ]
