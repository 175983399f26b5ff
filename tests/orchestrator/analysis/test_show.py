"""Tables of an analysis on a terminal."""

from dataclasses import replace

import pytest

from orchestrator.analysis.tables import ANALYSES
from tests.factories import PRUNING
from tests.orchestrator.analysis.committing import commit, shown_tables, tables_of


@pytest.mark.slow
def test_the_terminal_shows_every_table_at_a_hundred_columns(whole):
    text = shown_tables(whole)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for name, table in ANALYSES.items():
        assert f"{name}: {table.meaning[:20]}" in text
    first = whole[0].rows.to_pylist()[0]
    cell = f"{first['f1_mean']:.3f}({1000 * first['f1_std']:.0f})".removeprefix("0")
    line = next(line for line in text.splitlines() if line.strip().startswith("de "))
    assert line.split()[:3] == ["de", "dense", cell]
    assert line.split()[-1] == "2"


@pytest.mark.slow
def test_a_count_that_differs_is_written_above(store):
    for sparsity, seeds in ((0.0, 2), (0.5, 2), (0.9, 1)):
        for seed in range(seeds):
            commit(store, "sw", sparsity, seed, 0.5)
    line = next(
        line
        for line in shown_tables(tables_of(store).values()).splitlines()
        if line.strip().startswith("sw ")
    )
    assert line.split() == ["sw", "dense", ".500(0)", ".500(0)", ".500¹", "2"]


@pytest.mark.slow
def test_a_series_that_a_table_says_nothing_of_is_left_out(store):
    commit(store, "sw", 0.0, 0, 0.5)
    for scope in ("global", "layer"):
        commit(store, "sw", 0.5, 0, 0.5, pruning=replace(PRUNING, scope=scope))
    lines = shown_tables([tables_of(store)["layer_sparsity"]]).splitlines()
    titles = [line.partition(":")[0] for line in lines if ": mean sparsity" in line]
    assert titles == ["monolingual, pruning.scope=global", "monolingual, pruning.scope=layer"]
