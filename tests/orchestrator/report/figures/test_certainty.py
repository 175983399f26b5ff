"""Figures of what can be told."""

import pandas as pd

from orchestrator.report.figures.certainty import (
    draw_conclusions,
    draw_intervals,
    draw_power,
    draw_profiles,
)


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
