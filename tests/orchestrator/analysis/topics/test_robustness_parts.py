"""Robustness by entity type and by subset of the sentences, worked by hand and by SQL."""

from dataclasses import replace

import duckdb
import numpy as np
import pytest

from orchestrator.results.store import ResultStore
from tests.factories import (
    make_circumstances,
    make_robustness,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from tests.orchestrator.analysis.committing import commit, rows_of, shown_tables, tables_of
from tests.orchestrator.analysis.topics.test_robustness import ROBUSTNESS
from workers.result import PredictedSet, SentenceSet

NAMES = ("target_sparsity", "perturbation", "entity_type", "f1_clean_mean", "f1_perturbed_mean",
         "drop_mean", "delta_dense_mean", "delta_drop_mean", "num_seeds", "num_pairs",
         "num_holes")  # fmt: skip


def commit_types(store, sparsity, clean, perturbed, robustness=ROBUSTNESS):
    """A trial with these F1 of PER, and on each draw of perturbed sentences."""
    result = make_trial_result(
        scores=(make_score(f1=0.9), make_score(entity_type="PER", f1=clean)),
        robustness=tuple(
            make_robustness_score(draw=draw, entity_type=entity_type, f1=f1)
            for draw, of_draw in enumerate(perturbed)
            for entity_type, f1 in (("PER", of_draw), ("micro", 0.1))
        ),
        predictions=(),
    )
    spec = make_trial_spec(target_sparsity=sparsity, robustness=robustness)
    store.commit_completed(spec, result, **make_circumstances())


def found(store):
    return {row[:3]: row[3:] for row in rows_of(store, "robustness_types", *NAMES)}


def test_the_drop_of_a_type_is_of_its_own_clean_f1(store):
    commit_types(store, 0.0, 0.75, (0.5, 0.5))
    commit_types(store, 0.5, 0.5, (0.25, 0.0))
    rows = found(store)
    assert rows[0.5, "within_language", "PER"] == (0.5, 0.125, 0.375, -0.375, 0.125, 1, 1, 0)
    assert rows[0.0, "within_language", "PER"] == (0.75, 0.5, 0.25, None, None, 1, 0, 0)
    assert rows[0.0, "within_language", "LOC"] == (*(None,) * 5, 0, 0, 1)
    tables = tables_of(store, only=["robustness_types"])
    assert max(map(len, shown_tables(tables.values()).splitlines())) <= 100


def test_a_dense_trial_on_other_perturbed_sentences_is_no_pair(store):
    commit_types(store, 0.0, 0.75, (0.5,), replace(ROBUSTNESS, seed=1))
    commit_types(store, 0.5, 0.5, (0.25,))
    assert found(store)[0.5, "within_language", "PER"][-3:] == (1, 0, 0)


def test_without_perturbed_sentences_a_note_says_why(store):
    commit(store, "sw", 0.5, 0, 0.5)
    table = tables_of(store, only=["robustness_types"])["robustness_types"]
    assert table.rows.num_rows == 0
    assert "No perturbed sentences were scored" in table.notes[0]


WORDS = ["Nairobi", "Mombasa", "Tanga", "Tanga"]
IS_SEEN = [True, False, False, False]
TWO_DRAWS = make_robustness("within_language", draws=2)
SUBSET_NAMES = ("target_sparsity", "subset", "f1_clean_mean", "f1_perturbed_mean", "drop_mean",
                "delta_dense_mean", "delta_drop_mean", "num_seeds", "num_pairs", "num_holes",
                "num_sentences")  # fmt: skip


def predict(hits, perturbation="none", draw=0):
    """Sentences of one place each, which is found where a hit is 1; no perturbed one is seen."""
    is_clean = perturbation == "none"
    sentences = SentenceSet(
        set_id=f"{perturbation}-{draw}",
        language="sw",
        split="test",
        perturbation=perturbation,
        draw=draw,
        tokens=[[word if is_clean else f"{word}{draw}"] for word in WORDS],
        gold=[["B-LOC"]] * len(WORDS),
        num_subwords=[1] * len(WORDS),
        num_unseen_entities=[0] * len(WORDS),
        is_seen=IS_SEEN if is_clean else [False] * len(WORDS),
    )
    return PredictedSet(
        sentences=sentences,
        predicted=[["B-LOC" if hit else "O"] for hit in hits],
        confidence=[[255]] * len(hits),
        support=[1] * len(hits),
        num_predicted=list(hits),
        num_correct=list(hits),
    )


def commit_hits(store, sparsity, clean, *draws, seed=0, stored=("test", "perturbed")):
    sets = [] if clean is None or "test" not in stored else [predict(clean)]
    if "perturbed" in stored:
        sets += [predict(hits, "within_language", draw) for draw, hits in enumerate(draws)]
    evaluation = replace(make_trial_spec().evaluation, predictions=stored)
    settings = {"evaluation": evaluation, "robustness": TWO_DRAWS}
    settings["robustness_scores"] = tuple(
        make_robustness_score(draw=draw, f1=f1_of(hits)) for draw, hits in enumerate(draws)
    )
    f1 = f1_of(clean or (1, 0, 1, 0))
    commit(store, "sw", sparsity, seed, f1, predictions=tuple(sets), **settings)


def f1_of(hits):
    return 2 * sum(hits) / (len(hits) + sum(hits))


def test_perturbed_sentences_are_of_the_subsets_of_those_that_they_were_made_from(store):
    """Of n places c are found: F1 is 2c / (n + c), the mean over two draws."""
    commit_hits(store, 0.0, (1, 1, 1, 1), (1, 1, 1, 1), (1, 0, 1, 1))
    commit_hits(store, 0.5, (1, 0, 1, 1), (0, 0, 1, 1), (1, 0, 1, 0))
    rows = {row[:2]: row[2:] for row in rows_of(store, "robustness_subsets", *SUBSET_NAMES)}
    assert rows[0.5, "seen"] == (1.0, 0.5, 0.5, -0.5, 0.5, 1, 1, 0, 1)
    assert rows[0.5, "unseen"] == pytest.approx((0.8, 0.65, 0.15, -0.25, 0.05, 1, 1, 0, 3))
    assert rows[0.5, "distinct"] == pytest.approx((0.8, 0.65, 0.15, -0.25, 0.05, 1, 1, 0, 3))
    dense = (1 + 6 / 7) / 2
    expected = (6 / 7, 4 / 6, 6 / 7 - 4 / 6, 4 / 6 - dense, 6 / 7 - 4 / 6 - (1 - dense), 1, 1, 0, 4)
    assert rows[0.5, "all"] == pytest.approx(expected)
    assert rows[0.0, "seen"] == (1.0, 1.0, 0.0, None, None, 1, 0, 0, 1)


def test_subsets_again_by_sql(store):
    random = np.random.default_rng(0)
    for seed in range(3):
        for sparsity in (0.0, 0.5):
            hits = random.integers(0, 2, (3, len(WORDS))).tolist()
            commit_hits(store, sparsity, *hits, seed=seed)
    folder = store.location.path
    expected = duckdb.sql(f"""
        with origins as (
            select sentence, is_seen,
                   row_number() over (partition by tokens order by sentence) = 1 as is_first
            from '{folder}/sentences/none-0.parquet'
        ), places as (
            select p.*, subset from '{folder}/predictions/*.parquet' p join origins using (sentence)
            join (values ('all'), ('seen'), ('unseen'), ('distinct')) s(subset)
                on subset = 'all' or (subset = 'seen' and is_seen)
                or (subset = 'unseen' and not is_seen) or (subset = 'distinct' and is_first)
        ), draws as (
            select trial_id, perturbation, draw, subset,
                   2 * sum(num_correct) / nullif(sum(support + num_predicted), 0) as f1
            from places group by all
        ), drops as (
            select trial_id, subset, avg(f1) filter (perturbation = 'none') as clean,
                   avg(f1) filter (perturbation <> 'none') as perturbed
            from draws group by all
        )
        select target_sparsity, o.subset, avg(o.clean), avg(o.perturbed),
               avg(o.clean - o.perturbed), avg(o.perturbed - d.perturbed),
               avg(o.clean - o.perturbed - d.clean + d.perturbed), count(*), count(d.clean)
        from '{folder}/trials/*.parquet' t join drops o using (trial_id)
        left join drops d on d.trial_id = t.dense_trial_id and d.subset = o.subset group by all
    """).fetchall()
    rows = {row[:2]: row[2:] for row in rows_of(store, "robustness_subsets", *SUBSET_NAMES)}
    assert len(rows) == len(expected) == 8
    for row in expected:
        assert rows[row[:2]][:7] == pytest.approx(row[2:])


@pytest.mark.parametrize(
    ("clean", "stored", "note"),
    [
        ((1, 1, 1, 1), ("test",), "No predictions of perturbed sentences are stored"),
        (None, ("perturbed",), "It takes predictions of test as published, too"),
    ],
)
def test_without_stored_predictions_there_are_no_subsets(store, clean, stored, note):
    commit_hits(store, 0.5, clean, (1, 1, 1, 1), (1, 1, 1, 1), stored=stored)
    table = tables_of(store, only=["robustness_subsets"])["robustness_subsets"]
    assert table.rows.num_rows == 0
    assert note in " ".join(table.notes)
    assert note in " ".join(shown_tables([table]).split())


def test_subsets_are_those_of_test_whatever_split_is_analysed(store):
    commit_hits(store, 0.5, (1, 0, 1, 1), (0, 0, 1, 1), (1, 0, 1, 0))
    of_test, of_validation = (
        tables_of(store, split, only=["robustness_subsets"])["robustness_subsets"].rows
        for split in ("test", "validation")
    )
    assert of_test.num_rows == 4
    assert of_test.equals(of_validation)


@pytest.mark.slow
def test_intervals_of_drops_allow_for_sentences_whose_predictions_are_stored(store, tmp_path):
    random = np.random.default_rng(1)
    stores = {"seeds and sentences": store, "seeds": ResultStore(str(tmp_path / "without"))}
    for seed in range(3):
        for sparsity in (0.0, 0.5):
            hits = random.integers(0, 2, (3, len(WORDS)))
            hits[:, 0] = 1  # without any entity found in the others there is still an F1
            for allowed, into in stores.items():
                kinds = ("test", "perturbed") if "sentences" in allowed else ()
                commit_hits(into, sparsity, *hits.tolist(), seed=seed, stored=kinds)
    names = ("target_sparsity", "allows_for", "delta_drop_mean", "delta_drop_low")
    found = {}
    for allowed, of in stores.items():
        rows = {row[0]: row[1:] for row in rows_of(of, "robustness", *names)}
        assert rows[0.0][0] == "nothing"
        assert rows[0.5][0] == allowed
        found[allowed] = rows[0.5][1:]
        assert found[allowed][1] < found[allowed][0]
    assert found["seeds"][0] == pytest.approx(found["seeds and sentences"][0])
    assert found["seeds"][1] != found["seeds and sentences"][1]
