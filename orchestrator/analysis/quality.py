"""F1 and its change to dense: by language, by group of languages, the worst, the tolerated, and
pruned embeddings."""

import pandas as pd

from orchestrator.analysis.frames import (
    CELL,
    LEVEL,
    SERIES,
    Results,
    count_trials,
    finish,
    hole_notes,
    in_order,
)
from orchestrator.analysis.tables import (
    EMBEDDINGS,
    EMBEDDINGS_OVERALL,
    GROUPINGS,
    GROUPS,
    HELD,
    QUALITY,
    ROUNDING,
    TALLY,
    TOLERANCE,
    TOLERATED_LOSS,
    WORST,
    AnalysisTable,
)
from orchestrator.wording import counted

GROUP = [*SERIES, "grouping", "group", *LEVEL]


def analyze_quality(results: Results) -> list[AnalysisTable]:
    """The tables quality, groups, worst, tally, tolerance, embeddings and embeddings_overall."""
    groups = group_changes(results)
    pruned, overall = prune_embeddings(results)
    empty = (
        [] if len(results.sparse_cells) else ["No sparse trials: nothing to compare with dense."]
    )
    return [
        finish(QUALITY, results.cells, [*hole_notes(results), *_pair_notes(results)]),
        finish(GROUPS, groups, _group_notes(results)),
        finish(WORST, find_worst(results, groups), empty or _worst_notes(groups)),
        finish(TALLY, tally(results), empty),
        finish(
            TOLERANCE,
            find_tolerated(results),
            empty or ["A sparsity without a change to dense is passed over."],
        ),
        pruned,
        overall,
    ]


def _pair_notes(results: Results) -> list[str]:
    sparse = results.sparse
    alone = sparse[sparse["f1"].notna() & sparse["dense_f1"].isna()]["trial_id"].nunique()
    notes = []
    if alone:
        notes.append(
            f"No change to dense of {counted(alone, 'sparse trial')}: the same seed's dense trial has no F1."
        )
    if results.cells["num_seeds"].max() < 2:
        notes.append("No cell has two seeds: there is no spread over seeds.")
    return notes


def by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows once for each grouping, with the columns `grouping` and `group`."""
    parts = [
        frame.assign(grouping=name, group="all" if name == "all" else frame[name])
        for name in GROUPINGS
    ]
    return pd.concat(parts, ignore_index=True)


def group_changes(results: Results) -> pd.DataFrame:
    """The table `groups`."""
    cells = by_group(results.cells).groupby(GROUP)
    trials = by_group(results.trials)
    groups = cells.agg(
        f1_mean=("f1_mean", "mean"),
        f1_std=("f1_mean", "std"),
        num_languages=("f1_mean", "count"),
        num_rows=("language", "size"),
        delta_dense_mean=("delta_dense_mean", "mean"),
        delta_dense_std=("delta_dense_mean", "std"),
        relative_dense_mean=("relative_dense_mean", "mean"),
        num_languages_compared=("delta_dense_mean", "count"),
    )
    groups["num_languages_missing"] = groups["num_rows"] - groups["num_languages"]
    groups["num_trials"] = count_trials(trials, GROUP, trials["f1"].notna())
    groups["num_trials_compared"] = count_trials(trials, GROUP, trials["delta"].notna())
    groups["num_holes"] = count_trials(trials, GROUP, trials["f1"].isna())
    return in_order(groups.reset_index(), ["grouping", "group"])


def _group_notes(results: Results) -> list[str]:
    notes = ["Each language counts once, whatever the number of its sentences or seeds."]
    if results.cells["f1_mean"].isna().any():
        notes.append(
            "Where num_languages differs between sparsities, compare changes: they are paired, F1 is not."
        )
    unknown = sorted(set(results.cells.loc[results.cells["tier"] == "", "language"]))
    if unknown:
        notes.append(
            f"No tier, script and family are known of {', '.join(unknown)}: group is null."
        )
    return notes


def find_worst(results: Results, groups: pd.DataFrame) -> pd.DataFrame:
    """The table `worst`."""
    languages = results.sparse_cells.assign(kind="language", name=results.sparse_cells["language"])
    languages = languages.assign(num_languages=1, num_trials=languages["num_pairs"])
    sparse = groups[(groups["target_sparsity"] > 0) & (groups["grouping"] != "all")]
    sparse = sparse.drop(columns=["num_languages", "num_trials"]).rename(
        columns={
            "grouping": "kind",
            "group": "name",
            "num_languages_compared": "num_languages",
            "num_trials_compared": "num_trials",
        }
    )
    names = [
        *CELL,
        "kind",
        "name",
        "delta_dense_mean",
        "relative_dense_mean",
        "num_languages",
        "num_trials",
    ]
    every = pd.concat(
        [languages[names], sparse.loc[sparse["name"] != "", names]], ignore_index=True
    )
    every = every.sort_values(["delta_dense_mean", "name"], na_position="last", kind="stable")
    grouped = every.groupby([*CELL, "kind"])
    worst = grouped.head(1).set_index([*CELL, "kind"])
    worst["num_compared"] = grouped["delta_dense_mean"].count()
    worst["num_missing"] = grouped.size() - worst["num_compared"]
    worst.loc[worst["num_compared"] == 0, "name"] = ""
    return in_order(worst.reset_index(), ["embeddings", "target_sparsity", "kind"])


def _worst_notes(groups: pd.DataFrame) -> list[str]:
    alone = groups[(groups["grouping"] != "all") & (groups["num_languages"] == 1)][
        "group"
    ].nunique()
    return (
        [f"A single language makes up {counted(alone, 'group')}: there the group is that language."]
        if alone
        else []
    )


def tally(results: Results) -> pd.DataFrame:
    """The table `tally`."""
    cells = results.sparse_cells
    delta = cells["delta_dense_mean"]
    limit = HELD + ROUNDING
    counted_cells = cells.assign(
        num_improved=delta > limit,
        num_held=delta.abs() <= limit,
        num_dropped=delta < -limit,
        num_missing=delta.isna(),
        num_languages=delta.notna(),
    )
    names = ["num_improved", "num_held", "num_dropped", "num_missing", "num_languages"]
    table = counted_cells.groupby(CELL)[names].sum()
    table["num_trials"] = count_trials(results.sparse, CELL, results.sparse["delta"].notna())
    return in_order(table.reset_index())


def find_tolerated(results: Results) -> pd.DataFrame:
    """The table `tolerance`."""
    keys = [*SERIES, "language", "embeddings"]
    rows = []
    for place, cells in results.sparse_cells.groupby(keys):
        measured = cells[cells["relative_dense_mean"].notna()].sort_values("target_sparsity")
        kept = measured["relative_dense_mean"] >= -TOLERATED_LOSS - ROUNDING
        tolerated = measured[kept.cummin().astype(bool)]
        exceeded = measured[~kept]
        rows.append(
            dict(zip(keys, place, strict=True))
            | {
                "tolerated_sparsity": tolerated["target_sparsity"].max() if len(tolerated) else 0.0,
                "relative_at_tolerated": tolerated["relative_dense_mean"].iloc[-1]
                if len(tolerated)
                else None,
                "exceeded_at": exceeded["target_sparsity"].min() if len(exceeded) else None,
                "num_sparsities": len(measured),
                "num_sparsities_missing": len(cells) - len(measured),
                "num_trials": measured["num_pairs"].sum(),
            }
        )
    frame = pd.DataFrame(rows)
    if not frame.empty:
        frame.loc[frame["num_sparsities"] == 0, "tolerated_sparsity"] = None
    return in_order(frame) if len(frame) else frame


def pair_embeddings(results: Results) -> pd.DataFrame:
    """A row a language, sparsity and seed of which pruned and dense embeddings were planned: `f1`
    and `f1_dense`.

    The rows have the place, and the id, of the trial with pruned embeddings; NaN where one of the
    two has no F1.
    """
    sparse = results.sparse
    pruned, dense = sparse[sparse["embeddings"] != "dense"], sparse[sparse["embeddings"] == "dense"]
    shared = ["series", "language", "target_sparsity"]
    cells = pruned[[*CELL, "language", "cell_id"]].drop_duplicates()
    cells = cells.merge(
        dense[[*shared, "cell_id"]].drop_duplicates(), on=shared, suffixes=("", "_dense")
    )
    values = results.trials[["cell_id", "language", "seed", "trial_id", "f1"]]
    left = cells.merge(values, on=["cell_id", "language"])
    right = cells.merge(
        values.drop(columns="trial_id"),
        left_on=["cell_id_dense", "language"],
        right_on=["cell_id", "language"],
        suffixes=("", "_right"),
    ).drop(columns="cell_id_right")
    names = [*cells.columns, "seed"]
    return left.merge(right.rename(columns={"f1": "f1_dense"}), on=names, how="outer")


def prune_embeddings(results: Results) -> tuple[AnalysisTable, AnalysisTable]:
    """The tables `embeddings` and `embeddings_overall`."""
    pairs = pair_embeddings(results)
    if pairs.empty:
        notes = [
            "No sparsity was planned with both pruned and dense embeddings: nothing to compare."
        ]
        return finish(EMBEDDINGS, pairs, notes), finish(EMBEDDINGS_OVERALL, pairs, notes)
    pairs["delta"] = pairs["f1"] - pairs["f1_dense"]
    has_both = pairs["delta"].notna()
    pairs["f1_both"], pairs["f1_dense_both"] = (
        pairs["f1"].where(has_both),
        pairs["f1_dense"].where(has_both),
    )
    grouped = pairs.groupby([*CELL, "language"])
    table = grouped.agg(
        f1_pruned_mean=("f1_both", "mean"),
        f1_dense_mean=("f1_dense_both", "mean"),
        delta_embeddings_mean=("delta", "mean"),
        delta_embeddings_std=("delta", "std"),
        num_pairs=("delta", "count"),
        num_rows=("seed", "size"),
    ).reset_index()
    table["num_holes"] = table["num_rows"] - table["num_pairs"]
    grouped = table.groupby(CELL)["delta_embeddings_mean"]
    overall = grouped.agg(
        delta_embeddings_mean="mean", delta_embeddings_std="std", num_languages="count", size="size"
    )
    overall["num_languages_missing"] = overall["size"] - overall["num_languages"]
    overall["num_trials"] = count_trials(pairs, CELL, has_both)
    holes = int(table["num_holes"].sum())
    notes = (
        [
            f"An F1 is missing of {counted(holes, 'pair')} of a language and seed: counted in num_holes."
        ]
        if holes
        else []
    )
    return finish(EMBEDDINGS, in_order(table), notes), finish(
        EMBEDDINGS_OVERALL, in_order(overall.reset_index())
    )
