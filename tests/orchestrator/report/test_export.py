"""Figures as files for a paper."""

import csv

import altair as alt
import pandas as pd
import pytest

from orchestrator.report.export import write_figures
from orchestrator.report.figure import ROWS, Drawing, Figure, nothing
from orchestrator.report.sections import FIGURES

pytestmark = pytest.mark.slow  # charts are laid out and written as files

EVIL = "50 % of <b>A&B_c</b> #1 \\input{x} =1+1\nไทย"


def make_figure(drawing: Drawing) -> Figure:
    return Figure(name="some", title="Some", question="Which?", draw=lambda _: drawing)


def test_a_figure_is_five_files_of_each_part(material, tmp_path):
    (figure,) = [one for one in FIGURES.values() if one.name == "f1-by-language"]
    written = list(write_figures(material, [figure], str(tmp_path)))
    names = {f"{one.name}.{ending}" for one in written for ending in one.endings}
    stems = {
        f"f1-by-language-{series}-{embeddings}"
        for series in ("monolingual", "multilingual")
        for embeddings in ("dense", "pruned")
    }
    endings = ("pdf", "svg", "png", "tex", "csv")
    assert names == {f"{stem}.{ending}" for stem in stems for ending in endings}
    assert {file.name for file in tmp_path.iterdir()} == names
    with (tmp_path / "f1-by-language-monolingual-pruned.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = figure.draw(material).table
    expected = expected[expected["series"] == "monolingual"]
    expected = expected[expected["embeddings"].isna() | (expected["embeddings"] == "pruned")]
    assert [float(row["f1_mean"]) for row in rows] == expected["f1_mean"].tolist()
    latex = (tmp_path / "f1-by-language-monolingual-pruned.tex").read_text(encoding="utf-8")
    assert "% Word embeddings: pruned." in latex
    assert "series" not in latex.partition(r"\midrule")[0].partition(r"\toprule")[2]


def test_a_choice_inside_a_chart_is_a_chart_of_its_own(material, tmp_path):
    written = list(write_figures(material, [FIGURES["f1-by-group"]], str(tmp_path)))
    stems = {one.name for one in written if "monolingual-dense" in one.name}
    place = "f1-by-group-monolingual-dense"
    assert stems == {place, *(f"{place}-{kind}" for kind in ("tier", "script", "family"))}
    drawn = {(tmp_path / f"{place}-{kind}.svg").read_text() for kind in ("tier", "script")}
    assert len(drawn) == 2
    assert (tmp_path / f"{place}.tex").exists()
    assert not (tmp_path / f"{place}.svg").exists()


def test_what_has_no_rows_has_no_files_and_says_why(material, tmp_path):
    folder = tmp_path / "figures"
    (written,) = write_figures(material, [make_figure(nothing("No trial is done."))], str(folder))
    assert (written.name, written.endings, written.why_not) == ("some", (), "No trial is done.")
    assert not folder.exists()


def test_texts_of_results_are_only_texts(material, tmp_path):
    table = pd.DataFrame({"words": [EVIL, None], "mixed": [1, EVIL], "f1": [0.5, None]})
    chart = alt.Chart(alt.NamedData(name=ROWS)).mark_bar().encode(x="f1:Q", y="words:N")
    drawing = Drawing(table=table, num_trials=1, chart=chart, notes=(EVIL,))
    list(write_figures(material, [make_figure(drawing)], str(tmp_path)))
    latex = (tmp_path / "some.tex").read_text(encoding="utf-8")
    assert r"50 \% of \textless{}b\textgreater{}A\&B\_c" in latex
    assert all(line.startswith("%") or r"\input" not in line for line in latex.splitlines())
    with (tmp_path / "some.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["words"] for row in rows] == [EVIL, ""]
    assert [row["mixed"] for row in rows] == ["1", EVIL]
    assert "<b>" not in (tmp_path / "some.svg").read_text(encoding="utf-8")


def test_a_table_without_a_chart_is_a_table(material, tmp_path):
    drawing = Drawing(table=pd.DataFrame({"f1": [0.5]}), num_trials=1)
    (written,) = write_figures(material, [make_figure(drawing)], str(tmp_path))
    assert written.endings == ["tex", "csv"]
    assert {file.name for file in tmp_path.iterdir()} == {"some.tex", "some.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_printed(material, tmp_path, name):
    written = list(write_figures(material, [FIGURES[name]], str(tmp_path)))
    assert all(one.endings for one in written)
    for one in written:
        if "svg" in one.endings:
            svg = (tmp_path / f"{one.name}.svg").read_text(encoding="utf-8")
            assert svg.count("mark-") > 3  # axes, marks
