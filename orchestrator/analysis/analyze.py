"""The whole analysis: reads results once, gives every table, and writes tables to files."""

from collections.abc import Sequence

from orchestrator.analysis.bootstrap import Bootstrap, find_intervals
from orchestrator.analysis.disagreement import find_disagreement
from orchestrator.analysis.frames import Results, make_results
from orchestrator.analysis.inference import compare_languages, fit_models
from orchestrator.analysis.predictions import read_predictions, read_sentences
from orchestrator.analysis.quality import analyze_quality
from orchestrator.analysis.reading import read_rows
from orchestrator.analysis.robustness import ROBUSTNESS_READ, analyze_robustness
from orchestrator.analysis.tables import AnalysisTable
from orchestrator.results.export import write_csv, write_parquet
from orchestrator.results.store import ResultStore
from workers.storage import Location


def analyze(
    store: ResultStore, split: str = "test", bootstrap: Bootstrap | None = None
) -> list[AnalysisTable]:
    """Make every table in `tables.ANALYSES`, in that order. One that has nothing to say has no
    rows, and a note.

    Args:
        store: the results.
        split: validation or test; robustness is of test, always.
        bootstrap: how intervals are made.

    Raises:
        StoreError: there is no such split, nothing was planned or run, or a file cannot be read.
    """
    rows = read_rows(store)
    results = make_results(rows, split)
    on_test = results if split == "test" else make_results(rows, "test")
    predicted = read_predictions(store, _with_predictions(results), split)
    return [
        *analyze_quality(results),
        *analyze_robustness(on_test, store.read("robustness", ROBUSTNESS_READ)),
        *find_disagreement(results, predicted, lambda set_id: read_sentences(store, set_id)),
        find_intervals(results, predicted, bootstrap or Bootstrap()),
        compare_languages(results),
        fit_models(results),
    ]


def _with_predictions(results: Results) -> list[str]:
    """The trials that have predictions, each once, in the order of `results.trials`."""
    rows = results.trials[results.trials["num_predictions"] > 0]
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
