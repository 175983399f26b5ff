"""F1 on sentences whose entities were replaced, by entity type."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import Results, finish, in_order
from orchestrator.analysis.statistics.over_seeds import KEY, OverSeeds
from orchestrator.analysis.tables import ROBUSTNESS_TYPES, AnalysisTable
from workers.tags import ENTITY_TYPES


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
    rows = rows[rows["entity_type"].isin(ENTITY_TYPES)]
    if rows.empty:
        nothing = [
            "No perturbed sentences were scored: robustness.perturbations in the sweep names "
            "perturbations."
        ]
        return finish(ROBUSTNESS_TYPES, rows, nothing)

    is_clean = pc.and_(pc.equal(scores["split"], "test"), pc.equal(scores["subset"], "all"))
    clean = scores.filter(is_clean).to_pandas()
    clean = clean.pivot_table("f1", KEY, "entity_type").reindex(columns=ENTITY_TYPES)
    # Draws without an F1, where no such entity is there or predicted, are left out of the mean.
    perturbed = rows.pivot_table("f1", KEY, ["perturbation", "entity_type"])
    names = sorted(set(rows["perturbation"]))
    parts = pd.MultiIndex.from_product([names, ENTITY_TYPES], names=["perturbation", "entity_type"])
    perturbed = perturbed.reindex(columns=parts)

    # Only trials that met the perturbed sentences of the row's cell count, on both sides.
    over, trials = OverSeeds(results), results.trials
    met = dict(zip(trials["trial_id"], trials["own_perturbed_as"], strict=True))
    sides = []
    for find, name in ((over.own, "trial_id"), (over.dense, "dense_trial_id")):
        is_other = (trials[name].map(met) != trials["perturbed_as"]).to_numpy()
        of_clean, of_perturbed = np.tile(find(clean), len(names)), find(perturbed)
        of_perturbed[is_other] = np.nan
        is_half = np.isnan(of_clean) | np.isnan(of_perturbed)
        of_clean[is_half] = of_perturbed[is_half] = np.nan
        sides.append((of_clean, of_perturbed))
    (own_clean, own), (dense_clean, dense) = sides
    drop = own_clean - own
    num_seeds = over.count(drop)
    table = over.rows(
        parts.to_frame(index=False),
        {
            "f1_clean_mean": over.mean(own_clean),
            "f1_perturbed_mean": over.mean(own),
            "drop_mean": over.mean(drop),
            "delta_dense_mean": over.mean(own - dense),
            "delta_drop_mean": over.mean(drop - (dense_clean - dense)),
            "num_seeds": num_seeds,
            "num_pairs": over.count(own - dense),
            "num_holes": over.cells["num_trials"].to_numpy()[:, None] - num_seeds,
        },
        [True] * len(parts),
    )
    # A language without any score of a perturbation: `robustness` says whether it applies.
    scored = table.groupby(["series", "language", "perturbation"])["num_seeds"].transform("sum")
    table = in_order(table[scored > 0], ["language", "perturbation"])
    return finish(ROBUSTNESS_TYPES, table, ["Why a perturbation does not apply is in robustness."])
