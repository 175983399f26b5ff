"""Files of a trial that contradict each other or themselves are found."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.parquet import encode_small
from orchestrator.results.schema import SCHEMA_VERSION, TABLES, TRIALS
from tests.factories import (
    make_predicted_set,
    make_trial_result,
    make_trial_spec,
    make_vocabulary,
)
from tests.orchestrator.results.committing import commit, fail, trial_file
from workers.result import DeviceStretch


def _problem(store, spec=None):
    (problem,) = store.verify([(spec or make_trial_spec()).trial_id()])
    return problem.what


def test_verify_finds_nothing_wrong_with_completed_trials(store):
    specs = [
        make_trial_spec(),
        make_trial_spec(target_sparsity=0.0),
        make_trial_spec(language="yo"),
    ]
    for spec in specs:
        commit(store, spec, make_trial_result(curve=()))
    assert store.verify(spec.trial_id() for spec in specs) == []


def test_verify_names_several_devices_and_finds_no_fault_in_them(store):
    devices = [DeviceStretch(name=name, from_step=step) for step, name in enumerate("ABA")]
    commit(store, result=make_trial_result(devices=tuple(devices)))
    (note,) = store.verify([make_trial_spec().trial_id()])
    assert (note.is_fault, note.what) == (False, "A and B")
    (row,) = store.read("trials").to_pylist()
    assert row["devices"] == [{"name": n, "from_step": s} for s, n in enumerate("ABA")]


def test_verify_names_each_trial_that_is_missing_or_failed(store):
    specs = [make_trial_spec(seed=seed) for seed in range(3)]
    commit(store, specs[0])
    fail(store, specs[2], kind="bad_data", message="tag B-MISC")
    problems = store.verify([spec.trial_id() for spec in specs])
    assert [problem.trial_id for problem in problems] == [specs[1].trial_id(), specs[2].trial_id()]
    assert problems[0].what == "missing: it has not been run to its end; run the sweep again"
    assert problems[1].what == "failed: bad_data: tag B-MISC; run with --retry-failed"


def test_verify_finds_a_truncated_row(store):
    commit(store)
    row = trial_file(store, "trials")
    row.write_bytes(row.read_bytes()[:-100])
    assert "cannot be read as Parquet" in _problem(store)
    assert "then run the sweep again" in _problem(store)


def test_verify_finds_a_flipped_bit_in_scores(store):
    commit(store)
    scores = trial_file(store, "scores")
    data = bytearray(scores.read_bytes())
    data[60] ^= 1
    scores.write_bytes(data)
    assert f"scores/{make_trial_spec().trial_id()}.parquet: cannot be read as Parquet" in _problem(
        store
    )


def test_verify_counts_the_entities_of_each_predicted_sentence_again(store):
    commit(store, result=make_trial_result(predictions=(make_predicted_set(num_correct=[1, 2]),)))
    trial_id = make_trial_spec().trial_id()
    assert _problem(store) == (
        f"sentences/00112233445566ff.parquet: trial {trial_id}, sentence 1: num_correct is 2, its "
        f"tags give 1; delete it and trials/{trial_id}.parquet, then run the sweep again"
    )


def test_verify_counts_by_the_rule_of_the_trial(store):
    predicted = [["O", "I-LOC"], ["B-PER", "O", "O"]]
    strict = make_predicted_set(predicted=predicted, num_predicted=[0, 1], num_correct=[0, 1])
    lenient = make_predicted_set(predicted=predicted)
    evaluation = make_trial_spec().evaluation
    for seed, (matching, one) in enumerate({"strict": strict, "lenient": lenient}.items()):
        spec = make_trial_spec(evaluation=replace(evaluation, matching=matching), seed=seed)
        commit(store, spec, make_trial_result(predictions=(one,)))
        assert store.verify([spec.trial_id()]) == []


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        (["O"], "sentence 0 has 1 tags for 2 words"),
        (["O", "B-MISC"], "sentence 0: a tag is 'B-MISC'; there are O, B-PER"),
    ],
)
def test_verify_finds_predictions_that_are_none(store, tags, what):
    predicted = [tags, ["B-PER", "O", "O"]]
    commit(store, result=make_trial_result(predictions=(make_predicted_set(predicted=predicted),)))
    assert what in _problem(store)


@pytest.mark.parametrize(
    ("confidences", "number"), [([255], "1"), ([255, None], "1"), (None, "none")]
)
def test_verify_finds_tags_without_their_probability(store, confidences, number):
    commit(store)
    file = trial_file(store, "predictions")
    rows = pq.read_table(file)
    given = [row["confidence"] for row in rows.to_pylist()]
    given[1:] = [confidences]
    place = rows.column_names.index("confidence")
    pq.write_table(
        rows.set_column(place, rows.field(place), pa.array(given, rows.field(place).type)), file
    )
    sentence, set_id = rows["sentence"][1].as_py(), rows["set_id"][1].as_py()
    num_tags = len(rows["predicted"][1])
    assert _problem(store) == (
        f"predictions/{file.name}: sentence {sentence} of set {set_id} has {number} of the "
        f"probabilities of its {num_tags} tags, schema version {SCHEMA_VERSION} stores all; delete "
        f"trials/{file.name}, then run the sweep again"
    )


def test_verify_finds_missing_and_incomplete_tables(store):
    one, other = make_trial_spec(), make_trial_spec(seed=1)
    commit(store, one)
    commit(store, other, make_trial_result(curve=make_trial_result().curve[:1]))
    trial_file(store, "curves", one).write_bytes(trial_file(store, "curves", other).read_bytes())
    assert "1 rows, its row in trials says 2; delete trials/" in _problem(store, one)
    trial_file(store, "curves", one).unlink()
    assert f"curves/{one.trial_id()}.parquet: missing; delete trials/" in _problem(store, one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_zeros": 321}, "sw has num_zeros 321 and num_weights 320; delete trials/"),
        ({"num_zeros": None}, "sw has num_zeros None and num_weights 320; delete trials/"),
        ({"num_pieces": 91}, "sw has num_pieces 91 and num_subwords 90; delete trials/"),
        ({"num_unknown": -1}, "sw has num_unknown -1 and num_subwords 90; delete trials/"),
    ],
)
def test_verify_finds_counts_of_the_vocabulary_that_cannot_be(store, changes, message):
    commit(store, result=make_trial_result(vocabulary=(make_vocabulary(**changes),)))
    assert message in _problem(store)


def test_verify_finds_files_of_another_trial(store):
    one, other = make_trial_spec(), make_trial_spec(seed=1)
    commit(store, one)
    commit(store, other)
    trial_file(store, "layers", one).write_bytes(trial_file(store, "layers", other).read_bytes())
    assert "holds rows of another trial" in _problem(store, one)
    trial_file(store, "trials", one).write_bytes(trial_file(store, "trials", other).read_bytes())
    assert f"its spec_json is trial {other.trial_id()}; delete it" in _problem(store, one)


def test_verify_finds_a_copy_under_the_name_of_a_later_run(store):
    commit(store)
    row = trial_file(store, "trials")
    copy = row.with_name(f"{row.stem}-2.parquet")
    copy.write_bytes(row.read_bytes())
    assert f"trials/{copy.name}: holds trial {row.stem}; delete it" in _problem(store)
    copy.unlink()
    assert store.verify([row.stem]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"language": "yo"}, "language is 'yo', its spec_json says 'sw'"),
        ({"training_lr": 0.5}, "training_lr is 0.5, its spec_json says 2e-05"),
        ({"spec_json": "{}"}, "spec_json: not a trial spec"),
    ],
)
def test_verify_finds_rows_that_contradict_themselves(store, change, message):
    commit(store)
    row = store.read("trials").to_pylist()[0]
    trial_file(store, "trials").write_bytes(encode_small(TRIALS, TRIALS.build([row | change])))
    assert message in _problem(store)


def test_verify_finds_a_second_row(store):
    commit(store)
    row = store.read("trials").to_pylist()[0]
    trial_file(store, "trials").write_bytes(encode_small(TRIALS, TRIALS.build([row, row])))
    assert "2 rows, exactly 1 is valid; delete it" in _problem(store)


def test_predictions_whose_sentences_are_gone_are_no_valid_trial(store):
    commit(store)
    trial_id = make_trial_spec().trial_id()
    (file,) = Path(store.location.path, "sentences").glob("*.parquet")
    file.unlink()
    (problem,) = store.verify([trial_id])
    assert problem.what == (
        f"sentences/{file.name}: missing; delete trials/{trial_id}.parquet (of trials with this "
        "set one is enough), then run the sweep again"
    )
    file_of_trial = Path(store.location.path, "trials", f"{trial_id}.parquet")
    file_of_trial.unlink()
    commit(store)
    assert store.verify([trial_id]) == []


def test_damaged_sentences_are_deleted_and_then_missing(store):
    commit(store)
    trial_id = make_trial_spec().trial_id()
    (file,) = Path(store.location.path, "sentences").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    message = "delete it; `sparsweep verify` then names a trial to run again"
    assert message in _problem(store)
    with pytest.raises(StoreError, match=re.escape(message)):
        store.compact()
    file.unlink()
    assert f"missing; delete trials/{trial_id}.parquet" in _problem(store)


def test_predictions_for_other_sentences_are_no_valid_trial(store):
    commit(store)
    (file,) = Path(store.location.path, "sentences").glob("*.parquet")
    rows = store.read("sentences").slice(0, 1)
    file.write_bytes(encode_small(TABLES["sentences"], rows))
    (problem,) = store.verify([make_trial_spec().trial_id()])
    assert "1 sentences, trial" in problem.what
    assert "has predictions for 2; delete it and trials/" in problem.what
