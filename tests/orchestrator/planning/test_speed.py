"""How long trials take, worked out by hand; what rows tell is in test_estimate.py as well."""

from dataclasses import replace

import pytest

from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import Device, Speed, Speeds, Timing
from orchestrator.spec.sweep_spec import Resources
from tests.factories import make_trial_spec

CPU = Device("AMD EPYC", "CPU", 4)
A100, H100 = Device("A100", "GPU", 0), Device("H100", "GPU", 0)


def planned(language: str = "sw", cost: float = 100.0, seed: int = 0) -> PlannedTrial:
    spec = make_trial_spec(language=language, seed=seed)
    return PlannedTrial(spec, spec.trial_id(), cost)


def row(trial: PlannedTrial, device: Device, **changes):
    """The row of a trial of which a unit of cost took 0.25 s, after 2 s of loading."""
    values = {
        "trial_id": trial.trial_id,
        "status": "completed",
        "language": trial.spec.language,
        "device": "cpu" if device.kind == "CPU" else "cuda",
        "device_name": device.name,
        "num_threads": device.num_cores or 1,
        "load_s": 2.0,
        "train_s": 0.2 * trial.cost,
        "evaluate_s": 0.05 * trial.cost,
        "num_train_sentences": 100,
        "training_num_steps": 20,
        "training_num_epochs": None,
        "num_steps": 20,
        "shared_steps": 0,
        "model_name": trial.spec.model.name,
        "model_fingerprint": trial.spec.model.fingerprint,
        "training_batch_size": trial.spec.training.batch_size,
        "training_max_length": trial.spec.training.max_length,
        "training_precision": trial.spec.training.precision,
    }
    return values | changes


def test_steps_of_another_trial_teach_nothing():
    """A unit of cost takes 0.25 s; of the 100 units 80 are training, half of which another trial
    did."""
    trial = replace(planned(), num_trained=80.0)
    shared = {"num_steps": 20, "shared_steps": 10, "train_s": 10.0, "evaluate_s": 5.0}
    speeds = Speeds.from_rows([trial], [row(trial, CPU, **shared)])
    assert speeds.here().s_per_sentence("sw") == pytest.approx(0.25)
    speeds = Speeds()
    speeds.learn(trial, Timing(CPU, load_s=1.0, work_s=15.0, share=0.5))
    assert speeds.here().s_per_sentence("sw") == pytest.approx(0.25)
    elsewhere = row(planned(seed=5), CPU, **shared, training_batch_size=8)
    training = replace(trial.spec.training, batch_size=8)
    other = replace(trial, spec=replace(trial.spec, training=training))
    speeds = Speeds.from_rows([other], [elsewhere])
    assert speeds.here().s_per_sentence("sw") == pytest.approx(10.0 / (0.5 * 20 * 8))


def test_a_trial_takes_its_loading_and_its_cost_at_the_speed_of_its_language():
    speed = Speed(CPU)
    for language, load_s, rate in (("sw", 1.0, 2.0), ("sw", 2.0, 4.0), ("sw", 9.0, 3.0)):
        speed.learn(language, load_s, rate)
    speed.learn("my", 2.0, 7.0)
    # Medians: loading 2 of 1, 2, 2, 9; sw 3 of 2, 3, 4; my 7; any other 5, between 3 and 7.
    assert speed.expected_s(planned("sw", cost=10)) == 2 + 10 * 3
    assert speed.expected_s(planned("my", cost=10)) == 2 + 10 * 7
    assert speed.expected_s(planned("ka", cost=10)) == 2 + 10 * 5
    assert (speed.num_trials, speed.is_measured) == (4, True)
    assert speed.s_per_1000 == 3500  # of 2, 3, 4, 7: each trial once


def test_what_is_learned_later_changes_the_answer():
    speed = Speed(CPU)
    speed.learn("sw", 0.0, 1.0)
    assert speed.expected_s(planned(cost=10)) == 10
    speed.learn("sw", 4.0, 3.0)
    assert speed.expected_s(planned(cost=10)) == 2 + 10 * 2


def test_a_trial_that_took_no_time_teaches_nothing():
    speed = Speed(CPU)
    speed.learn("sw", 1.0, 0.0)
    assert not speed.is_measured
    with pytest.raises(ValueError, match="speed: nothing is known of it yet; learn from a trial"):
        speed.expected_s(planned())


def test_an_assumption_holds_until_something_is_measured():
    speed = Speed.assumed(CPU, load_s=2.0, s_per_sentence=0.5)
    assert speed.expected_s(planned(cost=10)) == 7
    assert (speed.is_measured, speed.low, speed.s_per_1000, speed.high) == (False, 500, 500, 500)
    speed.learn("sw", 0.0, 1.0)
    assert speed.expected_s(planned(cost=10)) == 10
    assert (speed.is_measured, speed.s_per_1000) == (True, 1000)


def test_the_spread_leaves_a_tenth_out_at_either_end():
    speed = Speed(CPU)
    for rate in range(1, 12):
        speed.learn("sw", 0.0, float(rate))
    assert (speed.low, speed.s_per_1000, speed.high) == (2000, 6000, 10_000)


def test_rows_and_this_run_teach_the_same_speed():
    trials = [planned(seed=seed) for seed in range(3)]
    speeds = Speeds.from_rows(trials, [row(trials[0], CPU)])
    assert speeds.here().expected_s(trials[2]) == pytest.approx(2 + 25)
    speeds.learn(trials[1], Timing(CPU, load_s=4.0, work_s=75.0))
    assert speeds.here().num_trials == 2
    assert speeds.here().expected_s(trials[2]) == pytest.approx(3 + 50)


def test_rows_of_failed_trials_and_of_another_model_teach_nothing():
    trials = [planned(), planned(seed=1)]
    failed = dict.fromkeys(row(trials[0], CPU)) | {"status": "failed"}
    other = row(trials[1], CPU, model_name="another")
    assert Speeds.from_rows(trials, [failed, other]).here() is None
    assert Speeds.from_rows([], [row(trials[0], CPU)]).here() is None


def test_the_device_on_which_this_run_completed_most_trials_counts():
    trials = [planned(seed=seed) for seed in range(9)]
    speeds = Speeds.from_rows(trials, [row(trial, H100) for trial in trials[:5]])
    assert speeds.here().device == H100
    speeds.learn(trials[5], Timing(A100, 0.0, 1.0))
    assert speeds.here().device == A100
    for trial in trials[6:8]:
        speeds.learn(trial, Timing(H100, 0.0, 1.0))
    assert speeds.here().device == H100


def test_what_cpus_took_says_nothing_of_workers_with_gpus():
    trials = [planned(), planned(seed=1)]
    speeds = Speeds.from_rows(trials, [row(trials[0], CPU)])
    speeds.runs_on("GPU")
    assert speeds.here() is None
    speeds.runs_on("CPU")
    assert speeds.here().device == CPU


def test_devices_that_the_sweep_asks_for_come_first():
    one_core = Device("AMD EPYC", "CPU", 1)
    trials = [planned(seed=seed) for seed in range(4)]
    devices = (one_core, one_core, CPU, A100)
    rows = [row(trial, device) for trial, device in zip(trials, devices, strict=True)]
    asked = Resources(cpus_per_trial=4, gpus_per_trial=0)
    speeds = Speeds.from_rows(trials, rows, asked)
    assert [speed.device for speed in speeds.measured()] == [CPU, one_core, A100]
