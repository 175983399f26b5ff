"""F1 and its change to dense by part of the sentences (seen in training or not, each distinct one
once) and by entity type."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.frames import Results, finish
from orchestrator.analysis.statistics.over_seeds import KEY, OverSeeds
from orchestrator.analysis.tables import BREAKDOWN, SUBSETS, AnalysisTable
from orchestrator.analysis.topics.error_kinds import COUNTED, ErrorCounts, part_of
from workers.tags import TagSet
from workers.trial import CLEAN, MICRO

VALUES = ("f1", "support", "num_sentences")
"""What is known of a trial in each part."""

NO_PREDICTIONS = "no predictions are stored"
NOT_SCORED = "not scored"
NO_ENTITY = "no such entity is there or predicted"


def find_breakdown(results: Results, scores: pa.Table, counts: ErrorCounts) -> AnalysisTable:
    """Make the table `breakdown`.

    Args:
        results: what was run.
        scores: rows of `scores` with the columns `reading.SCORES_READ`.
        counts: what became of entities, of which F1 over distinct sentences is made.
    """
    over = OverSeeds(results)
    parts = _parts(results.tags)
    is_distinct = (parts["subset"] == "distinct").to_numpy()
    measured = _from_scores(scores.filter(pc.equal(scores["split"], results.split)), parts)
    counted = _from_counts(counts.get(CLEAN), parts, results.tags)
    own: dict[str, np.ndarray] = {}
    dense: dict[str, np.ndarray] = {}
    for name in VALUES:
        for side, find in ((own, over.own), (dense, over.dense)):
            side[name] = np.where(is_distinct, find(counted[name]), find(measured[name]))

    delta = own["f1"] - dense["f1"]
    num_seeds = over.count(own["f1"])
    support = over.max(own["support"])
    rows = over.rows(
        parts,
        {
            "f1_mean": over.mean(own["f1"]),
            "f1_std": over.std(own["f1"]),
            "num_seeds": num_seeds,
            "delta_dense_mean": over.mean(delta),
            "delta_dense_std": over.std(delta),
            "num_pairs": over.count(delta),
            "num_holes": over.cells["num_trials"].to_numpy()[:, None] - num_seeds,
            "num_sentences": over.max(own["num_sentences"]),
            "support": support,
            "reason": _reasons(num_seeds, support, is_distinct),
        },
        [True] * len(parts),
    )
    rows = rows[results.has_type(rows)]
    rows["split"] = results.split
    return finish(BREAKDOWN, rows, _notes(rows))


def _parts(tags: TagSet) -> pd.DataFrame:
    """The columns of arrays here: a row each."""
    types = (MICRO, *tags.entity_types)
    pairs = [(subset, entity_type) for subset in SUBSETS for entity_type in types]
    return pd.DataFrame(pairs, columns=["subset", "entity_type"])


def _from_scores(scores: pa.Table, parts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By name in `VALUES`: a row a trial, language and rule, with `parts` as columns; NaN for what
    has no score."""
    rows = scores.select([*KEY, "subset", "entity_type", *VALUES]).to_pandas()
    part = pd.MultiIndex.from_frame(parts).get_indexer(
        pd.MultiIndex.from_frame(rows[["subset", "entity_type"]])
    )
    rows = rows[part >= 0].assign(part=part[part >= 0])
    keys = rows.groupby(KEY, sort=False)
    found = {}
    for name in VALUES:
        values = np.full((keys.ngroups, len(parts)), np.nan)
        values[keys.ngroup(), rows["part"]] = rows[name].astype(float)
        found[name] = pd.DataFrame(values, pd.MultiIndex.from_tuples(keys.groups, names=KEY))
    return found


def _from_counts(
    counts: pd.DataFrame | None, parts: pd.DataFrame, tags: TagSet
) -> dict[str, pd.DataFrame]:
    """The same of stored predictions, of distinct sentences only."""
    if counts is None:
        nothing = pd.MultiIndex.from_arrays([[], [], []], names=KEY)
        return {name: pd.DataFrame(index=nothing, columns=range(len(parts))) for name in VALUES}
    types, flat = (MICRO, *tags.entity_types), counts.to_numpy()
    kinds = np.stack([part_of(flat, "distinct", one, tags) for one in types], axis=1)
    sides = [name for name, _ in COUNTED]
    support, num_predicted = (
        kinds[..., [one == side for one in sides]].sum(-1) for side in ("true", "predicted")
    )
    num = support + num_predicted
    f1 = np.full(num.shape, np.nan)
    np.divide(2 * kinds[..., COUNTED.index(("true", "correct"))], num, out=f1, where=num > 0)
    num_sentences = np.repeat(counts[["num_distinct"]].to_numpy(float), len(types), 1)
    found = {}
    for name, of_types in zip(VALUES, (f1, support, num_sentences), strict=True):
        values = np.full((len(counts), len(parts)), np.nan)
        values[:, (parts["subset"] == "distinct").to_numpy()] = of_types
        found[name] = pd.DataFrame(values, counts.index)
    return found


def _reasons(num_seeds: np.ndarray, support: np.ndarray, is_distinct: np.ndarray) -> np.ndarray:
    """Why a cell has no F1 in a part, str (cells, parts); an empty text where it has one."""
    unknown = np.where(is_distinct, NO_PREDICTIONS, NOT_SCORED)
    without = np.where(np.isnan(support), unknown, NO_ENTITY)
    return np.where(num_seeds > 0, "", without)


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = ["The terminal shows subsets and entity types one at a time; files have them crossed."]
    is_first = rows["entity_type"] == MICRO
    distinct = rows[is_first & (rows["subset"] == "distinct")]
    if without := int((distinct["reason"] == NO_PREDICTIONS).sum()):
        notes.append(
            f"{without:,} of {len(distinct):,} cells and languages have no predictions, and no F1 "
            "of distinct sentences. evaluation.predictions in the sweep stores them."
        )
    if (rows["reason"] == NO_ENTITY).any():
        notes.append("An F1 is null where no such entity is there or predicted: see reason.")
    return notes
