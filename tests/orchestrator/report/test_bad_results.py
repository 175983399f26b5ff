"""Results where much is missing: a page that says what it cannot show."""

import pandas as pd
import pytest

from orchestrator.report import page
from orchestrator.report.material import read_material
from orchestrator.report.sections import FIGURES, SECTIONS, needs
from orchestrator.results.store import ResultStore
from tests.orchestrator.report import results

pytestmark = pytest.mark.slow  # each of nine results is analysed and drawn whole


@pytest.fixture(params=results.ALL, ids=lambda make: make.__name__)
def bad(request, tmp_path):
    store = ResultStore(str(tmp_path))
    request.param(store)
    return read_material(store, needs(FIGURES.values()))


def test_every_figure_shows_something_or_says_why_not(bad, monkeypatch):
    monkeypatch.setattr(page, "_vega", lambda: "")
    drawings = {name: figure.draw(bad) for name, figure in FIGURES.items()}
    for name, drawing in drawings.items():
        assert len(drawing.table) or drawing.notes, name
        assert len(drawing.table) or drawing.chart is None, name
        assert set(drawing.filters) <= set(drawing.table.columns), name
        if drawing.num_trials == 0:
            numbers = drawing.table.select_dtypes("number")
            assert drawing.notes or numbers.fillna(0).to_numpy().any(), name
    html = page.make_page(bad)
    assert html.count("<article") == sum(len(section.figures) for section in SECTIONS)
    assert "<b>sentences" not in html
    assert "nan" not in "".join(text for one in drawings.values() for text in one.text)


def test_charts_have_the_columns_that_they_name(bad):
    """Vega-Lite draws nothing, and says nothing, of a field that is not there."""
    for name, figure in FIGURES.items():
        drawing = figure.draw(bad)
        if drawing.chart is None:
            continue
        spec = drawing.chart.to_dict()
        made = {one["as"] for one in found(spec, "calculate")}
        made |= {name for one in found(spec, "fold") for name in one["as"]}
        fields = {one["field"] for one in found(spec, "field") if isinstance(one["field"], str)}
        assert fields - made <= set(drawing.table.columns), name


def found(chart, key):
    """All objects in a chart that have a key."""
    if isinstance(chart, dict):
        own = [chart] if key in chart else []
        return own + [one for part in chart.values() for one in found(part, key)]
    if isinstance(chart, list):
        return [one for part in chart for one in found(part, key)]
    return []


def test_null_is_null_whatever_the_kind_of_column():
    frame = pd.DataFrame({"a": [1.5, None], "b": [pd.NA, "x"], "c": [None, pd.NaT]})
    assert [page.as_values(frame[name]) for name in frame] == [
        [1.5, None],
        [None, "x"],
        [None, None],
    ]
