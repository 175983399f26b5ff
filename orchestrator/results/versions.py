"""Rows and specs of earlier schema versions, as rows and specs of today's.

Stored files are never rewritten: whoever reads a file of an earlier version takes its rows through
one step a version, from the version of the file to today's (`STEPS`, `SPEC_STEPS`). A column that
is new and may be null needs no step: it is null in rows of earlier versions. That of a new setting
has the value that `workers.trial.AS_BEFORE` says. Every other change of a column is said by the
step of the version that made it.

Version 1, of 2026-11-23: one language a trial; tables trials, scores, curves, layers, attempts and
    plans. Its later files know `data_fingerprint` and `model_commit`, its earlier ones do not.
Version 2, of 2026-11-23: `pruning_semantics`; attempts may be `stopped`.
Version 3, of 2026-11-24: regimes, pruning of word embeddings by themselves, subsets of sentences;
    tables robustness, predictions and sentences.
Version 4, of 2026-11-26: ids are of training only, so that a trial of an earlier version has
    another id than its files are named for (`file_key`); `matching` in scores and robustness;
    `devices`.
Version 5, of 2026-11-26: `shared_steps`.
Version 6, of 2026-11-26: `pruning_num_updates`, which later files of version 5 have in `spec_json`
    alone; `evaluation_select_after`, `corpus_subset_seed`, `robustness_donor_split`,
    `evaluation_languages`; `is_zero_shot` in scores and predictions, `confidence` in
    predictions; table vocabulary.
Version 7, not released yet: `scored_from_model`, `model_bytes`, `model_digest`;
    `corpus_entity_types`, `corpus_scheme`, `corpus_validation_from_train`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.columns import FLAG, REAL, STRETCHES, TEXT, WHOLE, Table
from workers.trial import AS_BEFORE, TrialSpec, canonical_json

GLOBAL_WITH_EMBEDDINGS = "global_with_embeddings"
"""Scope of pruning of some trials of versions 1 and 2: word embeddings were ranked together with
the encoder's weights, which no sweep can ask for any more."""

FIRST_VERSION_OF = {"robustness": 3, "predictions": 3, "sentences": 3, "vocabulary": 6}
"""Schema versions that brought tables with them; all others are of version 1."""

CONFIDENCE_SINCE = 6
"""The schema version from which on predictions have their probabilities, all of them."""

ALWAYS_READ = {
    "trials": (
        *("trial_id", "language", "target_sparsity", "recipe_version", "num_steps", "spec_json"),
        *("pruning_weights", "pruning_scope", "pruning_update_every_steps", "device_name"),
    ),
    "plans": ("trial_id", "cell_id", "seed"),
    "attempts": ("trial_id", "status"),
}
"""Columns of a file that the steps look at, where there are such, whichever are asked for; of all
other tables the id of the trial alone."""


class Identity(NamedTuple):
    """What a trial is called today, and its spec as JSON of today."""

    trial_id: str
    cell_id: str
    dense_trial_id: str | None
    spec_json: str


class TrialFacts(NamedTuple):
    """What rows of earlier versions in other tables do not say of their trial.

    `is_superseded`: another file has the same trial, and that one is shown.
    """

    trial_id: str
    cell_id: str
    matching: str
    embedding_sparsity: float
    is_superseded: bool


Facts = Callable[[], Mapping[str, TrialFacts]]
"""Facts of all stored trials, by the key of their files: their ids in the version that wrote them.
A function, since most folders have no file that needs them."""


def columns_to_read(table: str, columns: list[str] | None, there: list[str]) -> list[str]:
    """The columns that must be read of a file of an earlier version.

    Args:
        table: name of the table.
        columns: today's columns that are asked for; all when None.
        there: columns of the file.
    """
    if columns is None:
        return there
    wanted = {*columns, *ALWAYS_READ.get(table, ("trial_id",))}
    return [name for name in there if name in wanted]


def upgrade(
    table: Table,
    rows: pa.Table,
    version: int,
    *,
    facts: Facts,
    identities: dict[str, Identity],
) -> pa.Table:
    """Rows of an earlier version as rows of today, in today's order and types of columns.

    Args:
        table: what the rows are of.
        rows: with the columns of their version, or those that `columns_to_read` names.
        version: the schema version that wrote them.
        facts: of all stored trials; not called for `trials` itself.
        identities: what trials are called today, by their ids in the version that wrote them. Those
            that are not known yet are added.

    Returns:
        The columns of today; one that the version did not have and that has no value in every row
        is null.

    Raises:
        StoreError: a spec cannot be read, or a column that needs a value has none.
    """
    try:
        for last_version, step in STEPS.items():
            if version <= last_version:
                rows = step(table.name, rows, facts)
        if table.name == "trials":
            rows = _with_identities(rows, version, identities)
            rows = add_settings_as_before(rows, AS_BEFORE)
    except KeyError as error:  # pyarrow's word for a column that the file should have
        message = f"no {table.name} of schema version {version}: {error.args[0]}"
        raise StoreError(message) from error
    present = set(rows.column_names)
    arrays = [
        rows[field.name] if field.name in present else pa.nulls(rows.num_rows, field.type)
        for field in table.arrow_schema
    ]
    try:
        return pa.table(
            [
                array.cast(field.type)
                for array, field in zip(arrays, table.arrow_schema, strict=True)
            ],
            schema=table.arrow_schema,
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{table.name}: {reason}") from error


def upgrade_spec(spec_json: str, version: int) -> TrialSpec:
    """A stored spec as a spec of today.

    Args:
        spec_json: as a row of `trials` has it.
        version: the schema version of that row.

    Raises:
        ValueError: the text is no spec of that version.
    """
    if steps := SPEC_STEPS[version - 1 :]:
        try:
            values = json.loads(spec_json)
            for step in steps:
                values = step(values)
            spec_json = canonical_json(values)
        except (AttributeError, KeyError, TypeError) as error:
            message = f"not a trial spec of schema version {version}: {error!r} is missing or odd"
            raise ValueError(message) from error
    return TrialSpec.from_json(spec_json)


def add_settings_as_before(rows: pa.Table, as_before: Mapping[str, Any]) -> pa.Table:
    """Rows of `trials` with columns for settings that are younger than the rows.

    Args:
        rows: with `spec_json` of today.
        as_before: see `workers.trial.AS_BEFORE`.

    Returns:
        The rows, with the value that means "as before" in each column that they lacked; null where
        the setting's section is, as that of pruning in dense trials.
    """
    specs = rows["spec_json"].to_pylist()
    for path, value in as_before.items():
        section, _, name = path.rpartition(".")
        column = f"{section}_{name}" if section else name
        if column not in rows.column_names:
            is_without = [f'"{section}":null' in spec for spec in specs]
            values = [None if without else value for without in is_without]
            rows = _with(rows, **{column: pa.array(values)})
    return rows


# Steps of specs, on JSON values


def _spec_from_1(values: dict[str, Any]) -> dict[str, Any]:
    """`pruning.semantics`: until then a pruned weight was gone."""
    if values["pruning"]:
        values["pruning"] = values["pruning"] | {"semantics": "hard"}
    return values


def _spec_from_2(values: dict[str, Any]) -> dict[str, Any]:
    """Regimes, the choices of pruning beside the scope, best epochs, stored predictions.

    `pruning.weights` is split: word embeddings have a target of their own now, None where they are
    not pruned. Ranked together with the encoder they are a scope of its own.
    """
    values = values | {
        "regime": "monolingual",
        "languages": [values["language"]],
        "training": values["training"] | {"sampling": None, "sampling_temperature": None},
        "evaluation": values["evaluation"] | {"selection": "last", "predictions": []},
        "robustness": None,
    }
    del values["language"]
    if values["pruning"]:
        pruning = values["pruning"] | {
            "saliency": "magnitude",
            "granularity": "unstructured",
            "n_of_m": None,
            "block_shape": None,
            "include": [],
            "exclude": [],
            "prune_head": False,
        }
        has_embeddings = pruning.pop("weights") == "encoder_and_embeddings"
        pruning["embedding_sparsity"] = values["target_sparsity"] if has_embeddings else None
        if has_embeddings and pruning["scope"] == "global":
            pruning["scope"] = GLOBAL_WITH_EMBEDDINGS
        values["pruning"] = pruning
    return values


SPEC_STEPS = (_spec_from_1, _spec_from_2)
"""From version 1 to 2, from 2 to 3. Since then `TrialSpec.from_json` reads what it wrote: a setting
that is younger than a spec has an entry in `workers.trial.AS_BEFORE`."""


# Steps of rows, on columns


def _from_1(table: str, rows: pa.Table, facts: Facts) -> pa.Table:
    """See `_spec_from_1`."""
    if table == "trials":
        is_pruned = [sparsity > 0 for sparsity in rows["target_sparsity"].to_pylist()]
        semantics = pa.array(["hard" if pruned else None for pruned in is_pruned], TEXT)
        rows = _with(rows, pruning_semantics=semantics)
    return rows


def _from_2(table: str, rows: pa.Table, facts: Facts) -> pa.Table:
    """See `_spec_from_2`. All sentences were one subset, of a size that was not stored."""
    if table == "attempts":
        return rows
    rows = _with(rows, regime=_repeat("monolingual", TEXT, rows))
    if table == "trials":
        return _trials_from_2(rows)
    rows = _with(rows, embedding_sparsity=_of_trials(rows, facts(), "embedding_sparsity"))
    if table == "scores":
        rows = _with(rows, subset=_repeat("all", TEXT, rows))
    return rows


def _trials_from_2(rows: pa.Table) -> pa.Table:
    """`_from_2`, of the table `trials`."""
    languages = [[language] for language in rows["language"].to_pylist()]
    targets = rows["target_sparsity"].to_pylist()
    weights, scopes = rows["pruning_weights"].to_pylist(), rows["pruning_scope"].to_pylist()
    has_embeddings = [value == "encoder_and_embeddings" for value in weights]

    def of_pruned(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([value if target > 0 else None for target in targets], kind)

    return _with(
        rows,
        languages=pa.array(languages, pa.list_(TEXT)),
        embedding_sparsity=pa.array(
            [target if own else 0.0 for target, own in zip(targets, has_embeddings, strict=True)],
            REAL,
        ),
        selected_step=rows["num_steps"],
        num_robustness_scores=_repeat(0, WHOLE, rows),
        num_predictions=_repeat(0, WHOLE, rows),
        pruning_scope=pa.array(
            [
                GLOBAL_WITH_EMBEDDINGS if own and scope == "global" else scope
                for scope, own in zip(scopes, has_embeddings, strict=True)
            ],
            TEXT,
        ),
        pruning_saliency=of_pruned("magnitude", TEXT),
        pruning_granularity=of_pruned("unstructured", TEXT),
        pruning_embedding_sparsity=pa.array(
            [target if own else None for target, own in zip(targets, has_embeddings, strict=True)],
            REAL,
        ),
        pruning_include=of_pruned([], pa.list_(TEXT)),
        pruning_exclude=of_pruned([], pa.list_(TEXT)),
        pruning_prune_head=of_pruned(False, FLAG),
        evaluation_selection=_repeat("last", TEXT, rows),
        evaluation_predictions=_repeat([], pa.list_(TEXT), rows),
    )


def _from_3(table: str, rows: pa.Table, facts: Facts) -> pa.Table:
    """Ids are new: those of a trial's own row are computed from its spec (`_with_identities`), and
    all other tables follow. One rule of matching counted all scores of a trial. Of the devices that
    computed it the last one is known."""
    if table == "trials":
        names = rows["device_name"].to_pylist()
        devices = [None if name is None else [{"name": name, "from_step": 0}] for name in names]
        return _with(rows, devices=pa.array(devices, STRETCHES))
    if table == "sentences":
        return rows
    if table in ("scores", "robustness"):
        rows = _with(rows, matching=_of_trials(rows, facts(), "matching"))
    if table == "attempts":
        rows = _attempts_from_3(rows, facts())
    if table == "plans":
        rows = _plans_from_3(rows, facts())
    return _with(rows, trial_id=_of_trials(rows, facts(), "trial_id"))


def _attempts_from_3(rows: pa.Table, facts: Mapping[str, TrialFacts]) -> pa.Table:
    """Of two trials that are one now, the try that is not shown is a duplicate."""
    superseded = {key for key, fact in facts.items() if fact.is_superseded}
    pairs = zip(rows["trial_id"].to_pylist(), rows["status"].to_pylist(), strict=True)
    statuses = [
        "duplicate" if status == "completed" and key in superseded else status
        for key, status in pairs
    ]
    return _with(rows, status=pa.array(statuses, TEXT))


def _plans_from_3(rows: pa.Table, facts: Mapping[str, TrialFacts]) -> pa.Table:
    """Cells follow their trials: one of which no trial was run keeps the id that it has."""
    pairs = list(zip(rows["trial_id"].to_pylist(), rows["cell_id"].to_pylist(), strict=True))
    cells = {cell: facts[key].cell_id for key, cell in pairs if key in facts}
    return _with(rows, cell_id=pa.array([cells.get(cell, cell) for _, cell in pairs], TEXT))


def _from_4(table: str, rows: pa.Table, facts: Facts) -> pa.Table:
    """Each trial computed all of its steps."""
    if table == "trials":
        is_completed = rows["num_steps"].is_valid().to_pylist()
        shared = pa.array([0 if completed else None for completed in is_completed], WHOLE)
        return _with(rows, shared_steps=shared)
    return rows


def _from_5(table: str, rows: pa.Table, facts: Facts) -> pa.Table:
    """`pruning.num_updates` was in the spec only, and nowhere where masks change by steps. Trials
    were scored on the languages that they were trained on. What of the vocabulary languages use
    was not counted."""
    if table in ("scores", "predictions"):
        return _with(rows, is_zero_shot=pa.repeat(pa.scalar(False), rows.num_rows))
    if table == "trials":
        by_steps = pc.fill_null(pc.is_valid(rows["pruning_update_every_steps"]), False).to_pylist()
        specs = zip(by_steps, rows["spec_json"].to_pylist(), strict=True)
        numbers = [None if by_steps else _num_updates(spec) for by_steps, spec in specs]
        return _with(
            rows,
            pruning_num_updates=pa.array(numbers, WHOLE),
            num_vocabularies=_repeat(0, WHOLE, rows),
        )
    return rows


def _num_updates(spec_json: str) -> int | None:
    """What a spec of schema version 5 says; None in dense trials, and where it cannot be read:
    whoever reads it as a spec names its file."""
    try:
        number: int | None = (json.loads(spec_json)["pruning"] or {}).get("num_updates")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return number


STEPS = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4, 5: _from_5}
"""Steps to the next version, by the version that they start from, in its order. A version without a
step has the columns of the next one, but for new ones that may be null and settings."""


def _with_identities(rows: pa.Table, version: int, identities: dict[str, Identity]) -> pa.Table:
    """Rows of trials under the ids of today; `file_key` is the id that they had."""
    keys = rows["trial_id"].to_pylist()
    specs, recipes = rows["spec_json"].to_pylist(), rows["recipe_version"].to_pylist()
    for key, spec_json, recipe in zip(keys, specs, recipes, strict=True):
        if key not in identities:
            identities[key] = _identify(key, spec_json, version, recipe)
    todays = [identities[key] for key in keys]
    columns = {
        name: pa.array([getattr(identity, name) for identity in todays], TEXT)
        for name in Identity._fields
    }
    return _with(rows, **columns, file_key=rows["trial_id"])


def _identify(key: str, spec_json: str, version: int, recipe: int) -> Identity:
    try:
        spec = upgrade_spec(spec_json, version)
    except ValueError as error:
        raise StoreError(f"spec_json of trial {key}: {error}") from error
    dense = spec.dense_counterpart().trial_id(recipe) if spec.pruning else None
    has_todays_form = version > len(SPEC_STEPS)
    return Identity(
        spec.trial_id(recipe),
        spec.cell_id(recipe),
        dense,
        spec_json if has_todays_form else spec.to_json(),
    )


def _of_trials(rows: pa.Table, facts: Mapping[str, TrialFacts], name: str) -> pa.ChunkedArray:
    """A fact of each row's trial. One that was planned or tried and has no row keeps its id."""
    encoded = rows["trial_id"].combine_chunks().dictionary_encode()
    unknown = {"embedding_sparsity": 0.0, "matching": "strict"}
    values = [
        getattr(facts[key], name) if key in facts else unknown.get(name, key)
        for key in encoded.dictionary.to_pylist()
    ]
    kind = REAL if name == "embedding_sparsity" else TEXT
    return pa.chunked_array([pc.take(pa.array(values, kind), encoded.indices)])


def _with(rows: pa.Table, **columns: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows with these columns, in place of those of the same name."""
    for name, values in columns.items():
        position = rows.schema.get_field_index(name)
        if position < 0:
            rows = rows.append_column(name, values)
        else:
            rows = rows.set_column(position, name, values)
    return rows


def _repeat(value: Any, kind: pa.DataType, rows: pa.Table) -> pa.Array:
    return pa.array([value] * rows.num_rows, kind)
