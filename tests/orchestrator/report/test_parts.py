"""Which rows share a chart on paper."""

from dataclasses import dataclass
from types import SimpleNamespace

import altair as alt
import pandas as pd
import pytest

from orchestrator.report.charts import chart, selection
from orchestrator.report.figure import Drawing, Figure, nothing
from orchestrator.report.parts import divide, settle_choices

FIGURE = Figure(name="f1", title="F1", question="Why?", draw=lambda _: nothing("Never."))


def make_drawing(rows: list[tuple], filters: tuple[str, ...] = ("series", "embeddings")) -> Drawing:
    table = pd.DataFrame(rows, columns=["series", "embeddings", "f1"])
    return Drawing(table=table, num_trials=1, filters=filters)


def test_series_and_embeddings_are_apart_and_dense_trials_belong_to_both():
    rows = [
        ("multilingual", None, 0.9),
        ("multilingual", "pruned", 0.8),
        ("monolingual", None, 0.7),
        ("monolingual", "dense", 0.6),
        ("monolingual", "pruned", 0.5),
    ]
    parts = divide(make_drawing(rows))
    assert {part.name(FIGURE): part.rows["f1"].tolist() for part in parts} == {
        "f1-monolingual-dense": [0.7, 0.6],
        "f1-monolingual-pruned": [0.7, 0.5],
        "f1-multilingual-pruned": [0.9, 0.8],
    }
    assert parts[0].chosen == {"series": "monolingual", "embeddings": "dense"}


def test_a_name_says_what_is_shown_whatever_else_there_is():
    alone = divide(make_drawing([("monolingual", "dense", 0.6)]))
    assert [part.name(FIGURE) for part in alone] == ["f1-monolingual-dense"]
    only_dense_trials = divide(make_drawing([("monolingual", None, 0.6)]))
    assert [part.name(FIGURE) for part in only_dense_trials] == ["f1-monolingual"]


def test_what_readers_cannot_choose_is_drawn_together():
    drawing = make_drawing([("a", "dense", 1), ("b", "dense", 2)], filters=("language",))
    (part,) = divide(drawing)
    assert (part.name(FIGURE), len(part.rows)) == ("f1", 2)
    assert divide(nothing("No trial has an F1 yet.")) == []


@pytest.mark.parametrize(
    ("series", "name"),
    [
        ("monolingual, lr 3e-05, GMP", "f1-monolingual-lr-3e-05-gmp"),
        ("../../etc/passwd", "f1-etc-passwd"),
        ("é", "f1-e-"),
        ("ไทย", "f1-"),
        ("x" * 300, "f1-" + "x" * 100 + "-"),
    ],
)
def test_names_are_fit_for_files_and_for_latex(series, name):
    (part,) = divide(make_drawing([(series, None, 1)]))
    found = part.name(FIGURE)
    assert found.startswith(name)
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(found) < 120
    is_whole = not name.endswith("-")
    assert (found == name) == is_whole  # else a hash follows, of the whole text


def test_of_what_is_chosen_in_a_figure_the_first_is_shown():
    rows = [("mono", "trial 2", 1), ("mono", "trial 1", 2), ("mono", None, 3), ("multi", "x", 4)]
    table = pd.DataFrame(rows, columns=["series", "trial", "loss"])

    @dataclass(frozen=True, kw_only=True)
    class WithChoices(Drawing):
        choices: tuple[SimpleNamespace, ...] = (
            SimpleNamespace(column="trial", label="Trial", has_all=False),
            SimpleNamespace(column="loss", label="Loss", has_all=True),
        )

    mono, multi = divide(WithChoices(table=table, num_trials=1, filters=("series",)))
    assert (mono.shown, mono.rows["loss"].tolist()) == ({"Trial": "trial 2"}, [1, 3])
    assert (multi.shown, multi.rows["loss"].tolist()) == ({"Trial": "x"}, [4])
    assert mono.name(FIGURE) == "f1-mono"


def test_paper_has_a_chart_for_each_choice_inside_one():
    by = selection(
        "grouped", "Groups by", {"tier_used": "tier of the sentences", "script": "script"}
    )
    axis = alt.param(name="axis_from", value=0, bind=alt.binding_select(options=[0, 0.5]))
    drawn = chart().mark_point().add_params(axis, by).to_dict()
    charts = settle_choices(drawn)
    assert {name: one["params"] for name, one in charts.items()} == {
        "tier-used": [{"name": "axis_from", "value": 0}, {"name": "grouped", "value": "tier_used"}],
        "script": [{"name": "axis_from", "value": 0}, {"name": "grouped", "value": "script"}],
    }
    assert all(one["mark"] == drawn["mark"] for one in charts.values())
    assert list(settle_choices(chart().mark_point().to_dict())) == [""]
