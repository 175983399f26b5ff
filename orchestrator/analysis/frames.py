"""Results as pandas frames that the analyses start from, and frames as finished tables.

`Results.trials` has a row a trial and language scored, those without an F1 included;
`Results.cells` a row a cell and language, which is `aggregate`'s table with facts of the language.
In these frames NaN is a number that is null and an empty string a text that is null, by which
pandas can group and join; finished tables have null for both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.aggregate import (
    TRIAL_NAMES,
    Cell,
    F1s,
    Hole,
    aggregate_cells,
    find_cells,
    micro_f1s,
)
from orchestrator.analysis.comparable import Row, embeddings_name
from orchestrator.analysis.tables import TIERS, AnalysisTable
from orchestrator.errors import StoreError
from orchestrator.results.columns import TEXT, Table
from orchestrator.spec.languages import LANGUAGES
from orchestrator.wording import counted

TRIALS_READ = [*TRIAL_NAMES, "num_train_sentences", "num_predictions"]

SERIES = ["series", "regime", "settings"]
LEVEL = ["target_sparsity", "embedding_sparsity", "embeddings"]
CELL = [*SERIES, *LEVEL]
ORDER = {"sparse - dense": 0, **{name: place for place, (_, name) in enumerate(TIERS)}}
"""What is not in the order of the alphabet, but before the rest."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was read of results, on one split. `trials` and `cells` are described in the module."""

    split: str
    trials: pd.DataFrame
    cells: pd.DataFrame
    holes: list[Hole]

    @property
    def sparse(self) -> pd.DataFrame:
        """The rows of `trials` that are not dense, in their order."""
        return self.trials[self.trials["target_sparsity"] > 0]

    @property
    def sparse_cells(self) -> pd.DataFrame:
        """The rows of `cells` that are not dense, in their order."""
        return self.cells[self.cells["target_sparsity"] > 0]


def make_results(trials: pa.Table, scores: pa.Table, plans: pa.Table, split: str) -> Results:
    """Results from their tables: of trials the columns `TRIALS_READ`, of scores
    `aggregate.SCORE_NAMES`.

    Raises:
        StoreError: there is no such split, or nothing has been run or planned.
    """
    f1s = micro_f1s(scores, split)
    cells = find_cells(trials, plans, f1s)
    if not cells:
        raise StoreError(
            "results: no trials, run or planned; give the results of a sweep that has been run"
        )
    found = aggregate_cells(cells, f1s, split)
    by_trial = pd.DataFrame(row for cell in cells for row in _rows(cell, f1s))
    by_trial["delta"] = by_trial["f1"] - by_trial["dense_f1"]
    _name_fixed_embeddings(by_trial)
    series = by_trial[["cell_id", "series", "settings", "embeddings"]].drop_duplicates()
    by_cell = found.table.drop_columns("settings").to_pandas().merge(series, on="cell_id")
    by_trial = by_trial.merge(_facts(by_trial), on=["series", "language"])
    by_cell = by_cell.merge(_facts(by_trial), on=["series", "language"])
    return Results(
        split=split, trials=in_order(by_trial), cells=in_order(by_cell), holes=found.holes
    )


def _rows(cell: Cell, f1s: F1s) -> Iterator[Row]:
    for trial in cell.trials:
        for language in cell.languages:
            yield {name: trial.get(name) for name in ("trial_id", "cell_id", "dense_trial_id")} | {
                "series": cell.series.number,
                "settings": cell.series.label or "",
                "language": language,
                **{
                    name: trial[name]
                    for name in ("regime", "target_sparsity", "embedding_sparsity", "seed")
                },
                "embeddings": embeddings_name(
                    trial["target_sparsity"], trial["embedding_sparsity"]
                ),
                "f1": _number(f1s.get((trial["trial_id"], language))),
                "dense_f1": _number(f1s.get((trial.get("dense_trial_id") or "", language))),
                "num_used": trial.get("num_train_sentences")
                if trial["regime"] == "monolingual"
                else None,
                "max_train_sentences": trial.get("corpus_max_train_sentences"),
                "num_predictions": trial.get("num_predictions") or 0,
                "perturbations": tuple(trial.get("robustness_perturbations") or ()),
            }


def _name_fixed_embeddings(trials: pd.DataFrame) -> None:
    """A target of the embeddings that comes with several of the rest is a fixed one, also where
    both are equal."""
    pruned = trials[trials["embedding_sparsity"] > 0]
    num_targets = pruned.groupby(["series", "embedding_sparsity"])["target_sparsity"].transform(
        "nunique"
    )
    fixed = pruned.loc[num_targets > 1, "embedding_sparsity"]
    trials.loc[fixed.index, "embeddings"] = [f"pruned to {value:g}" for value in fixed]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _facts(trials: pd.DataFrame) -> pd.DataFrame:
    """What is known of each language of a series: train sentences, tier, script, family."""
    grouped = trials.groupby(["series", "language"])[["num_used", "max_train_sentences"]]
    facts = grouped.max().astype(float).reset_index()
    known = [LANGUAGES.get(code) for code in facts["language"]]
    published = pd.Series([float(one.num_train) if one else float("nan") for one in known])
    limited = published.where(
        facts["max_train_sentences"].isna(), published.clip(upper=facts["max_train_sentences"])
    )
    facts["num_train_sentences"] = facts["num_used"].fillna(limited)
    facts["tier"] = [tier(one.num_train) if one else "" for one in known]
    facts["script"] = [one.script if one else "" for one in known]
    facts["family"] = [one.family if one else "" for one in known]
    return facts.drop(columns=["num_used", "max_train_sentences"])


def tier(num_train: int) -> str:
    """The resource tier of a language with so many train sentences published."""
    return next(name for limit, name in TIERS if num_train <= limit)


def in_order(frame: pd.DataFrame, by: Sequence[str] = ("language",)) -> pd.DataFrame:
    """By regime and settings, then `by`, embeddings, sparsity, and seed where there is one; tiers
    by size."""
    names = ["regime", "settings", *by, "embeddings", *LEVEL[:2], "seed"]
    names = [name for name in dict.fromkeys(names) if name in frame]

    def key(column: pd.Series) -> pd.Series:
        if column.name not in ("group", "comparison"):
            return column
        return column.map(lambda value: (ORDER.get(value, len(ORDER)), value))

    return frame.sort_values(names, key=key, kind="stable", ignore_index=True)


def count_trials(rows: pd.DataFrame, by: Sequence[str], is_counted: pd.Series) -> pd.Series:
    """Trials of the rows that count, in each group: one with a row for each of several languages
    counts once."""
    return (
        rows.assign(counted=rows["trial_id"].where(is_counted))
        .groupby(list(by))["counted"]
        .nunique()
    )


def finish(table: Table, frame: pd.DataFrame, notes: Sequence[str] = ()) -> AnalysisTable:
    """A frame as the table that it was computed for.

    Raises:
        StoreError: a column is missing, or a value is null or infinite where it must not be.
    """
    names = table.arrow_schema.names
    if frame.empty:
        return AnalysisTable(table=table, rows=table.arrow_schema.empty_table(), notes=tuple(notes))
    texts = [column.name for column in table.columns if column.type == TEXT and column.is_nullable]
    frame = frame[names].assign(**{name: frame[name].replace("", None) for name in texts})
    rows = pa.Table.from_pandas(frame, schema=table.arrow_schema, preserve_index=False)
    return AnalysisTable(table=table, rows=table.build(rows.to_pylist()), notes=tuple(notes))


def hole_notes(results: Results) -> list[str]:
    """How many trials have no F1, and why."""
    if not results.holes:
        return []
    kinds = [hole.why.partition(":")[0].partition(" for ")[0] for hole in results.holes]
    told = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in sorted(set(kinds)))
    total = results.trials["trial_id"].nunique()
    return [
        f"{len(results.holes):,} of {counted(total, 'trial')} lack an F1 ({told}): null where nothing else is there, "
        "and counted in num_holes."
    ]
