"""From rows to what a sweep is run for: F1 over seeds for each language and sparsity, and what is
missing of it.

A cell is the trials that differ by seed only. Its difference to dense is paired: from each trial's
F1 that of the dense trial with the same seed and settings is taken, and the differences are
averaged. `report` shows and writes the outcome.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.comparable import SETTINGS_READ, Row, Series, find_series
from orchestrator.analysis.tables import AGGREGATES
from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from workers.trial import MICRO

SCORED_SPLITS = ("validation", "test")
GRID_NAMES = ["regime", "language", "target_sparsity", "embedding_sparsity", "seed"]
TRIAL_NAMES = [
    "trial_id",
    "cell_id",
    "dense_trial_id",
    "sweep",
    *GRID_NAMES,
    "status",
    "error_kind",
    "error_message",
]
TRIAL_NAMES += ["started_at", "languages", *SETTINGS_READ]
SCORE_NAMES = ["trial_id", "language", "split", "subset", "entity_type", "f1"]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A trial that was planned or tried and has no F1, or not in all its languages, and why."""

    regime: str
    language: str
    target_sparsity: float
    embedding_sparsity: float
    seed: int
    cell_id: str
    trial_id: str
    sweep: str
    why: str


@dataclass(frozen=True)
class Aggregates:
    """`table` has the columns of `tables.AGGREGATES`. Both are sorted by regime, language and
    sparsity."""

    table: pa.Table
    holes: list[Hole]

    def of_cells(self, cell_ids: Iterable[str]) -> "Aggregates":
        """Only these cells and their holes."""
        wanted = set(cell_ids)
        rows = self.table.filter(
            pc.is_in(self.table["cell_id"], pa.array(sorted(wanted), pa.string()))
        )
        return Aggregates(rows, [hole for hole in self.holes if hole.cell_id in wanted])


@dataclass(frozen=True)
class Cell:
    """Trials that differ by seed only, those planned and not run included, and the languages that
    they score.

    `languages` has `multilingual` in place of languages where no trial of the cell's sweep has run
    and named them.
    """

    cell_id: str
    series: Series
    trials: list[Row]
    languages: list[str]


F1s = Mapping[tuple[str, str], float | None]
"""Micro F1 on the split asked for, by trial and language; None where it is 0 / 0."""


def aggregate(store: ResultStore, split: str = "test") -> Aggregates:
    """All cells of a results location, and all holes in what its sweeps planned and tried.

    Raises:
        StoreError: there is no such split, or a file cannot be read.
    """
    trials, scores = store.read("trials", TRIAL_NAMES), store.read("scores", SCORE_NAMES)
    return aggregate_tables(trials, scores, store.read("plans"), split)


def aggregate_tables(
    trials: pa.Table, scores: pa.Table, plans: pa.Table, split: str = "test"
) -> Aggregates:
    """`aggregate`, from the tables themselves."""
    f1s = micro_f1s(scores, split)
    return aggregate_cells(find_cells(trials, plans, f1s), f1s, split)


def aggregate_cells(cells: Sequence[Cell], f1s: F1s, split: str) -> Aggregates:
    """`aggregate`, from cells and their F1."""
    rows = [
        _summarize(cell, language, f1s) | {"split": split}
        for cell in cells
        for language in cell.languages
    ]
    holes = [_hole(trial, cell, f1s, split) for cell in cells for trial in cell.trials]
    order = [(name, "ascending") for name in AGGREGATES.sort_by]
    return Aggregates(
        AGGREGATES.build(rows).sort_by(order), sorted(filter(None, holes), key=_place)
    )


def micro_f1s(scores: pa.Table, split: str) -> F1s:
    """F1 of all entities together on all sentences of a split.

    Raises:
        StoreError: there is no such split.
    """
    if split not in SCORED_SPLITS:
        raise StoreError(
            f"split: {split!r} is never scored; give one of {', '.join(SCORED_SPLITS)}"
        )
    for name, value in (("split", split), ("subset", "all"), ("entity_type", MICRO)):
        scores = scores.filter(pc.equal(scores[name], value))
    keys = zip(scores["trial_id"].to_pylist(), scores["language"].to_pylist(), strict=True)
    return dict(zip(keys, scores["f1"].to_pylist(), strict=True))


def find_cells(trials: pa.Table, plans: pa.Table, f1s: F1s) -> list[Cell]:
    """The cells that were planned or tried."""
    planned = plans.to_pylist()
    rows = {
        row["trial_id"]: row for row in (*planned, *trials.to_pylist())
    }  # a trial's row tells more
    series = find_series(rows, planned)
    members: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows.values():
        members[row["cell_id"]].append(row)
    cell_of = {row["trial_id"]: row["cell_id"] for row in rows.values()}
    scored: defaultdict[str, set[str]] = defaultdict(set)
    for trial_id, language in f1s:
        scored[cell_of[trial_id]].add(language)
    cells = []
    for cell_id, found in members.items():
        trained = series[cell_id].languages if found[0]["regime"] == "multilingual" else ()
        languages = scored[cell_id] or trained or (found[0]["language"],)
        cells.append(Cell(cell_id, series[cell_id], found, sorted(languages)))
    return cells


def _summarize(cell: Cell, language: str, f1s: F1s) -> dict[str, Any]:
    """The row of one cell and language."""
    values, deltas, relative = [], [], []
    for trial in cell.trials:
        value = f1s.get((trial["trial_id"], language))
        dense = f1s.get((trial.get("dense_trial_id") or "", language))
        if value is not None:
            values.append(value)
            if dense is not None:
                deltas.append(value - dense)
            if dense:
                relative.append((value - dense) / dense)
    first = cell.trials[0]
    return {name: first[name] for name in ("regime", "target_sparsity", "embedding_sparsity")} | {
        "language": language,
        "cell_id": cell.cell_id,
        "settings": cell.series.label,
        "f1_mean": fmean(values) if values else None,
        "f1_std": stdev(values) if len(values) > 1 else None,
        "num_seeds": len(values),
        "delta_dense_mean": fmean(deltas) if deltas else None,
        "delta_dense_std": stdev(deltas) if len(deltas) > 1 else None,
        "relative_dense_mean": fmean(relative) if relative else None,
        "num_pairs": len(deltas),
        "num_holes": len(cell.trials) - len(values),
    }


def _hole(row: Row, cell: Cell, f1s: F1s, split: str) -> Hole | None:
    """What is missing of a trial; None when all its languages have an F1."""
    missing = [
        language for language in cell.languages if f1s.get((row["trial_id"], language)) is None
    ]
    if not missing:
        return None
    undefined = [language for language in missing if (row["trial_id"], language) in f1s]
    names = f" for {', '.join(undefined)}" if row["regime"] == "multilingual" else ""
    if "status" not in row:
        why = "not run yet"
    elif row["status"] == "failed":
        why = f"failed: {row['error_kind']}: {row['error_message']}"
    elif undefined:
        why = f"no F1 on {split}{names}: nothing predicted and nothing to find"
    elif len(missing) < len(cell.languages):
        why = f"not scored on {split} for {', '.join(missing)}"
    else:
        why = f"not scored on {split}"
    return Hole(
        **{name: row[name] for name in (*GRID_NAMES, "cell_id", "trial_id", "sweep")}, why=why
    )


def _place(hole: Hole | None) -> tuple[str | float | int, ...]:
    assert hole is not None
    return (
        hole.regime,
        hole.language,
        hole.target_sparsity,
        hole.embedding_sparsity,
        hole.cell_id,
        hole.seed,
    )
