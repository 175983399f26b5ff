"""Figures of robustness, by hand."""

import pytest

from orchestrator.report.figures.robustness import (
    FIGURES,
    draw_robustness,
    draw_robustness_by_language,
    draw_robustness_change,
    draw_robustness_subsets,
    draw_robustness_types,
)
from orchestrator.report.material import read_material
from orchestrator.report.sections import needs
from orchestrator.results.store import ResultStore
from tests.factories import (
    make_not_applicable,
    make_robustness,
    make_robustness_score,
)
from tests.orchestrator.analysis.committing import commit
from tests.orchestrator.analysis.topics.test_robustness_parts import commit_hits

ASKED = {"robustness": make_robustness("within_language", "within_family")}


def commit_perturbed(store, sparsity, seed, clean, perturbed):
    """Swahili, whose family has no other language; persons are never found."""
    scores = (
        make_robustness_score(f1=perturbed),
        make_robustness_score(entity_type="PER", f1=0.0),
        make_not_applicable(),
    )
    commit(store, "sw", sparsity, seed, clean, robustness_scores=scores, **ASKED)


@pytest.fixture
def perturbed(tmp_path):
    """Dense 0.75 falls by 0.25, sparse 0.5 by 0.375."""
    store = ResultStore(str(tmp_path))
    for seed in range(2):
        commit_perturbed(store, 0.0, seed, 0.75, 0.5)
        commit_perturbed(store, 0.5, seed, 0.5, 0.125)
    return read_material(store, needs(FIGURES))


@pytest.mark.slow
def test_clean_and_perturbed_f1_stand_side_by_side(perturbed):
    drawing = draw_robustness(perturbed)
    of_language = drawing.table[drawing.table["perturbation"] == "entities of the same language"]
    assert of_language[
        ["target_sparsity", "f1_clean_mean", "f1_perturbed_mean"]
    ].values.tolist() == [
        [0.0, 0.75, 0.5],
        [0.5, 0.5, 0.125],
    ]
    assert drawing.num_trials == 4


@pytest.mark.slow
def test_sparse_trials_that_drop_further_are_above_zero(perturbed):
    drawing = draw_robustness_change(perturbed)
    rows = drawing.table.dropna(subset=["delta_drop_mean"])
    assert rows["delta_drop_mean"].tolist() == [0.125]
    assert drawing.num_trials == 2


@pytest.mark.slow
def test_what_does_not_apply_is_in_the_figure_with_its_reason(perturbed):
    table = draw_robustness_by_language(perturbed).table
    of_family = table[table["perturbation"] == "entities of the same family"]
    assert set(of_family["status"]) == {"not_applicable"}
    assert set(of_family["reason"]) == {"sw is alone in its family"}
    assert of_family["drop_mean"].isna().all()
    of_language = table[table["perturbation"] == "entities of the same language"]
    assert of_language["drop_mean"].tolist() == [0.25, 0.375]


def test_what_was_not_measured_is_said_with_what_measures_it(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.5, 0, 0.5)
    material = read_material(store, needs(FIGURES))
    for draw in (draw_robustness, draw_robustness_by_language, draw_robustness_types):
        assert "`robustness.perturbations` of a sweep asks for it." in draw(material).notes[0]


@pytest.mark.slow
def test_sentences_that_were_seen_in_training_drop_by_themselves(tmp_path, perturbed):
    """By the numbers of the analysis' own test: 1 to 0.5 where seen, 0.8 to 0.65 where not."""
    store = ResultStore(str(tmp_path / "hits"))
    commit_hits(store, 0.0, (1, 1, 1, 1), (1, 1, 1, 1), (1, 0, 1, 1))
    commit_hits(store, 0.5, (1, 0, 1, 1), (0, 0, 1, 1), (1, 0, 1, 0))
    table = draw_robustness_subsets(read_material(store, needs(FIGURES))).table
    sparse = table[table["target_sparsity"] == 0.5].set_index("subset")
    assert sparse["drop_mean"].to_dict() == pytest.approx(
        {"seen in training": 0.5, "not seen": 0.15}
    )
    (why,) = draw_robustness_subsets(perturbed).notes
    assert "`perturbed` in `evaluation.predictions`" in why


def test_means_of_a_half_done_sweep_are_of_the_same_languages(tmp_path):
    """English, on which models are better, is missing at 0.5: the mean would fall too far."""
    store = ResultStore(str(tmp_path))
    for language, dense, sparse in (("sw", 0.5, 0.4), ("yo", 0.4, 0.3), ("en", 0.9, None)):
        for sparsity, f1 in ((0.0, dense), (0.5, sparse)):
            scores = [make_robustness_score(language=language, f1=f1 and f1 - 0.1)]
            if f1 is not None:
                commit(store, language, sparsity, 0, f1, robustness_scores=scores, **ASKED)
    table = draw_robustness(read_material(store, needs(FIGURES))).table
    table = table[table["perturbation"] == "entities of the same language"]
    assert table["f1_clean_mean"].tolist() == pytest.approx([0.45, 0.35])
    assert table["f1_perturbed_mean"].tolist() == pytest.approx([0.35, 0.25])
    assert set(table["of_languages"]) == {"2 of 3 languages"}
