"""A figure of the report: what it asks, and what is drawn of given results.

A chart is Altair's. It takes its rows from the named data `ROWS`, so that they are in the page
once: for the chart, for the table behind it and for its CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.report.material import Material

if TYPE_CHECKING:
    import altair as alt

ROWS = "rows"
"""Name of the data that a chart draws: the rows of its figure's table."""

FILTERS = {"series": "Regime and settings", "embeddings": "Word embeddings", "language": "Language"}
"""Columns by which a reader can choose rows, in all figures at once, with what they are called. A
row in which the column is null belongs to every choice, as dense trials do to all embeddings."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A column of which the reader of one figure chooses a value.

    Attributes:
        column: a column of the table. A row in which it is null belongs to every choice; a text of
            several parts, as in `broken, missed`, to that of each part.
        label: what it is called.
        has_all: whether all values together can be chosen, too; they are then, at first.
    """

    column: str
    label: str
    has_all: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a figure shows of given results.

    Attributes:
        table: the rows that are drawn, and that the reader gets as a table and as CSV. Numbers,
            texts and null; a column that the chart uses is here.
        num_trials: the trials behind it.
        chart: an Altair chart of the named data `ROWS`, with the type of each field spelled out;
            None where there is a table only, or nothing.
        filters: those of `FILTERS` by which the reader may choose rows of it; each is a column of
            the table.
        choices: what the reader chooses in this figure alone, one after the other: a later one
            offers what the earlier ones leave.
        view: how the rows are shown besides, where there is no chart: `prose`, their column
            `sentence`; `tagged`, sentences with their tags, see `figures.examples`.
        text: sentences that come before the chart: what is seen.
        notes: sentences that come below: what must be known, and what is missing.
    """

    table: pd.DataFrame
    num_trials: int
    chart: alt.TopLevelMixin | None = None
    filters: Sequence[str] = ()
    choices: Sequence[Choice] = ()
    view: str | None = None
    text: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure, whatever the results.

    Attributes:
        name: by which it is asked for, and the name of its files: small letters and hyphens. It
            stays as it is once it is published.
        title: a few words.
        question: what it answers, as a sentence.
        draw: makes it; where the results have nothing for it, a drawing without rows, and notes
            that say why.
        needs: names of the tables of the analysis that `draw` reads.
    """

    name: str
    title: str
    question: str
    draw: Callable[[Material], Drawing]
    needs: tuple[str, ...] = ()


def nothing(*why: str) -> Drawing:
    """A figure of which there is nothing to show, and why."""
    return Drawing(table=pd.DataFrame(), num_trials=0, notes=why)
