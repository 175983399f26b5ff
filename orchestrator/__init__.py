"""Plans a sweep, drives Ray Tune over its trials, keeps their results and reads them.

What analysts need, in a notebook or a script, is here:

    from orchestrator import figure, load

    tables = load("results/demo")                  # or s3://bucket/folder, or frames="polars"
    tables["trials"]                               # any table of `sparsweep schema --results`
    tables["analysis/quality"]                     # a table of `sparsweep analyze`
    figure("f1-by-language", "results/demo")       # a figure of `sparsweep report`, for Altair

What these do in one go is here step by step, as Arrow tables:

    from orchestrator import ResultStore, aggregate, analyze

    store = ResultStore("results/demo")
    trials = store.read("trials")
    f1s = aggregate(store).table                   # the table of `sparsweep aggregate`
    tables = {table.name: table.rows for table in analyze(store)}

Names are loaded when they are asked for, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.analysis.analyze import analyze, write_tables
    from orchestrator.analysis.inputs.aggregate import Aggregates, aggregate
    from orchestrator.analysis.statistics.intervals import IntervalOptions
    from orchestrator.analysis.tables import AnalysisTable
    from orchestrator.errors import StoreError
    from orchestrator.report.notebook import Tables, figure, load
    from orchestrator.results.store import ResultStore

__all__ = [
    "Aggregates",
    "AnalysisTable",
    "IntervalOptions",
    "ResultStore",
    "StoreError",
    "Tables",
    "aggregate",
    "analyze",
    "figure",
    "load",
    "write_tables",
]

_MODULES = {
    "Aggregates": "orchestrator.analysis.inputs.aggregate",
    "AnalysisTable": "orchestrator.analysis.tables",
    "IntervalOptions": "orchestrator.analysis.statistics.intervals",
    "ResultStore": "orchestrator.results.store",
    "StoreError": "orchestrator.errors",
    "Tables": "orchestrator.report.notebook",
    "aggregate": "orchestrator.analysis.inputs.aggregate",
    "analyze": "orchestrator.analysis.analyze",
    "figure": "orchestrator.report.notebook",
    "load": "orchestrator.report.notebook",
    "write_tables": "orchestrator.analysis.analyze",
}
"""Where each name of `__all__` is defined."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(
            f"orchestrator has no {name!r}; it offers {', '.join(__all__)}, and its modules"
        )
    return getattr(import_module(_MODULES[name]), name)
