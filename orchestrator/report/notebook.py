"""Results in a notebook or a script: tables as frames, and figures of the report as charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from orchestrator.analysis.analyze import analyze
from orchestrator.analysis.tables import ANALYSES
from orchestrator.errors import SweepError, check_name
from orchestrator.report import paper
from orchestrator.report.export import to_rows
from orchestrator.report.figure import FILTERS
from orchestrator.report.material import read_material, to_frame
from orchestrator.report.parts import Part, divide
from orchestrator.report.sections import FIGURES
from orchestrator.results.schema import TABLES
from orchestrator.results.store import ResultStore

if TYPE_CHECKING:
    import altair as alt

ANALYSED = "analysis/"
"""What the names of analysed tables begin with, as those of their files do."""

WIDTH = 700
"""Pixels that a chart takes in a notebook."""


class Tables(Mapping[str, Any]):
    """The tables of results by name, each read or computed when it is asked for, and then kept:
    `trials`, `scores` and the others of `sparsweep schema --results`; and, as `analysis/quality`
    and the like, those of `sparsweep analyze`.

    Args:
        store: the results.
        frames: what tables come as, pandas or polars.
        options: further arguments of `analyze`.
    """

    def __init__(self, store: ResultStore, frames: str, options: Mapping[str, Any]) -> None:
        self._store = store
        self._frames = frames
        self._options = options
        self._names = (*TABLES, *(f"{ANALYSED}{name}" for name in ANALYSES))
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            check_name("load", name, self._names, "table")
        if name not in self._kept:
            self._kept[name] = self._to_frame(self._read(name))
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _read(self, name: str) -> pa.Table:
        if not name.startswith(ANALYSED):
            return self._store.read(name)
        (table,) = analyze(self._store, only=[name.removeprefix(ANALYSED)], **self._options)
        return table.rows

    def _to_frame(self, rows: pa.Table) -> Any:
        return to_frame(rows) if self._frames == "pandas" else _polars().from_arrow(rows)


def load(
    results: str | Path | ResultStore,
    frames: Literal["pandas", "polars"] = "pandas",
    **options: Any,
) -> Tables:
    """Give the tables of results: stored ones, and those of the analysis.

    Args:
        results: a folder, an address such as s3://bucket/folder, or an opened store.
        frames: what tables come as; polars is a package of its own.
        options: further arguments of `analyze`, such as `split="validation"`.

    Returns:
        Tables by name, such as `trials` and `analysis/quality`; each is read when it is asked for.

    Raises:
        SweepError: there are no results, or no such frames.
        ImportError: polars is asked for and not installed.
    """
    check_name("frames", frames, ("pandas", "polars"), "kind of frames")
    if frames == "polars":
        _polars()
    return Tables(_open(results), frames, options)


def figure(
    name: str,
    results: str | Path | ResultStore,
    *,
    series: str | None = None,
    embeddings: str | None = None,
    language: str | None = None,
    theme: str = "light",
    **options: Any,
) -> alt.TopLevelMixin:
    """Draw a figure of the report, with its rows in it, so that a notebook shows it.

    Args:
        name: the figure's name; it stands in the page's address and in the names of files.
        results: a folder, an address such as s3://bucket/folder, or an opened store.
        series: regime and settings, where the results hold several; the first when None.
        embeddings: `dense` or `pruned` word embeddings; the first there is when None.
        language: only this one; all when None.
        theme: colours: light, dark or paper.
        options: further arguments of `analyze`, such as `split="validation"`.

    Returns:
        An Altair chart.

    Raises:
        SweepError: there is no such figure, choice or theme, or nothing to draw; the message says
            what there is.
    """
    check_name("figure", name, FIGURES, "figure")
    check_name("theme", theme, paper.THEMES, "theme")
    wanted = FIGURES[name]
    drawing = wanted.draw(read_material(_open(results), wanted.needs, **options))
    if drawing.chart is None:
        why = " ".join(drawing.notes) or "it is a table; `sparsweep report` shows it"
        raise SweepError(f"{name}: nothing to draw: {why}")
    rows = _choose(name, divide(drawing), {"series": series, "embeddings": embeddings})
    if language is not None and "language" in drawing.filters:
        known = sorted(rows["language"].dropna().unique())
        check_name("language", language, known, "language")
        rows = rows[rows["language"].isna() | (rows["language"] == language)]
    return _to_chart(drawing.chart.to_dict(), to_rows(rows), theme)


def _choose(name: str, parts: list[Part], wanted: Mapping[str, str | None]) -> Any:
    """The rows of the first part that has what is wanted."""
    for column, value in wanted.items():
        if value is None:
            continue
        known = dict.fromkeys(part.chosen[column] for part in parts if column in part.chosen)
        if known:
            check_name(column, value, list(known), f"{FILTERS[column].lower()} in {name}")
        parts = [part for part in parts if part.chosen.get(column, value) == value]
    if not parts:
        raise SweepError(f"{name}: has no rows of these series and embeddings together")
    return parts[0].rows


def _to_chart(chart: dict[str, Any], rows: list[dict[str, Any]], theme: str) -> alt.TopLevelMixin:
    import altair as alt

    inlined = paper.inlined(chart, rows)
    paper.lay_out(inlined, WIDTH)
    datasets = inlined.pop("datasets")
    made = alt.Chart.from_dict(inlined | {"config": paper.theme_config(theme)})
    made.datasets = datasets  # they need no check, and may be many
    return made


def _open(results: str | Path | ResultStore) -> ResultStore:
    if isinstance(results, ResultStore):
        return results
    store = ResultStore(str(results))
    store.refuse_unless_planned(str(results))
    return store


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        message = "frames='polars': polars is not installed; pip install polars, or take pandas"
        raise ImportError(message) from error
    return polars
