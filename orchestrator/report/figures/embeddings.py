"""Word embeddings pruned against dense: at equal sparsity of the rest, and at equal size."""

from __future__ import annotations

import pandas as pd

from orchestrator.report.charts import (
    FULL,
    by_language,
    chart,
    colour,
    named,
    selection,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import MISSING, count_trials, number_axis, with_interval
from orchestrator.report.same_languages import (
    IN_MEAN,
    NO_MEAN,
    NUM_SHOWN,
    join_same,
    mark_same,
    tell_joined,
    with_dense,
)
from orchestrator.wording import counted

NO_PAIRS = (
    "No seed has a trial with pruned and one with dense word embeddings at the same sparsity; "
    "`pruning.embedding_sparsity: [off, same]` runs both."
)
DELTAS = ("delta_embeddings_mean", "delta_embeddings_low", "delta_embeddings_high")
SIZES = {
    "overall_sparsity": "zeros as a part of all parameters",
    "megabytes": "megabytes",
    "megamultiplications": "million multiplications a sub-word",
}
"""What a model takes, as a reader may choose it."""
SIZE_LABEL = (
    "size_by === 'overall_sparsity' ? format(datum.value, '.0%') : "
    "format(datum.value, '~g') + (size_by === 'megabytes' ? ' MB' : ' M')"
)
"""An expression of Vega: a number of the axis of sizes, with its unit."""


def draw_embeddings_overall(material: Material) -> Drawing:
    """F1 with pruned minus F1 with dense embeddings by sparsity, mean over languages."""
    overall = material.table("embeddings_overall")
    if overall["delta_embeddings_mean"].isna().all():
        return nothing(NO_PAIRS)
    counts = ["num_languages", "num_languages_missing", "num_trials"]
    line = ["series", "embeddings"]
    joined = join_same(overall, material.table("embeddings"), line, "delta_embeddings_mean")
    names = ["series", "target_sparsity", "embeddings", *DELTAS, *counts]
    table = joined[[*names, "joined", "of_languages"]]
    told = tooltip(
        embeddings="embeddings:0",
        target_sparsity="sparsity",
        delta_embeddings_mean="pruned minus dense",
        delta_embeddings_low="from",
        delta_embeddings_high="to",
        num_languages="languages:0",
        num_languages_missing="languages missing:0",
        num_trials="trials:0",
    )
    kinds = "embeddings:N" if table["embeddings"].nunique() > 1 else None
    return Drawing(
        table=table,
        chart=with_interval(
            chart(width=FULL, height=220),
            DELTAS,
            "F1, pruned minus dense",
            told,
            is_change=True,
            color=kinds,
            is_joined=True,
        ),
        num_trials=int(overall["num_trials"].sum()),
        filters=("series",),
        text=[
            "Both have the same sparsity in the rest of the model. Below 0: pruning the embeddings "
            "as well costs F1. A bar is the interval of the mean of these languages.",
            *tell_joined(table),
        ],
        notes=material.notes("embeddings_overall"),
    )


def draw_embeddings_by_language(material: Material) -> Drawing:
    """The same, a panel a language."""

    rows = material.table("embeddings")
    if rows["delta_embeddings_mean"].isna().all():
        return nothing(NO_PAIRS)
    numbers = [*DELTAS, "f1_pruned_mean", "f1_dense_mean", "num_pairs", "num_holes"]
    table = rows[["series", "language", "target_sparsity", "embeddings", *numbers]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        embeddings="embeddings:0",
        target_sparsity="sparsity",
        delta_embeddings_mean="pruned minus dense",
        delta_embeddings_low="from",
        delta_embeddings_high="to",
        f1_pruned_mean="F1 pruned",
        f1_dense_mean="F1 dense",
        num_pairs="seeds:0",
        num_holes="seeds missing:0",
    )
    kinds = "embeddings:N" if table["embeddings"].nunique() > 1 else None
    lines = with_interval(
        chart(width=150, height=100),
        DELTAS,
        "pruned − dense",
        told,
        is_change=True,
        color=kinds,
    )
    return Drawing(
        table=table,
        chart=lines.facet(facet=by_language(), columns=6),
        num_trials=count_trials(rows, "num_pairs"),
        filters=("series", "language"),
        text=[f"Below 0: pruning the embeddings costs F1. {MISSING} has no seed with both."],
        notes=material.notes("embeddings"),
    )


def draw_size(material: Material) -> Drawing:
    """F1 by what a model takes, with dense and with pruned embeddings, a panel a language."""
    import altair as alt

    table = _list_sizes(material)
    if table[["f1_mean", "overall_sparsity"]].dropna().empty:
        return nothing("No trial has an F1 and a size yet.")
    by = selection("size_by", "Across", SIZES)
    told = tooltip(
        language_name="language:0",
        embeddings="embeddings:0",
        target_sparsity="sparsity asked for",
        overall_sparsity="zeros of all parameters",
        megabytes="megabytes",
        megamultiplications="million multiplications",
        f1_mean="F1",
        num_seeds="seeds:0",
    )
    kinds = alt.Scale(domain=sorted(table["embeddings"].unique()))
    shape = alt.Shape("embeddings:N", title="word embeddings", scale=kinds)
    plain = chart(width=150, height=110)
    base = (
        plain.transform_calculate(size="datum[size_by]")
        .transform_filter("datum.size !== null && datum.f1_mean !== null")
        .encode(
            x=alt.X(
                "size:Q",
                title="size, as chosen",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(
                    labelExpr=SIZE_LABEL,
                    labelFlush=True,
                    labelOverlap=True,
                    labelSeparation=6,
                    tickCount=3,
                ),
            ),
            y=alt.Y(
                "f1_mean:Q",
                title="F1",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="~g", tickCount=4),
            ),
            color=alt.Color("embeddings:N", title="word embeddings", scale=kinds),
            order="target_sparsity:Q",
        )
    )
    absent = plain.transform_filter("datum.f1_mean === null")
    lines = alt.layer(
        absent.mark_text(text=MISSING, fontSize=14, color=colour("quiet")).encode(
            x=alt.value(75), y=alt.value(8), tooltip=told
        ),
        base.mark_line(strokeWidth=1.5),
        base.mark_point(filled=True, opacity=1, size=40).encode(tooltip=told, shape=shape),
    )
    chart_ = lines.facet(facet=by_language(), columns=6)
    budget = material.table("budget")
    return Drawing(
        table=table,
        chart=chart_.add_params(by),
        num_trials=count_trials(budget),
        filters=("series", "language"),
        text=[
            "Each line follows sparsity, from the dense model on, which both have. Multiplications "
            f"leave out embeddings, which are looked up. {MISSING}: something was planned there "
            "and has no F1."
        ],
        notes=material.notes("budget"),
    )


def _list_sizes(material: Material) -> pd.DataFrame:
    """Rows of `budget`; those of dense models once for each kind of embeddings, whose lines begin
    there."""
    budget = material.table("budget")
    numbers = ["f1_mean", "overall_sparsity", "num_bytes", "num_multiplications", "num_seeds"]
    rows = budget[["series", "language", "target_sparsity", "embeddings", *numbers]]
    table = with_dense(rows, ["series", "language"])
    table.insert(2, "language_name", named(table["language"]))
    table["megabytes"] = table.pop("num_bytes") / 1e6
    table["megamultiplications"] = table.pop("num_multiplications") / 1e6
    return table.sort_values(["series", "language", "embeddings", "target_sparsity"])


def draw_equal_size(material: Material) -> Drawing:
    """F1 with pruned embeddings minus that with dense ones in as many bytes, by sparsity."""
    import altair as alt

    budget = material.table("budget")
    rows = budget[(budget["embeddings"] != "dense") & (budget["target_sparsity"] > 0)]
    if rows["delta_equal_size"].isna().all():
        return nothing(
            "No model with pruned word embeddings is of a size between those with dense ones."
        )
    numbers = ["delta_equal_size", "f1_mean", "f1_equal_size", "num_bytes", "reason", "num_seeds"]
    table = rows[["series", "language", "target_sparsity", "embeddings", *numbers]].copy()
    table = mark_same(table, ["series"], "delta_equal_size", ["embeddings"])
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        embeddings="embeddings:0",
        target_sparsity="sparsity",
        delta_equal_size="at equal size",
        f1_mean="F1 pruned",
        f1_equal_size="F1 dense, as many bytes",
        num_seeds="seeds:0",
    )
    plain = chart(width=FULL, height=240)
    base = plain.encode(x=sparsity_axis())
    means = base.transform_filter(IN_MEAN)
    if table["embeddings"].nunique() > 1:
        means = means.encode(color=alt.Color("embeddings:N", title="embeddings"))
    several = plain.transform_filter("datum.num_shown > 1")
    y = alt.Y(
        "delta_equal_size:Q",
        title="F1 at equal size, pruned minus dense",
        axis=number_axis(),
    )
    mean = alt.Y("mean(delta_equal_size):Q", title="F1 at equal size, pruned minus dense")
    chart_ = alt.layer(
        base.mark_point(size=40, opacity=0.7, color=colour("quiet")).encode(y=y, tooltip=told),
        means.mark_tick(thickness=3, size=26, orient="horizontal").encode(y=mean),
        plain.mark_rule(color=colour("quiet"), strokeDash=[4, 3]).encode(y=alt.datum(0)),
        base.transform_filter(NO_MEAN)
        .mark_text(text=MISSING, fontSize=14, color=colour("quiet"))
        .encode(y=alt.value(8)),
        several.transform_aggregate(groupby=["of_languages"])
        .transform_calculate(said="'mean of ' + datum.of_languages")
        .mark_text(align="left", fontSize=11, color=colour("quiet"))
        .encode(text="said:N", x=alt.value(6), y=alt.value(10)),
    ).transform_joinaggregate(num_shown=NUM_SHOWN, groupby=["series"])
    without = table["reason"].dropna().value_counts()
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=count_trials(rows),
        filters=("series", "language"),
        text=[
            "A ring is a language, the bar the mean of those that have a ring at each sparsity, as "
            f"many as stand in the corner; {MISSING} has too few of them. Above 0: in as many "
            "bytes it is better to prune the embeddings as well and the rest less."
        ],
        notes=[
            f"{counted(number, 'row')} without a point: {why}." for why, number in without.items()
        ],
    )


FIGURES = (
    Figure(
        name="embeddings-overall",
        title="Pruned against dense word embeddings",
        question="What does it cost to prune the word embeddings as well?",
        needs=("embeddings_overall", "embeddings"),
        draw=draw_embeddings_overall,
    ),
    Figure(
        name="embeddings-by-language",
        title="Pruned against dense word embeddings, by language",
        question="Which languages lose when the word embeddings are pruned as well?",
        needs=("embeddings",),
        draw=draw_embeddings_by_language,
    ),
    Figure(
        name="size",
        title="F1 by size",
        question="Which F1 does a model of a given size have, with dense and with pruned "
        "embeddings?",
        needs=("budget",),
        draw=draw_size,
    ),
    Figure(
        name="equal-size",
        title="Pruned against dense word embeddings in as many bytes",
        question="Where bytes count, is it better to prune the embeddings or more of the rest?",
        needs=("budget",),
        draw=draw_equal_size,
    ),
)
