"""Whether the files of a trial say the same: what `sparsweep verify` finds."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.rows import spec_columns
from orchestrator.results.schema import CHILD_TABLES
from orchestrator.results.table_files import TableFiles
from workers.trial import TrialSpec


@dataclass(frozen=True)
class Problem:
    """A trial that is not completed as it should be, and why."""

    trial_id: str
    what: str


def find_problem(files: TableFiles, trial_id: str) -> Problem | None:
    """Read all files of a trial and compare them; None when it is completed and all is well."""
    try:
        _check_trial(files, trial_id)
    except StoreError as error:
        return Problem(trial_id, str(error))
    return None


def _check_trial(files: TableFiles, trial_id: str) -> None:
    try:
        rows = files.read_one("trials", trial_id)
    except FileNotFoundError:
        raise StoreError("missing: it has not been run to its end; run the sweep again") from None
    where = f"trials/{trial_id}.parquet"
    if rows.num_rows != 1:
        raise StoreError(
            f"{where}: {rows.num_rows} rows, exactly 1 is valid; delete it, then run the sweep again"
        )
    row = rows.to_pylist()[0]
    if row["status"] != "completed":
        raise StoreError(
            f"{row['status']}: {row['error_kind']}: {row['error_message']}; run with --retry-failed"
        )
    try:
        expected = spec_columns(TrialSpec.from_json(row["spec_json"]))
    except ValueError as error:
        raise StoreError(f"{where}: spec_json: {error}") from error
    if expected["trial_id"] != trial_id:
        raise StoreError(
            f"{where}: its spec_json is trial {expected['trial_id']}; delete it, then run the sweep again"
        )
    for column, value in expected.items():
        if row[column] != value:
            raise StoreError(
                f"{where}: {column} is {row[column]!r}, its spec_json says {value!r}; delete it, run again"
            )
    for name, count in CHILD_TABLES.items():
        children = _check_children(files, name, trial_id, row[count])
        if name == "predictions":
            _check_sentences(files, trial_id, children)


def _check_sentences(files: TableFiles, trial_id: str, predictions: pa.Table) -> None:
    for counted in predictions["set_id"].value_counts().to_pylist():
        set_id, num_rows = counted["values"], counted["counts"]
        where = f"sentences/{set_id}.parquet"
        try:
            found = files.read_one("sentences", set_id, ["sentence"]).num_rows
        except FileNotFoundError:
            raise StoreError(
                f"{where}: missing; delete trials/{trial_id}.parquet (of trials with this set one is enough), then run "
                "the sweep again"
            ) from None
        if found != num_rows:
            raise StoreError(
                f"{where}: {found} sentences, trial {trial_id} has predictions for {num_rows}; delete it and "
                f"trials/{trial_id}.parquet, then run the sweep again"
            )


def _check_children(files: TableFiles, name: str, trial_id: str, num_rows: int) -> pa.Table:
    where = f"{name}/{trial_id}.parquet"
    remedy = f"delete trials/{trial_id}.parquet, then run the sweep again"
    try:
        rows = files.read_one(name, trial_id)
    except FileNotFoundError:
        raise StoreError(f"{where}: missing; {remedy}") from None
    if rows.num_rows != num_rows:
        raise StoreError(
            f"{where}: {rows.num_rows} rows, its row in trials says {num_rows}; {remedy}"
        )
    if pc.any(pc.not_equal(rows["trial_id"], trial_id)).as_py():
        raise StoreError(f"{where}: holds rows of another trial; {remedy}")
    return rows
