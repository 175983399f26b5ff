"""The whole analysis: reads results once, gives every table, and writes tables to files."""

from collections.abc import Callable, Collection, Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from orchestrator.analysis.inputs.aggregate import refuse_rule_without_scores
from orchestrator.analysis.inputs.frames import Results, make_results
from orchestrator.analysis.inputs.predictions import (
    PREDICTIONS_READ,
    SetPredictions,
    collect_predictions,
    read_predictions,
    read_sentences,
)
from orchestrator.analysis.inputs.reading import VOCABULARY_READ, read_rows
from orchestrator.analysis.statistics.intervals import (
    Changes,
    IntervalOptions,
    Sentences,
    changes_to_dense,
    f1s_of,
)
from orchestrator.analysis.tables import (
    ACROSS_LANGUAGES,
    ANALYSES,
    BREAKDOWN,
    BUDGET,
    CALIBRATION,
    CORRELATIONS,
    COVARIATES,
    DISAGREEMENT,
    DISPARITY,
    ERRORS,
    LAYER_SPARSITY,
    MARGIN,
    MODEL,
    PIES_PROFILE,
    POWER,
    PROFILES,
    QUALITY,
    RELIABILITY,
    ROBUSTNESS,
    ROBUSTNESS_OVERALL,
    ROBUSTNESS_SUBSETS,
    ROBUSTNESS_TYPES,
    SLOPES,
    STEPS,
    TESTS,
    AnalysisTable,
)
from orchestrator.analysis.topics.across_languages import describe_across
from orchestrator.analysis.topics.breakdown import find_breakdown
from orchestrator.analysis.topics.budget import find_budget
from orchestrator.analysis.topics.calibration import (
    Calibrations,
    find_calibration,
    find_reliability,
)
from orchestrator.analysis.topics.covariates import describe_languages, tabulate_languages
from orchestrator.analysis.topics.disagreement import find_disagreement
from orchestrator.analysis.topics.disparity import find_disparity
from orchestrator.analysis.topics.error_kinds import ErrorCounts, count_errors, find_errors
from orchestrator.analysis.topics.inference import compare_languages
from orchestrator.analysis.topics.layers import LAYERS_READ, find_layers
from orchestrator.analysis.topics.losses import find_losses
from orchestrator.analysis.topics.mixed_model import fit_models
from orchestrator.analysis.topics.power import find_power
from orchestrator.analysis.topics.quality import CHANGE_TABLES, analyze_changes, analyze_quality
from orchestrator.analysis.topics.robustness import ROBUSTNESS_READ, analyze_robustness
from orchestrator.analysis.topics.robustness_parts import (
    find_robustness_subsets,
    find_robustness_types,
)
from orchestrator.analysis.topics.steps import find_steps
from orchestrator.analysis.topics.verdicts import VERDICT_TABLES, check_margin, judge_changes
from orchestrator.errors import StoreError
from orchestrator.results.columns import Table
from orchestrator.results.export import write_csv, write_parquet
from orchestrator.results.store import ResultStore
from workers.storage import Location


def analyze(
    store: ResultStore,
    split: str = "test",
    intervals: IntervalOptions | None = None,
    only: Collection[str] | None = None,
    matching: str | None = None,
    same_device: bool = False,
    margin: float = MARGIN,
    change: float = MARGIN,
) -> list[AnalysisTable]:
    """Make the tables in `tables.ANALYSES`, in that order. One that has nothing to say has no rows,
    and a note.

    Args:
        store: the results.
        split: validation or test; robustness is of test, always.
        intervals: how intervals are made.
        only: names of the tables wanted, of which `tables.POWER` is one, too; all but that when
            None. What only others need is not read.
        matching: the rule by which predicted entities count, strict or lenient; None: of each
            series that by which its trials were scored when they were run.
        same_device: see `read_rows`.
        margin: the largest change of F1 that does not matter, as a fraction in (0, 1): what is
            equivalent to dense.
        change: the change of F1 that `power` is of, in (0, 1).

    Raises:
        StoreError: the margin or the change is none, there is no such split or table, nothing was
            planned or run, no score is by that rule, or a file cannot be read.
    """
    check_margin(margin)
    if not 0 < change < 1:
        raise StoreError(
            f"power: {change:g} is no change of F1; give a number above 0 and below 1, such as "
            f"{MARGIN:g}"
        )
    options = intervals or IntervalOptions()
    wanted = set(ANALYSES if only is None else only)
    there = [*ANALYSES, POWER.name]
    if unknown := sorted(wanted - set(there)):
        raise StoreError(f"only: no table {', '.join(unknown)}; there are {', '.join(there)}")
    rows = read_rows(store, same_device)
    refuse_rule_without_scores(rows, split, matching)
    results = make_results(rows, split, matching)

    @cache
    def sentences_of(set_id: str) -> pa.Table:
        return read_sentences(store, set_id)

    calibrations = Calibrations(split, sentences_of)

    @cache
    def predicted() -> list[SetPredictions]:
        if wanted.isdisjoint({CALIBRATION.name, RELIABILITY.name}):
            return read_predictions(store, _with_predictions(results), split, tags=results.tags)
        columns = [*PREDICTIONS_READ, "confidence"]
        tables = store.read_each("predictions", _with_predictions(results), columns)
        return collect_predictions(calibrations.taking(tables), split, tags=results.tags)

    @cache
    def perturbed() -> list[SetPredictions]:
        # Most results have no predictions of perturbed sentences, and then nothing is read again.
        ids = _with_predictions(on_test(), is_perturbed=True)
        return read_predictions(store, ids, "test", is_perturbed=True, tags=results.tags)

    @cache
    def predicted_on_test() -> list[SetPredictions]:
        if split == "test":
            return predicted()
        return read_predictions(store, _with_predictions(on_test()), "test", tags=results.tags)

    @cache
    def counted() -> ErrorCounts:
        others = perturbed() if split == "test" else []
        return count_errors(results, [*predicted(), *others], sentences_of)

    @cache
    def counted_on_test() -> ErrorCounts:
        if split == "test" or not perturbed():
            return counted()
        return count_errors(on_test(), [*predicted_on_test(), *perturbed()], sentences_of)

    @cache
    def layers() -> pa.Table:
        return store.read("layers", LAYERS_READ)

    @cache
    def vocabulary() -> pa.Table:
        return store.read("vocabulary", VOCABULARY_READ)

    @cache
    def on_test() -> Results:
        return results if split == "test" else make_results(rows, "test", matching)

    @cache
    def perturbed_scores() -> pa.Table:
        return store.read("robustness", ROBUSTNESS_READ)

    def robustness() -> list[AnalysisTable]:
        return analyze_robustness(on_test(), perturbed_scores(), drops(), options)

    def robustness_types() -> list[AnalysisTable]:
        return [find_robustness_types(on_test(), rows.scores, perturbed_scores())]

    def robustness_subsets() -> list[AnalysisTable]:
        return [find_robustness_subsets(on_test(), counted_on_test())]

    def words_of(set_id: str) -> np.ndarray:
        numbers: np.ndarray = sentences_of(set_id)["words"].to_numpy()
        return numbers

    @cache
    def sentences() -> Sentences:
        return Sentences(results, predicted(), words_of if options.is_identical_one else None)

    def drops() -> dict[str, Sentences]:
        if not perturbed():
            return {}
        words = words_of if options.is_identical_one else None
        if split == "test":
            published = sentences()
        else:
            published = Sentences(on_test(), predicted_on_test(), words)
        return Sentences.of_drops(on_test(), published, perturbed(), words)

    @cache
    def f1s() -> Changes:
        return f1s_of(results, sentences())

    @cache
    def changes() -> Changes:
        return changes_to_dense(results, sentences())

    def calibration() -> list[AnalysisTable]:
        predicted()  # what is read once is measured then
        return [find_calibration(results, calibrations), find_reliability(results, calibrations)]

    def verdicts() -> list[AnalysisTable]:
        each_is_one = None
        if options.is_identical_one:
            each_is_one = changes_to_dense(results, Sentences(results, predicted()))
        return judge_changes(results, changes(), options, margin, each_is_one)

    def losses() -> list[AnalysisTable]:
        described = describe_languages(results, predicted(), sentences_of, vocabulary())
        return [tabulate_languages(described), *find_losses(results, described)]

    # Each step with the tables that it makes, in the order of `ANALYSES`.
    steps: dict[tuple[Table, ...], Callable[[], list[AnalysisTable]]] = {
        (QUALITY,): lambda: [analyze_quality(results, f1s(), options)],
        CHANGE_TABLES: lambda: analyze_changes(results, f1s(), changes(), sentences(), options),
        (STEPS,): lambda: [find_steps(results, rows.trials)],
        (BREAKDOWN,): lambda: [find_breakdown(results, rows.scores, counted())],
        (LAYER_SPARSITY,): lambda: [find_layers(results, layers(), vocabulary())],
        (BUDGET,): lambda: [find_budget(results, rows.trials, layers())],
        (ACROSS_LANGUAGES, PROFILES): lambda: describe_across(results, options),
        (DISPARITY,): lambda: [find_disparity(results, changes(), sentences(), options)],
        (ROBUSTNESS, ROBUSTNESS_OVERALL): robustness,
        (ROBUSTNESS_TYPES,): robustness_types,
        (ROBUSTNESS_SUBSETS,): robustness_subsets,
        (DISAGREEMENT, PIES_PROFILE): lambda: find_disagreement(results, predicted(), sentences_of),
        (ERRORS,): lambda: [find_errors(results, counted())],
        (CALIBRATION, RELIABILITY): calibration,
        VERDICT_TABLES: verdicts,
        (TESTS,): lambda: [compare_languages(results)],
        (COVARIATES, CORRELATIONS, SLOPES): losses,
        (MODEL,): lambda: [fit_models(results)],
        (POWER,): lambda: [find_power(changes(), change)],
    }
    made = [
        table
        for of_step, make in steps.items()
        if wanted & {table.name for table in of_step}
        for table in make()
    ]
    return [table for table in made if table.name in wanted]


def plan_power(store: ResultStore, change: float, split: str = "test") -> AnalysisTable:
    """Make the table `tables.POWER`.

    Args:
        store: the results whose variances are taken.
        change: the change of F1 that is to be seen, as a fraction.
        split: validation or test.

    Raises:
        StoreError: the change is not above 0 and below 1, nothing was planned or run, or a file
            cannot be read.
    """
    (table,) = analyze(store, split, only=[POWER.name], change=change)
    return table


def _with_predictions(results: Results, is_perturbed: bool = False) -> list[str]:
    """The trials that have predictions, or those of perturbed sentences, each once, in the order of
    `results.trials`."""
    rows = results.trials[results.trials["num_predictions"] > 0]
    if is_perturbed:
        rows = rows[rows["is_predicted_perturbed"]]
    return list(dict.fromkeys(rows["trial_id"]))


def write_tables(tables: Sequence[AnalysisTable], folder: str) -> list[Location]:
    """Write each table as `<name>.parquet`, with the meanings of its columns, and `<name>.csv`.

    Args:
        tables: the tables.
        folder: on this machine or in an object store; it is made where there is none.

    Returns:
        The files.

    Raises:
        StoreError: one cannot be written.
    """
    files = []
    for table in tables:
        files.append(write_parquet(table.table, table.rows, folder, f"{table.name}.parquet"))
        files.append(write_csv(table.rows, folder, f"{table.name}.csv"))
    return files
