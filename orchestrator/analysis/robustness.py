"""F1 on sentences whose entities were replaced: how far it drops from the sentences as published,
dense and sparse."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.frames import (
    CELL,
    SERIES,
    Results,
    count_trials,
    finish,
    in_order,
)
from orchestrator.analysis.tables import ROBUSTNESS, ROBUSTNESS_OVERALL, AnalysisTable
from orchestrator.wording import counted
from workers.trial import MICRO

ROBUSTNESS_READ = [
    "trial_id",
    "language",
    "perturbation",
    "draw",
    "entity_type",
    "status",
    "reason",
    "f1",
]
VALUES = ["clean", "perturbed", "drop", "relative_drop", "delta_dense", "delta_drop"]


def analyze_robustness(results: Results, robustness: pa.Table) -> list[AnalysisTable]:
    """The tables `robustness` and `robustness_overall`; `results` are of split test, which is what
    is perturbed."""
    robustness = robustness.filter(pc.equal(robustness["entity_type"], MICRO))
    trials = _expected(results, robustness.to_pandas())
    if trials.empty:
        notes = [
            "No perturbed sentences were scored: robustness.perturbations in the sweep names perturbations."
        ]
        return [finish(ROBUSTNESS, trials, notes), finish(ROBUSTNESS_OVERALL, trials, notes)]
    table = _by_cell(trials)
    return [
        finish(ROBUSTNESS, table, _notes(table)),
        finish(
            ROBUSTNESS_OVERALL,
            _overall(table, trials),
            ["Perturbed sets differ in difficulty between languages."],
        ),
    ]


def _expected(results: Results, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a trial, language and perturbation that its series scores: what was measured, or
    NaN."""
    asked = (
        results.trials[["series", "perturbations"]]
        .explode("perturbations")
        .dropna()
        .drop_duplicates()
    )
    asked = asked.rename(columns={"perturbations": "perturbation"})
    scored = scores[scores["status"] == "scored"].groupby(["trial_id", "language", "perturbation"])[
        "f1"
    ]
    means = scored.agg(perturbed="mean", num_draws="count").reset_index()
    trials = results.trials.merge(asked, on="series").merge(
        means, "left", ["trial_id", "language", "perturbation"]
    )
    trials["clean"] = trials["f1"]
    trials["drop"] = trials["clean"] - trials["perturbed"]
    trials["relative_drop"] = trials["drop"] / trials["clean"].where(trials["clean"] != 0)
    dense = trials[["trial_id", "language", "perturbation", "perturbed", "drop"]]
    dense = dense.rename(
        columns={"trial_id": "dense_trial_id", "perturbed": "dense_perturbed", "drop": "dense_drop"}
    )
    trials = trials.merge(dense, "left", ["dense_trial_id", "language", "perturbation"])
    trials["delta_dense"] = trials["perturbed"] - trials["dense_perturbed"]
    trials["delta_drop"] = trials["drop"] - trials["dense_drop"]
    is_whole = trials["drop"].notna()
    trials[[*VALUES]] = trials[VALUES].where(is_whole)
    trials["num_draws"] = trials["num_draws"].where(is_whole, 0)
    # Pools follow from settings, so what one trial of a series says of a language holds for all.
    excused = scores[scores["status"] == "not_applicable"].merge(
        results.trials[["trial_id", "language", "series"]], on=["trial_id", "language"]
    )
    reasons = excused.drop_duplicates(["series", "language", "perturbation"])
    return trials.merge(
        reasons[["series", "language", "perturbation", "reason"]].assign(is_excused=True), "left"
    )


def _by_cell(trials: pd.DataFrame) -> pd.DataFrame:
    grouped = trials.groupby([*CELL, "language", "cell_id", "perturbation"])
    table = grouped.agg(
        **{f"{name}_mean": (name, "mean") for name in VALUES},
        perturbed_std=("perturbed", "std"),
        num_draws=("num_draws", "sum"),
        num_seeds=("drop", "count"),
        num_pairs=("delta_drop", "count"),
        num_trials=("seed", "size"),
        reason=("reason", "first"),
        is_excused=("is_excused", "any"),
    ).reset_index()
    table = table.rename(
        columns={f"{side}_mean": f"f1_{side}_mean" for side in ("clean", "perturbed")}
    )
    table = table.rename(columns={"perturbed_std": "f1_perturbed_std"})
    is_excused = table["is_excused"].astype(bool) & (table["num_seeds"] == 0)
    table["status"] = "scored"
    table.loc[table["num_seeds"] == 0, "status"] = "missing"
    table.loc[is_excused, "status"] = "not_applicable"
    table["reason"] = table["reason"].where(is_excused)
    table["num_holes"] = (table["num_trials"] - table["num_seeds"]).where(~is_excused, 0)
    return in_order(table, ["language", "perturbation"])


def _overall(table: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    names = ["f1_clean", "f1_perturbed", "drop", "relative_drop", "delta_dense", "delta_drop"]
    counts = table.assign(
        num_not_applicable=table["status"] == "not_applicable",
        num_languages_missing=table["status"] == "missing",
    )
    keys = [*CELL, "perturbation"]
    overall = counts.groupby(keys).agg(
        **{f"{name}_mean": (f"{name}_mean", "mean") for name in names},
        num_languages=("drop_mean", "count"),
        num_languages_compared=("delta_drop_mean", "count"),
        num_not_applicable=("num_not_applicable", "sum"),
        num_languages_missing=("num_languages_missing", "sum"),
    )
    overall["num_trials"] = count_trials(trials, keys, trials["drop"].notna())
    overall["num_trials_compared"] = count_trials(trials, keys, trials["delta_drop"].notna())
    return in_order(overall.reset_index(), ["perturbation"])


def _notes(table: pd.DataFrame) -> list[str]:
    notes = []
    excused = table[table["status"] == "not_applicable"].drop_duplicates(
        [*SERIES[:1], "language", "perturbation"]
    )
    if len(excused):
        notes.append(
            f"Not applicable, with the reason beside: {counted(len(excused), 'pair')} of a language and perturbation."
        )
    holes = int(table["num_holes"].sum())
    if holes:
        notes.append(
            f"A score is missing of {counted(holes, 'seed')} of a cell, language and perturbation: in num_holes."
        )
    return notes
