"""F1 at equal size: what a model of a cell takes as bytes and as multiplications, so that pruned
embeddings are compared with dense ones of the same budget."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import SERIES, Results, finish
from orchestrator.analysis.statistics.over_seeds import OverSeeds
from orchestrator.analysis.tables import BUDGET, AnalysisTable
from orchestrator.wording import counted

BYTES_A_VALUE = 4
"""Of a weight that is kept, in float32, as models are stored."""

EMBEDDINGS_PATTERN = r"embed|^shared\."
"""Names of tensors that are looked up and not multiplied."""

UNKNOWN = "size is not known"
NO_CURVE = "no F1 with dense embeddings"
OUTSIDE = "no dense embeddings at this size"

MEASURED = ("overall_sparsity", "num_bytes", "num_multiplications")


def find_budget(results: Results, trials: pa.Table, layers: pa.Table) -> AnalysisTable:
    """Make the table `budget`.

    Args:
        results: what was run.
        trials: the stored rows of these trials, with the columns `reading.TRIALS_READ`.
        layers: rows of the stored table `layers`, with the columns `layers.LAYERS_READ`.
    """
    sizes = _sizes(trials).join(_multiplications(layers))
    over = OverSeeds(results)
    values = sizes[list(MEASURED)].reindex(results.trials["trial_id"]).to_numpy(float)
    numbers = over.mean(np.column_stack([values, results.trials[["f1", "delta"]].to_numpy()]))
    names = (*MEASURED, "f1_mean", "delta_dense_mean")
    table = over.cells.assign(**dict(zip(names, numbers.T, strict=True)))
    table["num_seeds"] = over.count(results.trials[["f1"]].to_numpy())[:, 0]
    table = _compare_equal_size(table)
    return finish(BUDGET, table, _notes(table))


def _sizes(trials: pa.Table) -> pd.DataFrame:
    """By trial: overall sparsity, and bytes as a bitmap of what is kept beside the values."""
    names = ["trial_id", "target_sparsity", "overall_sparsity", "num_parameters", "num_prunable"]
    rows = trials.select(names).to_pandas().set_index("trial_id")
    num_values = rows["num_parameters"] * (1 - rows["overall_sparsity"])
    # A dense trial needs no bitmap.
    bitmap = (rows["num_prunable"] / 8).where(rows["target_sparsity"] > 0, 0)
    rows["num_bytes"] = np.ceil(BYTES_A_VALUE * num_values + bitmap)
    return rows


def _multiplications(layers: pa.Table) -> pd.Series:
    """By trial: weights other than embeddings that are kept in its prunable matrices."""
    is_looked_up = pc.match_substring_regex(layers["name"], EMBEDDINGS_PATTERN)
    rows = layers.filter(pc.invert(is_looked_up)).drop_columns("name").to_pandas()
    kept = rows["num_weights"] - rows["num_zeros"]
    return kept.groupby(rows["trial_id"]).sum().rename("num_multiplications")


def _compare_equal_size(table: pd.DataFrame) -> pd.DataFrame:
    """Beside each cell with pruned embeddings the F1 that the curve with dense embeddings has at
    its size, between the two nearest sizes."""
    table["f1_equal_size"] = np.nan
    table["reason"] = ""
    is_curve = table["embeddings"] == "dense"
    # Dense trials are a series of their own, and the largest size of each curve of their regime.
    for place, rows in table[~is_curve].groupby([*SERIES, "language"]):
        series, regime, _, language = place
        of_language = table[is_curve & (table["language"] == language)]
        is_dense = (of_language["regime"] == regime) & (of_language["target_sparsity"] == 0)
        dense = of_language[is_dense]
        sparse = of_language[of_language["series"] == series]
        curve = pd.concat([sparse, dense if len(dense) == 1 else dense.iloc[:0]])
        curve = curve.dropna(subset=["num_bytes", "f1_mean"]).sort_values("num_bytes")
        sizes, f1 = curve["num_bytes"].to_numpy(), curve["f1_mean"].to_numpy()
        at = rows["num_bytes"].to_numpy()
        if not len(curve):
            table.loc[rows.index, "reason"] = np.where(np.isnan(at), UNKNOWN, NO_CURVE)
            continue
        is_within = (at >= sizes[0]) & (at <= sizes[-1])
        table.loc[rows.index, "f1_equal_size"] = np.where(
            is_within, np.interp(at, sizes, f1), np.nan
        )
        outside = np.where(is_within, "", OUTSIDE)
        table.loc[rows.index, "reason"] = np.where(np.isnan(at), UNKNOWN, outside)
    table["delta_equal_size"] = table["f1_mean"] - table["f1_equal_size"]
    return table


def _notes(table: pd.DataFrame) -> list[str]:
    notes = [
        "Bytes: a bit a prunable weight, and 4 bytes (float32) a weight that is kept. "
        "Multiplications: a sub-word's with the prunable matrices, without attention's products, "
        "whose number depends on the sentence. No kernel here is faster for being sparse."
    ]
    is_outside = table["reason"] == OUTSIDE
    if num_outside := int(is_outside.sum()):
        verb = "is" if num_outside == 1 else "are"
        notes.append(
            f"{counted(num_outside, 'cell')} with pruned embeddings {verb} smaller or larger than "
            "all with dense ones: there is nothing of equal size."
        )
    return notes
