"""Which cells of a results location may be compared: those that share all settings but what a sweep
varies.

A series is the cells of one regime that differ in language, sparsity and embedding sparsity only. A
location may hold several, of sweeps with other settings; means over languages stay within one. A
dense trial has no settings of pruning, so dense cells make series of their own, which several
pruned ones may share as what they are compared with.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results.schema import SETTINGS

Row = Mapping[str, Any]

VARIED = ("corpus_path", "pruning_embedding_sparsity")
"""No part of a trial's identity, or of the grid."""
DATA = ("corpus_fingerprint", "robustness_donor_fingerprint")
"""Differ from language to language. Within a language they tell versions of the data apart."""
SETTING_NAMES = [column.name for column in SETTINGS if column.name not in (*VARIED, *DATA)]
SETTINGS_READ = ["recipe_version", *SETTING_NAMES, *DATA]


@dataclass(frozen=True)
class Series:
    """`number` tells series apart; `label` says how they differ, None where a regime has one.

    `languages` are those of a multilingual series' trials; () for others, and where none of them
    has run.
    """

    number: int
    label: str | None
    languages: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """What decides a series: the first two say within what labels tell it apart."""

    regime: str
    is_dense: bool
    settings: tuple[tuple[str, str], ...]


def find_series(rows: Mapping[str, Row], planned: Sequence[Row]) -> dict[str, Series]:
    """The series of each cell, by its id.

    Args:
        rows: by trial id, rows of `trials`, or of `plans` where the trial has not run.
        planned: all rows of `plans`. A cell of which nothing has run has the settings of its
            sweep's other trials.
    """
    told = _told(rows.values())
    places: dict[str, _Place] = {
        rows[trial_id]["cell_id"]: place for trial_id, (place, _) in told.items()
    }
    of_sweeps: dict[tuple[str, str, bool], _Place] = {}
    for row in planned:
        if row["trial_id"] in told:
            place = told[row["trial_id"]][0]
            of_sweeps.setdefault((row["sweep"], place.regime, place.is_dense), place)
    for (
        row
    ) in planned:  # known from any sweep comes first, so that one that has not run decides nothing
        if known := of_sweeps.get((row["sweep"], row["regime"], _is_dense(row))):
            places.setdefault(row["cell_id"], known)
    for row in planned:
        unknown = _Place(row["regime"], _is_dense(row), (("sweep", row["sweep"]),))
        places.setdefault(row["cell_id"], unknown)
    _part_rivals(places, rows.values())
    labels = _labels(places.values(), dict(told.values()))
    languages = {
        place: tuple(rows[trial_id]["languages"])
        for trial_id, (place, _) in told.items()
        if place.regime == "multilingual"
    }
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places.values()))}
    return {
        cell: Series(numbers[place], labels[place], languages.get(place, ()))
        for cell, place in places.items()
    }


def _told(rows: Iterable[Row]) -> dict[str, tuple[_Place, dict[str, str]]]:
    """Of each trial that has run: its place, and its settings as they are shown."""
    # The newest first: version 1 of the data is then the present one of every language, whether or
    # not it ever changed.
    run = sorted(
        (row for row in rows if "status" in row),
        key=lambda row: (row["started_at"], row["trial_id"]),
        reverse=True,
    )
    versions: defaultdict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    told = {}
    for row in run:
        values = {name: _text(row[name]) for name in ("recipe_version", *SETTING_NAMES)}
        if row["regime"] == "multilingual":
            values["languages"] = _text(row["languages"])
        unpruned = tuple(
            (name, value) for name, value in values.items() if not name.startswith("pruning_")
        )
        seen = versions[row["regime"], row["language"], unpruned]
        values["data"] = str(seen.setdefault(tuple(row[name] for name in DATA), 1 + len(seen)))
        # A folder's fingerprint identifies a model, wherever the folder lies.
        ignored = {"model_name"} if row["model_fingerprint"] else set()
        identity = tuple((name, value) for name, value in values.items() if name not in ignored)
        told[row["trial_id"]] = _Place(row["regime"], _is_dense(row), identity), values
    return told


def _part_rivals(places: dict[str, _Place], rows: Iterable[Row]) -> None:
    """Cells that share all that is known of them and still are not one: each becomes a series of
    its own."""
    rivals: defaultdict[Hashable, dict[str, None]] = defaultdict(dict)
    for row in rows:
        grid = (row["language"], row["target_sparsity"], row["embedding_sparsity"])
        rivals[places[row["cell_id"]], grid][row["cell_id"]] = None
    for cells in rivals.values():
        for cell in cells if len(cells) > 1 else ():
            old = places[cell]
            places[cell] = _Place(old.regime, old.is_dense, (*old.settings, ("cell", cell)))


def _labels(
    places: Iterable[_Place], shown: Mapping[_Place, Mapping[str, str]]
) -> dict[_Place, str | None]:
    """For series of one regime: the settings that they differ in, as in `pruning.scope=layer`.

    One of which no settings are known is told apart by its sweep or its cell.
    """
    rivals: defaultdict[tuple[str, bool], list[_Place]] = defaultdict(list)
    for place in dict.fromkeys(places):
        rivals[place.regime, place.is_dense].append(place)
    labels: dict[_Place, str | None] = {}
    for group in rivals.values():
        known = [shown[place] for place in group if place in shown]
        names = list(dict.fromkeys(name for values in known for name in values))
        differing = [name for name in names if len({values.get(name) for values in known}) > 1]
        for place in group:
            if place in shown:
                label = ", ".join(f"{_dotted(name)}={shown[place][name]}" for name in differing)
            else:
                label = " ".join(place.settings[-1])
            labels[place] = label if label and len(group) > 1 else None
    return labels


def _dotted(name: str) -> str:
    return name if name in ("recipe_version", "languages", "data") else name.replace("_", ".", 1)


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _is_dense(row: Row) -> bool:
    return bool(row["target_sparsity"] == 0)


def embeddings_name(target_sparsity: float, embedding_sparsity: float) -> str:
    """How tables name what was done to the word embeddings."""
    if not embedding_sparsity:
        return "dense"
    return (
        "pruned" if embedding_sparsity == target_sparsity else f"pruned to {embedding_sparsity:g}"
    )
