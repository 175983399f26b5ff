"""F1 by sparsity, its change to dense, and which languages tolerate which sparsity."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.analysis.tables import TIERS, VERDICTS
from orchestrator.report.charts import (
    FULL,
    VERDICT_COLOURS,
    by_language,
    by_panel,
    change_colour,
    chart,
    colour,
    colour_limit,
    count_axis,
    ink_on,
    named,
    selection,
    share_dense,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.same_languages import average_same, same_notes, with_dense

if TYPE_CHECKING:
    import altair as alt

PLACE = ["series", "language", "embeddings", "target_sparsity"]
NO_F1 = "No trial has an F1 yet."
NO_CHANGE = "No sparse trial has a dense one of the same seed and settings to be compared with."
GROUPINGS = {"tier": "resource tier", "script": "script", "family": "family"}
NOT_KNOWN = "not known"
PANELS = [name for _, name in TIERS]
"""Panels that come in this order, before those in the order of the alphabet."""
ORDERS = {"name": "code", "tier": "train sentences", "change": "change at the highest sparsity"}
STATES = (*VERDICTS, "not compared")
SIGNS = dict(zip(STATES, ("▲", "▼", "=", "?", "–"), strict=True))
"""Verdicts as signs, so that they can be told apart without colours."""


def draw_f1_by_language(material: Material) -> Drawing:
    """F1 by sparsity, a panel a language, with intervals."""
    import altair as alt

    quality = share_dense(material.table("quality"))
    if quality["f1_mean"].isna().all():
        return nothing(NO_F1)
    numbers = ["f1_mean", "f1_low", "f1_high", "num_seeds", "num_holes"]
    table = quality[[*PLACE, *numbers]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        target_sparsity="sparsity",
        f1_mean="F1",
        f1_low="from",
        f1_high="to",
        num_seeds="seeds:0",
        num_holes="seeds missing:0",
    )
    panel = chart(width=150, height=100).encode(x=sparsity_axis())
    chart_ = alt.layer(
        panel.mark_area(opacity=0.25).encode(y=_f1("f1_low"), y2="f1_high:Q"),
        panel.mark_line().encode(y=_f1("f1_mean")),
        panel.mark_point(filled=True, opacity=1, size=28).encode(y=_f1("f1_mean"), tooltip=told),
        panel.transform_filter("datum.f1_mean === null")
        .mark_text(text="×", dy=-6, fontSize=14, color=colour("quiet"))
        .encode(y=alt.value("height"), tooltip=told),
    ).facet(facet=by_language(), columns=6)
    chart_ = chart_.add_params(_axis_from(table["f1_mean"], table["f1_low"]))
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_scored,
        filters=("series", "embeddings", "language"),
        text=[
            "A point is the mean over seeds; the band is its interval; × was planned and has no F1."
        ],
        notes=material.notes("quality"),
    )


def _f1(field: str) -> alt.Y:
    """The axis of F1, which begins where the parameter of `_axis_from` says."""
    import altair as alt

    scale = alt.Scale(domainMin=alt.ExprRef("axis_from"), domainMax=1, clamp=True)
    return alt.Y(f"{field}:Q", title="F1", scale=scale, axis=alt.Axis(format="~g", tickCount=4))


def _axis_from(*numbers: pd.Series) -> alt.Parameter:
    """Where the axis of F1 begins: at 0, or, if the reader wants it, below what was measured."""
    import altair as alt

    lowest = math.floor(10 * pd.concat(numbers).min()) / 10
    options = [0, lowest] if lowest > 0 else [0]
    bind = alt.binding_select(options=options, name="F1 from") if lowest > 0 else alt.Undefined
    return alt.param(name="axis_from", value=0, bind=bind)


def draw_f1_by_group(material: Material) -> Drawing:
    """F1 by sparsity in small multiples by tier, script or family: thin lines are languages, the
    thick one is their mean."""
    import altair as alt

    table = pd.concat([_group_lines(material), _language_lines(material)], ignore_index=True)
    if table["f1"].isna().all():
        return nothing(NO_F1)
    by = selection("panels", "Panels by", GROUPINGS)
    told = tooltip(
        who="of:0",
        target_sparsity="sparsity",
        f1="F1",
        low="from",
        high="to",
        num_trials="trials:0",
    )
    panel = chart(width=260, height=170).encode(x=sparsity_axis(), y=_f1("f1"))
    languages = panel.transform_filter("datum.grouping === null").encode(detail="who:N")
    means = panel.transform_filter("datum.grouping === panels")
    # Vega-Lite looks up a list in the order of panels before `panel` is there.
    order = alt.EncodingSortField("place", op="min", order="ascending")
    corner = {"x": alt.value(6), "y": alt.value(160)}
    chart_ = (
        alt.layer(
            means.mark_area(opacity=0.25).encode(y=_f1("low"), y2="high:Q"),
            languages.mark_line(color=colour("quiet"), strokeWidth=1, opacity=0.6),
            languages.mark_point(filled=True, size=16, color=colour("quiet")).encode(tooltip=told),
            means.mark_line(strokeWidth=3),
            means.mark_point(filled=True, size=50, opacity=1).encode(tooltip=told),
            means.transform_aggregate(groupby=["panel", "of_languages"])
            .mark_text(align="left", fontSize=11, color=colour("quiet"))
            .encode(text="of_languages:N", **corner),
            means.transform_filter("datum.f1 === null")
            .mark_text(text="×", dy=-6, fontSize=14, color=colour("quiet"))
            .encode(y=alt.value("height"), tooltip=told),
        )
        .transform_calculate(panel="datum.grouping === null ? datum[panels] : datum.group")
        .transform_calculate(panel=f"datum.panel === null ? '{NOT_KNOWN}' : datum.panel")
        .transform_calculate(place=f"indexof({json.dumps(_panels(table))}, datum.panel)")
        .transform_filter("datum.grouping === null || datum.grouping === panels")
        .facet(facet=by_panel("panel", 260, sort=order), columns=4)
        .add_params(by, _axis_from(table["f1"], table["low"]))
    )
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_scored,
        filters=("series", "embeddings"),
        text=[
            "A thin line is a language; the thick one is the mean of those of the group that have "
            "an F1 at each sparsity, as many as stand in the corner; the band is its interval. × "
            "has too few of them. Tiers are the languages' published train sentences."
        ],
        notes=same_notes(material.notes("groups")),
    )


def _panels(table: pd.DataFrame) -> list[str]:
    """The names of all panels, in order."""
    return [*PANELS, *sorted(set(table["group"].dropna()) - set(PANELS)), NOT_KNOWN]


def _group_lines(material: Material) -> pd.DataFrame:
    quality = with_dense(material.table("quality"))
    of_groups = [quality.assign(grouping=name, group=quality[name]) for name in GROUPINGS]
    panel = ["series", "embeddings", "grouping", "group"]
    means = average_same(pd.concat(of_groups, ignore_index=True), panel, ["f1_mean"])
    # Intervals are of all languages of a group: they belong to means of as many.
    place = [*panel, "target_sparsity", "num_languages"]
    known = with_dense(material.table("groups"))[[*place, "f1_low", "f1_high"]]
    rows = means.merge(known, on=place, how="left")
    rows = rows.assign(who="mean of " + rows["of_languages"])
    names = {"f1_mean": "f1", "f1_low": "low", "f1_high": "high"}
    columns = ["series", "embeddings", "grouping", "group", "who", "target_sparsity"]
    told = ["f1", "low", "high", "num_trials", "of_languages"]
    return rows.rename(columns=names)[[*columns, *told]]


def _language_lines(material: Material) -> pd.DataFrame:
    quality = share_dense(material.table("quality"))
    rows = quality.assign(who=named(quality["language"]), grouping=None, group=None)
    names = {"f1_mean": "f1", "f1_low": "low", "f1_high": "high", "num_seeds": "num_trials"}
    columns = ["series", "embeddings", "grouping", "group", "who", "target_sparsity"]
    rows = rows.rename(columns=names)
    return rows[[*columns, "f1", "low", "high", "num_trials", *GROUPINGS]]


def draw_change(material: Material) -> Drawing:
    """The change of F1 to dense as a heat map of languages and sparsities."""
    import altair as alt

    quality = material.table("quality")
    sparse = quality[quality["target_sparsity"] > 0]
    if sparse["delta_dense_mean"].isna().all():
        return nothing(NO_CHANGE)
    numbers = ["delta_dense_mean", "relative_dense_mean", "num_pairs", "num_holes"]
    table = sparse[[*PLACE, "tier", *numbers]].copy()
    table.insert(2, "language_name", named(table["language"]))
    table["place_name"] = table["language"].rank(method="dense").astype(int)
    table["place_tier"] = sparse["num_train_sentences"].fillna(-1).rank(method="dense").astype(int)
    last = table.sort_values("target_sparsity").groupby(["series", "embeddings", "language"])
    highest = last["delta_dense_mean"].transform("last")
    table["place_change"] = highest.fillna(9).rank(method="dense").astype(int)
    order = selection("order", "Languages by", ORDERS)
    limit = colour_limit(table["delta_dense_mean"])
    cells = (
        chart(width=alt.Step(76), height=alt.Step(20))
        .transform_calculate(
            place="datum['place_' + order]",
            shown="abs(datum.delta_dense_mean) < 0.005 ? '0.00' : "
            "format(datum.delta_dense_mean, '+.2f')",
        )
        .encode(
            x=alt.X(
                "target_sparsity:O", title="sparsity", axis=alt.Axis(labelAngle=0, orient="top")
            ),
            y=alt.Y(
                "language_name:N",
                title=None,
                sort=alt.EncodingSortField("place", op="min", order="ascending"),
            ),
            tooltip=tooltip(
                language_name="language:0",
                target_sparsity="sparsity",
                delta_dense_mean="change of F1",
                relative_dense_mean="as a part of dense F1",
                num_pairs="seeds:0",
                num_holes="seeds missing:0",
            ),
        )
    )
    measured = cells.transform_filter("datum.delta_dense_mean !== null")
    shade = change_colour("delta_dense_mean", limit)
    number = measured.mark_text(fontSize=11).encode(
        text=alt.Text("shown:N"),
        color=ink_on("delta_dense_mean", limit),
    )
    chart_ = alt.layer(
        cells.transform_filter("datum.delta_dense_mean === null").mark_rect(
            color=colour("missing"), stroke=colour("paper")
        ),
        cells.transform_filter("datum.delta_dense_mean === null").mark_text(
            text="missing", fontSize=10, color=colour("quiet")
        ),
        measured.mark_rect(stroke=colour("paper")).encode(color=shade),
        number,
    ).add_params(order)
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_compared,
        filters=("series", "embeddings", "language"),
        text=["A cell is the mean over seeds of F1 minus that of the same seed's dense trial."],
        notes=[note for note in material.notes("quality") if "change to dense" in note],
    )


def draw_verdicts(material: Material) -> Drawing:
    """How many languages are better, equivalent, undecided and worse at each sparsity."""
    import altair as alt

    tally = material.table("tally")
    if tally.empty:
        return nothing(NO_CHANGE)
    names = {f"num_{name}": name for name in VERDICTS} | {"num_missing": "not compared"}
    place = ["series", "embeddings", "target_sparsity", "margin", "num_trials"]
    table = (
        tally[[*place, *names]]
        .rename(columns=names)
        .melt(place, list(names.values()), var_name="verdict", value_name="num_languages")
    )
    table["place"] = table["verdict"].map(
        ("better", "equivalent", "undecided", "worse", "not compared").index
    )
    bars = (
        chart(width=FULL, height=alt.Step(26))
        .mark_bar(stroke=colour("paper"))
        .encode(
            x=alt.X(
                "num_languages:Q",
                title="languages",
                axis=count_axis(tally["num_languages"].max()),
            ),
            y=alt.Y("target_sparsity:O", title="sparsity"),
            color=_verdict_colour(),
            order="place:Q",
            tooltip=tooltip(
                target_sparsity="sparsity", verdict="verdict:0", num_languages="languages:0"
            ),
        )
    )
    margin = tally["margin"].iloc[0]
    return Drawing(
        table=table,
        chart=bars,
        num_trials=int(tally["num_trials"].sum()),
        filters=("series", "embeddings"),
        text=[
            f"Equivalent: the change is shown to lie within {margin:g} of F1. Better or worse: it "
            "is shown not to be 0. Undecided: these seeds and sentences cannot tell."
        ],
        notes=material.notes("tally"),
    )


def _verdict_colour() -> alt.Color:
    import altair as alt

    order = ("better", "equivalent", "undecided", "worse", "not compared")
    colours = VERDICT_COLOURS | {"not compared": "missing"}
    return alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(order), range=[colour(colours[name]) for name in order]),
    )


def draw_tolerance(material: Material) -> Drawing:
    """Which sparsity each language is shown to tolerate, with the verdict on every one."""
    import altair as alt

    verdicts, tolerance = material.table("significance"), material.table("tolerance")
    if verdicts["verdict"].isna().all():
        return nothing(NO_CHANGE)
    place = ["series", "language", "embeddings"]
    tolerated = tolerance[[*place, "margin", "tolerated_sparsity"]]
    numbers = ["verdict", "delta_mean", "low", "high", "num_pairs", "num_holes", "reason"]
    table = verdicts[[*PLACE, *numbers]].merge(tolerated, on=place, how="left")
    table["verdict"] = table["verdict"].fillna("not compared")
    table["sign"] = table["verdict"].map(SIGNS)
    table.insert(2, "language_name", named(table["language"]))
    base = chart(width=FULL, height=alt.Step(22)).encode(
        y=alt.Y("language_name:N", title=None, axis=alt.Axis(grid=True))
    )
    told = tooltip(
        language_name="language:0",
        target_sparsity="sparsity",
        verdict="verdict:0",
        delta_mean="change of F1",
        low="from",
        high="to",
        num_pairs="seeds:0",
        reason="no interval:0",
    )
    chart_ = alt.layer(
        base.transform_aggregate(
            tolerated_sparsity="max(tolerated_sparsity)", groupby=["language_name"]
        )
        .transform_calculate(zero="0")
        .mark_rule(strokeWidth=7, opacity=0.4, color=colour("even"))
        .encode(x="zero:Q", x2="tolerated_sparsity:Q"),
        base.mark_circle(size=260, opacity=1).encode(
            x=sparsity_axis(), color=_verdict_colour(), tooltip=told
        ),
        base.mark_text(fontSize=11, fontWeight="bold", color=colour("paper"))
        .transform_filter("datum.verdict !== 'not compared'")
        .encode(x=sparsity_axis(), text="sign:N"),
        base.mark_text(fontSize=12, color=colour("quiet"))
        .transform_filter("datum.verdict === 'not compared'")
        .encode(x=sparsity_axis(), text="sign:N"),
    )
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_compared,
        filters=("series", "embeddings", "language"),
        text=[
            "The bar ends at the highest sparsity up to which a language is shown to be equivalent "
            "or better at all measured ones. Without a bar that is shown of none, which is not the "
            "same as a loss."
        ],
        notes=[*material.notes("significance"), *material.notes("tolerance")],
    )


FIGURES = (
    Figure(
        name="f1-by-language",
        title="F1 by sparsity, language by language",
        question="How does the F1 of each language fall as the model gets sparser?",
        needs=("quality", "groups"),
        draw=draw_f1_by_language,
    ),
    Figure(
        name="f1-by-group",
        title="F1 by sparsity, by tier, script and family",
        question="Do languages with little data, or of some script or family, lose more?",
        needs=("quality", "groups"),
        draw=draw_f1_by_group,
    ),
    Figure(
        name="change",
        title="Change of F1 to dense",
        question="Which language loses how much at which sparsity?",
        needs=("quality", "groups"),
        draw=draw_change,
    ),
    Figure(
        name="verdicts",
        title="Verdicts by sparsity",
        question="How many languages are shown to be as good as dense, or worse, and of how many "
        "can that not be told?",
        needs=("tally",),
        draw=draw_verdicts,
    ),
    Figure(
        name="tolerance",
        title="Tolerated sparsity",
        question="Up to which sparsity is each language shown to be as good as dense?",
        needs=("significance", "tolerance", "groups"),
        draw=draw_tolerance,
    ),
)
