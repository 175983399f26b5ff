"""The steps of a notebook, and what is refused there."""

import json
import sys

import pandas as pd
import polars as pl
import pytest

from orchestrator import ResultStore, StoreError, figure, load
from orchestrator.errors import SweepError
from tests.orchestrator.analysis.committing import commit

pytestmark = pytest.mark.slow  # results are analysed time and again


@pytest.fixture
def results(tmp_path):
    """Two languages, dense and at one sparsity."""
    store = ResultStore(str(tmp_path / "results"))
    specs = [
        commit(store, language, sparsity, 0, 0.9 - lost)
        for language, sparsity, lost in (
            ("sw", 0.0, 0),
            ("sw", 0.5, 0.2),
            ("yo", 0.0, 0),
            ("yo", 0.5, 0.4),
        )
    ]
    store.write_plan("demo", specs)
    return tmp_path / "results"


def values_of(chart) -> list[dict]:
    """The rows in a chart as a notebook gets it."""
    (rows,) = chart.to_dict()["datasets"].values()
    return rows


def test_an_example_notebook(results):
    # In [1]: what is there?
    tables = load(results)
    assert {"trials", "scores", "robustness", "analysis/robustness"} <= set(tables)

    # In [2]: which languages lose most?
    quality = tables["analysis/quality"]
    lost = quality[quality["target_sparsity"] == 0.5].set_index("language")["delta_dense_mean"]
    assert lost.round(6).to_dict() == {"sw": -0.2, "yo": -0.4}

    # In [3]: how long did that take?
    trials = tables["trials"]
    assert isinstance(trials, pd.DataFrame)
    assert len(trials.groupby("language")["duration_s"].sum()) == 2
    assert tables["trials"] is trials

    # In [4]: the same with polars
    scores = load(results, frames="polars")["scores"]
    micro = scores.filter((pl.col("split") == "test") & (pl.col("entity_type") == "micro"))
    assert set(micro.filter(pl.col("subset") == "all")["f1"].round(6)) == {0.9, 0.7, 0.5}

    # In [5]: the figure
    chart = figure("f1-by-language", results)
    assert '"language": "yo"' in chart._repr_mimebundle_()["text/html"]
    assert {row["language"] for row in values_of(chart)} == {"sw", "yo"}

    # In [6]: one language, in black on white
    one = figure("f1-by-language", results, language="sw", theme="paper")
    assert [row["f1_mean"] for row in values_of(one)] == pytest.approx([0.9, 0.7])
    assert one.to_dict()["config"]["background"] == "#ffffff"
    assert json.loads(one.to_json())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "f1-by-langauge"}, "no figure 'f1-by-langauge'; did you mean f1-by-language?"),
        ({"theme": "papr"}, "theme: no theme 'papr'; did you mean paper?"),
        ({"language": "sv"}, "language: no language 'sv'; there are: sw, yo"),
        ({"series": "mono"}, "no regime and settings in f1-by-language 'mono'; .*monolingual"),
        ({"embeddings": "both"}, "no word embeddings in f1-by-language 'both'; there are: "),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(results, wrong, message):
    words = {"name": "f1-by-language", "results": results} | wrong
    with pytest.raises(SweepError, match=message):
        figure(**words)


def test_tables_that_there_are_not_are_refused(results, tmp_path):
    with pytest.raises(SweepError, match="no table 'qualty'"):
        load(results)["qualty"]
    assert "qualty" not in load(results)
    with pytest.raises(SweepError, match="no kind of frames 'arrow'; there are: pandas, polars"):
        load(results, frames="arrow")
    with pytest.raises(SweepError, match="nothing: holds no results"):
        load(tmp_path / "nothing")


def test_nothing_to_draw_is_told(tmp_path):
    store = ResultStore(str(tmp_path))
    store.write_plan("demo", [])
    with pytest.raises(StoreError, match="no trials, run or planned"):
        figure("f1-by-language", store)


def test_without_polars_a_line_says_what_to_do(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install polars, or take pandas"):
        load(results, frames="polars")
