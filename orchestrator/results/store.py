"""The results location: which file is written where and when.

    <results>/trials/<key>.parquet            one row; written last, and only then does the trial
                                              exist
    <results>/<table>/<key>.parquet           its numbers in scores, robustness, predictions,
                                              curves, layers and vocabulary
    <results>/sentences/<set_id>.parquet      sentences that predictions are of, once for all
                                              trials
    <results>/attempts/<key>-<8 hex>.parquet  one row a try; never replaced
    <results>/plans/<sweep>.parquet           what a sweep consists of, as of its last run
    <results>/compact/<table>.parquet         all of a table in one file, from `compact`; that of
                                              `trials` also from time to time while a sweep runs
    <results>/models/<trial_id>.safetensors   the model that was scored, where models are kept, see
                                              `workers.model.kept_model`
    <results>/checkpoints/<trial_id>.safetensors
    <results>/prefixes/<prefix_id>.safetensors
                                              the state of a trial that runs or was interrupted

`<key>` is the trial's id, in files of earlier schema versions the id that it had then. No such file
is ever rewritten, nor removed: `orchestrator.results.reading` shows what it holds as today's.

A completed trial is never overwritten; a failed one may be, by a better outcome or a newer failure.
A model gets its name just before its trial's row is written, which says its digest: of several that
compute one trial, it is the model of the one whose numbers are stored, where the location has
locks. It is replaced where the trial is trained again.

What is added to a completed trial has files of its own:

    <results>/{scores,robustness}/<key>-<rule>.parquet
                                              scores by another rule of matching, computed from
                                              its predictions
    <results>/<table>/<trial_id>-<n>.parquet  all that its nth run left, where the trial was run
                                              again for scores that it lacked; that is shown
                                              then, and of the runs before only scores by a rule
                                              of matching that it has none by

Whoever dies between a trial's files and its row leaves files that nobody reads; the trial is run
again and they are replaced. The same holds for what is left where somebody deleted a trial's row;
scores that were added to it are removed when the trial is run again.

Several processes may commit at once. In a local folder they wait for one another's lock. In an
object store two that commit the same trial in the same second overwrite each other's files: the
last one wins, and where trials are deterministic both wrote equal numbers. There the model may be
the other one's; its digest tells, and it is refused.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, Protocol, Unpack

import pyarrow as pa

from orchestrator.errors import StoreError
from orchestrator.results.lacking import find_lack
from orchestrator.results.reading import ADDED_TO, Catalog, Reader
from orchestrator.results.rows import (
    Circumstances,
    Failure,
    Outcome,
    Row,
    attempt_row,
    check_circumstances,
    child_rows,
    plan_rows,
    read_spec,
    score_rows,
    sentence_rows,
    trial_row,
)
from orchestrator.results.schema import CHILD_TABLES, LARGE_TABLES, SCHEMA_VERSION, TABLES
from orchestrator.results.table_files import NUM_READERS, TableFiles, number_of_run
from orchestrator.results.verify import Problem, find_problem
from workers.result import EntityScore, RobustnessScore, TrialResult
from workers.storage import Location, may_pass
from workers.trial import TrialSpec

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
CHECKPOINT = ".safetensors"
"""Where checkpoints are, and how their names end."""
PREFIXES = "prefixes"
"""Where trials leave the state after the first steps that they have in common; names end alike."""

MODELS = "models"
"""Where kept models are; names end alike."""

COMPACT_EVERY_ATTEMPTS = 200
"""How often compact files are renewed while a sweep runs, so that whoever asks how it stands reads
few small files: up to 2,000 attempts, and less often beyond, as a renewal reads and writes all rows
that there are. See `is_renewed_after`."""

READ_BY_STATUS = ("scores", "attempts")
"""Tables whose compact files are renewed with that of `trials`."""


class WrittenModel(Protocol):
    """A model whose file is written and has no name yet; see `workers.model.kept_model.ModelFile`.

    `digest` is that of its weights, None where it could not be written.
    """

    digest: str | None

    def publish(self) -> int | None:
        """Give it its name. Returns bytes of the file, None where there is none."""

    def discard(self) -> None:
        """Remove it."""


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
        self._reader = Reader(self._files)
        self._old_keys: dict[str, list[str]] | None = None

    def check_writable(self) -> None:
        """Try to write there.

        Raises:
            StoreError: that failed, since it is no place where one may write.
            OSError: the disk is full or fails, or the place does not answer.
        """
        try:
            self.location.check_writable()
        except OSError as error:
            if may_pass(error):
                raise
            raise StoreError(f"results: {error}") from error

    def checkpoint(self, trial_id: str) -> Location:
        """Where a trial keeps its state while it runs."""
        return self.location / CHECKPOINTS / f"{trial_id}{CHECKPOINT}"

    def prefix(self, prefix_id: str) -> Location:
        """Where trials leave the state after their first steps, see `workers.prefix_file`."""
        return self.location / PREFIXES / f"{prefix_id}{CHECKPOINT}"

    def model(self, trial_id: str) -> Location:
        """Where a trial's model is kept."""
        return self.location / MODELS / f"{trial_id}{CHECKPOINT}"

    def model_ids(self) -> set[str]:
        """Ids of the trials of which a model is kept, by the names of the files."""
        return self._ids_of_states(MODELS)

    def named_models(self, trial_ids: Iterable[str]) -> dict[str, str | None]:
        """Digests of the models that the rows of completed trials name, by the id of the trial.

        Args:
            trial_ids: trials, or what else files of models are called after.

        Returns:
            None where no completed row names one. Trials of which a row is damaged, or of a later
            version, are left out: nobody can tell.
        """

        def find(trial_id: str) -> tuple[str, str | None] | None:
            try:
                is_completed = self.is_completed(trial_id)
                return trial_id, self._shown(trial_id).model_digest if is_completed else None
            except StoreError:
                return None

        try:
            self._keys_of_old_versions()  # once, not by each reader
        except StoreError:
            return {}
        with ThreadPoolExecutor(NUM_READERS) as readers:
            return dict(found for found in readers.map(find, trial_ids) if found)

    def remove_leftovers(self) -> None:
        """Remove what processes that were killed while they wrote have left, such as half a
        checkpoint."""
        for folder in (*TABLES, "compact", CHECKPOINTS, PREFIXES, MODELS):
            (self.location / folder).remove_leftovers()

    def checkpoint_ids(self) -> set[str]:
        """Ids of the trials that have a checkpoint, by the names of the files."""
        return self._ids_of_states(CHECKPOINTS)

    def prefix_ids(self) -> set[str]:
        """Ids of the first steps of which a state is there."""
        return self._ids_of_states(PREFIXES)

    def _ids_of_states(self, folder: str) -> set[str]:
        names = (self.location / folder).names()
        return {name.removesuffix(CHECKPOINT) for name in names if name.endswith(CHECKPOINT)}

    def commit_completed(
        self,
        spec: TrialSpec,
        result: TrialResult,
        model: WrittenModel | None = None,
        **circumstances: Unpack[Circumstances],
    ) -> bool:
        """Keep a trial's numbers, its model, and a record of the attempt.

        A trial that is completed and lacks some of what `spec` asks for gets these numbers as those
        of one more run, and they are shown from then on; what is stored stays where it is. The same
        holds of a trial without a model, where one is given.

        Args:
            spec: the trial.
            result: its numbers.
            model: its model; None: none is kept. One whose name cannot be written is dropped.
            circumstances: of the attempt.

        Returns:
            False if the trial was completed before and lacks nothing: then these numbers are
            dropped.

        Raises:
            StoreError: a value cannot be stored, such as NaN; nothing has been written.
            OSError: writing failed; the trial does not exist, or is as it was.
        """
        return self._commit(spec, result, circumstances, model=model)

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
        """Whether the numbers of a trial are there, whichever version wrote them.

        Raises:
            StoreError: its row is damaged, or of a later version.
        """
        # In this order: what costs more is asked only where the trial's own file does not do.
        return (
            self._has_completed(trial_id)
            or any(map(self._has_completed, self._keys_of_old_versions().get(trial_id, ())))
            or any(map(self._has_completed, self._files.later_runs(trial_id)))
        )

    def has(self, spec: TrialSpec, with_model: bool = False) -> bool:
        """Whether a trial is completed and has all that this spec asks for, or what follows from
        its predictions.

        Args:
            spec: the trial.
            with_model: whether its model shall be there, too.

        Raises:
            StoreError: a row is damaged, or of a later version.
        """
        trial_id = spec.trial_id()
        if not self.is_completed(trial_id):
            return False
        shown = self._shown(trial_id)
        if find_lack(spec, shown.spec, earlier=shown.earlier).of_training:
            return False
        return not with_model or self._has_model(trial_id, shown)

    def rescored(self) -> dict[str, set[str]]:
        """Rules of matching by which scores were added to trials, by the id of the trial.

        Raises:
            StoreError: a row is damaged, or of a later version.
        """
        added = self._files.added_keys("scores")  # written last, see `add_scores`
        if not added:
            return {}
        keys = self._reader.catalog().keys()
        return {trial_id: set(added[key]) for trial_id, key in keys.items() if key in added}

    def earlier_runs(self) -> dict[str, list[TrialSpec]]:
        """Trials that were run again under another rule of matching, by their id: the earlier runs,
        of which the scores are shown, too.

        Raises:
            StoreError: a row is damaged, or of a later version.
        """
        catalog = self._reader.catalog()
        ids = {key: trial_id for trial_id, key in catalog.keys().items()}
        earlier = self._reader.earlier_runs(catalog.superseded)
        return {ids[key]: [run.spec for run in runs] for key, runs in earlier.items()}

    def file_keys(self) -> dict[str, str]:
        """Keys of the files of completed trials, by the id of the trial.

        Raises:
            StoreError: a row is damaged, or of a later version.
        """
        return self._reader.catalog().keys()

    def add_scores(
        self,
        file_key: str,
        spec: TrialSpec,
        scores: Sequence[EntityScore],
        robustness: Sequence[RobustnessScore],
    ) -> None:
        """Keep scores of a completed trial by another rule of matching than the one that it was
        scored by. Nothing that is stored changes.

        Args:
            file_key: of the trial's files, from `file_keys`.
            spec: the trial, with the other rule.
            scores: of all published sets that it has predicted.
            robustness: of all perturbed sets that it has predicted.

        Raises:
            StoreError: a value cannot be stored.
            OSError: writing failed.
        """
        key = f"{file_key}-{spec.evaluation.matching}"
        rows = score_rows(spec, scores, robustness)
        self._files.write(("robustness", key, rows["robustness"]), ("scores", key, rows["scores"]))

    def statuses(self) -> dict[str, str]:
        """`completed` or `failed`, of each trial there is, of any recipe."""
        rows = self.read("trials", ["trial_id", "status"])
        return dict(zip(rows["trial_id"].to_pylist(), rows["status"].to_pylist(), strict=True))

    def write_plan(self, sweep: str, trials: Iterable[TrialSpec]) -> None:
        """Keep what a sweep consists of, in its order, in place of what it consisted of before.

        A compact file of `trials` of this version is made, too, unless there is one: it tells the
        processes that will commit which trials have files of earlier versions.
        """
        self._files.write(("plans", sweep, plan_rows(sweep, trials)))
        try:
            compact = self._files.read_compact("trials", ["trial_id"])
            is_current = compact is not None and compact.version == SCHEMA_VERSION
        except StoreError:
            is_current = False
        if not is_current:
            self._renew_compact()

    def planned_sweeps(self) -> list[str]:
        """Names of the sweeps that have been run here, sorted."""
        return list(self._files.keys("plans"))

    def refuse_unless_planned(self, given: str) -> None:
        """Refuse a location where no sweep has been run.

        Args:
            given: the location as the user named it.

        Raises:
            StoreError: there is no plan of a sweep.
        """
        if self.planned_sweeps():
            return
        if self._files.keys("trials"):
            raise StoreError(
                f"{given}: has trials but no plan of a sweep, which says what is missing; run the "
                "sweep there again: it writes its plan, and its trials stay done"
            )
        raise StoreError(
            f"{given}: holds no results; give the results of a sweep that has been run"
        )

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a table, sorted as `schema` says; of the tables in `CHILD_TABLES` those of
        completed trials.

        What the compact file has and cannot have changed is taken from there, the rest from the
        trials' files. Rows of earlier versions come as those of today.

        Args:
            name: the table.
            columns: the columns wanted; all when None.

        Raises:
            StoreError: a file is damaged, or of a later version.
        """
        return self._reader.read(name, columns)

    def read_together(self, columns: Mapping[str, Sequence[str] | None]) -> dict[str, pa.Table]:
        """Read several tables as `read` does, of the same trials, also while more are committed.

        Args:
            columns: the columns wanted of each table, by its name; all when None.

        Raises:
            StoreError: a file is damaged, or of a later version.
        """
        counts = [CHILD_TABLES[name] for name in columns if name in CHILD_TABLES]
        of_trials = columns.get("trials", ())
        catalog = self._reader.catalog(None if of_trials is None else [*of_trials, *counts])
        return {name: self._reader.read(name, wanted, catalog) for name, wanted in columns.items()}

    def read_each(
        self, name: str, trial_ids: Iterable[str], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """Read a table trial by trial, with few files in memory at a time.

        Args:
            name: one of `CHILD_TABLES`.
            trial_ids: completed trials.
            columns: the columns wanted; all when None.

        Yields:
            The id of each trial and its rows, as they are stored: not sorted.

        Raises:
            StoreError: a file is missing, damaged or of a later version.
        """
        return self._reader.read_each(name, trial_ids, columns, self._reader.catalog())

    def read_sentences(self, set_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one set of sentences, unsorted.

        Raises:
            StoreError: there is no such set, or its file is damaged or of a later version.
        """
        try:
            stored = self._files.read_file("sentences", set_id, columns)
        except FileNotFoundError:
            raise StoreError(
                f"sentences: the set {set_id} is missing; `sparsweep verify` names the trials"
            ) from None
        return self._reader.upgraded("sentences", set_id, stored, dict, columns)

    def compact(self) -> list[Location]:
        """Write each table to one file, for analysts and for `read`. Equal rows, equal bytes.

        Whoever kills this loses nothing: each file is replaced as a whole, and what is in it lies
        in the trials' own files, which stay.

        Returns:
            These files, that of `trials` first.
        """
        catalog = self._reader.catalog(None)  # once: trials may be committed meanwhile
        written = [self._write_compact(name, catalog) for name in TABLES if name != "trials"]
        # Last: until then, `read` asks the trials' own rows of what is newer than the old one.
        return [self._write_compact_trials(catalog), *written]

    def verify(self, expected: Iterable[str]) -> list[Problem]:
        """Read all files of the trials expected, and name those that are not completed or whose
        files are not right; and, as no fault, those that several models of device computed.

        Raises:
            StoreError: a file that may hold one of them under an earlier id is damaged.
        """
        expected = list(expected)
        files = self._files.keys("trials")
        old_keys = {}
        if not files.keys() >= set(expected):
            old_keys = self._keys_of_old_versions()
        runs, rescored = _later_runs(files), self._files.added_keys("scores")

        def find(trial_id: str) -> Problem | None:
            known = (*runs.get(trial_id, ()), trial_id, *old_keys.get(trial_id, ()))
            keys = [key for key in known if key in files]
            return find_problem(self._reader, trial_id, keys, rescored)

        with ThreadPoolExecutor(NUM_READERS) as readers:
            return [problem for problem in readers.map(find, expected) if problem]

    def _commit(
        self,
        spec: TrialSpec,
        outcome: Outcome,
        circumstances: Circumstances,
        *,
        is_final: bool = True,
        model: WrittenModel | None = None,
    ) -> bool:
        check_circumstances(circumstances)
        trial_id = spec.trial_id()
        with self.location.locked():
            file_key = self._key_for(spec, outcome, model)
            if isinstance(outcome, TrialResult) and model is not None:
                outcome = _with_model(outcome, model, is_kept=file_key is not None)
            if isinstance(outcome, Failure):
                status = outcome.status
            else:
                status = "duplicate" if file_key is None else "completed"
            attempts = (self.location / "attempts").names()
            keys = (trial_id, *self._keys_of_old_versions().get(trial_id, ()))
            number = 1 + sum(name.startswith(keys) for name in attempts)
            attempt_id = f"{trial_id}-{secrets.token_hex(4)}"
            row = attempt_row(attempt_id, number, status, spec, outcome, circumstances)

            # The trial's own row comes last: without it, all else is as if it were not there.
            files: list[tuple[str, str, Sequence[Row]]] = [("attempts", attempt_id, [row])]
            if file_key is not None and is_final:
                if isinstance(outcome, TrialResult):
                    # What was added to an outcome whose row somebody deleted is not of this one.
                    for name in ADDED_TO:
                        self._files.delete_added(name, file_key)
                    files += self._new_sentences(outcome)
                    children = child_rows(spec, outcome)
                    files += [(name, file_key, rows) for name, rows in children.items()]
                row = trial_row(
                    spec, outcome, circumstances, num_attempts=number, file_key=file_key
                )
                files.append(("trials", file_key, [row]))
            self._files.write(*files)

            if is_renewed_after(len(attempts) + 1):
                self._renew_compact(*READ_BY_STATUS)
        return file_key is not None

    def _key_for(self, spec: TrialSpec, outcome: Outcome, model: WrittenModel | None) -> str | None:
        """The key of the files that an outcome goes to; None where what is stored stays as it is
        and is all that is asked for."""
        trial_id = spec.trial_id()
        if not self.is_completed(trial_id):
            return trial_id
        if isinstance(outcome, Failure):
            return None
        shown = self._shown(trial_id)
        has_all = not find_lack(spec, shown.spec, earlier=shown.earlier).of_training
        brings_model = model is not None and model.digest is not None
        if has_all and (not brings_model or self._has_model(trial_id, shown)):
            return None
        return f"{trial_id}-{1 + number_of_run(shown.key, trial_id)}"

    def _has_model(self, trial_id: str, shown: "_Shown") -> bool:
        return shown.model_digest is not None and self.model(trial_id).is_file()

    def _shown(self, trial_id: str) -> "_Shown":
        """What is shown of a completed trial.

        Asked after each trial of a sweep, so it reads the files of this trial alone.
        """
        later = self._files.later_runs(trial_id)  # always completed, and shown before all others
        known = (trial_id, *self._keys_of_old_versions().get(trial_id, ()))
        keys = [*later, *(key for key in known if self._has_completed(key))]
        shown = keys[0]
        if not later and len(keys) > 1:  # two earlier versions ran it: the catalog ranks them
            shown = self._reader.catalog().keys()[trial_id]
        superseded = {key: shown for key in keys if key != shown}
        earlier = self._reader.earlier_runs(superseded).get(shown, [])
        columns = ["spec_json", "file_key", "model_digest"]
        stored = self._files.read_file("trials", shown, columns)
        (row,) = self._reader.upgraded("trials", shown, stored, dict, columns).to_pylist()
        spec = read_spec(row["spec_json"], row["file_key"])
        earlier_specs = [run.spec for run in earlier]
        return _Shown(spec, row["file_key"], earlier_specs, row["model_digest"])

    def _has_completed(self, key: str) -> bool:
        """Whether the file of this key is there and has a completed trial."""
        try:
            stored = self._files.read_file("trials", key, ["status"])
        except FileNotFoundError:
            return False
        return "completed" in stored.rows["status"].to_pylist()

    def _keys_of_old_versions(self) -> dict[str, list[str]]:
        """Keys of the files that have another name than their trial's id, by that id; those that
        are shown first.

        Found out once: this version writes no such file. A compact file of this version knows all
        of them; without one, the row of every trial is read.
        """
        if self._old_keys is None:
            old_keys: dict[str, list[str]] = {}
            try:
                compact = self._files.read_compact("trials", ["trial_id", "file_key"])
            except StoreError:
                compact = None
            if compact is not None and compact.version == SCHEMA_VERSION:
                rows, superseded = compact.rows, compact.superseded
            else:
                catalog = self._reader.catalog()
                rows, superseded = catalog.rows, catalog.superseded
            ids = dict(zip(rows["file_key"].to_pylist(), rows["trial_id"].to_pylist(), strict=True))
            pairs = [*ids.items(), *((key, ids[shown]) for key, shown in superseded.items())]
            for key, trial_id in pairs:
                if not key.startswith(trial_id):  # a later run's key starts with its trial's id
                    old_keys.setdefault(trial_id, []).append(key)
            self._old_keys = old_keys  # last: when reading fails, it is read again
        return self._old_keys

    def _write_compact(self, name: str, catalog: Catalog) -> Location:
        """Write the compact file of a table other than `trials`."""
        if name in LARGE_TABLES:
            parts = self._reader.read_parts(name, catalog)
        else:
            parts = iter([self._reader.read(name, None, catalog)])
        superseded = catalog.superseded if name in CHILD_TABLES else {}
        return self._files.write_compact(name, parts, superseded)

    def _write_compact_trials(self, catalog: Catalog) -> Location:
        rows = catalog.rows.combine_chunks()
        return self._files.write_compact("trials", [rows], catalog.superseded)

    def _renew_compact(self, *names: str) -> None:
        """Write the compact files of these tables and of `trials`. What is committed stays
        committed if that fails."""
        try:
            catalog = self._reader.catalog(None)
            for name in names:
                self._write_compact(name, catalog)
            self._write_compact_trials(catalog)  # last, see `compact`
        except (StoreError, OSError) as error:
            log.warning("compact files are not renewed: %s", error)

    def _new_sentences(self, result: TrialResult) -> list[tuple[str, str, Sequence[Row]]]:
        """The sets of sentences that no trial before this one has left."""
        if not result.predictions:
            return []
        known = self._files.keys("sentences")
        sets = {predicted.sentences.set_id: predicted.sentences for predicted in result.predictions}
        return [
            ("sentences", set_id, sentence_rows(sentences))
            for set_id, sentences in sets.items()
            if set_id not in known
        ]


class _Shown(NamedTuple):
    """A completed trial as it was run, the key of its files, those that are shown, earlier runs of
    it by another rule of matching, and the digest of its model; None: none was kept."""

    spec: TrialSpec
    key: str
    earlier: list[TrialSpec]
    model_digest: str | None


def is_renewed_after(num_attempts: int) -> bool:
    """Whether compact files are renewed after so many attempts: every 200 up to 4,000, then every
    400, and so on, which is once in 5 to 10 percent of them."""
    return num_attempts % (COMPACT_EVERY_ATTEMPTS * max(1, num_attempts // 2000)) == 0


def _with_model(result: TrialResult, model: WrittenModel, is_kept: bool) -> TrialResult:
    """The result, which says what its model is; a model that is not to be kept is removed."""
    if not is_kept:
        model.discard()
        return result
    digest, num_bytes = model.digest, model.publish()
    if num_bytes is None:
        return result
    return replace(result, model_bytes=num_bytes, model_digest=digest)


def _later_runs(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys of the files of trials that were run again, by the trial's id, the last run first."""
    runs: dict[str, list[str]] = {}
    for key in keys:
        trial_id, _, number = key.partition("-")
        if number:
            runs.setdefault(trial_id, []).append(key)
    return {
        trial_id: sorted(of_trial, key=lambda key: -number_of_run(key, trial_id))
        for trial_id, of_trial in runs.items()
    }
