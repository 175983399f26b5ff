"""Figures of pruned and dense word embeddings, by hand."""

from dataclasses import replace

import pytest

from orchestrator.report.figures.embeddings import (
    draw_embeddings_by_language,
    draw_embeddings_overall,
    draw_equal_size,
    draw_size,
)
from orchestrator.report.material import read_material
from orchestrator.results.store import ResultStore
from tests.factories import PRUNING
from tests.orchestrator.analysis.committing import commit

NEEDS = ("embeddings", "embeddings_overall", "budget")
PRUNED = {"pruning": replace(PRUNING, embedding_sparsity=0.5)}


@pytest.fixture
def two_languages(tmp_path):
    """Pruned embeddings cost Swahili 0.1 and Yoruba 0.3."""
    store = ResultStore(str(tmp_path))
    for language, pruned in (("sw", 0.4), ("yo", 0.2)):
        for seed in range(2):
            commit(store, language, 0.0, seed, 0.6)
            commit(store, language, 0.5, seed, 0.5 + 0.001 * seed)
            commit(store, language, 0.5, seed, pruned + 0.002 * seed, **PRUNED)
    return read_material(store, NEEDS)


@pytest.mark.slow
def test_what_pruned_embeddings_cost(two_languages):
    overall = draw_embeddings_overall(two_languages)
    assert overall.table["delta_embeddings_mean"].tolist() == [pytest.approx(-0.2, abs=0.001)]
    assert overall.num_trials == 4
    table = draw_embeddings_by_language(two_languages).table.set_index("language_name")
    assert table["delta_embeddings_mean"].to_dict() == {
        "sw Swahili": pytest.approx(-0.1, abs=0.001),
        "yo Yoruba": pytest.approx(-0.3, abs=0.001),
    }
    assert (table["delta_embeddings_low"] < table["delta_embeddings_high"]).all()


@pytest.mark.slow
def test_lines_of_both_kinds_of_embeddings_begin_at_the_dense_model(two_languages):
    drawing = draw_size(two_languages)
    of_swahili = drawing.table[drawing.table["language"] == "sw"]
    assert of_swahili[["embeddings", "target_sparsity", "f1_mean"]].values.tolist() == [
        ["dense", 0.0, pytest.approx(0.6)],
        ["dense", 0.5, pytest.approx(0.5005)],
        ["pruned", 0.0, pytest.approx(0.6)],
        ["pruned", 0.5, pytest.approx(0.401)],
    ]
    assert drawing.num_trials == 12


@pytest.mark.slow
def test_equal_size_says_how_many_have_no_dense_one_of_their_size(two_languages):
    drawing = draw_equal_size(two_languages)
    budget = two_languages.table("budget")
    pruned = budget[budget["embeddings"] == "pruned"]
    if drawing.chart is None:
        assert pruned["delta_equal_size"].isna().all()
    else:
        assert drawing.table["delta_equal_size"].tolist() == pruned["delta_equal_size"].tolist()


def test_a_sweep_without_pruned_embeddings_names_the_field_that_prunes_them(tmp_path):
    store = ResultStore(str(tmp_path))
    for sparsity in (0.0, 0.5):
        commit(store, "sw", sparsity, 0, 0.5)
    material = read_material(store, NEEDS)
    for draw in (draw_embeddings_overall, draw_embeddings_by_language):
        assert "`pruning.embedding_sparsity: [off, same]`" in draw(material).notes[0]
