"""Optimizer steps, mask updates and steps of recovery by resource tier: whether a sweep trains and
prunes some tiers for longer, or more gradually, than others."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.inputs.frames import SERIES, Results, count_trials, finish, in_order
from orchestrator.analysis.tables import STEPS, TIER_GROUPINGS, AnalysisTable
from orchestrator.analysis.topics.quality import by_group
from orchestrator.results.rows import Row
from workers.pruning.schedule import Schedule
from workers.trial import PruningSpec

MEASURED = ("num_steps", "num_updates", "num_recovery_steps")
"""What is told of a trial; the last two are NaN of a dense one."""

PRUNING = tuple(field.name for field in fields(PruningSpec))
"""How a trial prunes; each has a column in `trials`."""


def find_steps(results: Results, trials: pa.Table) -> AnalysisTable:
    """Make the table `steps`.

    Args:
        results: what was run.
        trials: the stored rows of these trials, with the columns `reading.TRIALS_READ`.
    """
    measured = pd.DataFrame(
        _measure(trials.to_pylist()), columns=["trial_id", *MEASURED], dtype=object
    )
    rows = by_group(results.trials.merge(measured, "left", on="trial_id"))
    rows = rows[rows["grouping"].isin(TIER_GROUPINGS)]
    rows = rows.astype(dict.fromkeys(MEASURED, float))
    is_dense = rows["target_sparsity"] == 0
    rows["trials"] = is_dense.map({True: "dense", False: "sparse"})

    keys = [*SERIES, "trials", "grouping", "group"]
    # A trial of several languages counts once in a group.
    of_trials = rows.drop_duplicates([*keys, "trial_id"])
    table = of_trials.groupby(keys).agg(
        **{f"{name}_{how}": (name, how) for name in MEASURED for how in ("min", "mean", "max")}
    )
    has_run = rows["num_steps"].notna()
    table["num_languages"] = rows[has_run].groupby(keys)["language"].nunique()
    table["num_languages"] = table["num_languages"].fillna(0).astype(int)
    table["num_trials"] = count_trials(rows, keys, has_run)
    table["num_missing"] = count_trials(rows, keys, ~has_run)
    table = in_order(table.reset_index(), ["trials", "grouping", "group"])
    return finish(STEPS, table, _notes(table))


def _measure(trials: list[Row]) -> Iterator[tuple[str, int, int | None, int | None]]:
    """The id and `MEASURED` of each trial that has completed."""
    for row in trials:
        if row["num_steps"] is None:
            continue
        if not row["target_sparsity"]:
            yield row["trial_id"], row["num_steps"], None, None
            continue
        settings: dict[str, Any] = {name: row.get(f"pruning_{name}") for name in PRUNING}
        schedule = Schedule.from_pruning(
            PruningSpec(**settings), row["target_sparsity"], row["num_steps"]
        )
        scored = row["num_steps"] if row["selected_step"] is None else row["selected_step"]
        recovery = max(0, scored - schedule.end_step)
        yield row["trial_id"], row["num_steps"], schedule.num_prunings, recovery


def _notes(table: pd.DataFrame) -> list[str]:
    used = table[(table["grouping"] == "tier_used") & (table["num_trials"] > 0)]
    notes = []
    for (regime, settings, trials), tiers in used.groupby(["regime", "settings", "trials"]):
        means = tiers["num_steps_mean"]
        if means.max() - means.min() < 1:
            continue
        where = f" ({settings})" if settings else ""
        notes.append(
            f"{regime} {trials} trials{where} have {means.min():,.0f} steps on average in one tier "
            f"and {means.max():,.0f} in another: a difference between tiers may be one of steps. "
            "training.num_steps in the sweep gives all languages as many."
        )
    return notes
