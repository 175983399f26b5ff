"""How pruning treats groups of languages: the worst of them, their spread, and who loses most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.analysis.tables import TIERS
from orchestrator.report.charts import (
    FULL,
    change_colour,
    chart,
    colour,
    colour_limit,
    ink_on,
    named,
    selection,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import MISSING, number_axis, with_interval
from orchestrator.report.same_languages import join_same, tell_joined

if TYPE_CHECKING:
    import altair as alt

LEVEL = ["series", "embeddings", "target_sparsity"]
NO_LANGUAGES = "No language has both a sparse and a dense F1 of one seed, so none can be compared."
NO_GROUPS = "No group of languages has a change to dense."
MEASURES = {
    "worst_f1": "F1 of the worst language",
    "f1_std": "standard deviation of languages' F1",
    "f1_range": "best language minus worst",
    "tier_gap": "top tier minus bottom tier",
}
"""How unequal languages are, by columns of `disparity`."""

GROUPINGS = {
    "tier": "resource tier",
    "tier_used": "resource tier, of the sentences used",
    "script": "script",
    "family": "family",
}
KINDS = {"language": "language"} | GROUPINGS
NOT_KNOWN = "not known"


def draw_disparity(material: Material) -> Drawing:
    """Worst language, spread, range and gap between tiers by sparsity, beside the same dense."""
    import altair as alt

    told = tooltip(
        measure="what:0",
        target_sparsity="sparsity",
        value="sparse",
        low="from",
        high="to",
        dense="dense",
        of="of:0",
        num_languages="languages:0",
    )
    panel = chart(width=230, height=180)
    dots = {"filled": True, "size": 12, "color": colour("quiet")}
    dense = panel.mark_line(strokeDash=[5, 3], color=colour("quiet"), point=dots).encode(
        x=sparsity_axis(), y=alt.Y("dense:Q", title="F1"), detail="joined:N", tooltip=told
    )
    ends = ("value", "low", "high")
    lines = with_interval(panel, ends, "F1", told, behind=[dense], is_joined=True)
    return _draw_measures(
        material,
        "value",
        lines,
        "The dashed line is what the same languages and seeds have when dense. A bar is an "
        "interval for other seeds and sentences, of these languages. Scales differ.",
    )


def draw_disparity_change(material: Material) -> Drawing:
    """The change of the same measures to dense, with intervals around 0."""
    told = tooltip(
        target_sparsity="sparsity",
        change="change to dense",
        change_low="from",
        change_high="to",
        of="of:0",
        num_languages="languages:0",
    )
    ends = ("change", "change_low", "change_high")
    panel = chart(width=230, height=180)
    lines = with_interval(panel, ends, "change to dense", told, is_change=True, is_joined=True)
    return _draw_measures(
        material,
        "change",
        lines,
        "Below the line at 0 the worst language is worse off than when dense. For the other "
        "three it is above the line that languages are less equal. Where a bar crosses the "
        "line, neither is shown.",
    )


def _draw_measures(material: Material, number: str, lines: alt.LayerChart, text: str) -> Drawing:
    """A panel a measure of these lines, which draw the column `number`."""
    import altair as alt

    table = _list_measures(material)
    if table[number].isna().all():
        return nothing(NO_LANGUAGES)
    panels = alt.Facet("measure:N", title=None, sort=list(MEASURES.values()))
    return Drawing(
        table=table,
        chart=lines.facet(facet=panels, columns=4).resolve_scale(y="independent"),
        num_trials=int(material.table("disparity")["num_trials"].sum()),
        filters=("series", "embeddings"),
        text=[text, *tell_joined(table)],
        notes=material.notes("disparity"),
    )


def _list_measures(material: Material) -> pd.DataFrame:
    """A row a level and measure, from `disparity`."""
    line = ["series", "embeddings"]
    # Both sides are of the languages that have a change to dense.
    rows = join_same(
        material.table("disparity"), material.table("quality"), line, "delta_dense_mean"
    )
    tiers = rows["top_tier"] + " and " + rows["bottom_tier"]
    of = {"worst_f1": rows["worst_language"], "tier_gap": tiers}
    parts = [
        rows[LEVEL].assign(
            measure=title,
            of=of.get(name),
            value=rows[name],
            low=rows[f"{name}_low"],
            high=rows[f"{name}_high"],
            dense=rows[f"dense_{name}"],
            change=rows[f"{name}_change"],
            change_low=rows[f"{name}_change_low"],
            change_high=rows[f"{name}_change_high"],
            num_languages=rows["num_languages"],
            num_languages_missing=rows["num_languages_missing"],
            num_trials=rows["num_trials"],
            joined=rows["joined"],
            of_languages=rows["of_languages"],
        )
        for name, title in MEASURES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def draw_group_changes(material: Material) -> Drawing:
    """The change of F1 to dense of each tier, script or family, with intervals, a panel a
    sparsity."""
    import altair as alt

    table = _list_groups(material)
    if table["delta_dense_mean"].isna().all():
        return nothing(NO_GROUPS)
    by = selection("grouped", "Groups by", GROUPINGS)
    told = tooltip(
        who="group:0",
        target_sparsity="sparsity",
        delta_dense_mean="change of F1",
        delta_dense_low="from",
        delta_dense_high="to",
        relative_dense_mean="as a part of dense F1",
        num_trials_compared="trials:0",
        num_languages_missing="languages without an F1:0",
    )
    order = alt.EncodingSortField("place", op="min", order="ascending")
    y = alt.Y("who:N", title=None, sort=order)
    alone = chart(width=170, height=alt.Step(22))
    panel = alone.encode(y=y)
    tone = alt.condition(
        "datum.is_worst === 'yes'", alt.value(colour("bad")), alt.value(colour("main"))
    )
    x = alt.X("delta_dense_mean:Q", title="change of F1", axis=number_axis(num_ticks=3))
    low = alt.X("delta_dense_low:Q", title="change of F1")
    missing = "datum.delta_dense_mean === null"
    shape = alt.Shape(
        "is_worst:N",
        title="loses most",
        scale=alt.Scale(domain=["yes", "no"], range=["diamond", "circle"]),
        legend=None,
    )
    chart_ = (
        alt.layer(
            panel.mark_rule(strokeWidth=2, opacity=0.6).encode(
                x=low, x2="delta_dense_high:Q", color=tone
            ),
            panel.mark_point(filled=True, opacity=1, size=60).encode(
                x=x, color=tone, shape=shape, tooltip=told
            ),
            panel.transform_filter(missing)
            .mark_text(text=MISSING, fontSize=14, color=colour("quiet"))
            .encode(x=alt.value(8), tooltip=told),
            alone.mark_rule(color=colour("quiet"), strokeDash=[4, 3]).encode(x=alt.datum(0)),
        )
        .transform_filter("datum.grouping === grouped")
        .facet(facet=alt.Facet("level:N", title=None), columns=4)
        .add_params(by)
    )
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_compared,
        filters=("series", "embeddings"),
        text=[
            "A point is the mean change of the group's languages, with its interval; in brackets, "
            "how many languages. The diamond is the group that loses most once changes are drawn "
            "towards their mean, by which an unlucky small group is not the worst for that alone."
        ],
        notes=[*material.notes("groups"), *material.notes("worst")],
    )


def _list_groups(material: Material) -> pd.DataFrame:
    """A row a sparse level and group, from `groups`, with whether it loses most."""
    rows = material.table("groups")
    rows = rows[rows["grouping"].isin(list(GROUPINGS)) & (rows["target_sparsity"] > 0)]
    numbers = ["delta_dense_mean", "delta_dense_low", "delta_dense_high", "relative_dense_mean"]
    counts = ["num_languages_compared", "num_trials_compared", "num_languages_missing"]
    table = rows[[*LEVEL, "grouping", "group", *numbers, *counts]].reset_index(drop=True)
    group = table["group"].fillna(NOT_KNOWN)
    most = table.groupby([table["grouping"], group])["num_languages_compared"].transform("max")
    table["who"] = group + " (" + most.astype(str) + ")"
    worst = material.table("worst")
    marked = set(zip(*(worst[name] for name in (*LEVEL, "kind", "name")), strict=True))
    places = zip(*(table[name] for name in (*LEVEL, "grouping", "group")), strict=True)
    table["is_worst"] = ["yes" if place in marked else "no" for place in places]
    tiers = {name: place for place, (_, name) in enumerate(TIERS)}
    table["place"] = group.map(tiers).fillna(group.rank(method="dense") + len(tiers)).astype(int)
    table["level"] = [f"sparsity {sparsity:g}" for sparsity in table["target_sparsity"]]
    return table


def draw_worst(material: Material) -> Drawing:
    """Who loses most at each sparsity, of languages and of each kind of group."""
    import altair as alt

    worst = material.table("worst")
    if worst["name"].isna().all():
        return nothing(NO_GROUPS)
    numbers = ["delta_pooled", "delta_pooled_low", "delta_pooled_high", "delta_dense_mean"]
    counts = ["num_languages", "num_trials", "num_compared", "num_missing"]
    table = worst[[*LEVEL, "kind", "name", *numbers, *counts]].copy()
    table["of"] = table["kind"].map(KINDS)
    table["who"] = [
        named([name])[0] if kind == "language" and name else name
        for kind, name in zip(table["kind"], table["name"], strict=True)
    ]
    limit = colour_limit(table["delta_pooled"])
    told = tooltip(
        of="of:0",
        who="loses most:0",
        target_sparsity="sparsity",
        delta_pooled="change, drawn to the mean",
        delta_pooled_low="from",
        delta_pooled_high="to",
        delta_dense_mean="change as measured",
        num_compared="compared:0",
        num_missing="not compared:0",
    )
    cells = chart(width=FULL, height=alt.Step(42)).encode(
        x=alt.X("target_sparsity:O", title="sparsity", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("of:N", title=None, sort=list(KINDS.values())),
        tooltip=told,
    )
    shade = change_colour("delta_pooled", limit)
    ink = ink_on("delta_pooled", limit)
    somebody = cells.transform_filter("datum.name !== null")
    nobody = cells.transform_filter("datum.name === null")
    chart_ = alt.layer(
        nobody.mark_rect(color=colour("missing"), stroke=colour("paper")),
        nobody.mark_text(text=MISSING, fontSize=14, color=colour("quiet")),
        somebody.mark_rect(stroke=colour("paper")).encode(color=shade),
        somebody.mark_text(fontSize=11, dy=-7).encode(text="who:N", color=ink),
        somebody.mark_text(fontSize=11, dy=8).encode(
            text=alt.Text("delta_pooled:Q", format="+.3f"), color=ink
        ),
    )
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=material.num_compared,
        filters=("series", "embeddings"),
        text=[
            "Of many languages the largest loss is partly bad luck, so each change is first drawn "
            "towards the mean of those it is compared with, by how little is known of it."
        ],
        notes=material.notes("worst"),
    )


FIGURES = (
    Figure(
        name="disparity",
        title="How unequal languages are",
        question="How good is the worst language, and how far apart are languages, at each "
        "sparsity?",
        needs=("disparity", "quality"),
        draw=draw_disparity,
    ),
    Figure(
        name="disparity-change",
        title="Does pruning make languages less equal?",
        question="How much do the worst F1, the spread and the gap between tiers change to dense?",
        needs=("disparity", "quality"),
        draw=draw_disparity_change,
    ),
    Figure(
        name="group-changes",
        title="Change of F1 by group",
        question="Which tiers, scripts or families lose more than others?",
        needs=("groups", "worst"),
        draw=draw_group_changes,
    ),
    Figure(
        name="worst",
        title="Who loses most",
        question="Which language, tier, script and family loses most at each sparsity?",
        needs=("worst", "groups"),
        draw=draw_worst,
    ),
)
