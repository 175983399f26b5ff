"""What the charts of several figures have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from orchestrator.analysis.tables import VERDICTS
from orchestrator.report.figure import ROWS
from orchestrator.spec.languages import find_language

if TYPE_CHECKING:
    import altair as alt

FULL = "container"
"""Width of a chart that is as wide as the page."""

NARROW = 150
"""Width of a panel of which many stand beside one another."""

SIGNED = "datum.value === 0 ? '0' : format(datum.value, '+~g')"
"""An expression of Vega: a number of an axis or legend with its sign, but for 0."""

DASHES = [[1, 0], [9, 3], [5, 2], [9, 2, 2, 2], [3, 2], [9, 2, 2, 2, 2, 2], [6, 3], [5, 2, 2, 2]]
"""Dashes of the lines of up to eight sparsities; none has so much of a gap that it looks pale."""

VERDICT_COLOURS = dict(zip(VERDICTS, ("good", "bad", "even", "unsure"), strict=True))


def chart(**options: Any) -> alt.Chart:
    """A chart of the figure's rows; see `altair.Chart` for options."""
    import altair as alt

    return alt.Chart(alt.NamedData(name=ROWS), **options)


def colour(name: str) -> alt.ExprRef:
    """A colour of `theme.COLOURS`, as the scheme of the page has it."""
    import altair as alt

    return alt.ExprRef(expr=name)


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """What a mark tells of itself: titles by field, such as `f1_mean="F1"`. A title that ends in
    `:0` is of a text or a whole number; other numbers have three decimals."""
    import altair as alt

    return [
        alt.Tooltip(f"{name}:N", title=title.removesuffix(":0"))
        if title.endswith(":0")
        else alt.Tooltip(f"{name}:Q", title=title, format=".3f")
        for name, title in fields.items()
    ]


def count_axis(most: float) -> alt.Axis:
    """Whole numbers, each at most once.

    Args:
        most: the largest that is shown.
    """
    import altair as alt

    return alt.Axis(format="d", tickMinStep=1, tickCount=max(1, min(10, int(most))))


def sparsity_axis(title: str = "sparsity") -> alt.X:
    """The horizontal axis of sparsity, from 0 to 1."""
    import altair as alt

    axis = alt.Axis(format="~g", tickCount=5)
    return alt.X("target_sparsity:Q", title=title, axis=axis, scale=alt.Scale(domain=[0, 1]))


def selection(name: str, label: str, options: Mapping[str, str]) -> alt.Parameter:
    """A choice of the reader's inside a chart, the first option at first.

    Args:
        name: of the parameter, for expressions of Vega.
        label: what stands before it.
        options: the values, with what they are called.
    """
    import altair as alt

    bind = alt.binding_select(options=list(options), labels=list(options.values()), name=label)
    return alt.param(name=name, value=next(iter(options)), bind=bind)


def colour_limit(changes: pd.Series) -> float:
    """The largest change that a scale of colours shows, up to which its legend can be read: one
    digit, such as 0.7 or 0.05, and 0.01 at least."""
    most = max(float(changes.abs().max()), 0.01)
    digit = 10.0 ** math.floor(math.log10(most))
    return float(round(math.ceil(round(most / digit, 9)) * digit, 9))


def change_colour(column: str, limit: float) -> alt.Color:
    """The shade of a change of F1 to dense, from -limit to limit, with its legend."""
    import altair as alt

    return alt.Color(
        f"{column}:Q",
        title="change of F1 to dense",
        scale=alt.Scale(domain=[-limit, 0, limit], range="diverging"),
        legend=alt.Legend(labelExpr=SIGNED, gradientLength=240, values=[-limit, 0, limit]),
    )


def ink_on(column: str, limit: float) -> Any:
    """The colour of a number in a cell that is shaded from -limit to limit.

    It is the page's own on strong shades, which stands out there, else that of text. At 0.65 of
    the limit both stand out about equally.

    Args:
        column: whose values shade the cells.
        limit: the largest absolute value of the scale.
    """
    import altair as alt

    return alt.condition(
        f"abs(datum.{column}) > {0.65 * limit:g}",
        alt.value(colour("paper")),
        alt.value(colour("ink")),
    )


def by_panel(field: str, width: int, **options: Any) -> alt.Facet:
    """A panel a value, which stands above it: in two lines where it has a line end, and where it is
    a code and a name that are too long for one. A heading wider than its panel would push all
    panels apart.

    Args:
        field: a column of texts.
        width: of a panel, in pixels; of a longer line the end is cut off, which a mark then tells.
        options: further arguments of `altair.Facet`.
    """
    import altair as alt

    letters = width // 7
    lines = (
        r"indexof(datum.label, '\n') > 0 ? split(datum.label, '\n') : "
        f"length(datum.label) > {letters} && indexof(datum.label, ' ') > 0 ? "
        "[slice(datum.label, 0, indexof(datum.label, ' ')), "
        "slice(datum.label, indexof(datum.label, ' ') + 1)] : datum.label"
    )
    header = alt.Header(labelExpr=lines, labelLimit=width + 15)
    return alt.Facet(f"{field}:N", title=None, header=header, **options)


def by_language() -> alt.Facet:
    """A panel a language, `NARROW` wide."""
    return by_panel("language_name", NARROW)


def named(languages: Sequence[str] | pd.Series) -> list[str]:
    """Codes of languages with their English names, such as `sw Swahili`."""
    codes = [str(code) for code in languages]
    names = [find_language(code).name for code in codes]
    return [
        code if name == code else f"{code} {name}" for code, name in zip(codes, names, strict=True)
    ]


def lend_dense(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with those of dense trials in each series whose settings differ from theirs only in
    how is pruned, which dense trials have no settings of. A series that all others of its dense
    trials belong to, and that has no sparse ones, is no longer one of its own.

    Args:
        rows: with the columns `series` and `target_sparsity`.
    """
    is_dense = rows["target_sparsity"] == 0
    with_sparse, own = set(rows.loc[~is_dense, "series"]), set(rows.loc[is_dense, "series"])
    parts = {series: frozenset(series.split(", ")) for series in with_sparse | own}
    lenders = {}
    for series in sorted(with_sparse - own):
        fitting = [one for one in own if parts[one] < parts[series]]
        if fitting:
            lenders[series] = max(sorted(fitting), key=lambda one: len(parts[one]))
    lent = [
        rows[is_dense & (rows["series"] == lender)].assign(series=series)
        for series, lender in lenders.items()
    ]
    is_elsewhere = is_dense & rows["series"].isin(set(lenders.values()) - with_sparse)
    return pd.concat([rows[~is_elsewhere], *lent], ignore_index=True) if lent else rows


def share_dense(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `embeddings` null where they are of dense trials, which belong to dense and to
    pruned embeddings alike, see `figure.FILTERS`; and lent to other series, see `lend_dense`."""
    rows = lend_dense(rows) if "series" in rows else rows
    is_dense = rows["target_sparsity"] == 0
    return rows.assign(embeddings=rows["embeddings"].mask(is_dense, None))


def called(column: str, names: Mapping[str, str]) -> str:
    """An expression of Vega: what the value of a column is called, such as a folded column's."""
    return f"({json.dumps(names)})[datum.{column}]"
