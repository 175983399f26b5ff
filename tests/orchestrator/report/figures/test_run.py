"""Figures of what was run, by hand."""

import json
from dataclasses import replace

import pytest

from orchestrator.report.figures.run import (
    draw_coverage,
    draw_settings,
    draw_time,
    draw_trials,
    draw_versions,
)
from orchestrator.report.material import read_material
from orchestrator.results import rows
from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.analysis.committing import commit, fail


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path))


def material_of(store, *needs):
    return read_material(store, needs or ("quality", "groups"))


def test_trials_are_counted_by_sweep_and_status(store):
    specs = [make_trial_spec(seed=seed) for seed in range(3)]
    store.write_plan("first", specs)
    store.write_plan("second", specs[:1])
    store.commit_completed(specs[0], make_trial_result(), **make_circumstances())
    fail(store, specs[1], "non_finite", "the loss is nan")
    drawing = draw_trials(material_of(store))
    counts = drawing.table.set_index(["sweep", "status"])["num_trials"].to_dict()
    assert counts == {
        ("first", "completed"): 1,
        ("first", "failed"): 1,
        ("first", "missing"): 1,
        ("second", "completed"): 1,
    }
    assert drawing.num_trials == 2
    assert drawing.text == ["2 sweeps consist of 3 trials: 1 completed, 1 failed, 1 missing."]
    assert drawing.notes[0].startswith("Trials failed by kind: 1 non_finite.")


def test_trials_without_a_plan_are_of_the_sweep_that_ran_them(store):
    commit(store, "sw", 0.5, 0, 0.5)
    assert draw_trials(material_of(store)).table["sweep"].tolist() == [
        make_circumstances()["sweep"]
    ]


def test_coverage_counts_seeds_that_are_there_and_planned(store):
    store.write_plan("demo", [make_trial_spec(seed=seed) for seed in range(3)])
    commit(store, "sw", 0.5, 0, 0.5)
    drawing = draw_coverage(material_of(store))
    (row,) = drawing.table.to_dict("records")
    assert (row["seeds"], row["num_holes"]) == ("1 of 3", 2)
    assert row["share"] == pytest.approx(1 / 3)
    assert "says how many are there" in drawing.text[0]


def test_time_goes_into_phases_and_lost_attempts(store):
    circumstances = make_circumstances()
    seconds = (circumstances["ended_at"] - circumstances["started_at"]).total_seconds()
    store.commit_completed(make_trial_spec(), make_trial_result(), **circumstances)
    fail(store, make_trial_spec(seed=1), "non_finite", "the loss is nan")
    drawing = draw_time(material_of(store))
    hours = drawing.table.set_index("phase")["hours"] * 3600
    assert hours["training"] == pytest.approx(2.0)
    assert hours["scoring"] == pytest.approx(0.5)
    assert hours["loading data and model"] == pytest.approx(0.25)
    assert hours["attempts that failed or were stopped"] == pytest.approx(seconds)
    assert hours["the rest of the trial"] >= 0
    assert "core-hours" in drawing.text[0]


def test_gpu_hours_are_of_the_share_that_a_trial_had(store):
    asked = json.dumps({"resources": {"gpus_per_trial": 0.25}})
    circumstances = make_circumstances(asked_json=asked)
    ended = circumstances["started_at"].replace(hour=16)  # four hours after it began
    store.commit_completed(
        make_trial_spec(),
        replace(make_trial_result(), device="cuda"),
        **circumstances | {"ended_at": ended},
    )
    assert " 1.0 GPU-hours;" in draw_time(material_of(store)).text[0]


def test_settings_that_differ_come_first(store):
    training = make_trial_spec().training
    for seed, lr in enumerate((1e-5, 1e-5, 3e-5)):
        commit(store, "sw", 0.5, seed, 0.5, training=replace(training, lr=lr))
    drawing = draw_settings(material_of(store))
    first = drawing.table.iloc[0]
    assert (first["setting"], first["differs"]) == ("training_lr", "yes")
    assert first["values"] == "1e-05 (2 trials), 3e-05 (1 trial)"
    assert set(drawing.table["differs"][1:]) == {"no"}
    assert drawing.text == ["One setting differs between trials: training_lr."]


def test_versions_say_which_recipe_is_compared(store, monkeypatch):
    commit(store, "sw", 0.5, 0, 0.5)
    with monkeypatch.context() as earlier:
        earlier.setattr(rows, "RECIPE_VERSION", 1)
        commit(store, "sw", 0.5, 1, 0.5)
    drawing = draw_versions(material_of(store))
    recipes = drawing.table[drawing.table["what"] == "recipe"]
    assert recipes["num_trials"].tolist() == [1, 1]
    assert recipes["num_compared"].tolist() == [0, 1]
    assert drawing.text[0].startswith("1 trial of another recipe than ")
