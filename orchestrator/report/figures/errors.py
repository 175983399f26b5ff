"""What sparse models do in single sentences: on seen and unseen ones, by kind of error, and how far
their probabilities can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from orchestrator.report.charts import (
    by_language,
    by_panel,
    chart,
    colour,
    named,
    selection,
    share_dense,
    sparsity_axis,
    tooltip,
)
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.material import Material
from orchestrator.report.panels import MISSING, count_trials, number_axis
from orchestrator.report.same_languages import find_same, tell_kept, with_dense
from orchestrator.wording import counted
from workers.trial import CLEAN, MICRO

if TYPE_CHECKING:
    import altair as alt

LEVEL = ["series", "embeddings", "target_sparsity"]
NO_PREDICTIONS = "No trial has stored predictions."
NO_PROBABILITIES = "No trial has stored probabilities of its predicted tags."
ERRORS = {
    "correct": "correct",
    "type": "another type",
    "boundary": "other boundaries",
    "boundary_and_type": "other boundaries and type",
    "missed": "missed",
    "spurious": "nothing there",
}
"""Kinds of errors in the order in which bars show them, and what they are called."""

SIDES = {"true": "entities that are there", "predicted": "entities that were predicted"}
PARTS = {"sentences": "kinds of sentences", "types": "entity types"}
WORDS = {"entity": "words predicted as a part of an entity", "all": "all words"}
FEW = 30
"""A point of fewer words says little."""


def draw_breakdown(material: Material) -> Drawing:
    """F1 on seen and unseen sentences, or by entity type, a panel a language."""
    import altair as alt

    rows = share_dense(material.table("breakdown"))
    table = _list_parts(rows)
    if table["f1_mean"].isna().all():
        return nothing("No trial has an F1 yet.")
    by = selection("lines", "A line for each of the", PARTS)
    told = tooltip(
        language_name="language:0",
        part="of:0",
        target_sparsity="sparsity",
        f1_mean="F1",
        delta_dense_mean="change to dense",
        support="entities:0",
        num_sentences="sentences:0",
        num_seeds="seeds:0",
    )
    base = (
        chart(width=150, height=110)
        .transform_filter("datum.parts === lines")
        .encode(
            x=sparsity_axis(),
            y=alt.Y("f1_mean:Q", title="F1", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("part:N", title=None),
        )
    )
    chart_ = alt.layer(
        base.mark_line(strokeWidth=1.5),
        base.mark_point(filled=True, opacity=1, size=40).encode(tooltip=told),
        base.transform_filter("datum.f1_mean === null")
        .mark_text(text=MISSING, fontSize=14)
        .encode(y=alt.value(8), color=alt.value(colour("quiet")), tooltip=told),
    ).facet(facet=by_language(), columns=6)
    return Drawing(
        table=table,
        chart=chart_.add_params(by),
        num_trials=count_trials(rows[(rows["subset"] == "all") & (rows["entity_type"] == MICRO)]),
        filters=("series", "embeddings", "language"),
        text=[
            "Seen sentences are word for word in the train split as it was used. Distinct: of "
            "sentences with the same words the first. Where few sentences are of a kind, their F1 "
            f"jumps; the table has their number. {MISSING}: there is no F1."
        ],
        notes=material.notes("breakdown"),
    )


def _list_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a language, level and kind of sentences, or entity type."""
    kinds = rows[rows["entity_type"] == MICRO]
    types = rows[(rows["subset"] == "all") & (rows["entity_type"] != MICRO)]
    table = pd.concat(
        [
            kinds.assign(parts="sentences", part=kinds["subset"]),
            types.assign(parts="types", part=types["entity_type"]),
        ],
        ignore_index=True,
    )
    table.insert(2, "language_name", named(table["language"]))
    names = ["language", "language_name", "parts", "part"]
    counts = ["num_sentences", "support", "num_seeds", "num_holes"]
    return table[[*LEVEL, *names, "f1_mean", "delta_dense_mean", *counts]]


def draw_errors(material: Material) -> Drawing:
    """What becomes of entities, by kind of error, a panel a language."""
    import altair as alt

    errors = share_dense(material.table("errors"))
    table = _list_errors(errors)
    if table.empty or table["share_mean"].isna().all():
        return nothing(NO_PREDICTIONS)
    by = selection("of_side", "Parts of", SIDES)
    told = tooltip(
        language_name="language:0",
        kind="kind:0",
        target_sparsity="sparsity",
        share_mean="share",
        delta_dense_mean="change to dense",
        total_mean="entities",
        num_seeds="seeds:0",
    )
    kinds = alt.Scale(domain=list(ERRORS.values()))
    base = chart(width=190, height=alt.Step(17)).encode(
        y=alt.Y("target_sparsity:O", title="sparsity"), tooltip=told
    )
    bars = base.mark_bar().encode(
        x=alt.X(
            "share_mean:Q",
            title="share of entities",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format=".0%", values=[0, 0.5, 1], labelFlush=True),
        ),
        color=alt.Color("kind:N", title=None, scale=kinds, legend=alt.Legend(columns=3)),
        order="place:Q",
    )
    missing = base.transform_filter("datum.share_mean === null && datum.place === 0").mark_text(
        text=MISSING, fontSize=14, color=colour("quiet")
    )
    chart_ = (
        alt.layer(bars, missing.encode(x=alt.value(8)))
        .transform_filter("datum.side === of_side")
        .facet(facet=by_panel("language_name", 190), columns=5)
        .add_params(by)
    )
    of_one = errors[(errors["side"] == "true") & (errors["kind"] == "correct")]
    of_one = of_one[_is_whole(of_one)]
    return Drawing(
        table=table,
        chart=chart_,
        num_trials=count_trials(of_one),
        filters=("series", "embeddings", "language"),
        text=[
            "Shares are means over seeds, of all test sentences as published. "
            f"{MISSING} was planned and has no predictions."
        ],
        notes=material.notes("errors"),
    )


def _is_whole(errors: pd.DataFrame) -> pd.Series:
    """Whether rows are of all sentences and entity types, as published."""
    is_all = (errors["subset"] == "all") & (errors["entity_type"] == MICRO)
    return is_all & (errors["perturbation"] == CLEAN)


def _list_errors(errors: pd.DataFrame) -> pd.DataFrame:
    rows = errors[_is_whole(errors) & errors["side"].isin(list(SIDES))]
    numbers = ["share_mean", "delta_dense_mean", "total_mean", "num_seeds", "num_holes"]
    table = rows[[*LEVEL, "language", "side", "kind", *numbers]].reset_index(drop=True)
    table.insert(2, "language_name", named(table["language"]))
    table["place"] = table["kind"].map(list(ERRORS).index)
    table["kind"] = table["kind"].map(ERRORS)
    return table


def draw_calibration(material: Material) -> Drawing:
    """How sure models are of predicted tags beside how often they are right, a panel a
    language."""
    import altair as alt

    rows = share_dense(material.table("calibration"))
    if rows["ece_mean"].isna().all():
        return nothing(NO_PROBABILITIES)
    numbers = ["confidence_mean", "accuracy_mean", "ece_mean", "delta_ece_mean", "brier_mean"]
    counts = ["num_words", "num_seeds", "num_holes"]
    table = rows[[*LEVEL, "language", "words", *numbers, *counts]].copy()
    table.insert(2, "language_name", named(table["language"]))
    told = tooltip(
        language_name="language:0",
        target_sparsity="sparsity",
        confidence_mean="mean probability",
        accuracy_mean="right",
        ece_mean="calibration error",
        delta_ece_mean="its change to dense",
        num_seeds="seeds:0",
    )
    base = (
        chart(width=150, height=110)
        .transform_filter("datum.words === of_words")
        .encode(x=sparsity_axis())
    )
    layers = []
    for field, name in (("confidence_mean", "how sure"), ("accuracy_mean", "how often right")):
        line = base.encode(
            y=alt.Y(f"{field}:Q", title="share of words", scale=alt.Scale(zero=False)),
            color=alt.datum(name, title=None),
        )
        dash = [1, 0] if field == "accuracy_mean" else [5, 3]
        layers += [
            line.mark_line(strokeDash=dash, strokeWidth=1.5),
            line.mark_point(filled=True, opacity=1, size=36).encode(tooltip=told),
        ]
    missing = base.transform_filter("datum.ece_mean === null")
    layers.append(
        missing.mark_text(text=MISSING, fontSize=14, color=colour("quiet")).encode(
            y=alt.value(8), tooltip=told
        )
    )
    return Drawing(
        table=table,
        chart=alt.layer(*layers).facet(facet=by_language(), columns=6).add_params(_words()),
        num_trials=count_trials(rows[rows["words"] == "all"]),
        filters=("series", "embeddings", "language"),
        text=[
            "The dashed line is the mean probability of predicted tags, the other the part of them "
            "that is right. Dashed above: surer than right. "
            f"{MISSING} was planned and has no probabilities."
        ],
        notes=material.notes("calibration"),
    )


def _words() -> alt.Parameter:
    return selection("of_words", "Of", WORDS)


def draw_reliability(material: Material) -> Drawing:
    """How often tags are right by the probability that the model gave them, a line a sparsity."""
    import altair as alt

    rows = material.table("reliability")
    rows = with_dense(rows[rows["confidence"].notna()])
    if rows.empty:
        return nothing(NO_PROBABILITIES)
    panel_of = ["series", "embeddings", "words"]
    is_in = find_same(rows, panel_of, "confidence")
    told_of = tell_kept(rows, is_in, panel_of, "confidence")
    table = _pool_bins(rows.assign(of_languages=told_of)[is_in])
    told = tooltip(
        target_sparsity="sparsity",
        confidence="mean probability",
        accuracy="right",
        num_words="words:0",
        num_languages="languages:0",
    )
    panel = chart(width=260, height=240)
    whole, numbers = alt.Scale(domain=[0, 1]), number_axis(is_change=False)
    sparsities = sorted(table["target_sparsity"].unique().tolist())
    lines = panel.encode(
        x=alt.X("confidence:Q", title="mean probability", scale=whole, axis=numbers),
        y=alt.Y("accuracy:Q", title="part that is right", scale=whole, axis=numbers),
        color=alt.Color(
            "target_sparsity:N",
            title="sparsity",
            scale=alt.Scale(domain=sparsities, range="ordinal"),
        ),
        # With the same domain both are one legend.
        shape=alt.Shape("target_sparsity:N", title="sparsity", scale=alt.Scale(domain=sparsities)),
    )
    diagonal = panel.mark_rule(color=colour("quiet"), strokeDash=[4, 3]).encode(
        x=alt.datum(0), y=alt.datum(0), x2=alt.datum(1), y2=alt.datum(1)
    )
    points = lines.mark_point(filled=True, opacity=1, size=40).encode(tooltip=told)
    chart_ = alt.layer(diagonal, lines.mark_line(strokeWidth=1.5), points)
    few = int((table["num_words"] < FEW).sum())
    return Drawing(
        table=table,
        chart=chart_.transform_calculate(panel="datum.words + '\\n' + datum.of_languages").facet(
            facet=by_panel("panel", 260), columns=2
        ),
        num_trials=_count_sure(rows),
        filters=("series", "embeddings"),
        text=[
            "Words of all languages and seeds together, in ten bins of probability. On the "
            "diagonal probabilities are what they say; below it the model is surer than right. "
            "Lines are of the same languages, as many as stand above a panel; a sparsity with too "
            "few of them has no line."
        ],
        notes=[f"{counted(few, 'point')} of fewer than {FEW} words."] if few else [],
    )


def _pool_bins(rows: pd.DataFrame) -> pd.DataFrame:
    """Bins of all languages together, each word counting once."""
    place = [*LEVEL, "words", "of_languages", "bin_low", "bin_high"]
    weights = rows["num_words"].astype(float)
    summed = rows.assign(sure=rows["confidence"] * weights, right=rows["accuracy"] * weights)
    table = summed.groupby(place, dropna=False, as_index=False).agg(
        confidence=("sure", "sum"),
        accuracy=("right", "sum"),
        num_words=("num_words", "sum"),
        num_languages=("language", "nunique"),
    )
    table[["confidence", "accuracy"]] = table[["confidence", "accuracy"]].div(
        table["num_words"].astype(float), axis=0
    )
    return table.assign(words=table["words"].map(WORDS))


def _count_sure(rows: pd.DataFrame) -> int:
    place = ["regime", "settings", "target_sparsity", "embedding_sparsity", "language"]
    seeds = rows[rows["words"] == "all"].groupby(place, dropna=False, as_index=False)["num_seeds"]
    return count_trials(seeds.max())


FIGURES = (
    Figure(
        name="breakdown",
        title="Seen and unseen sentences, and entity types",
        question="Do sparse models lose what they had in training, or what is new to them?",
        needs=("breakdown",),
        draw=draw_breakdown,
    ),
    Figure(
        name="errors",
        title="Kinds of errors",
        question="What becomes of entities as models get sparser: are they missed, cut wrongly, "
        "or given another type?",
        needs=("errors",),
        draw=draw_errors,
    ),
    Figure(
        name="calibration",
        title="How sure, and how often right",
        question="Do sparse models believe in their predictions more than they should?",
        needs=("calibration",),
        draw=draw_calibration,
    ),
    Figure(
        name="reliability",
        title="Reliability of probabilities",
        question="How often is a tag right that the model gave some probability?",
        needs=("reliability",),
        draw=draw_reliability,
    ),
)
