"""What only a GPU can show of trials: from a fresh process, repeated, stopped, side by side, and
when something fails. `make test-gpu` runs these; they take some minutes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from cluster.node.mps import CONTROL, Mps
from tests.factories import PRUNING
from tests.workers.trials import (
    checkpoint_at,
    evaluation_of,
    finish,
    numbers,
    run_steps,
    small_trial,
    training_of,
    waits_are,
)
from workers.devices import CONTEXT_BYTES, name_fault, open_gpu, refuse_overrides
from workers.kernels.one_step import try_kernels
from workers.run import prepare_process, run_trial
from workers.trial import TrialError, TrialSpec

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

GIB = 2**30
NUM_AT_ONCE = 4


@pytest.fixture
def gpu():
    yield prepare_process(num_threads=1, use_gpu=True)
    torch.use_deterministic_algorithms(False)


def run_program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, in which nothing has initialised CUDA."""
    command, env = [sys.executable, *words], os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=570)


def run_one(folder: Path, *words: str, **environment: str) -> dict[str, Any] | None:
    """The result of a small trial that `tests.workers.one_trial` runs; None where it is stopped."""
    (folder / "trial.json").write_text(small_trial().to_json())
    command = ("-m", "tests.workers.one_trial", str(folder / "trial.json"), *words)
    done = run_program(*command, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def run_fresh(spec: TrialSpec, folder: Path) -> dict[str, Any]:
    """The result of a trial that a shell runs."""
    (folder / "trial.json").write_text(spec.to_json())
    done = run_program("-m", "workers.run", str(folder / "trial.json"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def curve_and_scores(result: dict[str, Any]) -> tuple[Any, ...]:
    """What is equal only if all bits were."""
    curve = [(point["loss"], point["grad_norm"]) for point in result["curve"]]
    return (
        curve,
        [row["f1"] for row in result["scores"]],
        [x["num_zeros"] for x in result["layers"]],
    )


# From a fresh process on


def test_a_fresh_process_runs_a_trial_to_the_bits_of_a_worker_that_ran_others(gpu, tmp_path):
    finish(run_trial(small_trial(languages=("bn",), seed=5), gpu))
    reused = finish(run_trial(small_trial(), gpu))
    fresh = run_fresh(small_trial(), tmp_path)
    assert (fresh["device"], fresh["kernels"]) == ("cuda", "triton")
    assert fresh["device_name"] == torch.cuda.get_device_name()
    assert fresh["peak_gpu_memory_gib"] > 0
    assert [point["loss"] for point in fresh["curve"]] == [point.loss for point in reused.curve]
    assert [row["f1"] for row in fresh["scores"]] == [score.f1 for score in reused.scores]


@pytest.mark.parametrize("share", [1, 0.25])
def test_a_sweep_runs_to_its_end_and_its_rows_are_complete(tmp_path, share):
    from orchestrator.results.store import ResultStore

    overrides = ("--set", f"results={tmp_path}/r", "--set", f"resources.gpus_per_trial={share}")
    command = ("-m", "orchestrator.cli", "run", "smoke", *overrides)
    done = run_program(*command, RAY_ADDRESS="local")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = ResultStore(f"{tmp_path}/r").read("trials").to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * 24
    assert {(row["device"], row["kernels"]) for row in rows} == {("cuda", "triton")}
    assert all(row["peak_gpu_memory_gib"] > 0 for row in rows)
    name = torch.cuda.get_device_name()
    assert [row["devices"] for row in rows] == [[{"name": name, "from_step": 0}]] * 24
    done = run_program("-m", "orchestrator.cli", "verify", "smoke", f"{tmp_path}/r")
    assert (done.returncode, done.stdout.split(" trials ")[0]) == (0, "24 of 24"), done.stdout


# The same bits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("length", "shortest"), [(24, None), (60, None), (60, 20)])
def test_training_in_the_shape_of_multilingual_bert_repeats_its_bits(
    gpu, precision, length, shortest
):
    """Rows of 60 sub-words are more than 1,024 indices a step, for which the gradient of torch's
    embeddings had a race (pytorch pull requests 187687, 199569). With padding, attention takes
    another kernel than without."""
    from tests.benchmarks.kernels import full_shape

    def train() -> tuple[Any, ...]:
        pruning = replace(PRUNING, begin=0.0, end=1.0)
        training = full_shape(50, pruning, length, precision, shortest)
        for _ in training.run():
            pass
        sums = [weight.double().sum().item() for weight in training.model.parameters()]
        return training.curve, sums

    first = train()
    assert all(train() == first for _ in range(4))


@pytest.mark.parametrize("stopped_after", [1, 10, 22])
def test_a_stopped_trial_goes_on_to_the_same_bits(gpu, tmp_path, stopped_after):
    spec = small_trial()
    interrupted = run_trial(spec, gpu, checkpoint_at(tmp_path, spec, every_s=1e9))
    run_steps(interrupted, stopped_after)
    interrupted.close()
    resumed = finish(run_trial(spec, gpu, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(finish(run_trial(spec, gpu)))


def test_a_trial_goes_on_in_another_process_to_the_same_bits(gpu, tmp_path):
    whole = run_one(tmp_path)
    kept = ("--checkpoint", str(tmp_path))
    assert run_one(tmp_path, *kept, "--stop-after", "9") is None
    resumed = run_one(tmp_path, *kept)
    assert (resumed["num_resumes"], len(resumed["devices"])) == (1, 1)
    assert curve_and_scores(resumed) == curve_and_scores(whole)


@pytest.fixture(params=["taking turns", "mps"])
def sharing(request) -> Iterator[dict[str, str]]:
    """Variables for processes that share a GPU."""
    if request.param == "taking turns":
        yield {}
        return
    if shutil.which(CONTROL) is None:
        pytest.skip(f"needs {CONTROL}")
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder:
        server = Mps(Path(folder) / "mps", os.environ)
        yield server.environment
        server.close()


def test_trials_that_share_a_gpu_have_the_bits_of_one_alone_and_keep_to_their_share(
    tmp_path, sharing
):
    alone = curve_and_scores(run_one(tmp_path))
    folders = [tmp_path / str(number) for number in range(NUM_AT_ONCE)]
    for folder in folders:
        folder.mkdir()

    def run_beside(folder: Path) -> dict[str, Any]:
        return run_one(folder, "--share", str(1 / NUM_AT_ONCE), **sharing)

    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        results = list(threads.map(run_beside, folders))
    assert [curve_and_scores(result) for result in results] == [alone] * NUM_AT_ONCE
    share = torch.cuda.get_device_properties(0).total_memory / NUM_AT_ONCE
    assert all(0 < result["reserved_bytes"] <= share for result in results)


def test_predictions_do_not_depend_much_on_the_batches_they_are_made_in(gpu):
    results = [
        finish(run_trial(evaluation_of(small_trial(), batch_size=size), gpu)) for size in (128, 16)
    ]
    large, small = ([each.predicted for each in result.predictions] for result in results)
    pairs = [
        pair
        for one, other in zip(large, small, strict=True)
        for tags, others in zip(one, other, strict=True)
        for pair in zip(tags, others, strict=True)
    ]
    num_different = sum(one != other for one, other in pairs)
    assert num_different <= len(pairs) / 1000, f"{num_different} of {len(pairs)} words"


# Waiting


def test_a_step_does_not_wait_for_the_gpu(gpu):
    """Steps that log look at the loss."""
    running = run_trial(training_of(small_trial(), num_steps=30), gpu)
    run_steps(running, 11)
    with waits_are("warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_steps(running, 18)
    waits = [str(one.message) for one in caught if "synchroniz" in str(one.message)]
    assert not waits


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_replayed_step_is_a_launch_of_the_host_and_as_many_kernels_as_were_counted(
    gpu, precision
):
    from tests.benchmarks.kernels import full_shape

    steps = full_shape(6, None, precision=precision).run()
    for _ in range(4):
        next(steps)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        next(steps)
        torch.cuda.synchronize()
    names = [one.name for one in profile.events()]
    graphs = sum(name.startswith("cudaGraphLaunch") for name in names)
    launched = sum(name.startswith(("cudaLaunchKernel", "cuLaunchKernel")) for name in names)
    kernels = [one for one in profile.events() if one.device_type == DeviceType.CUDA]
    begin = min(one.time_range.start for one in kernels)
    end = max(one.time_range.end for one in kernels)
    busy = sum(one.time_range.elapsed_us() for one in kernels) / (end - begin)
    print(f"{len(kernels)} kernels in the shape of multilingual BERT, GPU busy {busy:.0%}")
    assert (graphs, launched < 20) == (2, True), (graphs, launched)
    assert 500 < len(kernels) < 800, (
        "670 operations were counted without a GPU, 546 in float32, of which some are two"
    )


# What fails


def test_memory_that_is_missing_is_named_and_the_next_trial_has_its_bits(gpu):
    whole = numbers(finish(run_trial(small_trial(), gpu)))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(TrialError, match="lower training.batch_size") as caught:
            finish(run_trial(small_trial(), gpu))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.kind == "out_of_memory"
    assert numbers(finish(run_trial(small_trial(), gpu))) == whole


def test_a_fault_that_stays_with_a_process_is_one_of_the_device():
    program = """
import torch
from workers.devices import name_fault
weight = torch.zeros(4, device="cuda")
for look in (lambda: weight[torch.tensor([9], device="cuda")].sum().item(), weight.sum().item):
    try:
        look()
    except Exception as error:
        print(name_fault(error, "").kind)
"""
    assert run_program("-c", program).stdout.split() == ["device", "device"]


def test_a_sweep_goes_on_after_a_fault_that_stays_with_a_process(tmp_path):
    done = run_program("-m", "tests.workers.sweep_with_a_fault", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended == [["completed", None]] * 2 + [["failed", "device"]], done.stdout


def test_a_share_of_the_memory_is_the_most_that_a_process_fills():
    program = """
import torch
from workers.run import prepare_process
device = prepare_process(1, True, gpu_share=0.25)
filled = []
try:
    while True:
        filled.append(torch.empty(2**28, dtype=torch.uint8, device=device))
except torch.OutOfMemoryError:
    print(torch.cuda.memory_reserved())
"""
    done = run_program("-c", program)
    whole = torch.cuda.get_device_properties(0).total_memory
    filled = int(done.stdout)
    assert whole / 4 - CONTEXT_BYTES - GIB < filled <= whole / 4 - CONTEXT_BYTES, done.stderr


# What a machine may lack


def test_variables_that_turn_on_tf32_are_refused():
    with pytest.raises(TrialError, match="TF32"):
        refuse_overrides({"NVIDIA_TF32_OVERRIDE": "1"})
    program = "from workers.run import prepare_process; prepare_process(1, use_gpu=True)"
    done = run_program("-c", program, NVIDIA_TF32_OVERRIDE="1")
    assert "NVIDIA_TF32_OVERRIDE=1" in done.stderr


def test_doctor_finds_that_every_gpu_computes():
    from orchestrator.cli.doctor import examine_devices

    findings = examine_devices()
    assert len(findings) == torch.cuda.device_count()
    assert all(finding.is_ok and finding.value.endswith("kernels run") for finding in findings)


def test_products_are_computed_in_float32(gpu):
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    error = (left.to(gpu) @ right.to(gpu)).cpu() - exact
    assert error.abs().max() < 1e-3, "TF32 is off by 1e-2"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_kernels_run_on_a_gpu_that_is_not_the_current_one():
    assert torch.cuda.current_device() == 0
    try_kernels("triton", torch.device("cuda", 1))


def test_a_gpu_that_was_opened_is_the_first_visible_one(gpu):
    assert open_gpu() == gpu == torch.device("cuda", 0)
    assert name_fault(RuntimeError("an error of ours"), "") is None
