"""Figures of what can be told."""

from dataclasses import replace

import pandas as pd

from orchestrator.report.figures.certainty import (
    draw_conclusions,
    draw_intervals,
    draw_power,
    draw_profiles,
    draw_tests,
)
from orchestrator.report.material import read_material
from orchestrator.report.sections import FIGURES
from orchestrator.results.store import ResultStore
from tests.factories import PRUNING
from tests.orchestrator.analysis.committing import commit


def test_every_change_of_the_analysis_has_its_interval(material):
    table, found = draw_intervals(material).table, material.table("significance")
    assert table["low"].tolist() == found["low"].tolist()
    assert set(table["margin"]) == {0.01}


def test_dense_runs_have_a_profile_beside_both_embeddings(material):
    drawing = draw_profiles(material)
    dense = drawing.table[drawing.table["target_sparsity"] == 0]
    assert dense["embeddings"].isna().all()
    assert drawing.num_trials == 30


def test_the_mean_over_languages_belongs_to_every_language(material):
    table = draw_power(material).table
    means = table[table["language"].isna()]
    assert set(means["language_name"]) == {"mean of 2 languages"}
    assert means["seeds_needed"].notna().any()
    assert set(means["series"]) == {"monolingual"}  # together they are trained, and not apart


def test_conclusions_are_of_each_series_and_embeddings(material):
    table = draw_conclusions(material).table
    places = table[["series", "embeddings"]].drop_duplicates()
    assert len(places) == 4
    assert isinstance(table["sentence"], pd.Series)
    assert table["sentence"].str.endswith(".").all()


def test_changes_that_are_all_0_are_said_to_be_the_reason_why_there_is_no_p(tmp_path):
    store = ResultStore(str(tmp_path))
    for language in ("sw", "yo"):
        for sparsity in (0.0, 0.5):
            commit(store, language, sparsity, 0, 0.0)
    drawing = draw_tests(read_material(store, FIGURES["tests"].needs))
    assert drawing.chart is None
    assert drawing.notes[-1].endswith(": no language with a change other than 0.")


def test_a_dense_trial_that_two_ways_of_pruning_share_counts_once(tmp_path):
    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.0, 0, 0.5)
    for scope in ("global", "layer"):
        commit(store, "sw", 0.5, 0, 0.5, pruning=replace(PRUNING, scope=scope))
    drawing = draw_profiles(read_material(store, FIGURES["profiles"].needs))
    assert drawing.table["series"].nunique() == 2
    assert drawing.num_trials == 3
