"""F1 on sentences whose entities were replaced, by part: by entity type, from stored scores; by
subset of the sentences, from stored predictions.

A perturbed sentence is of the subsets of the sentence that it was made from: its words were seen in
training, but for the entities, which are what robustness is about.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import Results, finish, in_order
from orchestrator.analysis.statistics.over_seeds import KEY, OverSeeds
from orchestrator.analysis.tables import (
    ROBUSTNESS_SUBSETS,
    ROBUSTNESS_TYPES,
    SUBSETS,
    AnalysisTable,
)
from orchestrator.analysis.topics.error_kinds import F1S, NUMBERS, ErrorCounts
from workers.trial import CLEAN

WHERE_REASONS_ARE = "Why a perturbation does not apply is in robustness."


def find_robustness_types(
    results: Results, scores: pa.Table, robustness: pa.Table
) -> AnalysisTable:
    """Make the table `robustness_types`.

    Args:
        results: of split test, which is what is perturbed.
        scores: rows of `scores` with the columns `reading.SCORES_READ`.
        robustness: rows of the stored table `robustness`, with the columns
            `robustness.ROBUSTNESS_READ`.
    """
    rows = robustness.filter(pc.equal(robustness["status"], "scored")).to_pandas()
    types = results.tags.entity_types
    rows = rows[rows["entity_type"].isin(types)]
    if rows.empty:
        nothing = [
            "No perturbed sentences were scored: robustness.perturbations in the sweep names "
            "perturbations."
        ]
        return finish(ROBUSTNESS_TYPES, rows, nothing)

    is_clean = pc.and_(pc.equal(scores["split"], "test"), pc.equal(scores["subset"], "all"))
    clean = scores.filter(is_clean).to_pandas()
    clean = clean.pivot_table("f1", KEY, "entity_type").reindex(columns=types)
    # Draws without an F1, where no such entity is there or predicted, are left out of the mean.
    perturbed = rows.pivot_table("f1", KEY, ["perturbation", "entity_type"])
    names = sorted(set(rows["perturbation"]))
    parts = pd.MultiIndex.from_product([names, types], names=["perturbation", "entity_type"])
    table = _compare(results, clean, perturbed.reindex(columns=parts), {})
    table = table[results.has_type(table)] if len(table) else table
    return finish(ROBUSTNESS_TYPES, table, [WHERE_REASONS_ARE])


def find_robustness_subsets(results: Results, counts: ErrorCounts) -> AnalysisTable:
    """Make the table `robustness_subsets`.

    Args:
        results: of split test, which is what is perturbed.
        counts: what became of entities on test, as published and perturbed.
    """
    names = sorted(set(counts) - {CLEAN})
    if not names:
        nothing = [
            "No predictions of perturbed sentences are stored: perturbed in evaluation.predictions "
            "stores them."
        ]
        return finish(ROBUSTNESS_SUBSETS, pd.DataFrame(), nothing)

    def side_by_side(columns: Sequence[str]) -> pd.DataFrame:
        """These columns of each perturbation, one for each of `SUBSETS`."""
        frames = {
            name: counts[name][list(columns)].set_axis(list(SUBSETS), axis=1) for name in names
        }
        return pd.concat(frames, axis=1, names=["perturbation", "subset"])

    clean = pd.DataFrame(index=pd.MultiIndex.from_arrays([[], [], []], names=KEY), columns=SUBSETS)
    if CLEAN in counts:
        clean = counts[CLEAN][list(F1S)].set_axis(list(SUBSETS), axis=1)
    numbers = {"num_sentences": side_by_side(NUMBERS)}
    table = _compare(results, clean, side_by_side(F1S), numbers)
    notes = [
        "A perturbed sentence is of the subsets of the sentence that it was made from.",
        WHERE_REASONS_ARE,
    ]
    if table.empty or table["num_holes"].any():
        notes.append(
            "It takes predictions of test as published, too: test in evaluation.predictions stores "
            "them."
        )
    return finish(ROBUSTNESS_SUBSETS, table, notes)


def _compare(
    results: Results,
    clean: pd.DataFrame,
    perturbed: pd.DataFrame,
    numbers: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    """Drops and their changes to dense, as means over seeds.

    Args:
        results: what was run.
        clean: F1 on sentences as published, with an index of `KEY` and a column a part.
        perturbed: F1 on perturbed ones, mean over draws: a column a perturbation and part, the
            parts of each perturbation in the order of `clean`.
        numbers: further columns of the outcome, whose largest over seeds is taken, as `perturbed`.

    Returns:
        A row a cell, language, perturbation that it has an F1 of, and part.
    """
    parts = perturbed.columns.to_frame(index=False)
    num_perturbations = parts["perturbation"].nunique()
    # Only trials that met the perturbed sentences of the row's cell count, on both sides.
    over, trials = OverSeeds(results), results.trials
    met = dict(zip(trials["trial_id"], trials["own_perturbed_as"], strict=True))
    sides = []
    for find, name in ((over.own, "trial_id"), (over.dense, "dense_trial_id")):
        is_other = (trials[name].map(met) != trials["perturbed_as"]).to_numpy()
        of_clean, of_perturbed = np.tile(find(clean), num_perturbations), find(perturbed)
        of_perturbed[is_other] = np.nan
        is_half = np.isnan(of_clean) | np.isnan(of_perturbed)
        of_clean[is_half] = of_perturbed[is_half] = np.nan
        sides.append((of_clean, of_perturbed))
    (own_clean, own), (dense_clean, dense) = sides
    drop = own_clean - own
    num_seeds = over.count(drop)
    table = over.rows(
        parts,
        {
            "f1_clean_mean": over.mean(own_clean),
            "f1_perturbed_mean": over.mean(own),
            "drop_mean": over.mean(drop),
            "delta_dense_mean": over.mean(own - dense),
            "delta_drop_mean": over.mean(drop - (dense_clean - dense)),
            "num_seeds": num_seeds,
            "num_pairs": over.count(own - dense),
            "num_holes": over.cells["num_trials"].to_numpy()[:, None] - num_seeds,
            **{name: over.max(over.own(of_trials)) for name, of_trials in numbers.items()},
        },
        [True] * len(parts),
    )
    # A language without any score of a perturbation: `robustness` says whether it applies.
    scored = table.groupby(["series", "language", "perturbation"])["num_seeds"].transform("sum")
    return in_order(table[scored > 0], ["language", "perturbation"])
