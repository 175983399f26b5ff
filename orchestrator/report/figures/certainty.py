"""What can be told of the changes, and what cannot: in words, by intervals, tests, profiles of all
runs, and the number of seeds that it would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pandas as pd

from orchestrator.analysis.tables import VERDICTS
from orchestrator.report.charts import (
    DASHES,
    FULL,
    VERDICT_COLOURS,
    called,
    chart,
    colour,
    named,
    share_dense,
    tooltip,
)
from orchestrator.report.figure import Choice, Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import number_axis
from orchestrator.report.same_languages import tell_fewer
from orchestrator.report.sentences import LEVEL_OF_TEST, NEEDS, NOTHING, conclude

Channel = TypeVar("Channel")
BY_LEVEL = ("series", "embeddings")
SPARSITY = (Choice(column="target_sparsity", label="Sparsity"),)
SHAPES = dict(zip(VERDICTS, ("triangle-up", "triangle-down", "square", "circle"), strict=True))
"""Verdicts, told apart without colours."""

P_SHOWN = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5, 1)
"""On an axis of p, as far as it goes."""

NONE_ENOUGH = "no number is enough"
PALE = (
    "A line that is pale is of fewer languages than others, as many as the legend says: those that "
    "are missing may be the better ones, or the worse ones.",
)


def draw_conclusions(material: Material) -> Drawing:
    """Sentences that are written from the numbers."""
    table = conclude(material.table)
    if table.empty:
        return nothing(NOTHING)
    return Drawing(
        table=table,
        num_trials=int(material.table("tally")["num_trials"].sum()),
        view="prose",
        filters=BY_LEVEL,
    )


def draw_intervals(material: Material) -> Drawing:
    """The interval of each language's change at a sparsity."""
    import altair as alt

    verdicts = material.table("significance")
    if verdicts["delta_mean"].isna().all():
        return nothing(NOTHING)
    place = ["series", "language", "embeddings", "target_sparsity"]
    numbers = ["delta_mean", "low", "high", "verdict", "margin", "allows_for", "reason"]
    table = verdicts[[*place, *numbers, "num_pairs", "num_sentences", "num_holes"]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        verdict="verdict:0",
        delta_mean="change of F1",
        low="from",
        high="to",
        num_pairs="seeds:0",
        allows_for="allows for other:0",
        reason="no interval:0",
    )
    order = alt.EncodingSortField("delta_mean", op="min", order="descending")
    base = chart(width=FULL, height=alt.Step(20))
    rows = base.encode(y=alt.Y("language_name:N", title=None, sort=order))
    measured = rows.transform_filter("datum.delta_mean !== null")
    marks = measured.mark_point(filled=True, opacity=1, size=70).encode(
        x=alt.X("delta_mean:Q", title="change of F1 to dense", axis=number_axis(num_ticks=8)),
        color=_by_verdict(alt.Color, [colour(VERDICT_COLOURS[one]) for one in VERDICTS]),
        shape=_by_verdict(alt.Shape, list(SHAPES.values())),
        tooltip=told,
    )
    layers = alt.layer(
        measured.mark_rect(opacity=0.5, color=colour("faint"))
        .transform_calculate(least="-datum.margin")
        .encode(x=alt.X("least:Q", title="change of F1 to dense"), x2="margin:Q"),
        base.mark_rule(strokeDash=[4, 3], color=colour("quiet")).encode(x=alt.datum(0)),
        measured.mark_rule(strokeWidth=2, color=colour("quiet")).encode(x="low:Q", x2="high:Q"),
        marks,
        rows.transform_filter("datum.delta_mean === null")
        .mark_text(text="not compared", fontSize=10, align="left", dx=6, color=colour("quiet"))
        .encode(x=alt.datum(0)),
    )
    margin = verdicts["margin"].iloc[0]
    return Drawing(
        table=table,
        chart=layers,
        num_trials=int(material.table("tally")["num_trials"].sum()),
        filters=(*BY_LEVEL, "language"),
        choices=SPARSITY,
        text=[f"A line is where the truth may lie; the band, {margin:g} of F1, does not matter."],
        notes=material.notes("significance"),
    )


def _by_verdict(kind: Callable[..., Channel], range_: Sequence[Any]) -> Channel:
    """Colour or shape of verdicts."""
    import altair as alt

    return kind("verdict:N", title=None, scale=alt.Scale(domain=list(VERDICTS), range=list(range_)))


def draw_tests(material: Material) -> Drawing:
    """p of the tests across languages, beside the lowest that they can give."""
    import altair as alt

    tests = material.table("tests")
    if tests.empty:
        return nothing(NOTHING)
    if tests["p"].isna().all():
        return nothing(*material.notes("tests"))
    shown = {"p_holm": "p after Holm's correction", "p": "p of this test", "p_least": "lowest p"}
    numbers = ["median_change", *shown, "p_independent", "num_tests", "num_families"]
    place = ["series", "embeddings", "target_sparsity", "comparison"]
    table = tests[[*place, *numbers, "num_languages", "num_trials"]].copy()
    names = list(shown.values())
    told = tooltip(
        target_sparsity="sparsity", what="what:0", value="p", median_change="median change of F1",
        num_families="language families:0", num_languages="languages:0",
    )  # fmt: skip
    base = chart(width=420, height=alt.Step(34))
    axis = alt.Axis(format="~g", values=list(P_SHOWN))
    points = base.encode(
        x=alt.X("value:Q", title="p", scale=alt.Scale(type="log", domainMax=1), axis=axis),
        y=alt.Y("target_sparsity:O", title="sparsity"),
        shape=alt.Shape(
            "what:N", title=None, scale=alt.Scale(domain=names, range=["circle", "cross", "stroke"])
        ),
        color=alt.Color("what:N", title=None, scale=alt.Scale(domain=names)),
        tooltip=told,
    )
    level = base.mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(LEVEL_OF_TEST))
    panels = (
        alt.layer(level, points.mark_point(size=90, strokeWidth=2, opacity=1))
        .transform_fold(list(shown), as_=["column", "value"])
        .transform_filter("datum.value > 0")
        .transform_calculate(what=called("column", shown))
        .facet(facet=alt.Facet("comparison:N", title=None), columns=2)
    )
    return Drawing(
        table=table,
        chart=panels,
        num_trials=_count_runs(tests),
        filters=BY_LEVEL,
        text=[
            f"Left of the broken line, p = {LEVEL_OF_TEST:g}, a change over languages is shown. No "
            "test can go below its lowest p, which the number of language families decides."
        ],
        notes=material.notes("tests"),
    )


def draw_profiles(material: Material) -> Drawing:
    """The share of runs with an F1 above each threshold, a line a sparsity."""
    import altair as alt

    profiles = share_dense(material.table("profiles"))
    if profiles["value"].isna().all():
        return nothing("No trial has an F1 yet.")
    place = ["series", "embeddings", "target_sparsity", "threshold"]
    table = profiles[[*place, "value", "low", "high", "num_languages", "num_trials"]].copy()
    fewer = tell_fewer(table, ["series"])
    sparsities = table["target_sparsity"].map("{:g}".format)
    table["line"] = sparsities.where(fewer.isna(), sparsities + " (" + fewer.fillna("") + ")")
    table["is_whole"] = fewer.isna().map({True: "yes", False: "no"})
    legend = alt.Legend(symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, columns=4)
    lines = chart(width=FULL, height=300).encode(
        x=alt.X(
            "threshold:Q", title="F1", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=10)
        ),
        color=alt.Color(
            "line:O",
            title="sparsity",
            legend=legend,
        ),
        detail="target_sparsity:O",
        opacity=alt.condition("datum.is_whole === 'no'", alt.value(0.4), alt.value(1)),
    )
    share = alt.Y(
        "value:Q",
        title="runs above it",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    told = tooltip(
        target_sparsity="sparsity", threshold="F1 above", value="share of runs", low="from",
        high="to", num_languages="languages:0",
    )  # fmt: skip
    return Drawing(
        table=table,
        chart=alt.layer(
            lines.mark_area().encode(
                y=alt.Y("low:Q", title="runs above it"), y2="high:Q", opacity=alt.value(0.2)
            ),
            lines.mark_line(strokeWidth=2.5).encode(
                y=share,
                strokeDash=alt.StrokeDash(
                    "target_sparsity:O", legend=None, scale=alt.Scale(range=DASHES)
                ),
            ),
            lines.mark_point(filled=True, size=24).encode(y=share, tooltip=told),
        ),
        num_trials=_count_runs(profiles),
        filters=BY_LEVEL,
        text=[
            "A run is a language and seed. The higher the line, the more runs are as good; the band"
            " is what other seeds may give.",
            *(PALE if fewer.notna().any() else ()),
        ],
        notes=material.notes("profiles"),
    )


def _count_runs(rows: pd.DataFrame) -> int:
    """The trials behind rows of several thresholds, statistics or comparisons; dense ones count
    once, also where they are lent to several series."""
    level = rows.groupby(["regime", "settings", "embeddings", "target_sparsity"], dropna=False)
    return int(level["num_trials"].max().sum())


def draw_improvement(material: Material) -> Drawing:
    """The probability that a sparse run is better than a dense one."""
    import altair as alt

    across = material.table("across_languages")
    wins = across[across["statistic"] == "improvement"]
    if wins["value"].isna().all():
        return nothing(NOTHING)
    place = ["series", "embeddings", "target_sparsity"]
    numbers = ["value", "low", "high", "confidence", "reason", "num_languages", "num_trials"]
    table = wins[[*place, *numbers]].copy()
    table["of_languages"] = tell_fewer(table, place[:2])
    base = chart(width=FULL, height=alt.Step(34))
    rows = base.encode(y=alt.Y("target_sparsity:O", title="sparsity"))
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format=".0%", tickCount=5)
    title = "pairs of runs in which the sparse one has the higher F1"
    x = alt.X("value:Q", title=title, scale=scale, axis=axis)
    told = tooltip(
        target_sparsity="sparsity", value="probability", low="from", high="to",
        num_languages="languages:0", reason="no interval:0",
    )  # fmt: skip
    return Drawing(
        table=table,
        chart=alt.layer(
            base.mark_rule(strokeDash=[4, 3], color=colour("quiet")).encode(x=alt.datum(0.5)),
            rows.mark_rule(strokeWidth=2, color=colour("quiet")).encode(
                x=alt.X("low:Q", title=title, scale=scale, axis=axis), x2="high:Q"
            ),
            rows.mark_point(filled=True, size=90, opacity=1).encode(x=x, tooltip=told),
            rows.transform_filter("datum.of_languages !== null")
            .mark_text(align="right", fontSize=11, color=colour("quiet"))
            .encode(x=alt.datum(1), text="of_languages:N"),
        ),
        num_trials=_count_runs(wins),
        filters=BY_LEVEL,
        text=["At the broken line, one half, neither is better."],
        notes=material.notes("across_languages"),
    )


def draw_power(material: Material) -> Drawing:
    """How many seeds it takes to see a change, a point a language."""
    import altair as alt

    power = material.table("power")
    if power["reason"].isna().sum() == 0:
        return nothing(
            "How far seeds differ is not known: that takes sparse and dense trials of two seeds, "
            "whose changes differ."
        )
    place = ["series", "language", "embeddings", "target_sparsity", "change"]
    numbers = ["num_seeds", "seeds_needed", "detectable", "num_sentences", "sentences_at_least"]
    table = power[[*place, *numbers, "reason"]].copy()
    names = [f"mean of {number} languages" for number in power["num_languages"]]
    is_mean = power["language"] == "mean"
    table.insert(2, "language_name", pd.Series(named(power["language"]), power.index))
    table.loc[is_mean, "language_name"] = pd.Series(names, power.index)[is_mean]
    table.loc[is_mean, "language"] = None  # it belongs to every choice of a language
    told = tooltip(
        language_name="language:0", seeds_needed="seeds needed:0", num_seeds="seeds here:0",
        detectable="change that these see", num_sentences="sentences:0",
        sentences_at_least="sentences needed at least:0",
    )  # fmt: skip
    order = alt.EncodingSortField("place", op="max", order="ascending")
    rows = (
        chart(width=FULL, height=alt.Step(20))
        .transform_filter("datum.reason === null")
        .transform_calculate(place="datum.seeds_needed === null ? 1e9 : datum.seeds_needed")
        .encode(y=alt.Y("language_name:N", title=None, sort=order))
    )
    title = f"seeds that see a change of {power['change'].iloc[0]:g}"
    x = alt.X(
        "seeds_needed:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[1, 1_000]),
        axis=alt.Axis(values=[1, 3, 10, 30, 100, 300, 1_000], format=",d"),
    )
    enough = rows.transform_filter("datum.seeds_needed !== null")
    return Drawing(
        table=table,
        chart=alt.layer(
            enough.mark_rule(color=colour("faint"), strokeWidth=2)
            .transform_calculate(one="1")
            .encode(x=alt.X("one:Q", title=title), x2="seeds_needed:Q"),
            enough.mark_point(filled=True, size=70, opacity=1).encode(x=x, tooltip=told),
            rows.transform_filter("datum.seeds_needed === null")
            .mark_text(text=NONE_ENOUGH, align="right", fontSize=11, color=colour("bad"))
            .encode(x=alt.datum(1_000), tooltip=told),
        ),
        num_trials=int(material.table("tally")["num_trials"].sum()),
        filters=(*BY_LEVEL, "language"),
        choices=SPARSITY,
        notes=material.notes("power"),
    )


FIGURES = (
    Figure(
        name="conclusions",
        title="What can be told, and what cannot",
        question="What do the numbers say in words?",
        needs=NEEDS,
        draw=draw_conclusions,
    ),
    Figure(
        name="intervals",
        title="Intervals of the change",
        question="How far may each language's change lie from what was measured?",
        needs=("significance", "tally"),
        draw=draw_intervals,
    ),
    Figure(
        name="tests",
        title="Tests over languages",
        question="Could the changes of all languages together be chance?",
        needs=("tests",),
        draw=draw_tests,
    ),
    Figure(
        name="profiles",
        title="Performance profiles",
        question="How many runs reach each F1 at each sparsity?",
        needs=("profiles",),
        draw=draw_profiles,
    ),
    Figure(
        name="improvement",
        title="Probability of improvement",
        question="How likely is a sparse run better than a dense one of its language?",
        needs=("across_languages",),
        draw=draw_improvement,
    ),
    Figure(
        name="seeds-needed",
        title="How many seeds it would take",
        question="How many seeds would it take to see a change of F1 of the size that matters?",
        needs=("power", "tally"),
        draw=draw_power,
    ),
)
