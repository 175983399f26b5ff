"""Kinds of error: by hand, and again by plain loops over tags."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.inputs.predictions import PREDICTIONS_READ
from orchestrator.analysis.topics.error_kinds import COUNTED, count_kinds
from orchestrator.errors import StoreError
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results
from tests.factories import make_predicted_set, make_trial_spec
from tests.orchestrator.analysis.committing import commit, commit_together, rows_of, tables_of
from tests.wikiann_tags import TAGS
from workers.data.entities import flatten_labels
from workers.scoring.evaluate import count_entities

RULES = ("strict", "lenient")


def spans(tags, matching):
    """Entities of a sentence by a loop over its tags: first word, word after the last, type. And
    how many tags continue nothing."""
    found, open_type, is_counted, num_ill_formed, start = [], None, False, 0, 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        goes_on = prefix == "I" and kind == open_type
        if open_type is not None and not goes_on:
            if is_counted:
                found.append((start, place, open_type))
            open_type = None
        if prefix != "O" and not goes_on:
            open_type, start = kind, place
            num_ill_formed += prefix == "I"
            is_counted = prefix == "B" or matching == "lenient"
    return found, num_ill_formed


def kind_of(entity, others, none):
    start, end, kind = entity
    touching = [other for other in others if any(start <= i < end for i in range(*other[:2]))]
    if entity in touching:
        return "correct"
    if any(other[:2] == (start, end) for other in touching):
        return "type"
    if any(other[2] == kind for other in touching):
        return "boundary"
    return "boundary_and_type" if touching else none


def slow_counts(gold, predicted, matching):
    """`COUNTED` of one sentence, but for tags that are well-formed."""
    true, _ = spans(gold, matching)
    guessed, num_ill_formed = spans(predicted, matching)
    found = Counter(("true", kind_of(one, guessed, "missed")) for one in true)
    found += Counter(("predicted", kind_of(one, true, "spurious")) for one in guessed)
    found["tags", "ill_formed"] = num_ill_formed
    return [found[name] for name in COUNTED[:-1]]


def counted(sentences, matching):
    """The counts of (gold, predicted) tags of sentences, and what `evaluate` counts."""
    (gold, offsets), (predicted, _) = (
        flatten_labels([[TAGS.index(tag) for tag in sentence[side]] for sentence in sentences])
        for side in (0, 1)
    )
    scored = count_entities(gold, predicted, offsets, matching)
    return count_kinds(gold, predicted, offsets, matching).sum(-1), scored


SENTENCE = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=12).map(
    lambda words: ([one for one, _ in words], [other for _, other in words])
)


@pytest.mark.slow
@given(st.lists(SENTENCE, max_size=4), st.sampled_from(RULES))
def test_counts_are_those_of_loops_over_tags_and_those_that_are_scored(sentences, matching):
    counts, scored = counted(sentences, matching)
    expected = [slow_counts(*sentence, matching) for sentence in sentences]
    assert counts[:, :-1].tolist() == expected
    assert counts[:, :5].sum(1).tolist() == scored.support.sum(1).tolist()
    assert counts[:, 5:10].sum(1).tolist() == scored.num_predicted.sum(1).tolist()
    for side in (0, 5):
        assert counts[:, side].tolist() == scored.num_correct.sum(1).tolist()
    lenient = counted(sentences, "lenient")[1].num_predicted.sum(1)
    assert counts[:, 10:].sum(1).tolist() == lenient.tolist()


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ("B-PER I-PER O", "B-PER I-PER O", "true correct, predicted correct"),
        ("B-PER I-PER O", "B-ORG I-ORG O", "true type, predicted type"),
        ("B-PER I-PER O", "B-PER O O", "true boundary, predicted boundary"),
        ("B-PER I-PER O", "O B-LOC I-LOC", "true boundary_and_type, predicted boundary_and_type"),
        ("B-PER O O", "O O B-PER", "true missed, predicted spurious"),
        # One predicted entity over two true ones: none is used up, and type goes before order.
        ("B-PER B-PER O", "B-PER I-PER O", "true boundary, true boundary, predicted boundary"),
        ("B-LOC B-PER O", "B-PER I-PER O",
         "true boundary_and_type, true boundary, predicted boundary"),
        ("B-PER I-PER I-PER", "B-LOC B-PER B-PER",
         "true boundary, predicted boundary_and_type, predicted boundary, predicted boundary"),
        # Strict takes no entity from a tag that continues nothing, also where its words are right.
        ("B-PER I-PER O", "I-PER I-PER O", "true missed, tags ill_formed"),
        ("O O O", "O B-PER I-LOC", "predicted spurious, tags ill_formed"),
    ],
)  # fmt: skip
def test_what_an_entity_is(gold, predicted, expected):
    counts, _ = counted([(gold.split(), predicted.split())], "strict")
    found = Counter(dict(zip(COUNTED[:-1], counts[0, :-1].tolist(), strict=True)))
    assert found == Counter(tuple(one.split()) for one in expected.split(", "))


def rows_of_errors(store, *columns, part=("none", "all", "micro")):
    """The rows of the table `errors` of a perturbation, subset and entity type."""
    rows = rows_of(store, "errors", "perturbation", "subset", "entity_type", *columns)
    return [row[3:] for row in rows if row[:3] == part]


def as_rows(rows):
    return {(side, kind): numbers for side, kind, *numbers in rows}


def test_means_over_seeds_and_changes_to_the_same_seeds_dense_trial(store):
    dense = make_predicted_set()  # of three entities two are found
    sparse = replace(
        dense,
        predicted=[["I-LOC", "O"], ["B-ORG", "I-ORG", "O"]],
        num_predicted=[0, 1],
        num_correct=[0, 0],
    )
    nothing = replace(
        dense, predicted=[["O", "O"], ["O"] * 3], num_predicted=[0, 0], num_correct=[0, 0]
    )
    for seed, predicted in enumerate((sparse, nothing, None)):
        commit(store, "sw", 0.0, seed, 0.8, predictions=(dense,))
        commit(store, "sw", 0.5, seed, 0.8, predictions=(predicted,) if predicted else ())
    names = ("target_sparsity", "side", "kind", "num_mean", "total_mean", "share_mean",
             "delta_dense_mean", "num_seeds", "num_pairs", "num_holes")  # fmt: skip
    rows = rows_of_errors(store, *names)
    of_dense = as_rows(row[1:] for row in rows if row[0] == 0)
    assert of_dense["true", "correct"] == [2.0, 3.0, pytest.approx(2 / 3), None, 3, 0, 0]
    assert of_dense["predicted", "correct"] == [2.0, 2.0, 1.0, None, 3, 0, 0]
    of_sparse = as_rows(row[1:] for row in rows if row[0] == 0.5)
    assert list(of_sparse) == list(COUNTED[:-1])
    change = pytest.approx
    assert of_sparse["true", "missed"] == [2.5, 3.0, change(5 / 6), change(1 / 2), 2, 2, 1]
    assert of_sparse["true", "boundary_and_type"] == [
        0.5,
        3.0,
        change(1 / 6),
        change(1 / 6),
        2,
        2,
        1,
    ]
    # Of the seed that predicts nothing there is no share.
    assert of_sparse["predicted", "correct"] == [0.0, 0.5, 0.0, -1.0, 2, 1, 1]
    assert of_sparse["tags", "ill_formed"] == [0.5, 1.0, 0.5, 0.5, 2, 1, 1]
    (std,) = {
        row[2] for row in rows_of_errors(store, "target_sparsity", "kind", "share_std")
        if row[:2] == (0.5, "missed")
    }  # fmt: skip
    assert std == pytest.approx(np.std([2 / 3, 1], ddof=1))


def test_without_predictions_numbers_are_null_and_a_note_says_why(store):
    commit(store, "sw", 0.0, 0, 0.8, predictions=(make_predicted_set(),))
    commit(store, "sw", 0.5, 0, 0.8)
    commit_together(store, 0.0, 0, {"sw": 0.5, "yo": 0.5})
    table = tables_of(store, only=["errors"])["errors"]
    assert "3 of 4 cells and languages have no predictions: null" in table.notes[0]
    missing = [row for row in table.rows.to_pylist() if not row["num_seeds"]]
    assert len(missing) == 3 * 11 * 7
    assert {row["num_mean"] for row in missing} == {row["share_mean"] for row in missing} == {None}
    assert {row["num_holes"] for row in missing} == {1}


def test_what_was_only_planned_has_no_kinds(store):
    store.write_plan("demo", [make_trial_spec(target_sparsity=0.0)])
    assert {row[0] for row in rows_of_errors(store, "num_mean")} == {None}


@pytest.mark.parametrize(("matching", "expected"), [("strict", 0.0), ("lenient", 1.0)])
def test_entities_are_those_of_the_rule_of_the_comparison(store, matching, expected):
    evaluation = replace(make_trial_spec().evaluation, matching=matching)
    predicted = make_predicted_set(
        predicted=[["O", "I-LOC"], ["I-PER", "O", "I-LOC"]], num_predicted=[0, 0]
    )
    commit(store, "sw", 0.0, 0, 0.8, evaluation=evaluation, predictions=(predicted,))
    rows = as_rows(rows_of_errors(store, "side", "kind", "share_mean"))
    assert rows["true", "correct"] == [expected]
    assert rows["tags", "ill_formed"] == [1.0]


def test_a_set_of_other_sentences_than_were_predicted_is_refused(store):
    one = make_predicted_set()
    other = replace(one, predicted=[["O"], ["B-PER", "O", "O"]])
    commit(store, "sw", 0.0, 0, 0.8, predictions=(other,))
    with pytest.raises(StoreError, match="set 00112233445566ff has other words than predictions"):
        tables_of(store, only=["errors"])


@pytest.mark.slow
def test_totals_are_those_of_stored_scores_and_counts_of_stored_predictions(tmp_path):
    """Whole results: made-up predictions of two languages, counted anew by loops over tags."""
    folder = str(tmp_path / "results")
    make_results(folder, ("de", "my"), sparsities=(0.9,), seeds=(0, 1), num_sentences=20)
    store = ResultStore(folder)
    scores = {
        (row["trial_id"], row["language"]): row
        for row in store.read("scores").to_pylist()
        if (row["split"], row["subset"], row["entity_type"]) == ("test", "all", "micro")
    }
    gold = {
        (row["set_id"], row["sentence"]): row["gold"] for row in store.read("sentences").to_pylist()
    }
    found = {}
    ids = sorted({trial_id for trial_id, _ in scores})
    for trial_id, rows in store.read_each("predictions", ids, PREDICTIONS_READ):
        for row in rows.to_pylist():
            tags = gold[row["set_id"], row["sentence"]]
            counts = slow_counts(
                tags, row["predicted"], scores[trial_id, row["language"]]["matching"]
            )
            found.setdefault((trial_id, row["language"]), []).append(counts)
    cells = {}
    for place, counts in found.items():
        total, score = np.sum(counts, axis=0), scores[place]
        assert total[:5].sum() == score["support"]
        key = (score["regime"], score["language"], score["target_sparsity"],
               score["embedding_sparsity"])  # fmt: skip
        cells.setdefault(key, []).append(total)
    rows = rows_of_errors(store, "regime", "language", "target_sparsity", "embedding_sparsity",
                   "side", "kind", "num_mean")  # fmt: skip
    assert len(rows) == 11 * len(cells) == 11 * 2 * 2 * 3
    for *key, side, kind, num in rows:
        expected = np.mean(cells[tuple(key)], axis=0)[COUNTED.index((side, kind))]
        assert num == pytest.approx(expected)
