"""What pruning changes in predictions, beside what another seed changes."""

from __future__ import annotations

import pandas as pd

from orchestrator.report.charts import (
    by_language,
    called,
    chart,
    colour,
    named,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material

PLACE = ["series", "language", "embeddings", "target_sparsity"]
NO_SPARSE = "There are no sparse trials: nothing can differ from dense."
NO_PREDICTIONS = (
    "No predictions of a sparse and its dense trial are stored; evaluation.predictions in the "
    "sweep stores them."
)
COMPARED = {
    "cross_share": "a sparse and a dense trial",
    "dense_share": "two dense seeds",
    "sparse_share": "two sparse seeds",
    "pie_share": "most frequent prediction (PIEs)",
}
"""What is compared, by the column of the share of sentences that differ."""

PROPERTIES = {
    "words": "words",
    "entities": "entities",
    "unseen_entities": "entities not in train",
    "subwords_per_word": "sub-words a word",
}
THAN = {
    "difference": "than the other sentences",
    "unstable_difference": "than those that seeds change",
}


def draw_shares(material: Material) -> Drawing:
    """The share of sentences that a sparse and a dense trial predict differently, beside that of
    two seeds, a panel a language."""
    import altair as alt

    shares = material.table("disagreement")
    if shares.empty:
        return nothing(NO_SPARSE)
    if shares["num_pies"].isna().all():
        return nothing(NO_PREDICTIONS)
    numbers = ["excess_share", "p", "num_pies", "num_sentences", "num_pairs", "num_holes"]
    table = shares[[*PLACE, *COMPARED, *numbers]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        compared="differ between:0",
        target_sparsity="sparsity",
        share="share of sentences",
        num_sentences="sentences:0",
        num_pairs="seeds:0",
    )
    kinds, in_two = list(COMPARED.values()), alt.Legend(columns=2, symbolStrokeWidth=0)
    base = chart(width=150, height=110).encode(x=sparsity_axis())
    encoded = base.encode(
        y=alt.Y("share:Q", title="sentences that differ", axis=alt.Axis(format=".0%", tickCount=4)),
        color=alt.Color("compared:N", title=None, scale=alt.Scale(domain=kinds), legend=in_two),
        shape=alt.Shape("compared:N", title=None, scale=alt.Scale(domain=kinds), legend=in_two),
        strokeDash=alt.StrokeDash(
            "compared:N",
            title=None,
            legend=in_two,
            scale=alt.Scale(domain=kinds, range=[[1, 0], [5, 3], [2, 2], [8, 3, 2, 3]]),
        ),
    )
    lines = (
        alt.layer(
            encoded.mark_line(),
            encoded.mark_point(filled=True, opacity=1, size=34).encode(tooltip=told),
            base.transform_filter("datum.num_pairs === 0")
            .mark_text(text="×", fontSize=14, color=colour("quiet"))
            .encode(y=alt.datum(0), tooltip=told),
        )
        .transform_fold(list(COMPARED), as_=["column", "share"])
        .transform_filter("datum.share !== null || datum.num_pairs === 0")
        .transform_calculate(compared=called("column", COMPARED))
        .facet(facet=by_language(), columns=6)
    )
    return Drawing(
        table=table,
        chart=lines,
        num_trials=count_pairs(shares),
        filters=("series", "embeddings", "language"),
        text=[
            "Where the line of a sparse and a dense trial is no higher than those of two seeds, "
            "pruning changes no more than another seed does. PIEs are sentences whose most frequent"
            " prediction over seeds differs. × has no predictions."
        ],
        notes=material.notes("disagreement"),
    )


def count_pairs(rows: pd.DataFrame) -> int:
    """The sparse trials behind rows with `num_pairs`; one on several languages counts once."""
    is_alone = rows["regime"] == "monolingual"
    others = rows[~is_alone].groupby(["series", "embeddings", "target_sparsity"])["num_pairs"]
    return int(rows.loc[is_alone, "num_pairs"].sum() + others.max().sum())


def draw_profile(material: Material) -> Drawing:
    """What sentences pruning changes: how their properties differ from those of others."""
    import altair as alt

    profile = material.table("pies_profile")
    if profile["difference"].isna().all():
        return nothing("Pruning changes no prediction here." if len(profile) else NO_PREDICTIONS)
    numbers = [*THAN, "pies_mean", "others_mean", "unstable_mean", "num_pies", "num_trials"]
    table = profile[[*PLACE, "property", *numbers]].copy()
    table["property"] = table["property"].map(PROPERTIES)
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        target_sparsity="sparsity",
        than="more:0",
        by="by",
        num_pies="sentences that change:0",
    )
    base = chart(width=260, height=alt.Step(34))
    encoded = base.encode(
        x=alt.X("by:Q", title="more, on average", axis=alt.Axis(format="~r", tickCount=5)),
        y=alt.Y("target_sparsity:O", title="sparsity"),
        yOffset=alt.YOffset("than:N", scale=alt.Scale(domain=list(THAN.values()))),
        color=alt.Color("than:N", title=None, scale=alt.Scale(domain=list(THAN.values()))),
        shape=alt.Shape("than:N", title=None, scale=alt.Scale(domain=list(THAN.values()))),
    )
    zero = base.mark_rule(color=colour("quiet"), strokeDash=[4, 3]).encode(x=alt.datum(0))
    points = (
        alt.layer(zero, encoded.mark_point(opacity=0.9, size=40).encode(tooltip=told))
        .transform_fold(list(THAN), as_=["column", "by"])
        .transform_filter("datum.by !== null")
        .transform_calculate(than=called("column", THAN))
        .facet(facet=alt.Facet("property:N", title=None), columns=4)
        .resolve_scale(x="independent")
    )
    return Drawing(
        table=table,
        chart=points,
        num_trials=count_pairs(
            profile[profile["property"] == "words"].rename(columns={"num_trials": "num_pairs"})
        ),
        filters=("series", "embeddings", "language"),
        text=["A point is a language: how much more of it sentences have that pruning changes."],
        notes=material.notes("pies_profile"),
    )


FIGURES = (
    Figure(
        name="disagreement",
        title="What pruning changes, beside what seeds change",
        question="On how many sentences do a sparse and a dense trial predict different tags, and "
        "is that more than two seeds differ by?",
        needs=("disagreement",),
        draw=draw_shares,
    ),
    Figure(
        name="changed-sentences",
        title="Which sentences pruning changes",
        question="Are sentences whose most frequent prediction changes longer or richer in "
        "entities than others?",
        needs=("pies_profile",),
        draw=draw_profile,
    ),
)
