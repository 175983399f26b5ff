"""Charts at the width of a column, as real files."""

import re

import pytest

from orchestrator.report import paper
from orchestrator.report.figure import ROWS

pytestmark = pytest.mark.slow  # charts are laid out to be measured

DATA = [{"language": name, "f1": place / 10} for place, name in enumerate("abcdefgh")]
FIELDS = {
    "x": {"field": "f1", "type": "quantitative", "title": "F1 – mean"},
    "y": {"field": "language", "type": "nominal"},
}
SINGLE = {"data": {"name": ROWS}, "mark": "bar", "width": "container", "encoding": FIELDS}
PANELS = {
    "data": {"name": ROWS},
    "facet": {"field": "language", "type": "nominal"},
    "columns": 6,
    "spec": {"mark": "bar", "width": 150, "height": 100, "encoding": {"x": FIELDS["x"]}},
}
BESIDE = {
    "data": {"name": ROWS},
    "hconcat": [{"mark": "bar", "width": 400, "encoding": FIELDS}] * 2,
}


def test_one_view_is_as_wide_as_a_column():
    drawn = paper.draw(SINGLE, DATA)
    assert drawn.width_pt == pytest.approx(paper.COLUMN_PT, abs=1)
    assert f'width="{drawn.width_pt:.2f}pt"' in drawn.svg
    assert drawn.png[:4] == b"\x89PNG"
    assert drawn.pdf[:5] == b"%PDF-"
    assert b"LiberationSans" in drawn.pdf  # the font is in it, and texts are texts
    assert b"ToUnicode" in drawn.pdf
    assert ">F1 – mean</text>" in drawn.svg
    assert "Liberation Sans" in drawn.svg


@pytest.mark.parametrize(("chart", "at_least"), [(PANELS, 0.9), (BESIDE, 0.98)])
def test_panels_fit_into_a_column_or_two(chart, at_least):
    drawn = paper.draw(chart, DATA)
    room = paper.COLUMN_PT if drawn.width_pt <= paper.COLUMN_PT else paper.TEXT_PT
    assert at_least * room <= drawn.width_pt <= room + 0.01
    assert drawn.svg.count('aria-roledescription="bar"') == len(DATA) * len(
        chart.get("hconcat", [0])
    )


def test_what_cannot_be_narrow_enough_is_made_smaller():
    many = [{"language": f"{place:03}", "f1": 0.5} for place in range(100)]
    steps = SINGLE | {"width": {"step": 20}, "encoding": {"x": FIELDS["y"], "y": FIELDS["x"]}}
    assert paper.draw(steps, many).width_pt == pytest.approx(paper.TEXT_PT)


@pytest.mark.parametrize(("num_panels", "columns"), [(3, 3), (6, 3), (8, 4), (40, 5), (0, 5)])
def test_lines_of_panels_are_of_one_length(num_panels, columns):
    chart = paper.inlined(PANELS, DATA)
    paper.lay_out(chart, 756, num_panels)
    assert chart["columns"] == columns


@pytest.mark.parametrize(("num_panels", "columns"), [(2, 2), (3, 3), (4, 2), (5, 2)])
def test_one_panel_more_than_there_is_room_for_makes_no_second_line_with_a_gap(num_panels, columns):
    chart = paper.inlined(PANELS, DATA)
    chart["spec"]["width"] = 320  # two would stand beside one another
    paper.lay_out(chart, 756, num_panels)
    assert chart["columns"] == columns


def test_panels_of_many_languages_fit_onto_a_page():
    many = [{"language": f"{place:03}", "f1": 0.5} for place in range(40)]
    drawn = paper.draw(PANELS, many)
    assert drawn.width_pt == pytest.approx(paper.TEXT_PT, abs=1)
    assert drawn.height_pt == pytest.approx(paper.PAGE_PT, abs=5)  # each line is rounded


def test_panels_are_counted_as_they_are_drawn():
    computed = {"calculate": "datum.f1 > 0.3 ? 'high' : 'low'", "as": "panel"}
    facet = {"field": "panel", "type": "nominal"}
    drawn = paper.draw(PANELS | {"transform": [computed], "facet": facet}, DATA)
    assert drawn.width_pt == pytest.approx(paper.COLUMN_PT, abs=1)
    assert drawn.height_pt < 150  # both in one line


def test_legends_are_broken_into_lines_rather_than_cut_off():
    kinds = [{"language": f"{place} with a long name", "f1": 0.5} for place in range(9)]
    encoding = {"x": FIELDS["x"], "color": {"field": "language", "type": "nominal"}}
    drawn = paper.draw(SINGLE | {"encoding": encoding}, kinds)
    # Nothing fits the chart into its size here, so that this is that of the legend as well.
    assert drawn.width_pt == pytest.approx(paper.COLUMN_PT, abs=1)
    assert 'font-size="12px"' in drawn.svg
    assert drawn.svg.count("with a long name</text>") == len(kinds)


def test_a_view_that_axes_leave_little_of_takes_both_columns():
    long = [
        row | {"language": f"{row['language']} with a name that is rather long"} for row in DATA
    ]
    assert paper.draw(SINGLE, long).width_pt == pytest.approx(paper.TEXT_PT, abs=1)
    assert paper.draw(SINGLE, DATA).width_pt == pytest.approx(paper.COLUMN_PT, abs=1)


def test_a_chart_of_charts_is_left_as_it_was():
    before = repr(PANELS)
    paper.draw(PANELS, DATA)
    assert repr(PANELS) == before


@pytest.mark.parametrize(
    ("theme", "background", "ink"),
    [("paper", "#ffffff", "#000000"), ("light", "#ffffff", None), ("dark", "#161616", None)],
)
def test_themes_have_their_background_and_text(theme, background, ink):
    look = paper.theme_config(theme)
    assert look["background"] == background
    svg = paper.draw(SINGLE, DATA, theme).svg
    assert re.search(rf'<rect [^>]*fill="{background}"', svg)
    if ink:
        texts = re.findall(r"<text [^>]*fill=\"(#\w+)\"", svg)
        assert set(texts) == {ink}
    assert set(paper.THEMES) == {"paper", "light", "dark"}
