"""The whole analysis: reads results once, gives every table, and writes tables to files."""

from collections.abc import Callable, Collection, Sequence
from functools import cache, cached_property, partial

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
    wanted = set(ANALYSES if only is None else only)
    there = [*ANALYSES, POWER.name]
    if unknown := sorted(wanted - set(there)):
        raise StoreError(f"only: no table {', '.join(unknown)}; there are {', '.join(there)}")
    inputs = _Inputs(store, split, matching, same_device, intervals or IntervalOptions(), wanted)
    made = [
        table
        for tables, make in _steps(inputs, margin, change).items()
        if wanted & {table.name for table in tables}
        for table in make()
    ]
    return [table for table in made if table.name in wanted]


class _Inputs:
    """What tables are made of: each part is read or computed once, when a table first asks for it.

    Args:
        store, split, matching, same_device, options: see `analyze`.
        wanted: names of the tables that will be asked for.
    """

    def __init__(
        self,
        store: ResultStore,
        split: str,
        matching: str | None,
        same_device: bool,
        options: IntervalOptions,
        wanted: set[str],
    ):
        self.store, self.split, self.matching = store, split, matching
        self.options, self.wanted = options, wanted
        self.rows = read_rows(store, same_device)
        refuse_rule_without_scores(self.rows, split, matching)
        self.results = make_results(self.rows, split, matching)
        self.sentences_of = cache(partial(read_sentences, store))
        self.calibrations = Calibrations(split, self.sentences_of)

    @cached_property
    def on_test(self) -> Results:
        """Results of the test split, of which robustness is always."""
        if self.split == "test":
            return self.results
        return make_results(self.rows, "test", self.matching)

    @cached_property
    def predicted(self) -> list[SetPredictions]:
        """Predictions of the split; probabilities are measured while they pass, if asked for."""
        ids, tags = _with_predictions(self.results), self.results.tags
        if not self.wanted & {CALIBRATION.name, RELIABILITY.name}:
            return read_predictions(self.store, ids, self.split, tags=tags)
        tables = self.store.read_each("predictions", ids, [*PREDICTIONS_READ, "confidence"])
        return collect_predictions(self.calibrations.taking(tables), self.split, tags=tags)

    @cached_property
    def predicted_on_test(self) -> list[SetPredictions]:
        """Predictions of test sentences as published."""
        if self.split == "test":
            return self.predicted
        ids = _with_predictions(self.on_test)
        return read_predictions(self.store, ids, "test", tags=self.results.tags)

    @cached_property
    def perturbed(self) -> list[SetPredictions]:
        """Predictions of perturbed test sentences, which most results do not have."""
        ids = _with_predictions(self.on_test, is_perturbed=True)
        return read_predictions(self.store, ids, "test", is_perturbed=True, tags=self.results.tags)

    @cached_property
    def counted(self) -> ErrorCounts:
        """Kinds of error in the predictions of the split."""
        others = self.perturbed if self.split == "test" else []
        return count_errors(self.results, [*self.predicted, *others], self.sentences_of)

    @cached_property
    def counted_on_test(self) -> ErrorCounts:
        """Kinds of error in those of test sentences, as published and perturbed."""
        if self.split == "test" or not self.perturbed:
            return self.counted
        both = [*self.predicted_on_test, *self.perturbed]
        return count_errors(self.on_test, both, self.sentences_of)

    @cached_property
    def sentences(self) -> Sentences:
        """What is drawn anew for intervals."""
        return Sentences(self.results, self.predicted, self._words_if_identical_is_one)

    @cached_property
    def drops(self) -> dict[str, Sentences]:
        """The same of what each perturbation takes from F1."""
        if not self.perturbed:
            return {}
        words = self._words_if_identical_is_one
        if self.split == "test":
            published = self.sentences
        else:
            published = Sentences(self.on_test, self.predicted_on_test, words)
        return Sentences.of_drops(self.on_test, published, self.perturbed, words)

    @property
    def _words_if_identical_is_one(self) -> Callable[[str], np.ndarray] | None:
        return self._words_of if self.options.is_identical_one else None

    def _words_of(self, set_id: str) -> np.ndarray:
        numbers: np.ndarray = self.sentences_of(set_id)["words"].to_numpy()
        return numbers

    @cached_property
    def f1s(self) -> Changes:
        """F1 of each cell."""
        return f1s_of(self.results, self.sentences)

    @cached_property
    def changes(self) -> Changes:
        """Change of F1 of each cell to its dense one."""
        return changes_to_dense(self.results, self.sentences)

    @cached_property
    def changes_of_each_sentence(self) -> Changes | None:
        """The same where identical sentences are not one; None where they never are."""
        if not self.options.is_identical_one:
            return None
        return changes_to_dense(self.results, Sentences(self.results, self.predicted))

    @cached_property
    def layers(self) -> pa.Table:
        """Sparsity of each matrix."""
        return self.store.read("layers", LAYERS_READ)

    @cached_property
    def vocabulary(self) -> pa.Table:
        """How languages are cut into sub-words."""
        return self.store.read("vocabulary", VOCABULARY_READ)

    @cached_property
    def perturbed_scores(self) -> pa.Table:
        """Scores of perturbed sentences."""
        return self.store.read("robustness", ROBUSTNESS_READ)


def _steps(
    inputs: _Inputs, margin: float, change: float
) -> dict[tuple[Table, ...], Callable[[], list[AnalysisTable]]]:
    """How tables are made, each step with those that it makes, in the order of `ANALYSES`."""
    results, rows, options = inputs.results, inputs.rows, inputs.options

    def calibration() -> list[AnalysisTable]:
        _ = inputs.predicted  # probabilities are measured when predictions are read
        of_results = (results, inputs.calibrations)
        return [find_calibration(*of_results), find_reliability(*of_results)]

    def losses() -> list[AnalysisTable]:
        described = describe_languages(
            results, inputs.predicted, inputs.sentences_of, inputs.vocabulary
        )
        return [tabulate_languages(described), *find_losses(results, described)]

    return {
        (QUALITY,): lambda: [analyze_quality(results, inputs.f1s, options)],
        CHANGE_TABLES: lambda: analyze_changes(
            results, inputs.f1s, inputs.changes, inputs.sentences, options
        ),
        (STEPS,): lambda: [find_steps(results, rows.trials)],
        (BREAKDOWN,): lambda: [find_breakdown(results, rows.scores, inputs.counted)],
        (LAYER_SPARSITY,): lambda: [find_layers(results, inputs.layers, inputs.vocabulary)],
        (BUDGET,): lambda: [find_budget(results, rows.trials, inputs.layers)],
        (ACROSS_LANGUAGES, PROFILES): lambda: describe_across(results, options),
        (DISPARITY,): lambda: [find_disparity(results, inputs.changes, inputs.sentences, options)],
        (ROBUSTNESS, ROBUSTNESS_OVERALL): lambda: analyze_robustness(
            inputs.on_test, inputs.perturbed_scores, inputs.drops, options
        ),
        (ROBUSTNESS_TYPES,): lambda: [
            find_robustness_types(inputs.on_test, rows.scores, inputs.perturbed_scores)
        ],
        (ROBUSTNESS_SUBSETS,): lambda: [
            find_robustness_subsets(inputs.on_test, inputs.counted_on_test)
        ],
        (DISAGREEMENT, PIES_PROFILE): lambda: find_disagreement(
            results, inputs.predicted, inputs.sentences_of
        ),
        (ERRORS,): lambda: [find_errors(results, inputs.counted)],
        (CALIBRATION, RELIABILITY): calibration,
        VERDICT_TABLES: lambda: judge_changes(
            results, inputs.changes, options, margin, inputs.changes_of_each_sentence
        ),
        (TESTS,): lambda: [compare_languages(results)],
        (COVARIATES, CORRELATIONS, SLOPES): losses,
        (MODEL,): lambda: [fit_models(results)],
        (POWER,): lambda: [find_power(inputs.changes, change)],
    }


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
