"""Results as pandas frames that the analyses start from, and frames as finished tables.

`Results.trials` has a row a trial and language scored, those without an F1 included;
`Results.cells` a row a cell and language, which is `aggregate`'s table with facts of the language.
In these frames NaN is a number that is null and an empty string a text that is null, by which
pandas can group and join; finished tables have null for both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa

from orchestrator.analysis.inputs.aggregate import (
    ZERO_SHOT,
    Cell,
    Hole,
    aggregate_cells,
    find_cells,
)
from orchestrator.analysis.inputs.comparable import embeddings_name
from orchestrator.analysis.inputs.reading import PERTURBED_SETS, StoredRows
from orchestrator.analysis.tables import TIERS, AnalysisTable
from orchestrator.errors import StoreError
from orchestrator.planning.nothing_predicted import describe_silent
from orchestrator.results.columns import TEXT, Table
from orchestrator.results.rows import Row
from orchestrator.spec.languages import find_language
from orchestrator.wording import counted
from workers.tags import WIKIANN, TagSet, union_of
from workers.trial import MICRO

SERIES = ["series", "regime", "settings"]
"""Columns that say which series a row belongs to: what is not comparable differs in them."""

LEVEL = ["target_sparsity", "embedding_sparsity", "embeddings"]
"""Columns that say how much was pruned."""

CELL = [*SERIES, *LEVEL]
"""Columns that place a row in the grid, but for language and seed."""

MIXED = "Where num_languages differs between sparsities, so do the languages behind means"
"""How a note begins that must be said where means are not of the same languages."""

ORDER = {"sparse - dense": 0, **{name: place for place, (_, name) in enumerate(TIERS)}}
"""What is not in the order of the alphabet, but before the rest."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was read of results, on one split.

    Attributes:
        split: validation or test.
        trials: a row a trial and language scored. F1 and its differences are fractions, NaN where
            they were not measured: `f1`, `dense_f1` (of the same seed's dense trial) and `delta`
            (`f1` - `dense_f1`). `matching` is the rule of matching of the cell, and `perturbed_as`
            says which perturbed sentences the cell is compared on; `own_matching` and
            `own_perturbed_as` are those that the trial was run with. `num_train_sentences`, `tier`,
            `tier_used`, `script` and `family` are facts of the language.
        cells: a row a cell and language, with the columns of `tables.AGGREGATES` and these facts.
        holes: the trials without an F1, or without one in all their languages.
        tags: the entity types of all series together.
        types_of: by series, those of its corpus.
        notes: sentences on what was left out of the comparison.
    """

    split: str
    trials: pd.DataFrame
    cells: pd.DataFrame
    holes: list[Hole]
    notes: list[str]
    tags: TagSet = WIKIANN
    types_of: Mapping[int, TagSet] = field(default_factory=dict)

    def has_type(self, rows: pd.DataFrame) -> pd.Series:
        """Whether the entity type of each row is one of its series', or all types together.

        Args:
            rows: with the columns `series` and `entity_type`.
        """
        known = {(number, MICRO) for number in self.types_of}
        known |= {(n, name) for n, tags in self.types_of.items() for name in tags.entity_types}
        pairs = zip(rows["series"], rows["entity_type"], strict=True)
        return pd.Series([pair in known for pair in pairs], rows.index, dtype=bool)

    @property
    def sparse(self) -> pd.DataFrame:
        """The rows of `trials` that are not dense, in their order."""
        return self.trials[self.trials["target_sparsity"] > 0]

    @property
    def sparse_cells(self) -> pd.DataFrame:
        """The rows of `cells` that are not dense, in their order."""
        return self.cells[self.cells["target_sparsity"] > 0]


def make_results(rows: StoredRows, split: str, matching: str | None = None) -> Results:
    """Make the frames that all analyses of a split start from.

    Args:
        rows: the stored rows that are compared.
        split: validation or test.
        matching: the rule of matching for all series; None: of each that of its trials.

    Raises:
        StoreError: there is no such split, or nothing has been run or planned.
    """
    cells = find_cells(rows, split, matching)
    if not cells:
        raise StoreError(
            "results: no trials, run or planned; give the results of a sweep that has been run"
        )
    silent = describe_silent(rows.trials, rows.scores, split)
    aggregates = aggregate_cells(cells, split, [*rows.notes, *silent])

    # A row a trial and language.
    by_trial = pd.DataFrame(row for cell in cells for row in _trial_rows(cell))
    by_trial["delta"] = by_trial["f1"] - by_trial["dense_f1"]
    _name_fixed_embeddings(by_trial)
    types_of = {
        cell.series.number: TagSet(cell.series.entity_types or WIKIANN.entity_types)
        for cell in cells
    }
    facts = _find_facts(by_trial, rows.described)
    by_trial = by_trial.merge(facts, on=["series", "language"])

    # A row a cell and language. All trials of a cell are of one series and prune alike.
    key = ["cell_id", "regime"]
    of_cells = by_trial[[*key, "series", "settings", "embeddings"]].drop_duplicates()
    by_cell = aggregates.table.drop_columns("settings").to_pandas().merge(of_cells, on=key)
    by_cell = by_cell.merge(facts, on=["series", "language"])
    return Results(
        split=split,
        trials=in_order(by_trial),
        cells=in_order(by_cell),
        holes=aggregates.holes,
        notes=aggregates.notes,
        tags=union_of(list(types_of.values())),
        types_of=types_of,
    )


def _trial_rows(cell: Cell) -> Iterator[Row]:
    """A row for each trial and language of a cell, without the facts of the language."""
    perturbed_as = _choose_perturbed(cell)
    for trial in cell.trials:
        is_monolingual = trial["regime"] == "monolingual"
        of_trial = {
            "trial_id": trial["trial_id"],
            "cell_id": trial["cell_id"],
            "dense_trial_id": trial.get("dense_trial_id"),
            "series": cell.series.number,
            "settings": cell.series.label or "",
            "regime": trial["regime"],
            "target_sparsity": trial["target_sparsity"],
            "embedding_sparsity": trial["embedding_sparsity"],
            "seed": trial["seed"],
            "embeddings": embeddings_name(trial["target_sparsity"], trial["embedding_sparsity"]),
            "num_used": trial.get("num_train_sentences") if is_monolingual else None,
            "max_train_sentences": trial.get("corpus_max_train_sentences"),
            "num_predictions": trial.get("num_predictions") or 0,
            "is_predicted_perturbed": "perturbed" in (trial.get("evaluation_predictions") or ()),
            "matching": cell.series.matching or "",
            "own_matching": trial.get("evaluation_matching") or "",
            "perturbations": tuple(trial.get("robustness_perturbations") or ()),
            "perturbed_as": perturbed_as,
            "own_perturbed_as": _describe_perturbed(trial),
        }
        for language in cell.languages:
            yield of_trial | {
                "language": language,
                "f1": _number(cell.f1s.get((trial["trial_id"], language))),
                "dense_f1": _number(cell.f1s.get((trial.get("dense_trial_id") or "", language))),
            }


def _choose_perturbed(cell: Cell) -> str:
    """Which perturbed sentences a cell is compared on: those of its newest trial that has any."""
    perturbed = [trial for trial in cell.trials if trial.get("robustness_perturbations")]
    if not perturbed:
        return ""
    newest = max(perturbed, key=lambda trial: (trial["started_at"], trial["trial_id"]))
    return _describe_perturbed(newest)


def _describe_perturbed(trial: Row) -> str:
    if not trial.get("robustness_perturbations"):
        return ""
    return ", ".join(f"{name}={trial[name]}" for name in PERTURBED_SETS)


def _name_fixed_embeddings(trials: pd.DataFrame) -> None:
    """Name a target of the embeddings that comes with several of the rest as a fixed one, also
    where both are equal."""
    pruned = trials[trials["embedding_sparsity"] > 0]
    targets = pruned.groupby(["series", "embedding_sparsity"])["target_sparsity"]
    fixed = pruned.loc[targets.transform("nunique") > 1, "embedding_sparsity"]
    trials.loc[fixed.index, "embeddings"] = [f"pruned to {value:g}" for value in fixed]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _find_facts(trials: pd.DataFrame, described: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """A row a series and language: its number of train sentences, tiers, script and family; what is
    not known is empty. For `described` see `reading.find_described`."""
    grouped = trials.groupby(["series", "language"])[["num_used", "max_train_sentences"]]
    facts = grouped.max().astype(float).reset_index()
    known = [
        find_language(code).described_as(described.get(code, {})) for code in facts["language"]
    ]

    # Where the number used is not known, it is the published one up to the sweep's limit. Whoever
    # uses more sentences than WikiANN publishes has another corpus.
    published = pd.Series([_number(language.num_train) for language in known], dtype=float)
    published = published.where(~(facts["num_used"] > published))
    limit = facts["max_train_sentences"]
    limited = published.where(limit.isna(), published.clip(upper=limit))
    # Of a language that is scored zero-shot none was used, and no logarithm is taken of that.
    is_zero_shot = trials["regime"].str.startswith(ZERO_SHOT)
    is_used = ~facts["series"].isin(trials.loc[is_zero_shot, "series"])
    facts["num_train_sentences"] = facts["num_used"].fillna(limited).where(is_used)

    tiers = [_tier_or_none(number) for number in published.fillna(facts["num_used"])]
    facts["tier"] = [language.tier or name for language, name in zip(known, tiers, strict=True)]
    facts["tier_used"] = [_tier_or_none(number) for number in facts["num_train_sentences"]]
    facts["script"] = [language.script for language in known]
    facts["family"] = [language.family for language in known]
    return facts.drop(columns=["num_used", "max_train_sentences"])


def tier(num_train: int) -> str:
    """The resource tier of a language with so many train sentences."""
    return next(name for limit, name in TIERS if num_train <= limit)


def _tier_or_none(num_train: float) -> str:
    return "" if pd.isna(num_train) else tier(int(num_train))


def families_of(rows: pd.DataFrame) -> dict[str, str]:
    """The family of each language of rows with the columns `language` and `family`; the code itself
    where it is not known, which makes it a family of its own."""
    pairs = zip(rows["language"], rows["family"], strict=True)
    return {code: family or code for code, family in pairs}


def in_order(frame: pd.DataFrame, by: Sequence[str] = ("language",)) -> pd.DataFrame:
    """Sort rows by regime and settings, then `by`, then embeddings, sparsity, and seed where there
    is one; tiers by size."""
    if frame.empty:
        return frame
    names = ["regime", "settings", *by, "embeddings", *LEVEL[:2], "seed"]
    names = [name for name in dict.fromkeys(names) if name in frame]

    def key(column: pd.Series) -> pd.Series:
        if column.name not in ("group", "comparison"):
            return column
        return column.map(lambda value: (ORDER.get(value, len(ORDER)), value))

    return frame.sort_values(names, key=key, kind="stable", ignore_index=True)


def count_trials(rows: pd.DataFrame, by: Sequence[str], is_counted: pd.Series) -> pd.Series:
    """Count the trials behind the rows of each group.

    Args:
        rows: with the columns `trial_id` and `by`. A trial with a row for each of several languages
            counts once.
        by: the columns that make a group.
        is_counted: bool, by the index of `rows`: the rows that count.

    Returns:
        The number of trials by group, those of groups without any included.
    """
    marked = rows.assign(counted=rows["trial_id"].where(is_counted))
    return marked.groupby(list(by))["counted"].nunique()


def finish(table: Table, frame: pd.DataFrame, notes: Sequence[str] = ()) -> AnalysisTable:
    """Turn a frame into the table that it was computed for.

    Args:
        table: the table.
        frame: with at least the table's columns; no rows where there is nothing to say.
        notes: sentences to be shown below the table.

    Raises:
        StoreError: a column is missing, or a value is null or infinite where it must not be.
    """
    names = table.arrow_schema.names
    if frame.empty:
        return AnalysisTable(table=table, rows=table.arrow_schema.empty_table(), notes=tuple(notes))

    # An empty text stands for null in frames, see the module.
    texts = [column.name for column in table.columns if column.type == TEXT and column.is_nullable]
    frame = frame[names].assign(**{name: frame[name].replace("", None) for name in texts})
    rows = pa.Table.from_pandas(frame, schema=table.arrow_schema, preserve_index=False)
    rows = rows.replace_schema_metadata()  # that of pandas
    table.check(rows)
    return AnalysisTable(table=table, rows=rows, notes=tuple(notes))


def languages_notes(table: pd.DataFrame) -> list[str]:
    """`MIXED`, where means over languages are of other languages at one sparsity than at another,
    as while a sweep runs; nothing where they are not.

    Args:
        table: with the column `num_languages`; a row a sparsity, embeddings, and what else tells
            means apart.
    """
    names = (*SERIES, "grouping", "group", "perturbation")
    if table.empty:
        return []
    by_line = table.groupby([name for name in names if name in table], dropna=False)
    if by_line["num_languages"].nunique().max() < 2:
        return []
    return [f"{MIXED}: levels are not comparable there, and a change is of those languages alone."]


def hole_notes(results: Results) -> list[str]:
    """A sentence on how many trials have no F1, and why; none where all have one."""
    if not results.holes:
        return []
    kinds = [hole.why.partition(":")[0].partition(" for ")[0] for hole in results.holes]
    reasons = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in sorted(set(kinds)))
    total = results.trials["trial_id"].nunique()
    return [
        f"{len(results.holes):,} of {counted(total, 'trial')} lack an F1 ({reasons}): null where "
        "nothing else is there, and counted in num_holes."
    ]
