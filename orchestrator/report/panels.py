"""Layers that charts of several topics consist of: a mean with its interval, by sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.report.charts import SIGNED, colour, sparsity_axis

if TYPE_CHECKING:
    import altair as alt

MISSING = "×"
"""Drawn where something was planned and is not known."""


def with_interval(
    panel: alt.Chart,
    names: tuple[str, str, str],
    title: str,
    told: list[alt.Tooltip],
    *,
    is_change: bool = False,
    behind: Sequence[alt.Chart] = (),
    color: str | None = None,
    is_joined: bool = False,
) -> alt.LayerChart:
    """A mean by sparsity as points on a line, each with its interval; what is null is a sign.

    Args:
        panel: the chart, without encodings.
        names: the columns of the mean and of the lower and the upper end.
        title: of the vertical axis.
        told: what a mark tells of itself.
        is_change: whether a line at 0 is drawn, which is what intervals are compared with, and
            numbers have their sign.
        behind: layers that are drawn before.
        color: a field by which there are several lines; they have one colour without it.
        is_joined: whether the rows are of `same_languages.join_same`: a line is broken where the
            languages change, and its points say how many they are.
    """
    import altair as alt

    mean, low, high = names

    def vertical(field: str) -> alt.Y:
        scale = alt.Scale(zero=is_change)
        return alt.Y(f"{field}:Q", title=title, scale=scale, axis=number_axis(is_change))

    base = panel.encode(x=sparsity_axis())
    if color is not None:
        base = base.encode(color=color)
    missing = base.transform_filter(f"datum.{mean} === null")
    line = base.mark_line(strokeWidth=1.5).encode(y=vertical(mean))
    if is_joined:
        line = line.encode(detail="joined:N")
    layers = [
        *behind,
        base.mark_rule(strokeWidth=2, opacity=0.6, color=colour("main")).encode(
            y=vertical(low), y2=f"{high}:Q"
        ),
        line,
        base.mark_point(filled=True, opacity=1, size=40).encode(y=vertical(mean), tooltip=told),
        missing.mark_text(text=MISSING, fontSize=14, color=colour("quiet")).encode(
            y=alt.value(8), tooltip=told
        ),
    ]
    if is_joined:
        # Sparsities may stand close: their texts are above and below points in turn. Rows without
        # a text stay: Vega warns of axes that have no rows at all.
        for turn, dy in enumerate((-7, 13)):
            said = base.transform_calculate(
                said=f"datum.of_languages !== null && datum.joined % 2 === {turn} ? "
                "datum.of_languages : ''"
            )
            text = said.mark_text(fontSize=10, dx=-5, dy=dy, align="right", color=colour("quiet"))
            layers.append(text.encode(y=vertical(mean), text="said:N"))
    if is_change:
        zero = panel.mark_rule(color=colour("quiet"), strokeDash=[4, 3])
        layers.append(zero.encode(y=alt.datum(0)))
    layered = alt.layer(*layers)
    assert isinstance(layered, alt.LayerChart)  # it would be a facet if a layer were one
    return layered


def number_axis(is_change: bool = True, num_ticks: int = 5) -> alt.Axis:
    """An axis of about so many numbers; those of changes have their sign."""
    import altair as alt

    if not is_change:
        return alt.Axis(format="~r", tickCount=num_ticks, labelOverlap=True)
    return alt.Axis(
        tickCount=num_ticks,
        labelOverlap=True,
        labelExpr=SIGNED,
        grid=True,
    )


def count_trials(rows: pd.DataFrame, column: str = "num_seeds") -> int:
    """Trials behind rows of languages: one that has several languages counts once.

    Args:
        rows: with `regime`, `settings`, the level and a column of counts; dense ones may be there
            in several series, see `charts.lend_dense`.
        column: that column.
    """
    rows = rows.drop(columns="series", errors="ignore").drop_duplicates()
    alone = rows["regime"] == "monolingual"
    level = ["regime", "settings", "target_sparsity", "embedding_sparsity"]
    shared = rows[~alone].groupby(level, dropna=False)[column].max()
    return int(rows.loc[alone, column].sum() + shared.sum())
