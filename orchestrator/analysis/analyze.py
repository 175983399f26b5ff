"""The whole analysis: reads results once, and gives every table; and writes tables to files."""

import io
from collections.abc import Sequence

import pyarrow.csv

from orchestrator.analysis.aggregate import SCORE_NAMES
from orchestrator.analysis.bootstrap import Bootstrap, find_intervals
from orchestrator.analysis.disagreement import find_disagreement
from orchestrator.analysis.frames import TRIALS_READ, Results, make_results
from orchestrator.analysis.inference import compare_languages, fit_models
from orchestrator.analysis.predictions import read_predictions, read_sentences
from orchestrator.analysis.quality import analyze_quality
from orchestrator.analysis.robustness import ROBUSTNESS_READ, analyze_robustness
from orchestrator.analysis.tables import AnalysisTable
from orchestrator.errors import StoreError
from orchestrator.results.parquet import encode_compact
from orchestrator.results.store import ResultStore
from workers.storage import Location


def analyze(
    store: ResultStore, split: str = "test", bootstrap: Bootstrap | None = None
) -> list[AnalysisTable]:
    """Every table in `tables.ANALYSES`, in that order; one that has nothing to say has no rows, and
    a note.

    Args:
        store: the results.
        split: validation or test; robustness is of test, always.
        bootstrap: how intervals are made.

    Raises:
        StoreError: there is no such split, nothing was planned or run, or a file cannot be read.
    """
    trials, scores = store.read("trials", TRIALS_READ), store.read("scores", SCORE_NAMES)
    plans = store.read("plans")
    results = make_results(trials, scores, plans, split)
    on_test = results if split == "test" else make_results(trials, scores, plans, "test")
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
    rows = results.trials[results.trials["num_predictions"] > 0]
    return list(dict.fromkeys(rows["trial_id"]))


def write_tables(tables: Sequence[AnalysisTable], folder: str) -> list[Location]:
    """Each table as `<name>.parquet`, with the meanings of its columns, and `<name>.csv`; returns
    these files.

    Raises:
        StoreError: one cannot be written.
    """
    files = []
    for table in tables:
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(table.rows, buffer)
        files.append(
            _write(folder, f"{table.name}.parquet", encode_compact(table.table, table.rows))
        )
        files.append(_write(folder, f"{table.name}.csv", buffer.getvalue()))
    return files


def _write(folder: str, name: str, data: bytes) -> Location:
    try:
        file = Location.parse(folder) / name
        file.write_atomic(data)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}/{name}: cannot be written ({error}); give a folder where you may write"
        ) from error
    return file
