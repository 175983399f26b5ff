"""Shares of sentences that differ."""

import pandas as pd

from orchestrator.report.figures.disagreement import count_pairs, draw_profile, draw_shares


def test_shares_are_those_of_the_analysis(material):
    table, found = draw_shares(material).table, material.table("disagreement")
    assert table["cross_share"].tolist() == found["cross_share"].tolist()
    assert table["dense_share"].notna().all()
    assert set(table["language_name"]) == {"de German", "my Burmese"}


def test_a_trial_on_several_languages_counts_once():
    place = {"series": "s", "embeddings": "dense", "target_sparsity": 0.5}
    rows = [
        place | {"regime": regime, "num_pairs": number}
        for regime, number in (("monolingual", 2), ("monolingual", 3), ("multilingual", 4))
    ]
    assert count_pairs(pd.DataFrame([*rows, rows[-1]])) == 2 + 3 + 4


def test_properties_are_named(material):
    table = draw_profile(material).table
    assert set(table["property"]) == {
        "words",
        "entities",
        "entities not in train",
        "sub-words a word",
    }
