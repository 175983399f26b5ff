"""The frames that analyses start from."""

from dataclasses import replace

from orchestrator.analysis.inputs.frames import tier
from tests.factories import (
    make_circumstances,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, commit_together, rows_of, tables_of


def test_what_is_known_of_a_language_stands_beside_its_f1(store):
    commit(store, "sw", 0.5, 0, 0.5, num_train=640)
    commit(store, "xx", 0.5, 0, 0.5, num_train=30)
    commit_together(store, 0.5, 0, {"de": 0.5, "sw": 0.5})
    names = ("regime", "language", "num_train_sentences", "tier", "script", "family")
    assert rows_of(store, "quality", *names) == [
        ("monolingual", "sw", 640, "up to 1,000", "Latn", "Niger-Congo"),
        ("monolingual", "xx", 30, None, None, None),
        ("multilingual", "de", 20_000, "over 10,000", "Latn", "Indo-European"),
        ("multilingual", "sw", 1_000, "up to 1,000", "Latn", "Niger-Congo"),
    ]
    assert (
        "No tier, script and family are known of xx: group is null."
        in tables_of(store)["groups"].notes
    )


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
