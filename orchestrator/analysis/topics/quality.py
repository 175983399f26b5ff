"""F1 and its change to dense: by language, by group of languages, the worst, and pruned
embeddings."""

import pandas as pd

from orchestrator.analysis.inputs.frames import (
    CELL,
    LEVEL,
    SERIES,
    Results,
    count_trials,
    finish,
    hole_notes,
    in_order,
    languages_notes,
)
from orchestrator.analysis.statistics.intervals import (
    NOT_KNOWN,
    Changes,
    IntervalOptions,
    Sentences,
    find_changes,
    variances_of,
    with_ends,
    with_f1_ends,
)
from orchestrator.analysis.statistics.uncertainty import find_ends, shrink
from orchestrator.analysis.tables import (
    EMBEDDINGS,
    EMBEDDINGS_OVERALL,
    GROUPINGS,
    GROUPS,
    QUALITY,
    WORST,
    AnalysisTable,
)
from orchestrator.wording import counted

CHANGE_TABLES = (GROUPS, WORST, EMBEDDINGS, EMBEDDINGS_OVERALL)
"""The tables that are made here of changes with intervals, beside quality."""

GROUP = [*SERIES, "grouping", "group", *LEVEL]
"""Columns that place a group of languages."""


def analyze_quality(results: Results, f1s: Changes, options: IntervalOptions) -> AnalysisTable:
    """Make the table quality.

    Args:
        results: F1 of trials.
        f1s: the same by level, see `intervals.f1s_of`.
        options: how intervals are made.
    """
    cells = with_f1_ends(results.cells, f1s, options)
    return finish(QUALITY, cells, _quality_notes(results))


def analyze_changes(
    results: Results,
    f1s: Changes,
    changes: Changes,
    sentences: Sentences,
    options: IntervalOptions,
) -> list[AnalysisTable]:
    """Make the tables groups, worst, embeddings and embeddings_overall.

    Args:
        results: F1 of trials.
        f1s: the same by level, see `intervals.f1s_of`.
        changes: from dense to sparse.
        sentences: what sentences do to F1.
        options: how intervals are made.
    """
    groups = group_changes(results, f1s, changes, options)
    pruned, overall = compare_embeddings(results, sentences, options)
    worst, notes = pd.DataFrame(), ["No sparse trials: nothing to compare with dense."]
    if len(results.sparse_cells):
        worst, notes = find_worst(results, groups, changes, options), _worst_notes(groups)
    return [
        finish(GROUPS, groups, _group_notes(results, groups)),
        finish(WORST, worst, notes),
        pruned,
        overall,
    ]


def _quality_notes(results: Results) -> list[str]:
    notes = [*results.notes, *hole_notes(results)]
    sparse = results.sparse
    is_alone = sparse["f1"].notna() & sparse["dense_f1"].isna() & sparse["dense_trial_id"].notna()
    alone = sparse[is_alone]["trial_id"].nunique()
    if alone:
        notes.append(
            f"No change to dense of {counted(alone, 'sparse trial')}: the same seed's dense trial "
            "has no F1."
        )
    if results.cells["num_seeds"].max() < 2:
        notes.append("No cell has two seeds: there is no spread over seeds.")
    return [*notes, *_notes_of_shared_points(sparse)]


def _notes_of_shared_points(sparse: pd.DataFrame) -> list[str]:
    """A line on each sparsity that everything is pruned to, and embeddings elsewhere as well: one
    row is a point of two curves."""
    following = sparse.loc[sparse["embeddings"] == "pruned", "series"]
    is_shared = sparse["embeddings"].str.startswith("pruned to")
    is_shared &= sparse["embedding_sparsity"] == sparse["target_sparsity"]
    is_shared &= sparse["series"].isin(following)
    return [
        f"At sparsity {value:g} the row of embeddings pruned to {value:g} is a point of the curve "
        "of pruned ones, too."
        for value in sorted(set(sparse.loc[is_shared, "target_sparsity"]))
    ]


def by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows once for each grouping, with the columns `grouping` and `group`.

    Args:
        frame: with a column for each of `tables.GROUPINGS` but `all`.
    """
    parts = [
        frame.assign(grouping=name, group="all" if name == "all" else frame[name])
        for name in GROUPINGS
    ]
    return pd.concat(parts, ignore_index=True)


def group_changes(
    results: Results, f1s: Changes, changes: Changes, options: IntervalOptions
) -> pd.DataFrame:
    """The rows of the table `groups`, and the variance of each change with its degrees of
    freedom."""
    trials = by_group(results.trials)

    # A row of cells is one language, so that means are over languages, each of which counts once.
    groups = (
        by_group(results.cells)
        .groupby(GROUP)
        .agg(
            f1_mean=("f1_mean", "mean"),
            f1_std=("f1_mean", "std"),
            num_languages=("f1_mean", "count"),
            num_rows=("language", "size"),
            delta_dense_mean=("delta_dense_mean", "mean"),
            delta_dense_std=("delta_dense_mean", "std"),
            relative_dense_mean=("relative_dense_mean", "mean"),
            num_languages_compared=("delta_dense_mean", "count"),
        )
    )
    groups["num_languages_missing"] = groups["num_rows"] - groups["num_languages"]
    groups["num_trials"] = count_trials(trials, GROUP, trials["f1"].notna())
    groups["num_trials_compared"] = count_trials(trials, GROUP, trials["delta"].notna())
    groups["num_holes"] = count_trials(trials, GROUP, trials["f1"].isna())
    members = by_group(results.cells).groupby(GROUP)["language"].agg(list)
    ends = []
    for key, languages in members.items():
        place = dict(zip(GROUP, key, strict=True))
        f1, change = (
            level.of_mean(languages) if level else NOT_KNOWN
            for level in (of.get(tuple(place[name] for name in CELL)) for of in (f1s, changes))
        )
        of_f1 = {name: min(max(end, 0.0), 1.0) for name, end in f1.ends("f1", options).items()}
        row = {"variance": change.variance, "df": change.df} | change.ends("delta_dense", options)
        ends.append(place | of_f1 | row)
    groups = groups.join(pd.DataFrame(ends).set_index(GROUP))
    return in_order(groups.reset_index(), ["grouping", "group"])


def _group_notes(results: Results, groups: pd.DataFrame) -> list[str]:
    notes = ["Each language counts once, whatever the number of its sentences or seeds."]
    notes += languages_notes(groups)
    for name in ("tier", "script", "family"):
        unknown = sorted(set(results.cells.loc[results.cells[name] == "", "language"]))
        if unknown:
            notes.append(f"No {name} is known of {', '.join(unknown)}: group is null.")
    return notes


def find_worst(
    results: Results, groups: pd.DataFrame, changes: Changes, options: IntervalOptions
) -> pd.DataFrame:
    """The rows of the table `worst`.

    Args:
        results: what was run.
        groups: the rows of the table `groups`, and variances.
        changes: from dense to sparse.
        options: how intervals are made.
    """
    # A row a candidate: a language, or a group of languages, at one sparsity.
    of_languages = results.sparse_cells.assign(
        kind="language",
        name=results.sparse_cells["language"],
        num_languages=1,
        num_trials=results.sparse_cells["num_pairs"],
    ).merge(variances_of(changes), "left", [*CELL, "language"])
    is_candidate = (groups["target_sparsity"] > 0) & (groups["grouping"] != "all")
    of_groups = groups[is_candidate & (groups["group"] != "")]
    of_groups = of_groups.drop(columns=["num_languages", "num_trials"]).rename(
        columns={
            "grouping": "kind",
            "group": "name",
            "num_languages_compared": "num_languages",
            "num_trials_compared": "num_trials",
        }
    )
    values = ["delta_dense_mean", "relative_dense_mean", "num_languages", "num_trials"]
    names = [*CELL, "kind", "name", *values, "variance", "df"]
    candidates = pd.concat([of_languages[names], of_groups[names]], ignore_index=True)

    of_kinds = (of_kind for _, of_kind in candidates.groupby([*CELL, "kind"]))
    candidates = pd.concat(_pool(of_kind) for of_kind in of_kinds)
    means, variances, df = candidates[["delta_pooled", "variance", "df"]].to_numpy(float).T
    low, high = find_ends(means, variances, df, options.confidence)
    candidates = candidates.assign(delta_pooled_low=low, delta_pooled_high=high)

    # The first of each kind loses most; of equals, it is the first in the alphabet.
    candidates = candidates.sort_values(["delta_pooled", "name"], na_position="last", kind="stable")
    of_kind = candidates.groupby([*CELL, "kind"])
    worst = of_kind.head(1).set_index([*CELL, "kind"])
    worst["num_compared"] = of_kind["delta_dense_mean"].count()
    worst["num_missing"] = of_kind.size() - worst["num_compared"]
    worst.loc[worst["num_compared"] == 0, "name"] = ""
    return in_order(worst.reset_index(), ["embeddings", "target_sparsity", "kind"])


def _pool(candidates: pd.DataFrame) -> pd.DataFrame:
    """Candidates of one kind with `delta_pooled`, their changes drawn towards the mean of all, and
    the variance of that; those whose variance is not known as they are."""
    pooled = candidates.assign(delta_pooled=candidates["delta_dense_mean"])
    is_known = candidates["delta_dense_mean"].notna() & candidates["variance"].notna()
    known = candidates.loc[is_known, ["delta_dense_mean", "variance"]].to_numpy(float)
    means, variances = shrink(*known.T)
    pooled.loc[is_known, "delta_pooled"] = means
    pooled.loc[is_known, "variance"] = variances
    return pooled


def _worst_notes(groups: pd.DataFrame) -> list[str]:
    is_alone = (groups["grouping"] != "all") & (groups["num_languages"] == 1)
    num_alone = groups[is_alone]["group"].nunique()
    if not num_alone:
        return []
    return [
        f"A single language makes up {counted(num_alone, 'group')}: there the group is that "
        "language."
    ]


def pair_embeddings(results: Results) -> pd.DataFrame:
    """Pair trials with pruned embeddings with those with dense ones, at equal sparsity of the rest.

    Returns:
        A row a language, sparsity and seed of which both were planned, with the place and id of the
        trial with pruned embeddings, its F1 as `f1`; the id of the other trial as `other_id`, its
        F1 as `f1_dense`; NaN where a trial has none.
    """
    sparse = results.sparse
    is_dense = sparse["embeddings"] == "dense"

    # A row a pair of cells: `cell_id` has pruned embeddings, `cell_id_dense` dense ones.
    shared = ["series", "language", "target_sparsity"]
    pruned_cells = sparse[~is_dense][[*CELL, "language", "cell_id"]].drop_duplicates()
    dense_cells = sparse[is_dense][[*shared, "cell_id"]].drop_duplicates()
    cells = pruned_cells.merge(dense_cells, on=shared, suffixes=("", "_dense"))

    # A row a pair of cells and seed, first from either side alone, then from both together.
    values = results.trials[["cell_id", "language", "seed", "trial_id", "f1", "matching"]]
    pruned = cells.merge(values, on=["cell_id", "language"])
    dense = cells.merge(
        values.drop(columns="matching").rename(
            columns={"cell_id": "cell_id_dense", "f1": "f1_dense", "trial_id": "other_id"}
        ),
        on=["cell_id_dense", "language"],
    )
    return pruned.merge(dense, on=[*cells.columns, "seed"], how="outer")


def compare_embeddings(
    results: Results, sentences: Sentences, options: IntervalOptions
) -> tuple[AnalysisTable, AnalysisTable]:
    """Make the tables `embeddings` and `embeddings_overall`."""
    pairs = pair_embeddings(results)
    if pairs.empty:
        notes = [
            "No sparsity was planned with both pruned and dense embeddings: nothing to compare."
        ]
        return finish(EMBEDDINGS, pairs, notes), finish(EMBEDDINGS_OVERALL, pairs, notes)

    # A row a cell and language: means over the seeds that have both.
    pairs["delta"] = pairs["f1"] - pairs["f1_dense"]
    has_both = pairs["delta"].notna()
    pairs["f1_both"] = pairs["f1"].where(has_both)
    pairs["f1_dense_both"] = pairs["f1_dense"].where(has_both)
    by_language = (
        pairs.groupby([*CELL, "language"])
        .agg(
            f1_pruned_mean=("f1_both", "mean"),
            f1_dense_mean=("f1_dense_both", "mean"),
            delta_embeddings_mean=("delta", "mean"),
            delta_embeddings_std=("delta", "std"),
            num_pairs=("delta", "count"),
            num_rows=("seed", "size"),
        )
        .reset_index()
    )
    by_language["num_holes"] = by_language["num_rows"] - by_language["num_pairs"]
    changes = find_changes(pairs.rename(columns={"delta": "change"}), sentences)
    by_language = with_ends(by_language, changes, options, "delta_embeddings")

    # A row a cell: means over the languages' means.
    means = by_language.groupby(CELL)["delta_embeddings_mean"]
    overall = means.agg(
        delta_embeddings_mean="mean", delta_embeddings_std="std", num_languages="count", size="size"
    )
    overall["num_languages_missing"] = overall["size"] - overall["num_languages"]
    overall["num_trials"] = count_trials(pairs, CELL, has_both)
    ends = [
        dict(zip(CELL, place, strict=True))
        | level.of_mean(level.languages).ends("delta_embeddings", options)
        for place, level in changes.items()
    ]
    overall = overall.join(pd.DataFrame(ends).set_index(CELL))

    overall = in_order(overall.reset_index())
    return (
        finish(EMBEDDINGS, in_order(by_language), _embeddings_notes(by_language)),
        finish(EMBEDDINGS_OVERALL, overall, languages_notes(overall)),
    )


def _embeddings_notes(by_language: pd.DataFrame) -> list[str]:
    num_holes = int(by_language["num_holes"].sum())
    if not num_holes:
        return []
    return [
        f"An F1 is missing of {counted(num_holes, 'pair')} of a language and seed: counted in "
        "num_holes."
    ]
