"""Layers of a mean with its interval, and what stands behind rows of languages."""

import pandas as pd

from orchestrator.report.charts import chart
from orchestrator.report.panels import count_trials, with_interval

NAMES = ("mean", "low", "high")


def test_a_change_is_drawn_beside_a_line_at_zero():
    marks = [
        [
            layer.mark.type
            for layer in with_interval(chart(), NAMES, "F1", [], is_change=is_change).layer
        ]
        for is_change in (False, True)
    ]
    assert marks == [["rule", "line", "point", "text"], ["rule", "line", "point", "text", "rule"]]


def test_an_interval_goes_from_its_lower_to_its_upper_end():
    bar = with_interval(chart(), NAMES, "F1", []).to_dict()["layer"][0]["encoding"]
    assert (bar["y"]["field"], bar["y2"]["field"]) == ("low", "high")


def test_what_is_null_is_drawn_as_a_sign():
    sign = with_interval(chart(), NAMES, "F1", []).to_dict()["layer"][3]
    assert sign["transform"] == [{"filter": "(datum.mean === null)"}] or sign["transform"] == [
        {"filter": "datum.mean === null"}
    ]
    assert sign["mark"]["text"] == "×"


def test_a_trial_of_several_languages_counts_once():
    rows = pd.DataFrame(
        {
            "regime": ["monolingual", "monolingual", "multilingual", "multilingual"],
            "settings": [None] * 4,
            "language": ["sw", "yo", "sw", "yo"],
            "target_sparsity": 0.5,
            "embedding_sparsity": 0.0,
            "num_seeds": [3, 2, 3, 2],
        }
    )
    assert count_trials(rows) == 3 + 2 + 3
