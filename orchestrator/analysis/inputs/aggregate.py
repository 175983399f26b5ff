"""From rows to what a sweep is run for: F1 over seeds for each language and sparsity, and what is
missing of it.

A cell is the trials that differ by seed only. Its difference to dense is paired: from each trial's
F1 that of the dense trial with the same seed and settings is taken, and the differences are
averaged. `show_aggregate` shows the outcome.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.analysis.inputs.comparable import Series, find_series
from orchestrator.analysis.inputs.reading import StoredRows, read_rows
from orchestrator.analysis.tables import AGGREGATES
from orchestrator.errors import StoreError
from orchestrator.planning.nothing_predicted import describe_silent, find_silent
from orchestrator.results.rows import Row
from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import RULES
from orchestrator.wording import counted
from workers.trial import MICRO

SCORED_SPLITS = ("validation", "test")

ZERO_SHOT = "zero-shot from"
"""How the regime of scores begins that are of a language which the trial was not trained on; the
language that it was trained on follows, or multilingual."""

F1s = Mapping[tuple[str, str], float | None]
"""Micro F1 on the split asked for, in [0, 1], by trial id and language; None where it is 0 / 0. All
of one rule of matching."""


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A trial that was planned or tried and has no F1, or not in all its languages, and why."""

    regime: str
    language: str
    target_sparsity: float
    embedding_sparsity: float
    seed: int
    cell_id: str
    trial_id: str
    sweep: str
    why: str


@dataclass(frozen=True)
class Aggregates:
    """What is known of each cell and language, and what is not.

    Attributes:
        table: rows of `tables.AGGREGATES`, sorted by regime, language and sparsity.
        holes: in the same order.
        notes: sentences on what was left out.
    """

    table: pa.Table
    holes: list[Hole]
    notes: list[str]

    def of_cells(self, cell_ids: Iterable[str]) -> "Aggregates":
        """Only these cells and their holes."""
        wanted = set(cell_ids)
        is_wanted = pc.is_in(self.table["cell_id"], pa.array(sorted(wanted), pa.string()))
        holes = [hole for hole in self.holes if hole.cell_id in wanted]
        return Aggregates(self.table.filter(is_wanted), holes, self.notes)


@dataclass(frozen=True)
class Cell:
    """Trials that differ by seed only, those planned and not run included.

    Attributes:
        cell_id: as in the rows.
        series: what the cell may be compared with.
        trials: rows of `trials`, or of `plans` where the trial has not run.
        languages: those that its trials score, sorted; `multilingual` in place of them where no
            trial of the cell's sweep has run and named them. Languages that the trials are not
            trained on make another cell of the same id and of another regime, see `ZERO_SHOT`.
        f1s: of its trials, of the dense ones beside them and of others, by the rule of its series.
        silent: of all trials, see `orchestrator.planning.nothing_predicted.find_silent`.
    """

    cell_id: str
    series: Series
    trials: list[Row]
    languages: list[str]
    f1s: F1s
    silent: Set[tuple[str, str]] = frozenset()


def aggregate(
    store: ResultStore,
    split: str = "test",
    matching: str | None = None,
    same_device: bool = False,
) -> Aggregates:
    """All cells of a results location, and all holes in what its sweeps planned and tried.

    Args:
        store: the results.
        split: validation or test.
        matching: the rule by which predicted entities count, strict or lenient; None: that by which
            the trials of a cell were scored when they were run.
        same_device: see `read_rows`.

    Raises:
        StoreError: there is no such split, no score is by that rule, or a file cannot be read.
    """
    rows = read_rows(store, same_device)
    refuse_rule_without_scores(rows, split, matching)
    silent = describe_silent(rows.trials, rows.scores, split)
    return aggregate_cells(find_cells(rows, split, matching), split, [*rows.notes, *silent])


def refuse_rule_without_scores(rows: StoredRows, split: str, matching: str | None) -> None:
    """Refuse a rule of matching that no score of a split is by, while there are others.

    Args:
        rows: the stored rows that are compared.
        split: validation or test.
        matching: see `aggregate`.

    Raises:
        StoreError: there is no such split or rule, or no score is by it.
    """
    if matching is None:
        return
    if matching not in RULES:
        raise StoreError(f"matching: {matching!r} is no rule; give {' or '.join(RULES)}")
    there = sorted(micro_f1s(rows.scores, split))
    if there and matching not in there:
        raise StoreError(
            f"matching: no score on {split} is by the {matching} rule, all are by the {there[0]} "
            f"one; `run` the sweep with evaluation.matching={matching} to add them"
        )


def aggregate_cells(cells: Sequence[Cell], split: str, notes: Sequence[str] = ()) -> Aggregates:
    """Summarize cells over their seeds.

    Args:
        cells: the cells.
        split: that of their F1.
        notes: for the outcome.
    """
    rows = [
        _summarize(cell, language) | {"split": split}
        for cell in cells
        for language in cell.languages
    ]
    order = [(name, "ascending") for name in AGGREGATES.sort_by]
    holes = [_find_hole(trial, cell, split) for cell in cells for trial in cell.trials]
    return Aggregates(
        table=AGGREGATES.build(rows).sort_by(order),
        holes=sorted((hole for hole in holes if hole), key=_order_of),
        notes=[*notes, *_describe_rules(cells)],
    )


def _describe_rules(cells: Sequence[Cell]) -> list[str]:
    """By which rule of matching entities count; nothing where no trial has run."""
    counts = Counter(cell.series.matching for cell in cells if cell.series.matching)
    if len(counts) < 2:
        return [f"Entities count by the {rule} rule of matching." for rule in counts]
    parts = [f"the {rule} one in {counted(number, 'cell')}" for rule, number in counts.items()]
    return [
        "Entities count by the rule of matching that the trials of each series were last run with: "
        f"{', '.join(sorted(parts))}. --matching takes one for all."
    ]


def micro_f1s(scores: pa.Table, split: str) -> Mapping[str, F1s]:
    """F1 of all entities together on all sentences of a split, by the rule of matching.

    Args:
        scores: rows of `scores` with the columns `reading.SCORES_READ`.
        split: validation or test.

    Raises:
        StoreError: there is no such split.
    """
    if split not in SCORED_SPLITS:
        accepted = ", ".join(SCORED_SPLITS)
        raise StoreError(f"split: {split!r} is never scored; give one of {accepted}")
    for name, value in (("split", split), ("subset", "all"), ("entity_type", MICRO)):
        scores = scores.filter(pc.equal(scores[name], value))

    f1s: defaultdict[str, dict[tuple[str, str], float | None]] = defaultdict(dict)
    columns = (scores[name].to_pylist() for name in ("matching", "trial_id", "language", "f1"))
    for matching, trial_id, language, f1 in zip(*columns, strict=True):
        f1s[matching][trial_id, language] = f1
    return f1s


def find_cells(rows: StoredRows, split: str, matching: str | None = None) -> list[Cell]:
    """The cells that were planned or tried, in the order in which their first trials are stored.

    Args:
        rows: the stored rows that are compared.
        split: that of the cells' F1, validation or test.
        matching: see `aggregate`.

    Raises:
        StoreError: there is no such split.
    """
    planned = rows.plans.to_pylist()
    # A trial's own row says more than that of a plan, and takes its place.
    trials = {row["trial_id"]: row for row in (*planned, *rows.trials.to_pylist())}
    series = find_series(trials, planned, matching)
    members: defaultdict[str, list[Row]] = defaultdict(list)
    for row in trials.values():
        members[row["cell_id"]].append(row)

    silent = find_silent(rows.scores, split)
    # The languages that have a score by the rule of their cell.
    f1s = micro_f1s(rows.scores, split)
    scored: defaultdict[str, set[str]] = defaultdict(set)
    for rule, of_rule in f1s.items():
        for trial_id, language in of_rule:
            cell_id = trials[trial_id]["cell_id"]
            if series[cell_id].matching == rule:
                scored[cell_id].add(language)

    cells = []
    for cell_id, of_cell in members.items():
        of_series = series[cell_id]
        is_multilingual = of_cell[0]["regime"] == "multilingual"
        trained = of_series.languages if is_multilingual else ()
        trained = trained or (of_cell[0]["language"],)
        transferred = scored[cell_id] - _trained_on(of_cell)
        cell = Cell(
            cell_id=cell_id,
            series=of_series,
            trials=of_cell,
            languages=sorted(scored[cell_id] - transferred or trained),
            f1s=f1s.get(of_series.matching or "", {}),
            silent=silent,
        )
        cells += [cell, *([_as_zero_shot(cell, transferred)] if transferred else [])]
    return _with_own_series(cells)


def _trained_on(trials: Iterable[Row]) -> set[str]:
    """The languages that the trials of a cell are trained on; none where none of them has run."""
    return {code for trial in trials for code in trial.get("languages") or ()}


def _as_zero_shot(cell: Cell, languages: Iterable[str]) -> Cell:
    """The part of a cell that its trials are scored on without being trained on it: a regime of its
    own, so that no table puts it together with what is trained on. Of its trials those that have
    such scores are members: what others lack is told in the cell itself."""
    languages = sorted(languages)
    trials = [
        trial | {"regime": f"{ZERO_SHOT} {trial['language']}", "robustness_perturbations": None}
        for trial in cell.trials
        if any((trial["trial_id"], language) in cell.f1s for language in languages)
    ]
    return replace(cell, trials=trials, languages=languages)


def _with_own_series(cells: list[Cell]) -> list[Cell]:
    """The cells, where those of each zero-shot regime make series of their own."""
    numbers: dict[tuple[str, int], int] = {}
    first = 1 + max((cell.series.number for cell in cells), default=0)
    own = []
    for cell in cells:
        regime = cell.trials[0]["regime"]
        if regime.startswith(ZERO_SHOT):
            key = (regime, cell.series.number)
            number = numbers.setdefault(key, first + len(numbers))
            cell = replace(cell, series=replace(cell.series, number=number))
        own.append(cell)
    return own


def _summarize(cell: Cell, language: str) -> Row:
    """The row of one cell and language, but for its split."""
    values, deltas, relative = [], [], []
    for trial in cell.trials:
        value = cell.f1s.get((trial["trial_id"], language))
        dense = cell.f1s.get((trial.get("dense_trial_id") or "", language))
        if value is not None:
            values.append(value)
            if dense is not None:
                deltas.append(value - dense)
            if dense:
                relative.append((value - dense) / dense)

    first = cell.trials[0]
    return {name: first[name] for name in ("regime", "target_sparsity", "embedding_sparsity")} | {
        "language": language,
        "cell_id": cell.cell_id,
        "settings": cell.series.label,
        "f1_mean": fmean(values) if values else None,
        "f1_std": stdev(values) if len(values) > 1 else None,
        "num_seeds": len(values),
        "delta_dense_mean": fmean(deltas) if deltas else None,
        "delta_dense_std": stdev(deltas) if len(deltas) > 1 else None,
        "relative_dense_mean": fmean(relative) if relative else None,
        "num_pairs": len(deltas),
        "num_holes": len(cell.trials) - len(values),
        "num_silent": sum((trial["trial_id"], language) in cell.silent for trial in cell.trials),
    }


def _find_hole(trial: Row, cell: Cell, split: str) -> Hole | None:
    """What is missing of a trial; None when all its languages have an F1."""
    trial_id, f1s = trial["trial_id"], cell.f1s
    missing = [language for language in cell.languages if f1s.get((trial_id, language)) is None]
    if not missing:
        return None

    # A score of None was measured and is 0 / 0; what was not measured has no score at all.
    undefined = [language for language in missing if (trial_id, language) in f1s]
    if "status" not in trial:
        why = "not run yet"
    elif trial["status"] == "failed":
        why = f"failed: {trial['error_kind']}: {trial['error_message']}"
    elif undefined:
        names = f" for {', '.join(undefined)}" if trial["regime"] == "multilingual" else ""
        why = f"no F1 on {split}{names}: nothing predicted and nothing to find"
    elif len(missing) < len(cell.languages):
        why = f"not scored on {split} for {', '.join(missing)}"
    elif trial["evaluation_matching"] != cell.series.matching:
        why = f"not scored on {split} by the {cell.series.matching} rule of its cell"
    else:
        why = f"not scored on {split}"

    place = ("regime", "language", "target_sparsity", "embedding_sparsity", "seed")
    names_of_hole = (*place, "cell_id", "trial_id", "sweep")
    return Hole(**{name: trial[name] for name in names_of_hole}, why=why)


def _order_of(hole: Hole) -> tuple[str | float | int, ...]:
    return (
        *(hole.regime, hole.language, hole.target_sparsity, hole.embedding_sparsity),
        *(hole.cell_id, hole.seed),
    )
