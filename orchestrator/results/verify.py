"""Whether the files of a trial say the same: what `sparsweep verify` finds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.parquet import Stored
from orchestrator.results.reading import ADDED_TO, Reader
from orchestrator.results.recount import COUNTS, count_by_seqeval
from orchestrator.results.rows import Row, spec_columns
from orchestrator.results.schema import CHILD_TABLES
from orchestrator.results.table_files import TableFiles
from orchestrator.results.versions import CONFIDENCE_SINCE, FIRST_VERSION_OF, TrialFacts
from workers.trial import CLEAN, TrialSpec

PLACES = {
    "scores": ("language", "split", "subset", "entity_type"),
    "robustness": ("language", "perturbation", "draw", "entity_type"),
}
"""Columns of the tables in `ADDED_TO` that tell apart the rows of one trial and rule."""

PARTS_OF_VOCABULARY = (
    ("num_words", "num_subwords"),
    ("num_unknown", "num_subwords"),
    ("num_pieces", "num_subwords"),
    ("num_zeros", "num_weights"),
)
"""Columns of `vocabulary`, each with the one that it cannot exceed."""


@dataclass(frozen=True)
class Problem:
    """A trial that is not completed as it should be, and why; or, without a fault, something that
    whoever reads its numbers should know."""

    trial_id: str
    what: str
    is_fault: bool = True


def find_problem(
    reader: Reader, trial_id: str, keys: Sequence[str], rescored: Mapping[str, Sequence[str]]
) -> Problem | None:
    """Read all files of a trial and compare them.

    Args:
        reader: of the results.
        trial_id: the trial.
        keys: of the files that may hold it, the best first.
        rescored: rules of matching by which scores were added to trials, by the keys of these.

    Returns:
        None when the trial is completed and all is well.
    """
    try:
        key, devices, tables = _check_trial(reader, trial_id, keys)
        for rule in rescored.get(key, ()):
            _check_added(reader.files, trial_id, key, rule, tables)
        _check_earlier_runs(reader, trial_id, key, keys, rescored.get(key, ()))
    except StoreError as error:
        return Problem(trial_id, str(error))
    return Problem(trial_id, devices, is_fault=False) if devices else None


def _check_trial(
    reader: Reader, trial_id: str, keys: Sequence[str]
) -> tuple[str, str, dict[str, pa.Table]]:
    """Compare the files of the trial's last run; returns their key, the devices that computed it
    where there are several, and what the files hold of each table in `CHILD_TABLES`."""
    key, stored = _read_row(reader.files, keys)
    where, remedy = f"trials/{key}.parquet", "delete it, then run the sweep again"
    rows = reader.upgraded("trials", key, stored, dict)
    if rows.num_rows != 1:
        raise StoreError(f"{where}: {rows.num_rows} rows, exactly 1 is valid; {remedy}")
    row = rows.to_pylist()[0]
    if row["status"] != "completed":
        raise StoreError(
            f"{row['status']}: {row['error_kind']}: {row['error_message']}; run with --retry-failed"
        )
    spec = _check_spec(where, trial_id, row)
    if row["file_key"] != key:
        raise StoreError(f"{where}: holds trial {row['file_key']}; {remedy}")

    fact = TrialFacts(
        *(trial_id, row["cell_id"], row["evaluation_matching"], row["embedding_sparsity"]),
        is_superseded=False,
    )
    tables = {}
    for name, count in CHILD_TABLES.items():
        if FIRST_VERSION_OF.get(name, 1) > stored.version:
            continue
        tables[name] = _check_children(reader, name, key, row[count], fact)
        if name == "predictions":
            _check_predictions(reader.files, key, tables[name], spec)
            _check_confidences(key, tables[name], stored.version)
        if name == "vocabulary":
            _check_vocabulary(key, tables[name])
    names = dict.fromkeys(stretch["name"] for stretch in row["devices"] or ())
    return key, " and ".join(names) if len(names) > 1 else "", tables


def _check_earlier_runs(
    reader: Reader, trial_id: str, shown: str, keys: Sequence[str], rescored: Sequence[str]
) -> None:
    """Check the scores that are shown of earlier runs, by a rule that the last run has none by."""
    superseded = {key: shown for key in keys if key != shown}
    for run in reader.earlier_runs(superseded).get(shown, ()):
        if run.rule in rescored:
            continue
        fact = TrialFacts(
            trial_id, run.spec.cell_id(), run.rule, run.spec.embedding_sparsity, is_superseded=True
        )
        for name, num_rows in run.num_rows.items():
            if num_rows:
                _check_children(reader, name, run.key, num_rows, fact)


def _check_added(
    files: TableFiles, trial_id: str, key: str, rule: str, tables: Mapping[str, pa.Table]
) -> None:
    """Compare scores by another rule of matching with the trial that they were added to: its rows,
    by its own rule, of all sets that it has predicted."""
    for name in ADDED_TO:
        where = f"{name}/{key}-{rule}.parquet"
        remedy = f"delete scores/{key}-{rule}.parquet, then run the sweep again"
        try:
            columns = ["trial_id", "matching", *PLACES[name]]
            rows = files.read_file(name, f"{key}-{rule}", columns).rows
        except FileNotFoundError:
            raise StoreError(f"{where}: missing; {remedy}") from None
        owners = zip(rows["trial_id"].to_pylist(), rows["matching"].to_pylist(), strict=True)
        if any(owner != (trial_id, rule) for owner in owners):
            raise StoreError(f"{where}: holds rows of another trial or rule; {remedy}")
        found, expected = Counter(_places(name, rows)), Counter(_predicted_places(name, tables))
        if found == expected:
            continue
        which = ""
        for places, what in ((expected - found, "none"), (found - expected, "one too many")):
            if places:
                which += f", {what} for {' '.join(map(str, min(places)))}"
        raise StoreError(
            f"{where}: {rows.num_rows} rows, the trial's predictions give {expected.total()}"
            f"{which}; {remedy}"
        )


def _predicted_places(name: str, tables: Mapping[str, pa.Table]) -> list[tuple[Any, ...]]:
    """The places of a trial's own rows of `scores` or `robustness` that are of sets which it has
    predicted; if it has any of perturbed sets, also those of perturbations that do not apply."""
    if "predictions" not in tables:
        return []
    keys = ["language", "split", "perturbation", "draw"]
    sets = tables["predictions"].group_by(keys).aggregate([]).select(keys).to_pylist()
    if name == "scores":
        predicted = {
            (row["language"], row["split"]) for row in sets if row["perturbation"] == CLEAN
        }
        return [place for place in _places(name, tables[name]) if place[:2] in predicted]
    perturbed = {
        (row["language"], row["perturbation"], row["draw"])
        for row in sets
        if row["perturbation"] != CLEAN
    }
    if not perturbed:
        return []
    statuses = tables[name]["status"].to_pylist()
    return [
        place
        for place, status in zip(_places(name, tables[name]), statuses, strict=True)
        if place[:3] in perturbed or status == "not_applicable"
    ]


def _places(name: str, rows: pa.Table) -> list[tuple[Any, ...]]:
    """What tells apart the rows of `scores` or `robustness` of one trial and rule."""
    return list(zip(*(rows[column].to_pylist() for column in PLACES[name]), strict=True))


def _read_row(files: TableFiles, keys: Sequence[str]) -> tuple[str, Stored]:
    """The first file of these keys that is there, with its key."""
    for key in keys:
        try:
            return key, files.read_file("trials", key)
        except FileNotFoundError:
            continue
    raise StoreError("missing: it has not been run to its end; run the sweep again")


def _check_spec(where: str, trial_id: str, row: Row) -> TrialSpec:
    """Compare a row of `trials` with the spec that it stores, and return this."""
    remedy = "delete it, then run the sweep again"
    try:
        spec = TrialSpec.from_json(row["spec_json"])
    except ValueError as error:
        raise StoreError(f"{where}: spec_json: {error}") from error
    expected = spec_columns(spec, row["recipe_version"])
    if expected["trial_id"] != trial_id:
        raise StoreError(f"{where}: its spec_json is trial {expected['trial_id']}; {remedy}")
    for column, value in expected.items():
        if row[column] != value:
            raise StoreError(
                f"{where}: {column} is {row[column]!r}, its spec_json says {value!r}; {remedy}"
            )
    return spec


def _check_predictions(files: TableFiles, key: str, predictions: pa.Table, spec: TrialSpec) -> None:
    """Compare a trial's predictions with the sentences that they are for, and what it has counted
    of each with what seqeval counts."""
    for set_id in predictions["set_id"].unique().to_pylist():
        of_set = predictions.filter(pc.equal(predictions["set_id"], set_id)).sort_by("sentence")
        where = f"sentences/{set_id}.parquet"
        remedy = f"delete it and trials/{key}.parquet, then run the sweep again"
        try:
            known = files.read_file("sentences", set_id, ["sentence", "gold"]).rows
        except FileNotFoundError:
            raise StoreError(
                f"{where}: missing; delete trials/{key}.parquet (of trials with this set one is "
                "enough), then run the sweep again"
            ) from None
        if known.num_rows != of_set.num_rows:
            raise StoreError(
                f"{where}: {known.num_rows} sentences, trial {key} has predictions for "
                f"{of_set.num_rows}; {remedy}"
            )
        if difference := _find_difference(known.sort_by("sentence")["gold"], of_set, spec):
            raise StoreError(f"{where}: trial {key}, {difference}; {remedy}")


def _check_vocabulary(key: str, rows: pa.Table) -> None:
    """Compare the numbers of a trial's rows of `vocabulary` with those that they are parts of."""
    for row in rows.to_pylist():
        for part, whole in PARTS_OF_VOCABULARY:
            numbers = row[part], row[whole]
            if numbers == (None, None) or (None not in numbers and 0 <= numbers[0] <= numbers[1]):
                continue
            raise StoreError(
                f"vocabulary/{key}.parquet: {row['language']} has {part} {numbers[0]} and {whole} "
                f"{numbers[1]}; delete trials/{key}.parquet, then run the sweep again"
            )


def _find_difference(gold: pa.ChunkedArray, predictions: pa.Table, spec: TrialSpec) -> str:
    """What is wrong with the first sentence whose tags or counts are not right; empty where all
    are."""
    predicted = predictions["predicted"]
    sizes = [pc.list_value_length(tags).to_numpy() for tags in (gold, predicted)]
    if (others := np.flatnonzero(sizes[0] != sizes[1])).size:
        number = others[0]
        return f"sentence {number} has {sizes[1][number]} tags for {sizes[0][number]} words"
    stored = np.stack([predictions[name].to_numpy() for name in COUNTS], axis=1)
    known = spec.corpus.tags.tags
    for tags in (gold, predicted):
        is_tag = pc.is_in(pc.list_flatten(tags), value_set=pa.array(known))
        if not pc.all(is_tag).as_py():
            word = pc.index(is_tag, False).as_py()
            number = pc.list_parent_indices(tags)[word].as_py()
            tag = pc.list_flatten(tags)[word].as_py()
            return f"sentence {number}: a tag is {tag!r}; there are {', '.join(known)}"
    found = count_by_seqeval(gold, predicted, spec.evaluation.matching)
    for number, column in np.argwhere(stored != found)[:1]:
        numbers = f"{stored[number, column]}, its tags give {found[number, column]}"
        return f"sentence {number}: {COUNTS[column]} is {numbers}"
    return ""


def _check_confidences(key: str, predictions: pa.Table, version: int) -> None:
    """Whether each predicted tag has its probability; in files of a version that stored none, no
    tag has one."""
    confidences = predictions["confidence"]
    sizes = [
        pc.fill_null(pc.list_value_length(one), -1).to_numpy()
        for one in (confidences, predictions["predicted"])
    ]
    expected = sizes[1] if version >= CONFIDENCE_SINCE else np.full_like(sizes[1], -1)
    has_null = pc.list_parent_indices(confidences).filter(pc.is_null(pc.list_flatten(confidences)))
    wrong = sorted({*np.flatnonzero(sizes[0] != expected).tolist(), *has_null.to_pylist()})
    for place in wrong[:1]:
        row = predictions.slice(place, 1).to_pylist()[0]
        found = confidences[place].as_py()
        number = "none" if found is None else sum(one is not None for one in found)
        raise StoreError(
            f"predictions/{key}.parquet: sentence {row['sentence']} of set {row['set_id']} has "
            f"{number} of the probabilities of its {sizes[1][place]} tags, schema version "
            f"{version} stores {'all' if version >= CONFIDENCE_SINCE else 'none'}; delete "
            f"trials/{key}.parquet, then run the sweep again"
        )


def _check_children(
    reader: Reader, name: str, key: str, num_rows: int, fact: TrialFacts
) -> pa.Table:
    """The trial's rows of one table, compared with its row in `trials`."""
    where = f"{name}/{key}.parquet"
    remedy = f"delete trials/{key}.parquet, then run the sweep again"
    try:
        stored = reader.files.read_file(name, key)
    except FileNotFoundError:
        raise StoreError(f"{where}: missing; {remedy}") from None
    rows = reader.upgraded(name, key, stored, lambda: {key: fact})
    if rows.num_rows != num_rows:
        raise StoreError(
            f"{where}: {rows.num_rows} rows, its row in trials says {num_rows}; {remedy}"
        )
    if pc.any(pc.not_equal(rows["trial_id"], fact.trial_id)).as_py():
        raise StoreError(f"{where}: holds rows of another trial; {remedy}")
    return rows
