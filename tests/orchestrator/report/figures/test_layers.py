"""Where the zeros are, by hand."""

import re
from dataclasses import replace

import pytest

from orchestrator.report.export import to_rows
from orchestrator.report.figures.layers import TOO_FEW, draw_layers, draw_used_embeddings
from orchestrator.report.material import read_material
from orchestrator.report.theme import config
from orchestrator.results.store import ResultStore
from tests.factories import PRUNING, make_vocabulary
from tests.orchestrator.analysis.topics.test_layers import commit_layers

QUERY = "encoder.layer.{}.attention.self.query.weight"
WORDS = "embeddings.word_embeddings.weight"


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path))


def test_layers_stand_in_the_order_of_their_numbers_behind_what_is_in_none(store):
    zeros = {WORDS: 0, QUERY.format(2): 4, QUERY.format(10): 6}
    commit_layers(store, 0.5, 0, zeros)
    commit_layers(store, 0.5, 1, zeros | {QUERY.format(2): 5})
    drawing = draw_layers(read_material(store, ("layer_sparsity",)))
    assert drawing.table[["kind", "depth", "sparsity_mean"]].values.tolist() == [
        ["embeddings.word_embeddings", "–", 0.0],
        ["attention.self.query", "2", 0.45],
        ["attention.self.query", "10", 0.6],
    ]
    x = drawing.chart.to_dict()["spec"]["layer"][0]["encoding"]["x"]
    assert x["sort"] == ["–", "2", "10"]
    assert drawing.num_trials == 2
    assert drawing.text[0].endswith("No matrix has lost all of its weights.")


def test_a_matrix_without_weights_is_named(store):
    commit_layers(store, 0.5, 0, {QUERY.format(0): 5, QUERY.format(1): 5})
    commit_layers(store, 0.9, 0, {QUERY.format(0): 8, QUERY.format(1): 10})
    drawing = draw_layers(read_material(store, ("layer_sparsity",)))
    assert "this happened to 1 of 2 matrices, from sparsity 0.9 on." in drawing.text[0]
    assert drawing.table["num_collapsed"].tolist() == [0, 0, 0, 1]


@pytest.mark.slow
def test_cells_are_means_of_the_same_languages_and_of_the_one_that_is_chosen(store):
    """In what Vega draws. Yoruba has nothing at 0.9; at 0.98 there is one of four languages."""
    zeros = {QUERY.format(0): 5, QUERY.format(1): 6}
    for language in ("af", "en", "sw", "yo"):
        for sparsity in (0.5, 0.9, 0.98):
            if (language, sparsity) == ("yo", 0.9) or (sparsity == 0.98 and language != "af"):
                continue
            commit_layers(store, sparsity, 0, zeros, language=language)
    drawing = draw_layers(read_material(store, ("layer_sparsity",)))
    for rows, found, num_signs, headings in (
        (drawing.table, {3, 1}, 2, 3),
        (drawing.table[drawing.table["language"] == "yo"], {1}, 0, 0),
    ):
        svg = drawn(drawing, rows)
        assert {int(number) for number in re.findall(r"languages: (\d+)", svg)} == found
        assert svg.count(f">{TOO_FEW}<") == num_signs
        assert svg.count(">3 of 4 languages<") == headings


def drawn(drawing, rows) -> str:
    import vl_convert

    spec = drawing.chart.to_dict() | {"datasets": {"rows": to_rows(rows)}}
    svg: str = vl_convert.vegalite_to_svg(spec, config=config("light"))
    return svg


def test_dense_trials_have_no_zeros_to_show(store):
    commit_layers(store, 0.0, 0, {WORDS: 0})
    drawing = draw_layers(read_material(store, ("layer_sparsity",)))
    assert drawing.notes == ("There is no sparse trial yet.",)


def test_the_rows_that_a_language_uses_stand_beside_all_of_them(store):
    """4 of the 320 weights that Swahili uses are zero in each seed."""
    for seed in range(2):
        used = {"vocabulary": (make_vocabulary(),)}
        pruning = replace(PRUNING, embedding_sparsity=0.5)
        commit_layers(store, 0.9, seed, {WORDS: 5}, pruning=pruning, **used)
        commit_layers(store, 0.9, seed, {WORDS: 0}, **used)
    drawing = draw_used_embeddings(read_material(store, ("layer_sparsity",)))
    names = ["language_name", "target_sparsity", "embedding_sparsity", "sparsity_mean"]
    assert drawing.table[names].values.tolist() == [["sw Swahili", 0.9, 0.5, 4 / 320]]
    assert drawing.num_trials == 2


def test_dense_embeddings_alone_are_nothing_to_compare(store):
    commit_layers(store, 0.9, 0, {WORDS: 0})
    drawing = draw_used_embeddings(read_material(store, ("layer_sparsity",)))
    assert "No trial with pruned word embeddings" in drawing.notes[0]
