"""How long a sweep takes, on this machine and on clusters, before and after trials have run."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.kubernetes.profile import KubernetesProfile
from cluster.local.profile import LocalProfile
from cluster.profile_fields import Hardware
from cluster.rayjobs.profile import RayProfile
from cluster.slurm.profile import SlurmProfile
from orchestrator.planning import assumed_speed
from orchestrator.planning.estimate import estimate
from orchestrator.planning.memory import Need, TrialMemory
from orchestrator.planning.outlook import as_json, lines, on_hardware
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import COLUMNS, Speeds
from orchestrator.results.schema import TRIALS
from orchestrator.spec.sweep_spec import Resources
from tests.factories import make_trial_spec

GOLDEN = Path(__file__).parents[2] / "golden" / "paper-mini" / "trials.parquet"
ONE_GPU = Resources(gpus_per_trial=1)
ONE_CORE = Resources(gpus_per_trial=0)


def plan(*costs, **changes):
    """Trials of these costs, with seeds from 0."""
    specs = [make_trial_spec(seed=seed, **changes) for seed in range(len(costs))]
    return [
        PlannedTrial(spec, spec.trial_id(), float(cost))
        for spec, cost in zip(specs, costs, strict=True)
    ]


def row(trial, **changes):
    """The row of a trial that took 1 s to load and 10 ms a sentence, a tenth of it to score, on an
    A100."""
    values = {
        "trial_id": trial.trial_id,
        "status": "completed",
        "language": trial.spec.language,
        "device": "cuda",
        "device_name": "NVIDIA A100-SXM4-80GB",
        "num_threads": 1,
        "load_s": 1.0,
        "train_s": 0.009 * trial.cost,
        "evaluate_s": 0.001 * trial.cost,
        "num_train_sentences": 100,
        "training_num_steps": 20,
        "training_num_epochs": None,
        "num_steps": 20,
        "shared_steps": 0,
        "model_name": "builtin:small-bert",
        "model_fingerprint": None,
        "training_batch_size": 32,
        "training_max_length": 128,
        "training_precision": "float32",
    }
    return values | changes


def on_cpu(trial, **changes):
    return row(trial, device="cpu", device_name="AMD EPYC", **changes)


def ask(planned, rows, resources=ONE_GPU, num_done=1):
    return estimate(planned[num_done:], Speeds.from_rows(planned, rows, resources), resources)


def profiled(*costs, profile, resources=ONE_GPU, here=None):
    """The outlook for trials left of these costs, at 10 ms a sentence and no time to load."""
    planned = plan(100, *costs)
    rows = [(row if resources.gpus_per_trial != 0 else on_cpu)(planned[0], load_s=0.0)]
    return on_hardware(ask(planned, rows, resources), profile.hardware(here), resources)


# What was measured


def test_columns_are_columns_of_trials():
    assert set(COLUMNS) <= {column.name for column in TRIALS.columns}
    assert set(row(plan(1)[0])) == set(COLUMNS)


def test_trials_left_take_loading_once_and_a_sentence_as_often_as_they_cost():
    planned = plan(1000, 2000, 500)
    (demand, *_) = ask(planned, [row(planned[0])]).demands
    assert demand.trial_s == pytest.approx((1 + 20, 1 + 5))
    assert demand.hours == pytest.approx(27 / 3600)
    assert (demand.speed.num_trials, demand.speed.s_per_1000) == (1, pytest.approx(10))


def test_one_slow_trial_of_many_changes_nothing_and_is_left_out_of_the_spread():
    planned = plan(*[100] * 22)
    slow = row(planned[0], train_s=500.0, load_s=60.0)
    (demand, *_) = ask(planned, [slow, *map(row, planned[1:21])], num_done=21).demands
    assert demand.trial_s == pytest.approx((1 + 1,))
    assert (demand.speed.low, demand.speed.high) == pytest.approx((10, 10))


def test_failed_trials_do_not_count():
    planned = plan(100, 100, 100)
    failed = row(
        planned[1],
        status="failed",
        train_s=None,
        evaluate_s=None,
        load_s=None,
        device=None,
        device_name=None,
    )
    (demand, *_) = ask(planned, [row(planned[0]), failed]).demands
    assert demand.speed.num_trials == 1
    assert len(demand.trial_s) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"training_batch_size": 16},
        {"training_max_length": 64},
        {"training_precision": "bfloat16"},
        {"model_name": "google-bert/bert-base-multilingual-cased"},
        {"model_fingerprint": "0123456789abcdef"},
    ],
)
def test_trials_with_another_model_or_other_batches_say_nothing(other):
    planned = plan(100, 100)
    assert not any(
        demand.speed.is_measured for demand in ask(planned, [row(planned[0], **other)]).demands
    )


def test_a_model_folder_is_known_by_its_files_wherever_it_lies():
    (spec,) = (trial.spec for trial in plan(100))
    model = type(spec.model)(name="/here/encoder", revision=None, init="random", fingerprint="abc")
    planned = plan(100, 100, model=model)
    (demand, *_) = ask(
        planned, [row(planned[0], model_name="/there/encoder", model_fingerprint="abc")]
    ).demands
    assert demand.speed.is_measured


def test_a_language_takes_as_long_as_it_did_and_an_unknown_one_as_the_median_language():
    done = [
        *plan(100, 100, 100, language="sw"),
        *plan(100, language="my"),
        *plan(100, language="yo"),
    ]
    rates = [0.01, 0.01, 0.01, 0.03, 0.02]
    rows = [
        row(trial, load_s=0.0, train_s=rate * 100, evaluate_s=0.0)
        for trial, rate in zip(done, rates, strict=True)
    ]
    left = [
        *plan(*[100] * 4, language="sw")[3:],
        *plan(100, 100, language="my")[1:],
        *plan(100, language="ka"),
    ]
    (demand, *_) = estimate(left, Speeds.from_rows([*done, *left], rows), ONE_GPU).demands
    assert demand.trial_s == pytest.approx((1, 3, 2))


def test_trials_of_other_sweeps_count_by_their_training():
    planned = plan(100)
    by_steps = row(planned[0], trial_id="another", train_s=6.4)  # 20 steps of 32
    by_epochs = by_steps | {
        "training_num_steps": None,
        "training_num_epochs": 4,
        "train_s": 8.0,
    }  # 4 times 100
    for other, s_per_sentence in ((by_steps, 0.01), (by_epochs, 0.02)):
        (demand, *_) = ask(planned, [other], num_done=0).demands
        assert demand.trial_s == pytest.approx((1 + 100 * s_per_sentence,))


def test_each_device_is_told_and_cores_are_counted():
    planned = plan(100, 100, 3_600_000)
    rows = [
        row(planned[0], load_s=0.0),
        on_cpu(planned[1], load_s=0.0, num_threads=4, train_s=9.0, evaluate_s=1.0),
    ]
    asked = ask(planned, rows, Resources(cpus_per_trial=4), num_done=2)
    assert [demand.hours for demand in asked.demands[:2]] == pytest.approx([10, 400])
    assert lines(asked) == [
        "time left: 10.0 GPU-hours on NVIDIA A100-SXM4-80GB, measured on 1 trial: "
        "10.0 s per 1,000 sentences (10.0 to 10.0)",
        "time left: 400 core-hours on AMD EPYC (4 cores a trial), measured on 1 trial: "
        "100 s per 1,000 sentences (100 to 100)",
    ]


def test_trials_that_share_a_gpu_take_their_part_of_its_hours():
    planned = plan(100, 3_600_000)
    (demand, *_) = ask(
        planned, [row(planned[0], load_s=0.0)], Resources(gpus_per_trial=0.25)
    ).demands
    assert demand.hours == pytest.approx(2.5)


def test_steps_that_another_trial_computes_take_no_time():
    planned = plan(100)
    trained = [replace(trial, num_trained=80.0) for trial in plan(100, 100, 100)[1:]]
    rows = [row(planned[0])]
    speeds = Speeds.from_rows([*planned, *trained], rows, ONE_GPU)
    (alone, *_) = estimate(trained, speeds, ONE_GPU).demands
    shares = {trained[0].trial_id: 0.5}
    (demand, *_) = estimate(trained, speeds, ONE_GPU, shares).demands
    assert alone.trial_s == pytest.approx((2.0, 2.0))
    assert demand.trial_s == pytest.approx((1.6, 2.0))


def test_real_trials_are_estimated_from_the_others_to_within_a_fifth():
    table = pq.read_table(GOLDEN)  # of a version that knew no shared steps
    rows = [
        one for one in table.to_pylist() if one["language"] == "yo" and one["status"] == "completed"
    ]
    spec = make_trial_spec(language="yo")
    for name in (
        "model_name",
        "model_fingerprint",
        "training_batch_size",
        "training_max_length",
        "training_precision",
    ):
        assert len({one[name] for one in rows}) == 1
    settings = {
        "model_name": "builtin:small-bert",
        "model_fingerprint": None,
        "training_precision": "float32",
        "shared_steps": 0,
    }
    left = [PlannedTrial(spec, "left", 80 * 32)]
    speeds = Speeds.from_rows(left, [one | settings for one in rows])
    (demand, *_) = estimate(left, speeds, ONE_CORE).demands
    took_s = sorted(one["load_s"] + one["train_s"] for one in rows)[len(rows) // 2]
    assert demand.trial_s[0] == pytest.approx(took_s, rel=0.2)


# What is assumed


def test_without_trials_all_is_called_assumed():
    planned = plan(1_000_000)
    asked = ask(planned, [], num_done=0)
    (line,) = lines(asked)
    assert line.startswith("time left, assumed and not measured: ")
    assert [demand.speed.device.name for demand in asked.demands] == [
        "A100",
        "H100",
        "a CPU",
    ]
    assert {device["basis"] for device in as_json(asked)["devices"]} == {"assumed"}


def test_that_trials_on_one_gpu_do_not_slow_each_other_is_called_assumed():
    planned, shared = plan(100, 1_000_000), Resources(gpus_per_trial=0.25)
    first, second = lines(ask(planned, [], shared, num_done=0))
    assert "assumed and not measured" in first
    assert (
        second
        == "assumed as well: trials that share a GPU (0.25 of it each) do not slow each other"
    )
    # Of those that were measured nothing is assumed.
    assert len(lines(ask(planned, [row(planned[0])], shared))) == 1
    assert len(lines(ask(planned, [on_cpu(planned[0])], Resources()))) == 2


def test_the_assumption_for_gpus_is_arithmetic_or_kernels_in_a_row_whichever_takes_longer():
    a100 = assumed_speed.GPUS[0]
    # mBERT: 6 operations for each of 84,934,656 weights and 16 sub-words, at 30 % of 19.5 and of
    # 312 teraflops.
    assert a100.s_per_sentence(
        "google-bert/bert-base-multilingual-cased", "float32", 32
    ) == pytest.approx(1.394e-3, 1e-3)
    assert a100.s_per_sentence("m/base", "bfloat16", 4096) == pytest.approx(8.711e-5, 1e-3)
    # 12 layers of 0.5 ms for 32 sentences
    assert a100.s_per_sentence("m/base", "bfloat16", 32) == pytest.approx(0.006 / 32)


@pytest.mark.parametrize(
    ("name", "num_weights"),
    [
        ("builtin:small-bert", 393_216),
        ("intfloat/multilingual-e5-small", 21_233_664),
        ("google-bert/bert-base-multilingual-cased", 84_934_656),
        ("FacebookAI/xlm-roberta-large", 301_989_888),
        ("/models/large/mine", 84_934_656),
    ],
)
def test_a_models_name_tells_its_size(name, num_weights):
    assert assumed_speed.encoder(name).num_weights == num_weights


def test_the_assumption_for_cpus_is_what_was_measured_once():
    # 48 s on 2 cores for 1,000 sentences
    assert assumed_speed.core_s_per_sentence(
        "google-bert/bert-base-multilingual-cased"
    ) == pytest.approx(0.096)
    planned = plan(1000)
    (demand,) = ask(planned, [], Resources(gpus_per_trial=0, cpus_per_trial=2), num_done=0).demands
    s_per_sentence = 0.096 * 393_216 / 84_934_656 / 2
    assert demand.trial_s == pytest.approx((2 + 1000 * s_per_sentence,))
    assert demand.hours == pytest.approx(2 * demand.trial_s[0] / 3600)


def test_what_cpus_measured_says_nothing_of_gpus():
    planned = plan(100, 100)
    asked = ask(planned, [on_cpu(planned[0])], Resources())
    measured, assumed = lines(asked)
    assert "core-hours on AMD EPYC, measured on 1 trial" in measured
    assert "assumed and not measured" in assumed
    assert "CPU" not in assumed
    assert asked.of("GPU").speed.device.name == "A100"
    assert asked.of("GPU", "h100").speed.device.name == "H100"


def test_nothing_left_needs_nothing():
    planned = plan(100)
    asked = ask(planned, [row(planned[0])])
    assert lines(asked) == ["nothing is left to run"]
    assert on_hardware(asked, SlurmProfile().hardware(), ONE_GPU) is None
    assert as_json(asked) == {"num_left": 0, "devices": [], "outlook": None}


def test_a_name_tells_how_much_memory_a_gpu_has():
    told = assumed_speed.gpu_memory_gib
    assert told("NVIDIA A100-SXM4-80GB") == told("NVIDIA H100 80GB HBM3") == 80
    assert (told("a100"), told("h100"), told("a100_1g.5gb")) == (40, 80, 5)
    assert told("NVIDIA L40S") is None


# On a cluster


def test_the_longest_trials_start_first_over_all_gpus():
    outlook = profiled(300, 200, 200, 100, 100, profile=SlurmProfile(nodes=1, gpus_per_node=2))
    assert outlook.num_slots == 2
    assert outlook.wall_s == pytest.approx(5.0)  # 3 + 1 + 1 and 2 + 2
    assert outlook.num_jobs == 1
    assert outlook.warning == ""


@pytest.mark.parametrize(
    ("profile", "resources", "num_slots"),
    [
        (SlurmProfile(nodes=3, gpus_per_node=4), Resources(), 12),
        (SlurmProfile(nodes=3, gpus_per_node=4), Resources(gpus_per_trial=0.5), 24),
        (
            SlurmProfile(nodes=3, gpus_per_node=3),
            Resources(gpus_per_trial=2),
            3,
        ),  # no trial is on two nodes
        (
            SlurmProfile(nodes=2, gpus_per_node=1, cpus_per_gpu=4),
            Resources(gpus_per_trial=0.1),
            8,
        ),  # 4 cores each
        (SlurmProfile(nodes=2, gpus_per_node=0, cpus_per_gpu=32), Resources(cpus_per_trial=8), 8),
        (SlurmProfile(nodes=3, gpus_per_node=4), Resources(max_concurrent_trials=5), 5),
        (SlurmProfile(mode="elastic", workers=7, gpus_per_node=4), Resources(), 7),
        (
            SlurmProfile(mode="elastic", workers=7, gpus_per_node=0, cpus_per_gpu=4),
            Resources(cpus_per_trial=2),
            14,
        ),
        (KubernetesProfile(image="i", workers=5, gpus_per_worker=2), Resources(), 10),
        (
            KubernetesProfile(image="i", workers=5, gpus_per_worker=0, worker_cpus=4),
            Resources(cpus_per_trial=2),
            10,
        ),
        (LocalProfile(), Resources(cpus_per_trial=3), 2),
    ],
)
def test_as_many_trials_run_at_a_time_as_the_profile_has_room_for(profile, resources, num_slots):
    here = Hardware(num_machines=1, cpus=8, gpus=0)
    assert profiled(100, profile=profile, resources=resources, here=here).num_slots == num_slots


def test_what_a_running_ray_cluster_has_is_not_known():
    outlook = profiled(100, profile=RayProfile())
    assert (outlook.num_slots, outlook.wall_s) == (None, None)


def test_jobs_are_counted_in_the_time_that_a_limit_leaves():
    profile = SlurmProfile(time_limit="10", stop_before_s=100)  # 500 s are left
    outlook = profiled(20_000, 20_000, 20_000, profile=profile)
    assert outlook.wall_s == pytest.approx(600)
    assert (outlook.job_s, outlook.num_jobs, outlook.warning) == (500, 2, "")
    planned = plan(100, 20_000, 20_000, 20_000)
    asked = ask(planned, [row(planned[0], load_s=0.0)])
    assert lines(asked, outlook)[-1] == (
        "on that cluster: 10 min on NVIDIA A100-SXM4-80GB, up to 1 trial at a time, waiting in a "
        "queue not counted; 2 jobs, one after another, of at most 8 min"
    )


def test_a_trial_longer_than_a_job_is_warned_of():
    outlook = profiled(100_000, profile=SlurmProfile(time_limit="10", stop_before_s=100))
    assert outlook.num_jobs == 2
    assert (
        outlook.warning
        == "the longest trial takes 17 min: it goes on from its checkpoint in the next job"
    )


def test_a_job_that_is_stopped_before_all_is_done_is_warned_of():
    profile = KubernetesProfile(image="i", workers=1, deadline_s=3600)
    assert profiled(360_000, profile=profile).warning == ""
    assert profiled(200_000, 200_000, profile=profile).warning == (
        "the job is stopped after 1 h 00 min: raise deadline_s of the profile, or submit the sweep "
        "again then"
    )


def test_a_trial_that_fits_nowhere_is_said_so():
    outlook = profiled(
        100, profile=SlurmProfile(gpus_per_node=1), resources=Resources(gpus_per_trial=2)
    )
    assert (outlook.num_slots, outlook.wall_s) == (0, None)
    assert outlook.warning.startswith(
        "no trial fits: it asks for 1 CPUs and 2 GPUs, a machine has 4 and 1; lower"
    )


def test_the_gpu_that_a_profile_names_is_counted_with():
    planned = plan(100, 100)
    asked = ask(planned, [row(planned[0])])
    assert (
        on_hardware(
            asked, SlurmProfile(gpu_type="h100").hardware(), ONE_GPU
        ).demand.speed.device.name
        == "H100"
    )
    assert on_hardware(
        asked, SlurmProfile(gpu_type="a100").hardware(), ONE_GPU
    ).demand.speed.is_measured
    assert on_hardware(asked, SlurmProfile().hardware(), ONE_GPU).demand.speed.is_measured


def test_trials_on_cpus_wait_for_memory_on_a_cluster_and_that_is_said():
    planned, cores = plan(100, *[100] * 8), Resources(gpus_per_trial=0)
    asked = ask(planned, [on_cpu(planned[0], load_s=0.0)], cores)
    profile = SlurmProfile(nodes=2, gpus_per_node=0, cpus_per_gpu=4, mem_gib_per_gpu=16)
    memory = TrialMemory(of_host=Need(7.0, 3.0, "measured"))
    outlook = on_hardware(asked, profile.hardware(), cores, memory)
    assert (outlook.num_slots, outlook.wall_s) == (4, pytest.approx(2.0))
    assert lines(asked, outlook)[-1] == (
        "on that cluster: a machine has 16.0 GiB, room for 2 trials of 7.0 GiB (measured) and not "
        "4: raise mem_gib_per_gpu of the profile, or resources.cpus_per_trial"
    )
    assert as_json(asked, outlook)["outlook"]["memory"] == outlook.memory
    # With GPUs, what is counted on CPUs does not matter.
    asked = ask(planned, [row(planned[0])], ONE_GPU)
    on_gpus = on_hardware(asked, SlurmProfile(gpus_per_node=4).hardware(), ONE_GPU, memory)
    assert (on_gpus.num_slots, on_gpus.memory) == (4, ())


def test_the_gpu_that_is_counted_with_tells_how_large_a_share_is():
    planned, shared = plan(100, 100), Resources(gpus_per_trial=0.05)
    memory = TrialMemory(of_gpu=Need(5.0, 3.0, "estimated"))
    asked = ask(planned, [row(planned[0])], shared)
    (line,) = on_hardware(asked, SlurmProfile().hardware(), shared, memory).memory
    assert "0.05 of a GPU with 80 GiB (NVIDIA A100-SXM4-80GB, assumed) is 4.0 GiB, and" in line


def test_a_profile_without_gpus_is_counted_in_cores():
    outlook = profiled(100, profile=SlurmProfile(gpus_per_node=0), resources=Resources())
    assert outlook.demand.speed.device.kind == "CPU"


def test_all_of_it_is_json():
    planned = plan(100, 100)
    asked = ask(planned, [row(planned[0])])
    shown = json.loads(
        json.dumps(as_json(asked, on_hardware(asked, SlurmProfile().hardware(), ONE_GPU)))
    )
    assert shown["num_left"] == 1
    assert shown["devices"][0]["basis"] == "measured"
    assert shown["outlook"]["demand"]["device"] == "NVIDIA A100-SXM4-80GB"
    assert shown["outlook"]["num_jobs"] == 1
