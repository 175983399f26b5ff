"""The page as a text; tests/integration opens it in a browser."""

import json
import re

import pandas as pd
import pytest

from orchestrator.report import page
from orchestrator.report.figure import Drawing, Figure
from orchestrator.report.sections import SECTIONS, Section

EVIL = '</script><img src=x onerror=alert(1)> "&\u2028'


@pytest.fixture
def evil(monkeypatch):
    """A report of one figure whose every text tries to be HTML."""
    table = pd.DataFrame({"language": [EVIL, "he"], EVIL: [EVIL, None], "f1": [0.5, None]})
    drawing = Drawing(table=table, num_trials=1, filters=("language",), text=(EVIL,), notes=(EVIL,))
    figure = Figure(name="evil", title=EVIL, question=EVIL, draw=lambda _: drawing)
    monkeypatch.setattr(page, "SECTIONS", (Section(name="all", title=EVIL, figures=(figure,)),))
    monkeypatch.setattr(page, "_vega", lambda: "window.vegaEmbed = null;")


def data_of(html: str) -> list:
    return [
        json.loads(found)
        for found in re.findall(
            r'<script type="application/json" class="data">(.*?)</script>', html
        )
    ]


def test_texts_of_results_are_no_html(material, evil):
    html = page.make_page(material)
    assert "<img" not in html
    assert html.count("</script>") == html.count("<script") == 4
    (data,) = data_of(html)
    assert data["columns"] == {"language": [EVIL, "he"], EVIL: [EVIL, None], "f1": [0.5, None]}
    assert '<option value="he">he (Hebrew)</option>' in html


def test_the_page_holds_every_section_and_figure_once(material, monkeypatch):
    monkeypatch.setattr(page, "_vega", lambda: "")
    html = page.make_page(material)
    for section in SECTIONS:
        assert html.count(f'<section id="{section.name}"') == 1
        for figure in section.figures:
            assert html.count(f'<article class="figure" id="{figure.name}"') == 1
    assert [data["name"] for data in data_of(html)] == [
        figure.name for section in SECTIONS for figure in section.figures
    ]
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in html
    assert not re.search(r'(src|href)="(?!#)', html)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="Out of range"):
        page.as_json([float("inf")])
    assert page.as_values(pd.Series([1, None], dtype="Int64")) == [1, None]


def test_values_that_are_repeated_are_in_the_page_once():
    assert page.as_column(pd.Series(["a", "b"])) == ["a", "b"]
    repeated = pd.Series(["sw", "yo", "sw", None, "sw", "sw", "yo", "yo", None, "sw", "sw", "sw"])
    packed = page.as_column(repeated)
    assert packed["values"] == ["sw", "yo", None]
    assert [packed["values"][place] for place in packed["places"]] == page.as_values(repeated)
