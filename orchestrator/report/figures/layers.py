"""Where the zeros are: sparsity by layer and kind of matrix, and matrices with nothing left."""

from __future__ import annotations

import pandas as pd

from orchestrator.analysis.topics.layers import USED_EMBEDDINGS
from orchestrator.report.charts import (
    by_language,
    by_panel,
    chart,
    colour,
    named,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import count_trials, with_interval
from orchestrator.report.same_languages import IN_MEAN, NO_MEAN, NUM_SHOWN, mark_same

LEVEL = ["series", "embeddings", "target_sparsity"]
NO_LAYER = "–"
"""In the place of the number of a layer, of matrices that belong to none."""

PANEL = (
    "'sparsity ' + datum.target_sparsity + (datum.num_shown > 1 ? '\\n' + datum.of_languages : '')"
)
"""An expression of Vega: the heading of a panel, with the languages that its means are of."""

TOO_FEW = "?"
"""Drawn where too few of the languages have layers."""

COLLAPSED = "✕"
"""Drawn where a matrix has no weight left."""


def draw_layers(material: Material) -> Drawing:
    """Sparsity by layer and kind of matrix as heat maps, a panel a sparsity asked for."""
    import altair as alt

    layers = material.table("layer_sparsity")
    layers = layers[layers["kind"] != USED_EMBEDDINGS]
    sparse = layers[layers["target_sparsity"] > 0]
    if sparse.empty:
        return nothing(
            "No layers are stored of sparse trials."
            if len(layers) == 0
            else "There is no sparse trial yet."
        )
    table = _mark_same(_list_matrices(sparse))
    cells = chart(width=230, height=alt.Step(18)).encode(
        x=alt.X(
            "depth:N",
            title="layer",
            sort=_in_order(table["depth"]),
            axis=alt.Axis(labelAngle=0, labelOverlap=True),
        ),
        y=alt.Y("kind:N", title=None, sort=list(table["kind"].unique())),
    )
    told = [
        alt.Tooltip("kind:N", title="matrix"),
        alt.Tooltip("depth:N", title="layer"),
        alt.Tooltip("target_sparsity:Q", title="sparsity asked for"),
        alt.Tooltip("mean(sparsity_mean):Q", title="zeros", format=".4f"),
        alt.Tooltip("sum(num_collapsed):Q", title="trials with nothing left", format="d"),
        alt.Tooltip("sum(num_trials):Q", title="trials", format="d"),
        alt.Tooltip("distinct(language):Q", title="languages", format="d"),
    ]
    shade = alt.Color(
        "mean(sparsity_mean):Q",
        title="zeros as a part of the matrix",
        scale=alt.Scale(domain=[0, 1], scheme="viridis"),
        legend=alt.Legend(format=".0%", gradientLength=240, values=[0, 0.25, 0.5, 0.75, 1]),
    )
    lost = cells.transform_filter("datum.num_collapsed > 0")
    maps = alt.layer(
        cells.transform_filter(IN_MEAN).mark_rect().encode(color=shade, tooltip=told),
        cells.transform_filter(f"({NO_MEAN}) && datum.num_collapsed === 0")
        .mark_text(text=TOO_FEW, fontSize=11, color=colour("quiet"))
        .encode(tooltip=told),
        lost.mark_text(text=COLLAPSED, fontSize=13, fontWeight="bold", color="#b2430a").encode(
            tooltip=told
        ),
    )
    return Drawing(
        table=table,
        chart=maps.transform_joinaggregate(num_shown=NUM_SHOWN, groupby=["series"])
        .transform_calculate(panel=PANEL)
        .facet(facet=by_panel("panel", 230), columns=4),
        num_trials=int(sparse.drop_duplicates(["series", "cell_id"])["num_trials"].sum()),
        filters=("series", "embeddings", "language"),
        text=[_tell_collapses(table)],
        notes=material.notes("layer_sparsity"),
    )


def _list_matrices(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a cell and matrix. There are many, so these say no more than is drawn."""
    names = [*LEVEL, "language", "kind", "layer", "sparsity_mean", "num_collapsed", "num_trials"]
    table = rows[names].reset_index(drop=True)
    depth = table["layer"].astype("string").fillna(NO_LAYER).astype(object)
    table["layer"] = depth
    return table.rename(columns={"layer": "depth"}).round({"sparsity_mean": 6})


def _mark_same(rows: pd.DataFrame) -> pd.DataFrame:
    """Say of rows of matrices whether they are of the languages that have layers at each sparsity,
    see `mark_same`: a cell has all of its matrices, or none."""
    place = [*LEVEL, "language"]
    cells = rows[place].drop_duplicates(ignore_index=True).assign(has=1.0)
    return rows.merge(mark_same(cells, LEVEL[:2], "has").drop(columns="has"), on=place)


def _in_order(depths: pd.Series) -> list[str]:
    """Layers by their numbers, before them what is in none."""
    return sorted(depths.unique(), key=lambda depth: -1 if depth == NO_LAYER else int(depth))


def _tell_collapses(table: pd.DataFrame) -> str:
    of_all = (
        "A cell is the mean over trials of the same languages at each sparsity, as many as stand "
        f"above; {TOO_FEW} has too few of them. {NO_LAYER} has what is outside of layers."
    )
    collapsed = table[table["num_collapsed"] > 0]
    if collapsed.empty:
        return f"{of_all} No matrix has lost all of its weights."
    places = collapsed[["kind", "depth"]].drop_duplicates()
    return (
        f"{of_all} {COLLAPSED}: in some trial nothing is left of the matrix, and what comes out of "
        f"it is the same for all words; this happened to {len(places):,} of "
        f"{len(table[['kind', 'depth']].drop_duplicates()):,} matrices, from sparsity "
        f"{collapsed['target_sparsity'].min():g} on."
    )


def draw_used_embeddings(material: Material) -> Drawing:
    """Zeros in the rows of word embeddings that a language uses, beside those of all rows."""
    import altair as alt

    layers = material.table("layer_sparsity")
    rows = layers[(layers["kind"] == USED_EMBEDDINGS) & (layers["embedding_sparsity"] > 0)]
    if rows.empty:
        return nothing(
            "No trial with pruned word embeddings has stored which of them its languages use."
        )
    names = [*LEVEL, "embedding_sparsity", "language", "sparsity_mean", "sparsity_min"]
    table = rows[[*names, "sparsity_max", "num_weights", "num_trials"]].copy()
    table.insert(5, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        target_sparsity="sparsity asked for",
        embedding_sparsity="of all word embeddings",
        sparsity_mean="of those used",
        sparsity_min="lowest of a seed",
        sparsity_max="highest of a seed",
        num_weights="weights used:0",
        num_trials="trials:0",
    )
    panel = chart(width=150, height=100)
    whole = panel.encode(x=sparsity_axis()).mark_line(strokeDash=[5, 3], color=colour("quiet"))
    zeros = ("sparsity_mean", "sparsity_min", "sparsity_max")
    dashed = whole.encode(y=alt.Y("embedding_sparsity:Q", title="zeros"), tooltip=told)
    lines = with_interval(panel, zeros, "zeros", told, behind=[dashed])
    return Drawing(
        table=table,
        chart=lines.facet(facet=by_language(), columns=6),
        num_trials=count_trials(rows, "num_trials"),
        filters=("series", "embeddings", "language"),
        text=[
            "The line is of the rows of the sub-words in the language's train split, a bar from "
            "the lowest to the highest seed; the dashed line is of all rows. Above it: what the "
            "language uses is pruned more than the rest."
        ],
    )


FIGURES = (
    Figure(
        name="layer-sparsity",
        title="Sparsity by layer",
        question="Which layers and matrices lose most weights, and has one lost them all?",
        needs=("layer_sparsity",),
        draw=draw_layers,
    ),
    Figure(
        name="used-embeddings",
        title="Word embeddings that a language uses",
        question="Are the word embeddings that a language uses pruned more than the others?",
        needs=("layer_sparsity",),
        draw=draw_used_embeddings,
    ),
)
