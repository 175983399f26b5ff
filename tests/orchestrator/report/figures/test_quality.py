"""Figures of F1 and its change, by hand."""

import pytest

from orchestrator.report.figures.quality import (
    draw_change,
    draw_f1_by_group,
    draw_f1_by_language,
    draw_tolerance,
    draw_verdicts,
)
from orchestrator.report.material import read_material
from orchestrator.results.store import ResultStore
from tests.factories import make_trial_spec
from tests.orchestrator.analysis.committing import commit

NEEDS = ("quality", "groups", "significance", "tally", "tolerance")


@pytest.fixture
def two_languages(tmp_path):
    """Swahili loses 0.3 in each seed, English nothing; at 0.9 nothing was run."""
    store = ResultStore(str(tmp_path))
    specs = []
    for language, sparse_f1, size in (("sw", 0.2, 1_000), ("en", 0.5, 20_000)):
        for seed in range(3):
            of_language = {"seed": seed, "num_train": size}
            specs.append(commit(store, language, 0.0, f1=0.5, **of_language))
            specs.append(commit(store, language, 0.5, f1=sparse_f1 + 0.0001 * seed, **of_language))
            specs.append(make_trial_spec(language=language, target_sparsity=0.9, seed=seed))
    store.write_plan("demo", specs)
    return read_material(store, NEEDS)


def test_dense_trials_belong_to_dense_and_pruned_embeddings(material):
    table = draw_f1_by_language(material).table
    dense = table[table["target_sparsity"] == 0]
    assert len(dense) == 4
    assert dense["embeddings"].isna().all()
    assert set(table.loc[table["target_sparsity"] > 0, "embeddings"]) == {"dense", "pruned"}


@pytest.mark.slow
def test_what_was_planned_and_has_no_f1_stays_in_the_figure(two_languages):
    drawing = draw_f1_by_language(two_languages)
    missing = drawing.table[drawing.table["f1_mean"].isna()]
    assert missing["target_sparsity"].tolist() == [0.9, 0.9]
    assert missing["num_holes"].tolist() == [3, 3]
    assert drawing.num_trials == 12


@pytest.mark.slow
def test_lines_by_group_are_languages_and_their_means(two_languages):
    table = draw_f1_by_group(two_languages).table
    languages = table[table["grouping"].isna()]
    assert set(languages["who"]) == {"en English", "sw Swahili"}
    of_script = table[(table["grouping"] == "script") & (table["target_sparsity"] == 0.5)]
    assert of_script["group"].tolist() == ["Latn"]
    assert of_script["who"].tolist() == ["mean of 2 languages"]
    assert of_script["f1"].tolist() == [pytest.approx((0.2001 + 0.5001) / 2)]


@pytest.mark.slow
def test_changes_are_ordered_by_code_data_and_loss(two_languages):
    table = draw_change(two_languages).table
    measured = table[table["target_sparsity"] == 0.5].set_index("language")
    assert measured["delta_dense_mean"].to_dict() == {
        "sw": pytest.approx(-0.2999),
        "en": pytest.approx(0.0001),
    }
    assert measured.loc["en", "place_name"] < measured.loc["sw", "place_name"]
    assert measured.loc["sw", "place_tier"] < measured.loc["en", "place_tier"]
    assert measured.loc["sw", "place_change"] < measured.loc["en", "place_change"]


@pytest.mark.slow
def test_verdicts_count_every_language_once(two_languages):
    table = draw_verdicts(two_languages).table
    assert table.groupby("target_sparsity")["num_languages"].sum().to_dict() == {0.5: 2, 0.9: 2}
    counts = table.set_index(["target_sparsity", "verdict"])["num_languages"]
    assert counts[0.5, "worse"] == 1
    assert counts[0.9, "not compared"] == 2


@pytest.mark.slow
def test_tolerance_draws_what_is_undecided_and_what_is_missing_as_such(two_languages):
    drawing = draw_tolerance(two_languages)
    by_place = drawing.table.set_index(["language", "target_sparsity"])
    assert by_place.loc[("sw", 0.5), "verdict"] == "worse"
    assert by_place.loc[("sw", 0.9), "sign"] == "–"
    assert by_place.loc[("sw", 0.5), "tolerated_sparsity"] == 0
    assert by_place.loc[("en", 0.5), "tolerated_sparsity"] == 0.5


@pytest.mark.slow
def test_without_a_dense_trial_it_is_said_that_nothing_can_be_compared(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.5, 0, 0.5)
    material = read_material(store, NEEDS)
    for draw in (draw_change, draw_tolerance):
        assert draw(material).notes == (
            "No sparse trial has a dense one of the same seed and settings to be compared with.",
        )
    assert draw_f1_by_language(material).num_trials == 1


@pytest.mark.slow
def test_the_mean_of_a_group_is_of_the_same_languages_at_each_sparsity(tmp_path):
    """Swahili is missing at 0.9: Latin would seem to gain there."""
    store = ResultStore(str(tmp_path))
    f1s = {"sw": (0.3, 0.2), "en": (0.8, 0.7, 0.6), "yo": (0.7, 0.6, 0.5)}
    for language, of_language in f1s.items():
        for sparsity, f1 in zip((0.0, 0.5, 0.9), of_language, strict=False):
            for seed in range(2):
                commit(store, language, sparsity, seed, f1 + 0.001 * seed)
    drawing = draw_f1_by_group(read_material(store, NEEDS))
    lines = drawing.table[drawing.table["group"] == "Latn"].set_index("target_sparsity")
    assert lines["f1"].round(2).to_dict() == {0.0: 0.75, 0.5: 0.65, 0.9: 0.55}
    assert set(lines["who"]) == {"mean of 2 of 3 languages"}
    assert lines["low"].isna().to_dict() == {0.0: True, 0.5: True, 0.9: False}
    assert not any("num_languages differs" in note for note in drawing.notes)
    languages = drawing.table[drawing.table["grouping"].isna()]
    assert set(languages["who"]) == {"sw Swahili", "en English", "yo Yoruba"}
