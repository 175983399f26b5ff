"""Pieces that charts share."""

import re

import pandas as pd

from orchestrator.report.charts import (
    NARROW,
    VERDICT_COLOURS,
    by_language,
    chart,
    colour,
    colour_limit,
    count_axis,
    lend_dense,
    named,
    selection,
    share_dense,
    tooltip,
)
from orchestrator.report.theme import COLOURS, config


def test_languages_have_names_and_unknown_ones_their_code():
    assert named(["sw", "xx"]) == ["sw Swahili", "xx"]


def test_colours_of_charts_are_parameters_of_both_schemes():
    names = {one["name"] for one in config("light")["params"]}
    assert names == set(COLOURS["dark"])
    assert set(VERDICT_COLOURS.values()) <= names
    assert colour("bad").to_dict() == {"expr": "bad"}


def test_a_selection_begins_with_its_first_option():
    by = selection("by", "Panels by", {"tier": "resource tier", "script": "script"})
    drawn = chart().mark_point().add_params(by).to_dict()
    assert drawn["params"] == [
        {
            "name": "by",
            "value": "tier",
            "bind": {
                "input": "select",
                "name": "Panels by",
                "options": ["tier", "script"],
                "labels": ["resource tier", "script"],
            },
        }
    ]


def test_dense_rows_are_of_all_embeddings():
    rows = pd.DataFrame({"target_sparsity": [0.0, 0.5], "embeddings": ["dense", "dense"]})
    shared = share_dense(rows)["embeddings"]
    assert shared.isna().tolist() == [True, False]
    assert shared[1] == "dense"


def test_scales_of_colours_end_at_a_number_of_one_digit():
    limits = {0.718861: 0.8, 0.05: 0.05, 0.3: 0.3, 0.0421: 0.05, 0.0001: 0.01, 0.96: 1.0}
    for most, limit in limits.items():
        assert colour_limit(pd.Series([-most, most / 2, None])) == limit


def test_tooltips_round_numbers_and_keep_texts():
    drawn = chart().mark_point().encode(tooltip=tooltip(f1="F1", language="language:0")).to_dict()
    assert drawn["data"] == {"name": "rows"}
    assert drawn["encoding"]["tooltip"] == [
        {"field": "f1", "format": ".3f", "title": "F1", "type": "quantitative"},
        {"field": "language", "title": "language", "type": "nominal"},
    ]


def test_a_long_heading_of_a_panel_is_in_two_lines_and_no_wider_than_its_panel():
    """By Vega's own expressions, in what it draws."""
    import vl_convert

    names = ["sw Swahili", "be-x-old Belarusian (Taraškievica)", "words\nof 4 languages", "x" * 60]
    rows = [{"language_name": name, "f1": 0.5} for name in names]
    drawn = chart(width=NARROW, height=20).mark_point().encode(x="f1:Q").facet(by_language())
    spec = drawn.to_dict() | {"datasets": {"rows": rows}, "columns": 4}
    svg = vl_convert.vegalite_to_svg(spec)
    for line in ("sw Swahili", "be-x-old", "Belarusian (Taraškievica)", "words", "of 4 languages"):
        assert f">{line}<" in svg
    assert "x" * 60 not in re.sub('aria-label="[^"]*"', "", svg)
    width = float(re.search(r'width="([\d.]+)"', svg)[1])
    assert width < 4 * (NARROW + 35)


def test_dense_rows_belong_to_every_way_of_pruning():
    rows = pd.DataFrame(
        {
            "series": ["mono", "mono, lr=1", "mono, lr=1, scope=layer", "mono, scope=global"],
            "target_sparsity": [0.0, 0.0, 0.5, 0.5],
            "f1": [0.8, 0.7, 0.5, 0.6],
        }
    )
    lent = lend_dense(rows)
    found = sorted(lent.itertuples(index=False, name=None))
    assert found == [
        ("mono, lr=1, scope=layer", 0.0, 0.7),
        ("mono, lr=1, scope=layer", 0.5, 0.5),
        ("mono, scope=global", 0.0, 0.8),
        ("mono, scope=global", 0.5, 0.6),
    ]
    assert lend_dense(lent).equals(lent)


def test_few_things_are_counted_in_whole_numbers_each_once():
    assert [count_axis(most).tickCount for most in (0, 1, 2, 40)] == [1, 1, 2, 10]
