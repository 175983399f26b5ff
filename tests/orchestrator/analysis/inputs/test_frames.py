"""The frames that analyses start from."""

from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest

from orchestrator.analysis.inputs.frames import families_of, tier
from orchestrator.spec.sweep_spec import SweepSpec
from tests.factories import (
    STARTED_AT,
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, commit_together, rows_of, tables_of


@pytest.mark.slow
def test_what_is_known_of_a_language_stands_beside_its_f1(store):
    commit(store, "sw", 0.5, 0, 0.5, num_train=640)
    commit(store, "xx", 0.5, 0, 0.5, num_train=30)
    commit_together(store, 0.5, 0, {"de": 0.5, "sw": 0.5})
    names = ("regime", "language", "num_train_sentences", "tier", "script", "family")
    assert rows_of(store, "quality", *names) == [
        ("monolingual", "sw", 640, "up to 1,000", "Latn", "Niger-Congo"),
        ("monolingual", "xx", 30, "up to 100", None, None),
        ("multilingual", "de", 20_000, "over 10,000", "Latn", "Indo-European"),
        ("multilingual", "sw", 1_000, "up to 1,000", "Latn", "Niger-Congo"),
    ]
    notes = [note for note in tables_of(store)["groups"].notes if "group is null" in note]
    assert notes == [f"No {name} is known of xx: group is null." for name in ("script", "family")]


def test_what_a_sweep_says_of_languages_counts_before_the_table(store):
    """The one whose trial began last counts, of what two sweeps say of a language."""
    facts = [
        {"xx": {"branch": "Xic", "script": "Ethi", "tier": "up to 100"}, "sw": {"script": "Arab"}},
        {"xx": {"script": "Latn", "family": "Niger-Congo"}},
        {},
    ]
    for seed, table in enumerate(facts):
        sweep = SweepSpec(
            name="demo",
            results="r",
            languages=["xx", "sw"],
            sparsities=[0],
            seeds=[0],
            language_table=table,
        )
        for language in ("xx", "sw"):
            store.commit_completed(
                make_trial_spec(language=language, seed=seed),
                make_trial_result(
                    scores=(make_score(language=language),), num_train_sentences=2_000
                ),
                **make_circumstances(
                    asked_json=sweep.model_dump_json(),
                    started_at=STARTED_AT + timedelta(hours=seed),
                    ended_at=STARTED_AT + timedelta(hours=seed + 1),
                ),
            )
    names = ("language", "tier", "script", "family")
    assert set(rows_of(store, "quality", *names)) == {
        # Of WikiANN's Swahili there are 1,000.
        ("sw", "up to 10,000", "Arab", "Niger-Congo"),
        ("xx", "up to 10,000", "Latn", "Niger-Congo"),
    }


def test_sentences_of_a_multilingual_trial_are_counted_up_to_its_limit(store):
    corpus = replace(make_trial_spec().corpus, max_train_sentences=5_000)
    spec = make_trial_spec(regime="multilingual", languages=("de", "sw"), corpus=corpus)
    scores = tuple(make_score(language=language) for language in ("de", "sw"))
    store.commit_completed(
        spec, make_trial_result(scores=scores, predictions=()), **make_circumstances()
    )
    assert rows_of(store, "quality", "language", "num_train_sentences") == [
        ("de", 5_000),
        ("sw", 1_000),
    ]


def test_tiers_are_bounded_by_the_published_sizes():
    sizes = (100, 1_000, 5_000, 10_000, 15_000, 20_000)
    names = [
        "up to 100",
        "up to 1,000",
        "up to 10,000",
        "up to 10,000",
        "over 10,000",
        "over 10,000",
    ]
    assert [tier(size) for size in sizes] == names


def test_a_language_of_no_known_family_is_one_by_itself():
    rows = pd.DataFrame(
        {"language": ["sw", "xx", "sw"], "family": ["Niger-Congo", "", "Niger-Congo"]}
    )
    assert families_of(rows) == {"sw": "Niger-Congo", "xx": "xx"}
