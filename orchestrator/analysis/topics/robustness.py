"""F1 on sentences whose entities were replaced: how far it drops from the sentences as published,
dense and sparse."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import (
    CELL,
    Results,
    count_trials,
    finish,
    in_order,
    languages_notes,
)
from orchestrator.analysis.statistics.intervals import (
    Changes,
    IntervalOptions,
    Sentences,
    find_changes,
    tabulate,
    with_ends,
)
from orchestrator.analysis.tables import ROBUSTNESS, ROBUSTNESS_OVERALL, AnalysisTable
from orchestrator.wording import counted
from workers.trial import MICRO

ROBUSTNESS_READ = [
    *("trial_id", "language", "perturbation", "draw", "entity_type", "matching"),
    *("status", "reason", "f1"),
]
"""Columns of the stored table `robustness` that are needed."""

PLACE = [*CELL, "perturbation"]
"""Columns that place a row, but for language and seed."""

VALUES = ["clean", "perturbed", "drop", "relative_drop", "delta_dense", "delta_drop"]
"""What is measured of a trial, language and perturbation, and averaged over seeds."""


def analyze_robustness(
    results: Results,
    robustness: pa.Table,
    sentences: Mapping[str, Sentences],
    options: IntervalOptions,
) -> list[AnalysisTable]:
    """Make the tables `robustness` and `robustness_overall`.

    Args:
        results: of split test, which is what is perturbed.
        robustness: rows of the stored table `robustness`, with the columns `ROBUSTNESS_READ`.
        sentences: what sentences do to the drop, by perturbation, where predictions are stored.
        options: how intervals are made.
    """
    scores = robustness.filter(pc.equal(robustness["entity_type"], MICRO)).to_pandas()
    trials = _measure(results, scores)
    if trials.empty:
        notes = [
            "No perturbed sentences were scored: robustness.perturbations in the sweep names "
            "perturbations."
        ]
        return [finish(ROBUSTNESS, trials, notes), finish(ROBUSTNESS_OVERALL, trials, notes)]

    pairs = trials.rename(columns={"delta_drop": "change", "dense_trial_id": "other_id"})
    changes = {
        place: level
        for perturbation, of_one in pairs.groupby("perturbation")
        for place, level in find_changes(of_one, sentences.get(perturbation), PLACE).items()
    }
    by_cell = with_ends(_average_seeds(trials), changes, options, "delta_drop", PLACE)
    allowed = tabulate(changes, options, PLACE)[[*PLACE, "language", "allows_for"]]
    by_cell = by_cell.merge(allowed, "left", [*PLACE, "language"])
    overall = _average_languages(by_cell, trials, changes, options)
    notes = [
        "Perturbed sets differ in difficulty between languages.",
        *languages_notes(overall),
    ]
    return [
        finish(ROBUSTNESS, by_cell, _notes(by_cell)),
        finish(ROBUSTNESS_OVERALL, overall, notes),
    ]


def _measure(results: Results, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a trial, language and perturbation that its series scores: `VALUES`, NaN where nothing
    was measured, and why a perturbation does not apply."""
    keys = ["language", "perturbation"]

    # A row a series and perturbation that any of its trials was asked for.
    asked = results.trials[["series", "perturbations"]].explode("perturbations")
    asked = asked.dropna().drop_duplicates().rename(columns={"perturbations": "perturbation"})

    # A row a trial, language, perturbation and rule of matching: the mean F1 over draws.
    scored = scores[scores["status"] == "scored"].groupby(["trial_id", *keys, "matching"])["f1"]
    means = scored.agg(perturbed="mean", num_draws="count").reset_index()
    own = results.trials[["trial_id", "own_perturbed_as"]].drop_duplicates()
    means = means.merge(own.rename(columns={"own_perturbed_as": "perturbed_as"}), on="trial_id")

    # The rows asked for: what was measured by the rule of the row's cell and on its perturbed
    # sentences, beside the F1 on published ones.
    keys += ["matching", "perturbed_as"]
    trials = results.trials.merge(asked, on="series").merge(means, "left", ["trial_id", *keys])
    trials["clean"] = trials["f1"]
    trials["drop"] = trials["clean"] - trials["perturbed"]
    trials["relative_drop"] = trials["drop"] / trials["clean"].where(trials["clean"] != 0)

    # Beside each trial that of the same seed's dense trial, by the same rule and on the same
    # perturbed sentences.
    dense = means.drop(columns="num_draws").rename(
        columns={"trial_id": "dense_trial_id", "perturbed": "dense_perturbed"}
    )
    trials = trials.merge(dense, "left", ["dense_trial_id", *keys])
    trials["dense_drop"] = trials["dense_f1"] - trials["dense_perturbed"]
    trials["delta_dense"] = trials["perturbed"] - trials["dense_perturbed"]
    trials["delta_drop"] = trials["drop"] - trials["dense_drop"]

    # A trial counts with all values or none, so that means are over the same seeds.
    is_whole = trials["drop"].notna()
    trials[VALUES] = trials[VALUES].where(is_whole)
    trials["num_draws"] = trials["num_draws"].where(is_whole, 0)
    return trials.merge(_find_excused(results, scores), "left")


def _find_excused(results: Results, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a series, language and perturbation that does not apply, with the reason."""
    excused = scores[scores["status"] == "not_applicable"].merge(
        results.trials[["trial_id", "language", "series"]], on=["trial_id", "language"]
    )
    # Pools follow from settings, so what one trial of a series says of a language holds for all.
    keys = ["series", "language", "perturbation"]
    return excused.drop_duplicates(keys)[[*keys, "reason"]].assign(is_excused=True)


def _average_seeds(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of the table `robustness`."""
    grouped = trials.groupby([*CELL, "language", "cell_id", "perturbation"])
    by_cell = grouped.agg(
        **{f"{name}_mean": (name, "mean") for name in VALUES},
        f1_perturbed_std=("perturbed", "std"),
        num_draws=("num_draws", "sum"),
        num_seeds=("drop", "count"),
        num_pairs=("delta_drop", "count"),
        num_trials=("seed", "size"),
        reason=("reason", "first"),
        is_excused=("is_excused", "any"),
    ).reset_index()
    by_cell = by_cell.rename(
        columns={"clean_mean": "f1_clean_mean", "perturbed_mean": "f1_perturbed_mean"}
    )

    # A score that is there counts, whatever another trial said.
    is_excused = by_cell["is_excused"].astype(bool) & (by_cell["num_seeds"] == 0)
    by_cell["status"] = "scored"
    by_cell.loc[by_cell["num_seeds"] == 0, "status"] = "missing"
    by_cell.loc[is_excused, "status"] = "not_applicable"
    by_cell["reason"] = by_cell["reason"].where(is_excused)
    num_missing = by_cell["num_trials"] - by_cell["num_seeds"]
    by_cell["num_holes"] = num_missing.where(~is_excused, 0)
    return in_order(by_cell, ["language", "perturbation"])


def _average_languages(
    by_cell: pd.DataFrame, trials: pd.DataFrame, changes: Changes, options: IntervalOptions
) -> pd.DataFrame:
    """The rows of the table `robustness_overall`."""
    names = ["f1_clean", "f1_perturbed", "drop", "relative_drop", "delta_dense", "delta_drop"]
    by_cell = by_cell.assign(
        num_not_applicable=by_cell["status"] == "not_applicable",
        num_languages_missing=by_cell["status"] == "missing",
    )
    # A row of `by_cell` is one language, so that counts are of languages.
    overall = by_cell.groupby(PLACE).agg(
        **{f"{name}_mean": (f"{name}_mean", "mean") for name in names},
        num_languages=("drop_mean", "count"),
        num_languages_compared=("delta_drop_mean", "count"),
        num_not_applicable=("num_not_applicable", "sum"),
        num_languages_missing=("num_languages_missing", "sum"),
    )
    overall["num_trials"] = count_trials(trials, PLACE, trials["drop"].notna())
    overall["num_trials_compared"] = count_trials(trials, PLACE, trials["delta_drop"].notna())
    ends = [
        dict(zip(PLACE, place, strict=True))
        | level.of_mean(level.languages).ends("delta_drop", options)
        for place, level in changes.items()
    ]
    overall = overall.join(pd.DataFrame(ends).set_index(PLACE))
    return in_order(overall.reset_index(), ["perturbation"])


def _notes(by_cell: pd.DataFrame) -> list[str]:
    notes = []
    excused = by_cell[by_cell["status"] == "not_applicable"]
    num_excused = len(excused.drop_duplicates(["series", "language", "perturbation"]))
    if num_excused:
        notes.append(
            f"Not applicable, with the reason beside: {counted(num_excused, 'pair')} of a language "
            "and perturbation."
        )
    num_holes = int(by_cell["num_holes"].sum())
    if num_holes:
        notes.append(
            f"A score is missing of {counted(num_holes, 'seed')} of a cell, language and "
            "perturbation: in num_holes."
        )
    return notes
