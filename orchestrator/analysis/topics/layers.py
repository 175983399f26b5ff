"""Where the zeros are: sparsity by layer and kind of matrix, and whether a matrix has lost all its
weights."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import CELL, Results, finish, in_order
from orchestrator.analysis.tables import LAYER_SPARSITY, AnalysisTable
from orchestrator.wording import counted
from workers.trial import MULTILINGUAL

LAYERS_READ = ["trial_id", "name", "num_zeros", "num_weights"]
"""Columns of the stored table `layers` that are needed."""

USED_EMBEDDINGS = "word embeddings used"
"""Name and kind of the rows of word embeddings that a language uses."""

IS_USED = -1
"""Their number among tensors: they come before the whole matrix, which is first in its model."""


def find_layers(results: Results, layers: pa.Table, vocabulary: pa.Table) -> AnalysisTable:
    """Make the table `layer_sparsity`.

    Args:
        results: what was run.
        layers: rows of the stored table `layers`, with the columns `LAYERS_READ`, those of a trial
            in the order of its model.
        vocabulary: rows of the stored table `vocabulary`, with the columns
            `reading.VOCABULARY_READ`.
    """
    # A trial has one model, whatever languages it is scored in.
    trials = results.trials[[*CELL, "language", "cell_id", "trial_id"]].drop_duplicates("trial_id")
    is_together = trials["regime"] == MULTILINGUAL
    trials = trials.assign(language=trials["language"].mask(is_together, MULTILINGUAL))
    # Numbers in the place of long names, of which there are few.
    encoded = layers["name"].combine_chunks().dictionary_encode()
    rows = layers.drop_columns("name").to_pandas()
    rows["tensor"] = encoded.indices.to_numpy()
    rows = pd.concat([rows.merge(trials, on="trial_id"), _used_embeddings(trials, vocabulary)])
    if rows.empty:
        return finish(LAYER_SPARSITY, rows, ["No layers are stored of these trials."])

    rows["sparsity"] = rows["num_zeros"] / rows["num_weights"]
    rows["is_empty"] = rows["num_zeros"] == rows["num_weights"]
    # Sorted by cell, so that the order of tensors stays that of the model.
    table = (
        rows.groupby([*CELL, "language", "cell_id", "tensor"])
        .agg(
            num_weights=("num_weights", "first"),
            sparsity_mean=("sparsity", "mean"),
            sparsity_min=("sparsity", "min"),
            sparsity_max=("sparsity", "max"),
            num_trials=("sparsity", "size"),
            num_collapsed=("is_empty", "sum"),
        )
        .reset_index()
    )
    table["density_min"] = 1 - table["sparsity_max"]
    of_cell = table.groupby("cell_id")["density_min"]
    table["is_sparsest"] = table["density_min"] == of_cell.transform("min")
    names = encoded.dictionary.to_pylist()
    named = dict(enumerate(names)) | {IS_USED: USED_EMBEDDINGS}
    places = {at: split_name(name) for at, name in named.items()}
    table["name"] = table["tensor"].map(named)
    table["layer"] = table["tensor"].map({at: layer for at, (layer, _) in places.items()})
    table["kind"] = table["tensor"].map({at: kind for at, (_, kind) in places.items()})
    return finish(LAYER_SPARSITY, in_order(table), _notes(table))


def _used_embeddings(trials: pd.DataFrame, vocabulary: pa.Table) -> pd.DataFrame:
    """The rows of word embeddings that each language uses as tensors of their own, under the
    language that uses them."""
    used = vocabulary.filter(pc.is_valid(vocabulary["num_weights"]))
    used = used.select(["trial_id", "language", "num_zeros", "num_weights"])
    rows = used.to_pandas().assign(tensor=IS_USED)
    return rows.merge(trials.drop(columns="language"), on="trial_id")


def split_name(name: str) -> tuple[int | None, str]:
    """The layer that a tensor is of, from 0, and what it is in its layer.

    Args:
        name: as in the model, such as `encoder.layer.3.attention.self.query.weight`.

    Returns:
        The first number in the name, None where there is none; and what follows it, or else all,
        without `weight` at the end.
    """
    parts = name.removesuffix(".weight").split(".")
    for place, part in enumerate(parts):
        if part.isdigit() and place + 1 < len(parts):
            return int(part), ".".join(parts[place + 1 :])
    return None, ".".join(parts)


def _notes(table: pd.DataFrame) -> list[str]:
    notes = []
    sparse = table[table["target_sparsity"] > 0]
    if len(sparse):
        least = sparse.loc[sparse["density_min"].idxmin()]
        notes.append(
            f"The smallest density is {least['density_min']:.2g}, of {least['name']} at sparsity "
            f"{least['target_sparsity']:g} ({least['language']})."
        )
    collapsed = sparse.loc[sparse["num_collapsed"] > 0, "cell_id"].nunique()
    if collapsed:
        notes.append(
            f"A matrix has no weight left in {counted(collapsed, 'cell')}: what comes out of it is "
            "the same for all words, and an F1 of 0 may be that, whatever the language."
        )
    return notes
