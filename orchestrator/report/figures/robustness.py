"""What sparse models do with other names: F1 on sentences whose entities were replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.report.charts import (
    SIGNED,
    by_panel,
    chart,
    colour,
    colour_limit,
    named,
    share_dense,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import MISSING, with_interval
from orchestrator.report.same_languages import (
    SAME_TOLD,
    average_same,
    join_same,
    same_notes,
    tell_joined,
    with_dense,
)
from workers.tags import TagSet, union_of
from workers.trial import PERTURBATIONS

if TYPE_CHECKING:
    import altair as alt

LEVEL = ["series", "embeddings", "target_sparsity"]
WIDTH = 230
"""Of a panel, in pixels."""
NO_PERTURBED = (
    "No trial was scored on replaced entities; `robustness.perturbations` of a sweep asks for it."
)
HALVES = {"seen": "seen in training", "unseen": "not seen"}
"""Subsets of the sentences that are told apart, with what they are called."""


def draw_robustness(material: Material) -> Drawing:
    """F1 as published and on replaced entities by sparsity, mean over languages."""
    import altair as alt

    rows = material.table("robustness")
    if rows["f1_perturbed_mean"].isna().all():
        return nothing(NO_PERTURBED)
    numbers = ["drop_mean", "f1_clean_mean", "f1_perturbed_mean", "relative_drop_mean"]
    table = _average(rows, numbers)
    told = tooltip(
        perturbation="replaced by:0",
        target_sparsity="sparsity",
        f1_clean_mean="F1 as published",
        f1_perturbed_mean="F1 replaced",
        drop_mean="drop",
        relative_drop_mean="as a part of F1",
        of_languages="mean of:0",
        num_trials="trials:0",
    )
    panel = chart(width=WIDTH, height=190).encode(x=sparsity_axis())
    layers = [_missing(panel, told)]
    for field, name in (("f1_clean_mean", "as published"), ("f1_perturbed_mean", "replaced")):
        line = panel.encode(
            y=alt.Y(f"{field}:Q", title="F1", scale=alt.Scale(domain=[0, 1])),
            color=alt.datum(name, title="entities"),
        )
        dash = [1, 0] if name == "as published" else [5, 3]
        layers += [
            line.mark_line(strokeDash=dash),
            line.mark_point(filled=True, opacity=1, size=40).encode(tooltip=told),
        ]
    return Drawing(
        table=table,
        chart=_in_panels(layers),
        num_trials=_count_clean(material),
        filters=("series", "embeddings"),
        text=[f"{SAME_TOLD} A replacement does not apply to all languages."],
        notes=same_notes(material.notes("robustness_overall")),
    )


def _average(rows: pd.DataFrame, numbers: Sequence[str], parts: Sequence[str] = ()) -> pd.DataFrame:
    """Means over the languages that a replacement applies to, the same at all sparsities.

    Args:
        rows: a row a cell, language, perturbation and part.
        numbers: columns that are averaged.
        parts: see `same_languages.average_same`.
    """
    panel = ["series", "embeddings", "perturbation"]
    applies = rows[rows["status"] != "not_applicable"] if "status" in rows else rows
    table = average_same(with_dense(applies), panel, numbers, parts)
    place = table["perturbation"].map(list(PERTURBATIONS).index)
    return _with_names(table).assign(place=place)


def _in_panels(layers: Sequence[alt.Chart]) -> alt.FacetChart:
    """A panel a perturbation of a table of `_average`; above it, how many languages it is of."""
    import altair as alt

    order = alt.EncodingSortField("place", op="min", order="ascending")
    layered = alt.layer(*layers)
    assert isinstance(layered, alt.LayerChart)  # it would be a facet if a layer were one
    layered = layered.transform_calculate(panel="datum.perturbation + '\\n' + datum.of_languages")
    return layered.facet(facet=by_panel("panel", WIDTH, sort=order), columns=4)


def _missing(panel: alt.Chart, told: list[alt.Tooltip]) -> alt.Chart:
    """A sign at sparsities that have no mean."""
    import altair as alt

    sign: alt.Chart = (
        panel.transform_filter("datum.drop_mean === null")
        .mark_text(text=MISSING, fontSize=14, color=colour("quiet"))
        .encode(y=alt.value(8), tooltip=told)
    )
    return sign


def draw_robustness_change(material: Material) -> Drawing:
    """How much more than dense trials sparse ones lose on replaced entities, with intervals."""
    overall = material.table("robustness_overall")
    sparse = overall[overall["target_sparsity"] > 0]
    if sparse["delta_drop_mean"].isna().all():
        return nothing(
            "No sparse trial has a dense one that was scored on the same replaced entities."
        )
    numbers = ["delta_drop_mean", "delta_drop_low", "delta_drop_high", "delta_dense_mean"]
    counts = ["num_languages_compared", "num_trials_compared", "num_languages_missing"]
    line = ["series", "embeddings", "perturbation"]
    joined = join_same(sparse, material.table("robustness"), line, "delta_drop_mean")
    table = _with_names(joined)[
        [*LEVEL, "perturbation", *numbers, *counts, "joined", "of_languages"]
    ]
    told = tooltip(
        perturbation="replaced by:0",
        target_sparsity="sparsity",
        delta_drop_mean="drop minus dense drop",
        delta_drop_low="from",
        delta_drop_high="to",
        delta_dense_mean="change of replaced F1",
        num_languages_compared="languages:0",
        num_trials_compared="trials:0",
    )
    lines = with_interval(
        chart(width=WIDTH, height=190),
        ("delta_drop_mean", "delta_drop_low", "delta_drop_high"),
        "drop, sparse minus dense",
        told,
        is_change=True,
        is_joined=True,
    )
    return Drawing(
        table=table,
        chart=lines.facet(facet=_perturbations(), columns=4),
        num_trials=int(sparse.groupby(LEVEL)["num_trials_compared"].max().sum()),
        filters=("series", "embeddings"),
        text=[
            "The drop is F1 as published minus F1 on replaced entities. Above 0 the sparse model "
            "drops further: it is less robust. A model that finds little as published has little "
            "to drop, so read this beside the figure above.",
            *tell_joined(table),
        ],
        notes=material.notes("robustness_overall"),
    )


def draw_robustness_by_language(material: Material) -> Drawing:
    """The drop by language and sparsity as heat maps, a panel a perturbation."""
    import altair as alt

    rows = share_dense(material.table("robustness"))
    if rows["drop_mean"].isna().all():
        return nothing(NO_PERTURBED)
    numbers = ["drop_mean", "relative_drop_mean", "delta_drop_mean"]
    ends = ["delta_drop_low", "delta_drop_high", "num_seeds", "num_holes"]
    names = ["language", "perturbation", "status", "reason"]
    table = _with_names(rows)[[*LEVEL, *names, *numbers, *ends]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        perturbation="replaced by:0",
        target_sparsity="sparsity",
        status="status:0",
        reason="reason:0",
        drop_mean="drop",
        relative_drop_mean="as a part of F1",
        delta_drop_mean="drop minus dense drop",
        delta_drop_low="from",
        delta_drop_high="to",
        num_seeds="seeds:0",
        num_holes="seeds missing:0",
    )
    cells = chart(width=230, height=alt.Step(18)).encode(
        x=alt.X("target_sparsity:O", title="sparsity", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("language_name:N", title=None),
        tooltip=told,
    )
    limit = colour_limit(table["drop_mean"])
    shade = alt.Color(
        "drop_mean:Q",
        title="drop of F1, as published minus replaced",
        scale=alt.Scale(domain=[-limit, 0, limit], range="diverging", reverse=True),
        legend=alt.Legend(labelExpr=SIGNED, gradientLength=240),
    )
    blank = cells.transform_filter("datum.drop_mean === null")
    absent = blank.transform_filter("datum.status !== 'not_applicable'")
    other = blank.transform_filter("datum.status === 'not_applicable'")
    maps = alt.layer(
        cells.transform_filter("datum.drop_mean !== null").mark_rect().encode(color=shade),
        blank.mark_rect(color=colour("missing")),
        absent.mark_text(text=MISSING, fontSize=12, color=colour("quiet")),
        other.mark_text(text="·", fontSize=14, color=colour("quiet")),
    )
    return Drawing(
        table=table,
        chart=maps.facet(facet=_perturbations(), columns=4),
        num_trials=_count_clean(material),
        filters=("series", "embeddings", "language"),
        text=[
            f"Where no other language has entities to give, a dot says that it does not apply; "
            f"{MISSING}: planned, and not scored."
        ],
        notes=material.notes("robustness"),
    )


def draw_robustness_types(material: Material) -> Drawing:
    """The drop by entity type and sparsity, mean over languages."""
    rows = material.table("robustness_types")
    return _draw_parts(
        material,
        rows,
        ("entity_type", "entity type", _types_in_order(rows["entity_type"])),
        NO_PERTURBED,
        [SAME_TOLD],
        material.notes("robustness_types"),
    )


def _types_in_order(names: pd.Series) -> Sequence[str]:
    """Entity types, WikiANN's first, so that these have the same colours in every report."""
    return union_of([TagSet(tuple(sorted(set(names))))]).entity_types


def draw_robustness_subsets(material: Material) -> Drawing:
    """The drop on sentences that were seen in training and on others, mean over languages."""
    rows = material.table("robustness_subsets")
    return _draw_parts(
        material,
        rows[rows["subset"].isin(list(HALVES))].replace({"subset": HALVES}),
        ("subset", "sentences", tuple(HALVES.values())),
        "No predictions on replaced entities are stored; `perturbed` in `evaluation.predictions` "
        "of a sweep stores them.",
        [
            "A replaced sentence is seen where the one that it was made from stands, word for "
            f"word, in the train split. {SAME_TOLD}"
        ],
        material.notes("robustness_subsets"),
    )


def _draw_parts(
    material: Material,
    rows: pd.DataFrame,
    part: tuple[str, str, Sequence[str]],
    why_nothing: str,
    text: Sequence[str],
    notes: Sequence[str],
) -> Drawing:
    """The drop by sparsity, a line a part of the entities, a panel a perturbation.

    Args:
        material: what was analysed.
        rows: a row a cell, language, perturbation and part.
        part: the column that says which part, what it is called, and its values in their order.
        why_nothing: what is said where no row has a drop.
        text: see `Drawing`.
        notes: see `Drawing`.
    """
    import altair as alt

    column, title, order = part
    if rows["drop_mean"].isna().all():
        return nothing(why_nothing)
    table = _average(rows, ["drop_mean", "delta_drop_mean"], [column])
    told = tooltip(
        perturbation="replaced by:0",
        **{column: f"{title}:0"},
        target_sparsity="sparsity",
        drop_mean="drop",
        delta_drop_mean="drop minus dense drop",
        of_languages="mean of:0",
        num_trials="trials:0",
    )
    scale = alt.Scale(domain=list(order))
    panel = chart(width=WIDTH, height=190).encode(x=sparsity_axis())
    lines = panel.encode(
        y=alt.Y("drop_mean:Q", title="drop of F1", axis=alt.Axis(format="~g", tickCount=5)),
        color=alt.Color(f"{column}:N", title=title, scale=scale),
    )
    points = lines.mark_point(filled=True, opacity=1, size=45)
    shape = alt.Shape(f"{column}:N", title=title, scale=scale)
    return Drawing(
        table=table,
        chart=_in_panels(
            [_missing(panel, told), lines.mark_line(), points.encode(shape=shape, tooltip=told)]
        ),
        num_trials=_count_clean(material),
        filters=("series", "embeddings"),
        text=text,
        notes=notes,
    )


def _with_names(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with perturbations in words."""
    return rows.assign(perturbation=rows["perturbation"].map(_name))


def _name(perturbation: str) -> str:
    """A perturbation in words, such as `entities of the same script`."""
    return f"entities of the same {perturbation.removeprefix('within_')}"


def _perturbations() -> alt.Facet:
    return by_panel("perturbation", WIDTH, sort=list(map(_name, PERTURBATIONS)))


def _count_clean(material: Material) -> int:
    """The trials behind scores on replaced entities: one has scores for several perturbations."""
    overall = material.table("robustness_overall")
    return int(overall.groupby(LEVEL)["num_trials"].max().sum())


FIGURES = (
    Figure(
        name="robustness-overall",
        title="As published and with entities replaced",
        question="How good are sparse models on names that they were not trained on?",
        needs=("robustness_overall", "robustness"),
        draw=draw_robustness,
    ),
    Figure(
        name="robustness-change",
        title="Does pruning make models less robust?",
        question="Do sparse models drop further than dense ones when entities are replaced?",
        needs=("robustness_overall", "robustness"),
        draw=draw_robustness_change,
    ),
    Figure(
        name="robustness-by-language",
        title="Drop on replaced entities, by language",
        question="In which languages does F1 drop when entities are replaced?",
        needs=("robustness", "robustness_overall"),
        draw=draw_robustness_by_language,
    ),
    Figure(
        name="robustness-types",
        title="Drop on replaced entities, by entity type",
        question="Are persons, organisations or places lost when entities are replaced?",
        needs=("robustness_types", "robustness_overall"),
        draw=draw_robustness_types,
    ),
    Figure(
        name="robustness-subsets",
        title="Drop on replaced entities, by seen and unseen sentences",
        question="Does F1 drop because sentences were known from training?",
        needs=("robustness_subsets", "robustness_overall"),
        draw=draw_robustness_subsets,
    ),
)
