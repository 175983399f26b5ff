"""Figures of groups of languages, by hand."""

import pytest

from orchestrator.report.figures.groups import (
    draw_disparity,
    draw_disparity_change,
    draw_group_changes,
    draw_worst,
)
from orchestrator.report.material import read_material
from orchestrator.results.store import ResultStore
from tests.orchestrator.analysis.committing import commit

NEEDS = ("disparity", "groups", "quality", "worst")


@pytest.fixture
def three_languages(tmp_path):
    """English loses 0.1, Swahili 0.3, Burmese nothing; dense the best is English."""
    store = ResultStore(str(tmp_path))
    for language, dense, sparse in (("en", 0.8, 0.7), ("sw", 0.6, 0.3), ("my", 0.5, 0.5)):
        for seed in range(2):
            commit(store, language, 0.0, seed, dense + 0.001 * seed)
            commit(store, language, 0.5, seed, sparse + 0.002 * seed)
    return read_material(store, NEEDS)


@pytest.mark.slow
def test_measures_stand_beside_those_of_the_same_languages_dense(three_languages):
    drawing = draw_disparity(three_languages)
    rows = drawing.table.set_index("measure")
    worst, span = rows.loc["F1 of the worst language"], rows.loc["best language minus worst"]
    assert (worst["of"], worst["value"], worst["dense"]) == (
        "sw",
        pytest.approx(0.301),
        pytest.approx(0.5005),
    )
    assert (span["value"], span["dense"]) == (pytest.approx(0.4), pytest.approx(0.3))
    assert drawing.num_trials == 6
    changes = draw_disparity_change(three_languages).table.set_index("measure")
    assert changes.loc["best language minus worst", "change"] == pytest.approx(0.1)
    assert changes.loc["best language minus worst", "change_low"] < 0.1


@pytest.mark.slow
def test_groups_have_their_number_of_languages_and_the_worst_is_marked(three_languages):
    table = draw_group_changes(three_languages).table
    scripts = table[table["grouping"] == "script"].set_index("group")
    assert scripts["who"].to_dict() == {"Latn": "Latn (2)", "Mymr": "Mymr (1)"}
    assert scripts["is_worst"].to_dict() == {"Latn": "yes", "Mymr": "no"}
    assert scripts.loc["Latn", "delta_dense_mean"] == pytest.approx(-0.199, abs=0.001)
    tiers = table[table["grouping"] == "tier"].sort_values("place")
    assert tiers["group"].tolist() == ["up to 100", "up to 1,000", "over 10,000"]


@pytest.mark.slow
def test_the_language_that_loses_most_has_its_name(three_languages):
    table = draw_worst(three_languages).table.set_index("kind")
    assert table.loc["language", "who"] == "sw Swahili"
    assert table.loc["script", "who"] == "Latn"
    assert table.loc["language", "num_compared"] == 3


def test_without_a_dense_trial_there_is_nothing_to_compare(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.5, 0, 0.5)
    material = read_material(store, NEEDS)
    for draw in (draw_disparity, draw_disparity_change, draw_group_changes, draw_worst):
        drawing = draw(material)
        assert drawing.chart is None
        assert len(drawing.notes) == 1
