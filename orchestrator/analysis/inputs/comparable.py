"""Which cells of a results location may be compared: those that share all settings but what a sweep
varies.

A series is the cells of one regime that differ in language, sparsity and embedding sparsity only. A
location may hold several, of sweeps with other settings; means over languages stay within one. A
dense trial has no settings of pruning, so dense cells make series of their own, which several
pruned ones may share as what they are compared with.

All rows here are of one recipe; `reading` sees to that.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results.rows import Row
from orchestrator.results.schema import SETTINGS

DATA = ("corpus_fingerprint", "corpus_validation_from_train")
"""Differ from language to language: a validation split is made only where a language has none.
Within a language they tell versions of the data apart."""

VARIED = (
    *DATA,
    "corpus_path",
    "evaluation_language_fingerprints",
    "evaluation_languages",
    "evaluation_predictions",
    "evaluation_splits",
    "pruning_embedding_sparsity",
    *(column.name for column in SETTINGS if column.name.startswith("robustness_")),
)
"""Change no F1 on published sentences, are of the grid, or are compared in another way. Which
perturbed sentences a trial was scored on is for `robustness` to compare."""

SETTING_NAMES = [column.name for column in SETTINGS if column.name not in VARIED]
"""Settings that cells of one series share."""

SETTINGS_READ = [*SETTING_NAMES, *DATA]
"""Columns of `trials` that decide a series, beside those of the grid."""


@dataclass(frozen=True)
class Series:
    """Cells that may be compared with each other.

    Attributes:
        number: tells series apart.
        label: how the series differs from others of its regime; None where it is the only one.
        languages: those that a multilingual series' trials are trained on; () for others, and where
            none of the trials has run.
        matching: the rule by which predicted entities count in all its scores; None where none of
            the trials has run.
        entity_types: those of its corpus; None: WikiANN's, or none of the trials has run.
    """

    number: int
    label: str | None
    languages: tuple[str, ...]
    matching: str | None
    entity_types: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _SeriesKey:
    """What decides a series. Labels tell apart those that share `regime` and `is_dense`."""

    regime: str
    is_dense: bool
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _RunTrial:
    """A trial that has run: the series that it decides, and all its settings as labels show
    them."""

    key: _SeriesKey
    settings: Mapping[str, str]


def find_series(
    rows: Mapping[str, Row], planned: Sequence[Row], matching: str | None = None
) -> dict[str, Series]:
    """The series of each cell, by the cell's id.

    Args:
        rows: by trial id, rows of `trials`, or of `plans` where the trial has not run.
        planned: all rows of `plans`. A cell of which nothing has run has the settings of its
            sweep's other trials.
        matching: the rule of matching for all; None: of each series the one of its trials.
    """
    if matching is not None:  # then the rule that a trial was run with tells no series apart
        rows = {
            trial_id: {**row, "evaluation_matching": matching} for trial_id, row in rows.items()
        }
    run = _read_settings(rows.values())
    # How it is scored is no part of a trial's identity, so the trials of a cell may differ in that:
    # then the newest one decides.
    keys: dict[str, _SeriesKey] = {}
    for trial_id, trial in run.items():
        keys.setdefault(rows[trial_id]["cell_id"], trial.key)
    keys = _separate_rivals(_add_planned(keys, run, planned), rows.values())

    labels = _make_labels(keys.values(), {trial.key: trial.settings for trial in run.values()})
    languages = {
        trial.key: tuple(rows[trial_id]["languages"])
        for trial_id, trial in run.items()
        if trial.key.regime == "multilingual"
    }
    types = {
        trial.key: tuple(listed)
        for trial_id, trial in run.items()
        if (listed := rows[trial_id]["corpus_entity_types"]) is not None
    }
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys.values()))}
    return {
        cell_id: Series(
            number=numbers[key],
            label=labels[key],
            languages=languages.get(key, ()),
            matching=matching or _choose_matching(key),
            entity_types=types.get(key),
        )
        for cell_id, key in keys.items()
    }


def _choose_matching(key: _SeriesKey) -> str | None:
    """The rule of matching by which a series is compared: the one that its trials were run with.

    A trial may have scores by another rule, too: added to it, or of an earlier run. This is the
    only place that chooses.
    """
    return dict(key.settings).get("evaluation_matching")


def _read_settings(rows: Iterable[Row]) -> dict[str, _RunTrial]:
    """The trials that have run, by id, the newest first."""
    # The newest first: version 1 of the data is then the present one of every language, whether or
    # not it ever changed.
    run = sorted(
        (row for row in rows if "status" in row),
        key=lambda row: (row["started_at"], row["trial_id"]),
        reverse=True,
    )
    versions: defaultdict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    trials = {}
    for row in run:
        settings = {name: _text(row[name]) for name in SETTING_NAMES}
        if row["regime"] == "multilingual":
            settings["languages"] = _text(row["languages"])

        # Versions of a language's data are numbered within settings other than those of pruning,
        # so that a dense trial and the sparse ones beside it have the same number.
        unpruned = tuple(
            (name, value) for name, value in settings.items() if not name.startswith("pruning_")
        )
        seen = versions[row["regime"], row["language"], unpruned]
        data = tuple(row[name] for name in DATA)
        settings["data"] = str(seen.setdefault(data, 1 + len(seen)))

        # A folder's fingerprint identifies a model, wherever the folder lies. How many sentences
        # are scored at a time matters only where scores choose the epoch.
        ignored = {"model_name"} if row["model_fingerprint"] else set()
        if row["evaluation_selection"] != "best_epoch":
            ignored.add("evaluation_batch_size")
        deciding = tuple((name, value) for name, value in settings.items() if name not in ignored)
        key = _SeriesKey(row["regime"], _is_dense(row), deciding)
        trials[row["trial_id"]] = _RunTrial(key, settings)
    return trials


def _add_planned(
    keys: Mapping[str, _SeriesKey], run: Mapping[str, _RunTrial], planned: Sequence[Row]
) -> dict[str, _SeriesKey]:
    """The keys of cells, with those added of which nothing has run."""
    keys = dict(keys)

    # What is known from any trial of the sweep comes first, so that a cell that has not run decides
    # nothing.
    of_sweeps: dict[tuple[str, str, bool], _SeriesKey] = {}
    for row in planned:
        if row["trial_id"] in run:
            key = run[row["trial_id"]].key
            of_sweeps.setdefault((row["sweep"], key.regime, key.is_dense), key)
    for row in planned:
        if known := of_sweeps.get((row["sweep"], row["regime"], _is_dense(row))):
            keys.setdefault(row["cell_id"], known)

    # Of the rest no settings are known: the sweep's name stands for them.
    for row in planned:
        unknown = _SeriesKey(row["regime"], _is_dense(row), (("sweep", row["sweep"]),))
        keys.setdefault(row["cell_id"], unknown)
    return keys


def _separate_rivals(keys: Mapping[str, _SeriesKey], rows: Iterable[Row]) -> dict[str, _SeriesKey]:
    """The keys of cells, where those that share all that is known of them and still are not one
    cell each become a series of their own."""
    rivals: defaultdict[Hashable, dict[str, None]] = defaultdict(dict)
    for row in rows:
        grid = (row["language"], row["target_sparsity"], row["embedding_sparsity"])
        rivals[keys[row["cell_id"]], grid][row["cell_id"]] = None

    separated = dict(keys)
    for cell_ids in rivals.values():
        for cell_id in cell_ids if len(cell_ids) > 1 else ():
            old = keys[cell_id]
            settings = (*old.settings, ("cell", cell_id))
            separated[cell_id] = _SeriesKey(old.regime, old.is_dense, settings)
    return separated


def _make_labels(
    keys: Iterable[_SeriesKey], shown: Mapping[_SeriesKey, Mapping[str, str]]
) -> dict[_SeriesKey, str | None]:
    """For series of one regime: the settings that they differ in, as in `pruning.scope=layer`.

    A series of which no settings are known is told apart by its sweep or its cell.
    """
    groups: defaultdict[tuple[str, bool], list[_SeriesKey]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        groups[key.regime, key.is_dense].append(key)

    labels: dict[_SeriesKey, str | None] = {}
    for group in groups.values():
        known = [shown[key] for key in group if key in shown]
        names = list(dict.fromkeys(name for settings in known for name in settings))
        differing = [name for name in names if len({settings.get(name) for settings in known}) > 1]
        for key in group:
            if key in shown:
                label = ", ".join(f"{_dotted(name)}={shown[key][name]}" for name in differing)
            else:
                label = " ".join(key.settings[-1])
            labels[key] = label if label and len(group) > 1 else None
    return labels


def _dotted(name: str) -> str:
    """`training.lr` of `training_lr`; what is no field of a sweep stays as it is."""
    return name if name in ("languages", "data") else name.replace("_", ".", 1)


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_dense(row: Row) -> bool:
    return bool(row["target_sparsity"] == 0)


def embeddings_name(target_sparsity: float, embedding_sparsity: float) -> str:
    """How tables name what was done to the word embeddings.

    Args:
        target_sparsity: of the other weights, in [0, 1).
        embedding_sparsity: of the word embeddings, in [0, 1).

    Returns:
        `dense`; `pruned`, where both are equal; or, as in `pruned to 0.5`, another value.
    """
    if not embedding_sparsity:
        return "dense"
    if embedding_sparsity == target_sparsity:
        return "pruned"
    return f"pruned to {embedding_sparsity:g}"
