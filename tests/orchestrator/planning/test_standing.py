"""How a sweep stands against its results: what trials lack, what is of another recipe."""

from dataclasses import replace

import pytest

from orchestrator.errors import StoreError
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.standing import (
    describe_unused_checkpoints,
    find_standing,
    with_scoring_of,
)
from orchestrator.results.lacking import Lack, find_lack
from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import TableFiles
from tests.factories import (
    make_circumstances,
    make_robustness,
    make_score,
    make_trial_result,
    make_trial_spec,
)
from workers.storage import Location
from workers.trial import DonorPool, TrialSpec

SPECS = [make_trial_spec(seed=seed) for seed in (0, 1)]


def scored(spec: TrialSpec, **changes) -> TrialSpec:
    return replace(spec, evaluation=replace(spec.evaluation, **changes))


def planned(**changes) -> list[PlannedTrial]:
    """Two trials that ask to be scored as told."""
    specs = [scored(spec, **changes) for spec in SPECS]
    return [PlannedTrial(spec, spec.trial_id(), 1.0) for spec in specs]


@pytest.fixture
def store(tmp_path) -> ResultStore:
    """Both trials, by the strict rule."""
    store = ResultStore(str(tmp_path))
    for spec in SPECS:
        store.commit_completed(spec, make_trial_result(), **make_circumstances())
    return store


def test_a_sweep_whose_trials_have_all_that_is_asked_for_has_nothing_to_say(store):
    standing = find_standing(planned(), store)
    assert standing.lines() == []
    assert standing.statuses == {spec.trial_id(): "completed" for spec in SPECS}
    assert standing.to_rescore(planned()) == standing.to_run_again(planned()) == []


def test_nothing_is_lacking_where_nothing_has_run(tmp_path):
    assert find_standing(planned(), ResultStore(str(tmp_path / "none"))).lines() == []


def test_what_follows_from_predictions_is_told_apart_from_what_does_not(store):
    asked = planned(splits=("test",), matching="lenient")
    standing = find_standing(asked, store)
    assert standing.lines() == ["2 trials to score from stored predictions"]
    assert (standing.to_rescore(asked), standing.to_run_again(asked)) == (asked, [])
    store.add_scores(asked[0].trial_id, asked[0].spec, [make_score()], [])
    assert find_standing(asked, store).lines() == ["1 trial to score from stored predictions"]

    asked = planned(matching="lenient", predictions=("test", "validation"))
    assert find_standing(asked, store).lines() == [
        "1 trial to score from stored predictions",
        "2 trials are completed but lack: lenient scores of validation (2), "
        "predictions of validation (2); give --rerun-lacking to run them again",
    ]


def test_what_an_earlier_run_has_by_the_rule_that_is_asked_for_is_not_lacking(tmp_path):
    store = ResultStore(str(tmp_path))
    for rule in ("strict", "lenient"):
        for trial in planned(matching=rule, predictions=()):
            result = make_trial_result(predictions=(), robustness=())
            assert store.commit_completed(trial.spec, result, **make_circumstances())
    for rule in ("strict", "lenient"):
        assert find_standing(planned(matching=rule, predictions=()), store).lines() == []
    asked = planned(matching="strict", predictions=("test",))
    assert find_standing(asked, store).lines() == [
        "2 trials are completed but lack: predictions of test (2); "
        "give --rerun-lacking to run them again"
    ]


def test_failed_trials_lack_nothing(tmp_path):
    store = ResultStore(str(tmp_path))
    failure = {"kind": "bad_data", "message": "tag B-MISC", "traceback": None}
    store.commit_failed(SPECS[0], **failure, **make_circumstances())
    standing = find_standing(planned(predictions=("validation",)), store)
    assert (standing.statuses[SPECS[0].trial_id()], standing.lines()) == ("failed", [])


def with_pools(spec: TrialSpec, *pools: DonorPool, **changes) -> TrialSpec:
    robustness = make_robustness(*(pool.perturbation for pool in pools), pools=pools)
    return replace(spec, robustness=replace(robustness, **changes))


OWN = DonorPool(language="sw", perturbation="within_language", donors=("sw",), reason=None)
SCRIPT = DonorPool(language="sw", perturbation="within_script", donors=("en", "yo"), reason=None)
NARROW = replace(SCRIPT, donors=("yo",))

SPEC = SPECS[0]


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (scored(SPEC, splits=("test",)), scored(SPEC, splits=("validation",))),
        (scored(SPEC, predictions=("test",)), scored(SPEC, predictions=("validation",))),
        (scored(SPEC, languages=("en", "yo")), scored(SPEC, languages=("ka", "yo"))),
        (
            scored(SPEC, languages=("yo",), language_fingerprints=("a",)),
            scored(SPEC, languages=("en", "yo"), language_fingerprints=("b", "a")),
        ),
        (with_pools(SPEC, OWN), SPEC),
        (SPEC, with_pools(SPEC, OWN)),
        (with_pools(SPEC, OWN, draws=2), with_pools(SPEC, SCRIPT, draws=1)),
        (with_pools(SPEC, SCRIPT), with_pools(SPEC, OWN, SCRIPT, draws=3)),
    ],
)
def test_a_trial_that_is_run_again_loses_nothing_that_it_had(asked, stored):
    both = with_scoring_of(asked, stored)
    assert both.trial_id() == asked.trial_id()
    assert find_lack(asked, both) == find_lack(stored, both) == Lack()


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        (scored(SPEC, matching="lenient"), SPEC),
        (with_pools(SPEC, SCRIPT, seed=1), with_pools(SPEC, OWN, SCRIPT, seed=0)),
        (with_pools(SPEC, NARROW), with_pools(SPEC, OWN, SCRIPT)),
    ],
)
def test_what_cannot_be_both_is_as_it_is_asked_for(asked, stored):
    both = with_scoring_of(asked, stored)
    assert find_lack(asked, both) == Lack()
    assert find_lack(stored, both) != Lack()


def test_trials_of_another_recipe_are_counted_and_not_taken_for_done(tmp_path, store):
    files = TableFiles(Location.parse(str(tmp_path / "old")))
    for row in store.read("trials").to_pylist():
        spec = TrialSpec.from_json(row["spec_json"])
        old = {"recipe_version": 1, "trial_id": spec.trial_id(1), "cell_id": spec.cell_id(1)}
        old["dense_trial_id"] = spec.dense_counterpart().trial_id(1)
        files.write(("trials", spec.trial_id(1), [row | old | {"file_key": spec.trial_id(1)}]))
    standing = find_standing(planned(), ResultStore(str(tmp_path / "old")))
    assert standing.lines() == ["2 trials of recipe 1 are kept and not compared"]
    assert not standing.statuses.keys() & {spec.trial_id() for spec in SPECS}
    other_sweep = [PlannedTrial(spec, spec.trial_id(), 1.0) for spec in [make_trial_spec(seed=7)]]
    assert find_standing(other_sweep, ResultStore(str(tmp_path / "old"))).lines() == []


def test_checkpoints_that_no_sweep_goes_on_from_are_named_with_what_removes_them(store, tmp_path):
    others = [make_trial_spec(seed=seed) for seed in (7, 8)]
    store.write_plan("other", others[:1])
    store.write_plan("demo", others[1:])  # as the sweep was before
    assert describe_unused_checkpoints("demo", planned(), store) == []
    for trial_id in (SPECS[0].trial_id(), others[0].trial_id()):
        store.checkpoint(trial_id).write_atomic(b"state")
    assert describe_unused_checkpoints("demo", planned(), store) == []
    store.checkpoint("00aa11bb22cc33dd").write_atomic(b"of an earlier version")
    (line,) = describe_unused_checkpoints("demo", planned(), store)
    assert line == (
        "1 checkpoint is of no trial of demo as it is now: left by an earlier version, whose "
        "trials had other ids, or by an earlier state of the sweep; not used; to remove it, delete "
        f"{tmp_path}/checkpoints/00aa11bb22cc33dd.safetensors"
    )
    store.checkpoint(others[1].trial_id()).write_atomic(b"state")
    (line,) = describe_unused_checkpoints("demo", planned(), store)
    assert line.startswith("2 checkpoints are of no trial of demo as it is now: ")


@pytest.fixture
def with_models(store) -> ResultStore:
    """The first trial's model is kept."""
    row = store.read("trials").to_pylist()[0]
    files = TableFiles(store.location)
    files.write(("trials", row["trial_id"], [row | {"model_digest": "d", "model_bytes": 2**20}]))
    store.model(row["trial_id"]).write_atomic(b"a model")
    return store


def test_trials_whose_model_is_kept_are_scored_and_the_others_are_run(with_models):
    asked = planned(predictions=("validation",))
    standing = find_standing(asked, with_models)
    (kept,) = standing.models
    assert standing.models == {kept: "d"}
    assert standing.lines() == [
        "1 model kept, 1 MiB",
        "1 trial to score from kept models, lacking: predictions of validation (1); "
        "`sparsweep score` does that",
        "1 trial is completed but lack: predictions of validation (1); give --rerun-lacking to "
        "run them again",
    ]
    (scored_only,) = standing.to_run_again(asked, only_scored=True)
    assert scored_only.trial_id == kept
    assert standing.lines([trial.trial_id for trial in asked])[1:] == [
        "1 trial to score from kept models, lacking: predictions of validation (1)",
        "1 trial is completed but lack: predictions of validation (1); it runs again",
    ]
    assert standing.lines([kept])[2] == standing.lines()[2]
    assert [trial.trial_id for trial in standing.to_run_again(asked)] == [
        trial.trial_id for trial in asked
    ]


def test_scoring_a_kept_model_costs_no_training(with_models):
    asked = [replace(trial, cost=3.0, num_trained=2.0) for trial in planned(predictions=())]
    asked = [replace(trial, spec=scored(trial.spec, splits=("train",))) for trial in asked]
    standing = find_standing(asked, with_models)
    costs = {trial.trial_id: trial.cost for trial in standing.to_run_again(asked)}
    assert sorted(costs.values()) == [1.0, 3.0]
    assert costs[next(iter(standing.models))] == 1.0


def test_a_sweep_that_keeps_models_lacks_those_that_are_not_there(with_models):
    standing = find_standing(planned(), with_models, keeps_models=True)
    assert standing.lines() == [
        "1 model kept, 1 MiB",
        "1 trial is completed but lack: the model (1); give --rerun-lacking to run them again",
    ]
    assert find_standing(planned(), with_models).lines() == ["1 model kept, 1 MiB"]
    with_models.model(next(iter(standing.models))).delete()
    both = find_standing(planned(), with_models, keeps_models=True)
    assert (both.models, len(both.to_run_again(planned()))) == ({}, 2)
    assert both.to_run_again(planned(), only_scored=True) == []


def test_a_stored_spec_that_a_newer_version_wrote_is_refused_in_one_line(tmp_path, store):
    files = TableFiles(Location.parse(str(tmp_path)))
    (row,) = [row for row in store.read("trials").to_pylist() if row["seed"] == 0]
    spec_json = row["spec_json"].replace('"lr":', '"label_smoothing":0.1,"lr":')
    files.write(("trials", row["trial_id"], [row | {"spec_json": spec_json}]))
    message = (
        r"^trials/[0-9a-f]{16}.parquet: spec_json: not a trial spec: training.label_smoothing is "
        r"unknown; a newer sparsweep may know it, this is \S+$"
    )
    with pytest.raises(StoreError, match=message):
        find_standing(planned(), store)
