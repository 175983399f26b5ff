"""What is added to a completed trial: scores by another rule, and the files of one more run."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.errors import StoreError
from orchestrator.results.parquet import decode, encode_small
from orchestrator.results.schema import TABLES
from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import TableFiles
from tests.factories import (
    make_circumstances,
    make_not_applicable,
    make_predicted_set,
    make_robustness,
    make_robustness_score,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from workers.result import PredictedSet
from workers.storage import Location
from workers.trial import DonorPool, TrialSpec

SPEC = make_trial_spec()
LENIENT = replace(SPEC, evaluation=replace(SPEC.evaluation, matching="lenient"))
NARROW = replace(SPEC, evaluation=replace(SPEC.evaluation, splits=("test",)))
NARROW_RESULT = make_trial_result(f1=0.125, scores=(make_score(f1=0.125),))


@pytest.fixture
def store(tmp_path) -> ResultStore:
    return ResultStore(str(tmp_path))


def predicted_sets() -> tuple[PredictedSet, PredictedSet]:
    """Test as published and as one perturbation made it."""
    published = make_predicted_set()
    perturbed = replace(
        published.sentences, set_id="66ff001122334455", perturbation="within_language"
    )
    return published, replace(published, sentences=perturbed)


def commit(store: ResultStore, spec: TrialSpec = SPEC, **changes) -> bool:
    changes = {"predictions": predicted_sets()} | changes
    return store.commit_completed(spec, make_trial_result(**changes), **make_circumstances())


def add(store: ResultStore, spec: TrialSpec = LENIENT, f1: float = 0.75) -> None:
    key = store.file_keys()[spec.trial_id()]
    scores = [row for row in make_trial_result(f1=f1).scores if row.split == "test"]
    store.add_scores(key, spec, scores, [make_robustness_score(f1=f1), make_not_applicable()])


def micro(store: ResultStore, name: str = "scores") -> dict[str, float]:
    """Micro F1 on test, by rule of matching."""
    rows = store.read(name).to_pylist()
    is_wanted = {"entity_type": "micro", "split": "test", "subset": "all", "status": "scored"}
    return {
        row["matching"]: row["f1"]
        for row in rows
        if all(row.get(key, value) == value for key, value in is_wanted.items())
    }


def contents(folder: Path) -> dict[str, bytes]:
    """All that is stored but for compact files and records of attempts."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*.parquet")
        if file.parent.name not in ("compact", "attempts")
    }


def test_added_scores_are_read_beside_the_others_by_rule(store, tmp_path):
    commit(store, f1=0.5)
    before = contents(tmp_path)
    assert store.rescored() == {}
    add(store)
    assert micro(store) == {"strict": 0.5, "lenient": 0.75}
    assert micro(store, "robustness") == {"strict": 0.5, "lenient": 0.75}
    assert store.rescored() == {SPEC.trial_id(): {"lenient"}}
    assert before.items() <= contents(tmp_path).items(), "nothing stored was rewritten"
    assert store.verify([SPEC.trial_id()]) == []


@pytest.mark.parametrize("is_compacted_after", [False, True])
def test_added_scores_are_read_once_whether_they_were_compacted_or_not(store, is_compacted_after):
    commit(store)
    store.compact()
    add(store)
    if is_compacted_after:
        store.compact()
    assert micro(store) == {"strict": 0.5, "lenient": 0.75}
    rows = store.read("scores", ["matching", "split"]).to_pylist()
    assert len([row for row in rows if row["matching"] == "lenient"]) == 12
    assert len(rows) == 24 + 12


def test_added_scores_of_an_outcome_that_was_deleted_are_not_read(store, tmp_path):
    commit(store, f1=0.5)
    add(store)
    store.compact()
    (tmp_path / "trials" / f"{SPEC.trial_id()}.parquet").unlink()
    assert micro(store) == micro(store, "robustness") == store.rescored() == {}
    commit(store, f1=0.25)
    assert micro(store) == {"strict": 0.25}
    assert micro(store, "robustness").keys() == {"strict"}
    assert store.rescored() == {}
    add(store, f1=0.375)
    assert micro(store) == {"strict": 0.25, "lenient": 0.375}


def test_added_scores_are_read_in_a_copy_whose_files_were_written_in_another_order(store, tmp_path):
    commit(store, f1=0.5)
    add(store)
    os.utime(tmp_path / "scores" / f"{SPEC.trial_id()}-lenient.parquet", ns=(1, 1))
    os.utime(tmp_path / "robustness" / f"{SPEC.trial_id()}-lenient.parquet", ns=(1, 1))
    assert micro(store) == micro(store, "robustness") == {"strict": 0.5, "lenient": 0.75}
    assert store.rescored() == {SPEC.trial_id(): {"lenient"}}
    assert store.verify([SPEC.trial_id()]) == []


def test_what_was_killed_before_all_scores_were_added_counts_as_not_added(store, tmp_path):
    commit(store)
    add(store)
    (tmp_path / "scores" / f"{SPEC.trial_id()}-lenient.parquet").unlink()
    assert store.rescored() == {}
    add(store)
    assert store.rescored() == {SPEC.trial_id(): {"lenient"}}


def test_a_trial_that_predicted_perturbed_sets_only_gets_no_other_scores(store):
    commit(store)
    store.add_scores(SPEC.trial_id(), LENIENT, [], [make_robustness_score(f1=0.75)])
    assert micro(store) == {"strict": 0.5}
    assert micro(store, "robustness") == {"strict": 0.5, "lenient": 0.75}
    assert store.rescored() == {SPEC.trial_id(): {"lenient"}}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "robustness",
            None,
            r"^robustness/\w+-lenient.parquet: missing; delete scores/\w+-lenient",
        ),
        ("scores", "strict", r"^scores/\w+-lenient.parquet: holds rows of another trial or rule"),
    ],
)
def test_verify_names_added_scores_that_are_not_right(store, tmp_path, name, rows, message):
    commit(store)
    add(store)
    file = tmp_path / name / f"{SPEC.trial_id()}-lenient.parquet"
    file.unlink()
    if rows:
        shutil.copy(tmp_path / name / f"{SPEC.trial_id()}.parquet", file)
    (problem,) = store.verify([SPEC.trial_id()])
    assert re.search(message, problem.what)


def rewrite(tmp_path: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a file of scores that were added."""
    file = TableFiles(Location.parse(str(tmp_path))).path(name, f"{SPEC.trial_id()}-lenient")
    rows = decode(TABLES[name], file.read_bytes(), file).rows
    file.write_atomic(encode_small(TABLES[name], change(rows)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "scores",
            lambda rows: rows.slice(1),
            "11 rows, the trial's predictions give 12, none for sw test all PER",
        ),
        (
            "scores",
            lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
            "13 rows, the trial's predictions give 12, one too many for sw test all PER",
        ),
        (
            "scores",
            lambda rows: pa.concat_tables([rows.slice(1), rows.slice(1, 1)]),
            "12 rows, the trial's predictions give 12, none for sw test all PER, one too many for "
            "sw test all ORG",
        ),
        (
            "robustness",
            lambda rows: rows.slice(0, 0),
            "0 rows, the trial's predictions give 2, none for sw within_family 0 micro",
        ),
    ],
)
def test_verify_counts_the_rows_that_were_added(store, tmp_path, name, change, message):
    commit(store)
    add(store)
    rewrite(tmp_path, name, change)
    (problem,) = store.verify([SPEC.trial_id()])
    file = f"{SPEC.trial_id()}-lenient.parquet"
    assert problem.what == (
        f"{name}/{file}: {message}; delete scores/{file}, then run the sweep again"
    )


def test_scores_of_sets_that_were_not_predicted_are_too_many(store):
    commit(store, predictions=())
    add(store)
    (problem,) = store.verify([SPEC.trial_id()])
    assert "2 rows, the trial's predictions give 0, one too many for" in problem.what


@pytest.mark.parametrize("name", ["scores", "robustness"])
def test_half_of_a_file_that_was_added_is_named_with_what_to_do(store, tmp_path, name):
    commit(store)
    add(store)
    file = tmp_path / name / f"{SPEC.trial_id()}-lenient.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    (problem,) = store.verify([SPEC.trial_id()])
    assert f"{file}: cannot be read as Parquet" in problem.what
    remedy = f"; delete {tmp_path}/scores/{file.name}, then run the sweep again"
    assert problem.what.endswith(remedy)
    with pytest.raises(StoreError, match=remedy):
        store.read(name)
    add(store)
    assert store.verify([SPEC.trial_id()]) == []


# One more run


def commit_narrow(store: ResultStore) -> None:
    """A trial scored on test alone."""
    assert store.commit_completed(NARROW, NARROW_RESULT, **make_circumstances())


def test_a_run_that_gives_what_a_trial_lacks_is_shown_and_rewrites_nothing(store, tmp_path):
    commit_narrow(store)
    assert (store.has(NARROW), store.has(SPEC)) == (True, False)
    before = contents(tmp_path)
    assert commit(store, f1=0.5), "validation was lacking"
    assert before.items() <= contents(tmp_path).items()
    assert (tmp_path / "trials" / f"{SPEC.trial_id()}-2.parquet").exists()
    for _ in ("as they are", "compacted"):
        (row,) = store.read("trials", ["trial_id", "file_key"]).to_pylist()
        assert row == {"trial_id": SPEC.trial_id(), "file_key": f"{SPEC.trial_id()}-2"}
        assert micro(store) == {"strict": 0.5}
        assert store.read("scores").num_rows == 24
        assert store.statuses() == {SPEC.trial_id(): "completed"}
        assert store.verify([SPEC.trial_id()]) == []
        assert (store.has(NARROW), store.has(SPEC)) == (True, True)
        store.compact()


def test_a_run_that_gives_nothing_new_is_a_duplicate(store):
    commit_narrow(store)
    assert not commit(store, NARROW, f1=0.5)
    assert commit(store, f1=0.5)
    assert not commit(store, f1=0.75)
    assert micro(store) == {"strict": 0.5}
    statuses = store.read("attempts", ["status"])["status"].to_pylist()
    assert sorted(statuses) == ["completed", "completed", "duplicate", "duplicate"]


def test_a_rule_that_follows_from_predictions_needs_no_run(store):
    evaluation = replace(LENIENT.evaluation, splits=("test",))
    commit_narrow(store)
    assert store.has(replace(LENIENT, evaluation=evaluation))
    assert not store.has(LENIENT), "validation was not scored"


def test_another_run_that_fails_leaves_the_trial_completed(store):
    commit_narrow(store)
    failure = {"kind": "out_of_memory", "message": "too large", "traceback": None}
    assert not store.commit_failed(SPEC, **failure, **make_circumstances())
    assert store.statuses() == {SPEC.trial_id(): "completed"}
    assert micro(store) == {"strict": 0.125}


def test_scores_that_were_added_stay_with_the_run_that_they_are_of(store):
    commit_narrow(store)
    add(store, f1=0.25)
    commit(store, f1=0.5)
    assert micro(store) == {"strict": 0.5}, "those of the run before are not shown"
    assert store.rescored() == {}
    add(store, f1=0.75)
    store.compact()
    assert micro(store) == {"strict": 0.5, "lenient": 0.75}


def test_a_third_run_takes_the_place_of_the_second(store):
    commit_narrow(store)
    commit(store)
    more = replace(SPEC, evaluation=replace(SPEC.evaluation, predictions=("validation", "test")))
    assert commit(store, more, f1=0.875, predictions=(make_predicted_set(),))
    assert store.file_keys() == {SPEC.trial_id(): f"{SPEC.trial_id()}-3"}
    assert micro(store) == {"strict": 0.875}
    assert store.verify([SPEC.trial_id()]) == []


def test_a_run_that_ends_while_others_compact_is_shown(store, tmp_path):
    commit_narrow(store)
    store.compact()
    made_before = {file: file.read_bytes() for file in (tmp_path / "compact").iterdir()}
    commit(store, f1=0.5)
    for file, content in made_before.items():  # as if written after the run, of what was before it
        file.write_bytes(content)
    for _ in ("as it is", "compacted"):
        assert micro(store) == {"strict": 0.5}
        assert store.read("scores").num_rows == 24
        store.compact()


def test_whether_a_trial_has_all_is_asked_of_its_own_files_alone(store, tmp_path):
    commit(store, make_trial_spec(seed=1))
    store.write_plan("demo", [SPEC])
    commit_narrow(store)
    (tmp_path / "trials" / f"{make_trial_spec(seed=1).trial_id()}.parquet").write_bytes(b"damaged")
    assert (store.has(NARROW), store.has(SPEC)) == (True, False)
    commit(store)
    assert store.has(SPEC)


def test_a_later_run_stays_when_the_file_of_the_run_before_is_deleted(store, tmp_path):
    commit_narrow(store)
    commit(store, f1=0.5)
    (tmp_path / "trials" / f"{SPEC.trial_id()}.parquet").unlink()
    assert store.is_completed(SPEC.trial_id())
    assert store.has(SPEC)
    assert not commit(store, f1=0.75), "nothing is lacking"
    more = replace(SPEC, evaluation=replace(SPEC.evaluation, predictions=("validation", "test")))
    assert commit(store, more, f1=0.875, predictions=(make_predicted_set(),))
    assert store.file_keys() == {SPEC.trial_id(): f"{SPEC.trial_id()}-3"}


# One more run, by another rule


PERTURBED = make_robustness(
    "within_language",
    pools=(DonorPool(language="sw", perturbation="within_language", donors=("sw",), reason=None),),
)


def scored(matching: str, **robustness) -> TrialSpec:
    """The trial with perturbed sets and no predictions, scored by a rule."""
    evaluation = replace(SPEC.evaluation, matching=matching, predictions=())
    return replace(SPEC, evaluation=evaluation, robustness=replace(PERTURBED, **robustness))


def commit_scored(store: ResultStore, matching: str, f1: float, **robustness) -> None:
    result = make_trial_result(f1=f1, robustness=(make_robustness_score(f1=f1),), predictions=())
    spec = scored(matching, **robustness)
    assert store.commit_completed(spec, result, **make_circumstances())


@pytest.mark.slow
def test_a_run_by_another_rule_leaves_the_scores_of_the_run_before_readable(store):
    commit_scored(store, "strict", 0.5)
    assert not store.has(scored("lenient")), "it has no predictions"
    commit_scored(store, "lenient", 0.75)
    both = {"strict": 0.5, "lenient": 0.75}
    for _ in ("as they are", "compacted"):
        assert micro(store) == micro(store, "robustness") == both
        assert store.read("scores").num_rows == 2 * 24
        assert store.read("trials").num_rows == 1
        assert store.has(scored("strict"))
        assert store.has(scored("lenient"))
        assert store.earlier_runs() == {SPEC.trial_id(): [scored("strict")]}
        assert store.verify([SPEC.trial_id()]) == []
        assert not store.commit_completed(
            scored("strict"), make_trial_result(), **make_circumstances()
        ), "nothing is lacking"
        store.compact()


def test_of_several_runs_by_one_rule_the_last_is_read(store):
    commit_scored(store, "strict", 0.125)
    commit_scored(store, "lenient", 0.75)
    commit_scored(store, "strict", 0.5, draws=2)
    assert micro(store) == {"strict": 0.5, "lenient": 0.75}
    assert micro(store, "robustness") == {"strict": 0.5}, "the lenient one is of other sets"
    assert not store.has(scored("lenient"))
    store.compact()
    commit_scored(store, "lenient", 0.875, draws=2)
    assert micro(store) == micro(store, "robustness") == {"strict": 0.5, "lenient": 0.875}


def test_added_scores_go_before_those_of_an_earlier_run(store):
    commit_scored(store, "strict", 0.5)
    commit_scored(store, "lenient", 0.75)
    store.compact()
    add(store, scored("strict"), f1=0.25)
    for _ in ("as they are", "compacted"):
        assert micro(store) == micro(store, "robustness") == {"strict": 0.25, "lenient": 0.75}
        store.compact()


def test_verify_names_damaged_scores_of_an_earlier_run_and_what_to_do(store, tmp_path):
    commit_scored(store, "strict", 0.5)
    commit_scored(store, "lenient", 0.75)
    first = SPEC.trial_id()
    (tmp_path / "scores" / f"{first}.parquet").unlink()
    (problem,) = store.verify([first])
    assert problem.what == (
        f"scores/{first}.parquet: missing; delete trials/{first}.parquet, then run the sweep again"
    )
    (tmp_path / "trials" / f"{first}.parquet").unlink()
    assert store.verify([first]) == []
    assert micro(store) == {"lenient": 0.75}
