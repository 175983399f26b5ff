"""The sections, and what is true of every figure."""

import re

import pytest

from orchestrator.analysis.tables import ANALYSES, POWER
from orchestrator.report.figure import FILTERS, ROWS
from orchestrator.report.sections import FIGURES, SECTIONS, needs


def data_names(chart) -> set[str]:
    """The names of all data that a chart, or a part of it, draws."""
    if isinstance(chart, dict):
        own = chart.get("data") or {}
        return ({own["name"]} if "name" in own else set()).union(*map(data_names, chart.values()))
    if isinstance(chart, list):
        return set().union(*map(data_names, chart))
    return set()


def test_names_are_unique_in_the_page_and_fit_for_files():
    names = [section.name for section in SECTIONS]
    names += [figure.name for section in SECTIONS for figure in section.figures]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    of_the_page = [name for name in names if name.startswith("page-") or name.endswith("-title")]
    assert of_the_page == []


def test_figures_need_tables_that_there_are():
    assert needs(FIGURES.values()) <= {*ANALYSES, POWER.name}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_whole_results_have_rows_and_say_what_is_behind_them(material, name):
    drawing = FIGURES[name].draw(material)
    assert len(drawing.table) > 0
    assert drawing.num_trials > 0
    assert set(drawing.filters) <= set(FILTERS) & set(drawing.table.columns)
    assert {choice.column for choice in drawing.choices} <= set(drawing.table.columns)
    if drawing.chart is not None:
        assert data_names(drawing.chart.to_dict()) == {ROWS}
    assert all(text.endswith((".", "?", ":")) for text in (*drawing.text, *drawing.notes))


@pytest.mark.parametrize("name", FIGURES)
def test_questions_are_sentences(name):
    figure = FIGURES[name]
    assert figure.question[0].isupper()
    assert figure.question[-1] in ".?"
    assert not figure.title.endswith(".")
