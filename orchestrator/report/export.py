"""Figures as files for a paper: PDF, SVG and PNG, and their tables as LaTeX and CSV."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from orchestrator.report import paper
from orchestrator.report.figure import FILTERS, Drawing, Figure
from orchestrator.report.latex import make_table
from orchestrator.report.material import Material
from orchestrator.report.page import as_values
from orchestrator.report.parts import Part, divide, settle_choices
from orchestrator.results.export import write_bytes, write_csv
from orchestrator.wording import counted

FOR_CHARTS = ("place", "place_name", "place_tier", "place_change", "joined", "level", "sign")
"""Columns that charts are put in order or broken into lines by. LaTeX's tables leave them out, and
the code of a language where its name, which has the code, is there."""

DRAWN = ("pdf", "svg", "png")
"""Endings of the files of a chart."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of a figure, or of a part of it.

    Attributes:
        figure: the figure.
        name: the name that its files have in common.
        endings: `pdf` and the like; none where it has no rows.
        why_not: why there is no file; empty where there are some.
    """

    figure: Figure
    name: str
    endings: Sequence[str] = ()
    why_not: str = ""


def write_figures(
    material: Material, figures: Iterable[Figure], folder: str, theme: str = "paper"
) -> Iterator[Written]:
    """Write figures to a folder, on this machine or in an object store, one after another.

    Args:
        material: what was analysed.
        figures: which.
        folder: where to; it is made.
        theme: one of `paper.THEMES`.

    Yields:
        What was written of each, when it is there.

    Raises:
        StoreError: it cannot be written there.
        OSError: the disk is full or fails.
    """
    for figure in figures:
        drawing = figure.draw(material)
        parts = divide(drawing)
        if not parts:
            why_not = " ".join(drawing.notes) or "The results have nothing for it."
            yield Written(figure=figure, name=figure.name, why_not=why_not)
        for part in parts:
            yield from _write(figure, drawing, part, folder, theme)


def _write(
    figure: Figure, drawing: Drawing, part: Part, folder: str, theme: str
) -> Iterator[Written]:
    """Write a chart for each choice that the page offers inside it, and one table of them all."""
    name, endings = part.name(figure), ["tex", "csv"]
    if drawing.chart is not None:
        rows = to_rows(part.rows)
        for choice, chart in settle_choices(drawing.chart.to_dict()).items():
            drawn, stem = paper.draw(chart, rows, theme), f"{name}-{choice}".removesuffix("-")
            write_bytes(drawn.pdf, folder, f"{stem}.pdf")
            write_bytes(drawn.svg.encode(), folder, f"{stem}.svg")
            write_bytes(drawn.png, folder, f"{stem}.png")
            if choice:
                yield Written(figure=figure, name=stem, endings=DRAWN)
            else:
                endings = [*DRAWN, *endings]
    left_out = [*part.chosen, *FOR_CHARTS, *(["language"] * ("language_name" in part.rows))]
    told = part.rows.drop(columns=left_out, errors="ignore")
    write_bytes(make_table(told, _say(figure, drawing, part)).encode(), folder, f"{name}.tex")
    write_csv(_to_arrow(part.rows), folder, f"{name}.csv")
    yield Written(figure=figure, name=name, endings=endings)


def _say(figure: Figure, drawing: Drawing, part: Part) -> list[str]:
    """What the reader of a table has to know."""
    chosen = [f"{FILTERS[column]}: {value}." for column, value in part.chosen.items()]
    chosen += [f"{label}: {value}; the page shows others." for label, value in part.shown.items()]
    behind = f"{counted(drawing.num_trials, 'trial')} behind the whole figure."
    return [f"{figure.title}. {figure.question}", *chosen, behind, *drawing.text, *drawing.notes]


def to_rows(table: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as JSON has them."""
    columns = {str(name): as_values(column) for name, column in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _to_arrow(table: pd.DataFrame) -> pa.Table:
    return pa.table({str(name): _to_array(as_values(column)) for name, column in table.items()})


def _to_array(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # texts and numbers in one column
        return pa.array([None if value is None else str(value) for value in values])
