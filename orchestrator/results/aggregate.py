"""From rows to what a sweep is run for: F1 over seeds for each language and sparsity, and what is missing of it.

A cell is the trials that differ by seed only. Its difference to dense is paired: from each trial's F1 that of the dense
trial with the same seed and settings is taken, and the differences are averaged. `report` shows and writes the outcome.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.errors import StoreError
from orchestrator.results.schema import AGGREGATES, SETTINGS
from orchestrator.results.store import ResultStore

SCORED_SPLITS = ("validation", "test")
SETTING_NAMES = [column.name for column in SETTINGS if column.name != "corpus_path"]
TRIAL_NAMES = ["trial_id", "cell_id", "dense_trial_id", "sweep", "language", "target_sparsity", "seed", "status"]
TRIAL_NAMES += ["error_kind", "error_message", *SETTING_NAMES]
SCORE_NAMES = ["trial_id", "split", "entity_type", "f1"]

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A trial that was planned or tried and has no F1, and why."""

    language: str
    target_sparsity: float
    seed: int
    cell_id: str
    trial_id: str
    sweep: str
    why: str


@dataclass(frozen=True)
class Aggregates:
    """`table` has the columns of `schema.AGGREGATES`. Both are sorted by language and sparsity."""

    table: pa.Table
    holes: list[Hole]

    def of_cells(self, cell_ids: Iterable[str]) -> "Aggregates":
        """Only these cells and their holes."""
        wanted = set(cell_ids)
        rows = self.table.filter(pc.is_in(self.table["cell_id"], pa.array(sorted(wanted), pa.string())))
        return Aggregates(rows, [hole for hole in self.holes if hole.cell_id in wanted])


def aggregate(store: ResultStore, split: str = "test") -> Aggregates:
    """All cells of a results location, and all holes in what its sweeps planned and tried.

    Raises:
        StoreError: there is no such split, or a file cannot be read.
    """
    trials, scores = store.read("trials", TRIAL_NAMES), store.read("scores", SCORE_NAMES)
    return aggregate_tables(trials, scores, store.read("plans"), split)


def aggregate_tables(trials: pa.Table, scores: pa.Table, plans: pa.Table, split: str = "test") -> Aggregates:
    """`aggregate`, from the tables themselves."""
    if split not in SCORED_SPLITS:
        raise StoreError(f"split: {split!r} is never scored; give one of {', '.join(SCORED_SPLITS)}")
    scores = scores.filter(pc.and_(pc.equal(scores["split"], split), pc.equal(scores["entity_type"], "micro")))
    f1 = dict(zip(scores["trial_id"].to_pylist(), scores["f1"].to_pylist(), strict=True))
    rows = {row["trial_id"]: row for row in (*plans.to_pylist(), *trials.to_pylist())}  # a trial's row tells more

    cells: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows.values():
        cells[row["cell_id"]].append(row)
    settings = _distinguishing_settings(cells)
    summaries = [
        _summarize(trials, f1) | {"settings": settings.get(cell), "split": split} for cell, trials in cells.items()
    ]
    holes = [_hole(row, f1, split) for row in rows.values() if f1.get(row["trial_id"]) is None]
    order = [(name, "ascending") for name in AGGREGATES.sort_by]
    return Aggregates(
        AGGREGATES.build(summaries).sort_by(order),
        sorted(holes, key=lambda hole: (hole.language, hole.target_sparsity, hole.cell_id, hole.seed)),
    )


def _summarize(trials: Sequence[Row], f1: Mapping[str, float | None]) -> dict[str, Any]:
    """The row of one cell, from its trials, planned ones included."""
    values, deltas = [], []
    for trial in trials:
        value, dense = f1.get(trial["trial_id"]), f1.get(trial.get("dense_trial_id") or "")
        if value is not None:
            values.append(value)
            if dense is not None:
                deltas.append(value - dense)
    return {
        "language": trials[0]["language"],
        "target_sparsity": trials[0]["target_sparsity"],
        "cell_id": trials[0]["cell_id"],
        "f1_mean": fmean(values) if values else None,
        "f1_std": stdev(values) if len(values) > 1 else None,
        "num_seeds": len(values),
        "delta_dense_mean": fmean(deltas) if deltas else None,
        "delta_dense_std": stdev(deltas) if len(deltas) > 1 else None,
        "num_pairs": len(deltas),
        "num_holes": len(trials) - len(values),
    }


def _hole(row: Row, f1: Mapping[str, float | None], split: str) -> Hole:
    if "status" not in row:
        why = "not run yet"
    elif row["status"] == "failed":
        why = f"failed: {row['error_kind']}: {row['error_message']}"
    elif row["trial_id"] in f1:
        why = f"no F1 on {split}: nothing predicted and nothing to find"
    else:
        why = f"not scored on {split}"
    names = ("language", "target_sparsity", "seed", "cell_id", "trial_id", "sweep")
    return Hole(**{name: row[name] for name in names}, why=why)


def _distinguishing_settings(cells: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """For cells that share language and sparsity: the settings they differ in, as in `pruning.scope=layer`."""
    rivals: defaultdict[tuple[str, float], list[Row]] = defaultdict(list)
    for trials in cells.values():
        known = next((trial for trial in trials if "status" in trial), trials[0])  # one not run has no settings yet
        rivals[known["language"], known["target_sparsity"]].append(known)
    told = {}
    for rows in rivals.values():
        differing = [name for name in SETTING_NAMES if len({str(row.get(name)) for row in rows if "status" in row}) > 1]
        for row in rows if len(rows) > 1 else ():
            values = [f"{name.replace('_', '.', 1)}={row[name]}" for name in differing if "status" in row]
            told[row["cell_id"]] = ", ".join(values) or f"cell {row['cell_id']}"
    return told
