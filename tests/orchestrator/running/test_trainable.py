"""What a worker reports of the trials that it is given, without a Ray that runs."""

import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.contract import DRAIN_FILE, TRIAL_TITLE
from orchestrator.errors import SweepError
from orchestrator.planning.speed import Device, Timing
from orchestrator.results.store import ResultStore
from orchestrator.running.messages import (
    Assignment,
    Completed,
    Failed,
    Report,
    Stopped,
    TooLate,
    WorkerSetup,
)
from orchestrator.running.trainable import (
    TrialTrainable,
    _remark,
    make_worker,
    refuse_other_gpus,
)
from tests.factories import make_score, make_trial_result, make_trial_spec
from workers.result import Progress, TrialResult
from workers.source import code_identity
from workers.trial import TrialError, TrialSpec

SPEC = make_trial_spec()
CODE = code_identity()
FAULTS: dict[int, Any] = {
    1: TrialError("non_finite_loss", "loss is\n inf"),
    2: OSError("disk full"),
    3: RuntimeError(),
    6: TrialError("device", "ECC"),
    7: TrialError("out_of_memory", "full"),
}


class Scripted(TrialTrainable):
    """A real worker whose trials take two reports, and fail if their seed has a fault; seed 4 goes
    on until it is stopped."""

    is_stopping = False

    def connect(self, stop_signal: str) -> tuple[str, Callable[[], bool]]:
        assert stop_signal == "the sweep's signal"
        return "n1", lambda: self.is_stopping

    def given_gpus(self) -> list[int]:
        return [0]

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        step = 0
        while step < 2 or spec.seed == 4:
            step += 1
            yield progress(step)
            if spec.seed in FAULTS:
                raise FAULTS[spec.seed]
        return make_trial_result(f1=0.75)


def progress(step: int) -> Progress:
    return Progress(
        step=step, num_steps=2, loss=0.5, sparsity=0.0, subwords_per_s=1.0, phase="training"
    )


def config(seed: int = 0, **changes) -> dict:
    spec = make_trial_spec(seed=seed)
    assignment = Assignment(trial_id=spec.trial_id(), spec_json=spec.to_json(), **changes)
    return assignment.to_config()


def setup_of(
    tmp_path: Path, gpus_per_trial: float, code: str = CODE, report_every_s: float = 0.0
) -> WorkerSetup:
    return WorkerSetup(
        results=str(tmp_path / "results"),
        sweep_name="tiny",
        asked_json="{}",
        checkpoint_every_s=None,
        num_threads=1,
        gpus_per_trial=gpus_per_trial,
        kernels="auto",
        keeps_models=False,
        stop_signal="the sweep's signal",
        report_every_s=report_every_s,
        code=code,
    )


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., TrialTrainable]]:
    """Start a worker with its first trial."""

    def start(seed: int = 0, use_gpu: bool = False, code: str = CODE, **changes) -> TrialTrainable:
        setup = setup_of(tmp_path, 1.0 if use_gpu else 0.0, code)
        worker = make_worker(Scripted, setup, {"cpu": 1, "gpu": 0})
        return worker(config(seed, **changes))

    yield start
    logging.getLogger("workers").setLevel(logging.NOTSET)  # a worker's own is for its process


def step(worker: TrialTrainable) -> Report:
    return Report.from_result(worker.step())


def test_a_worker_that_found_other_code_than_the_driver_refuses_before_its_first_trial(start):
    with pytest.raises(SweepError, match=r"found sparsweep .*, code .* in .*workers, the driver"):
        start(code="0.1.0, code 012345678901")


def test_nodes_know_a_worker_by_its_title_whatever_its_class_is_called(start):
    assert TRIAL_TITLE in type(start()).__name__


def test_a_trial_that_failed_before_waits_until_it_begins_and_can_be_stopped_meanwhile(start):
    worker = start(wait_s=0.05)
    assert step(worker).host, "it arrives"
    until = time.monotonic() + 10
    while (report := step(worker)).progress is None:
        assert time.monotonic() < until
    assert report.progress == progress(1)
    stopped = start(wait_s=60.0)
    step(stopped)
    stopped.is_stopping = True
    assert step(stopped).ending == Stopped()


def test_a_trial_arrives_reports_and_is_committed(start, tmp_path):
    worker = start()
    arrived = step(worker)
    assert (arrived.node_id, arrived.progress, arrived.ending) == ("n1", None, None)
    assert arrived.host
    assert [step(worker).progress for _ in range(2)] == [progress(1), progress(2)]
    ended = step(worker).ending
    assert isinstance(ended, Completed)
    assert ended.f1 == 0.75
    # make_trial_result: 0.25 s of loading, 2 s of training, 0.5 s of scoring
    assert ended.timing == Timing(Device("a processor", "CPU", 1), 0.25, 2.5)
    (row,) = ResultStore(str(tmp_path / "results")).read("trials").to_pylist()
    assert (row["trial_id"], row["status"], row["sweep"]) == (SPEC.trial_id(), "completed", "tiny")


class Keeping(Scripted):
    """A worker whose trials have the built-in model as it begins."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        yield progress(1)
        self.leave_model(spec)
        return make_trial_result()

    def leave_model(self, spec: TrialSpec) -> None:
        from workers.model.encoder import make_model

        if self.model_file is not None:
            model = make_model(spec.model, spec.seed, torch.device("cpu"))
            self.model_file.prepare(model, spec, None, {})


@pytest.fixture
def keeping(tmp_path) -> Keeping:
    """A worker of a sweep that keeps its models."""
    setup = replace(setup_of(tmp_path, 0.0), keeps_models=True)
    return make_worker(Keeping, setup, {"cpu": 1, "gpu": 0})(config())


def test_a_model_is_committed_with_its_trial_and_asked_for_by_its_digest(keeping, tmp_path):
    while step(keeping).ending is None:
        pass
    store = ResultStore(str(tmp_path / "results"))
    (row,) = store.read("trials").to_pylist()
    assert store.model(SPEC.trial_id()).read_bytes()[8:9] == b"{"
    assert keeping.reset_config(config(model_digest=row["model_digest"]))
    assert keeping.model_file is None, "a model that is scored is not kept again"
    assert keeping.read_model(row["model_digest"]).spec == SPEC
    with pytest.raises(TrialError, match="is another model than the one that the scores .*--rerun"):
        keeping.read_model("another")
    store.model(SPEC.trial_id()).delete()
    with pytest.raises(TrialError, match="the kept model is gone; .*--rerun-lacking` trains it"):
        keeping.read_model(row["model_digest"])


def test_a_model_that_cannot_be_kept_is_reported_and_its_trial_is_committed(keeping, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "models").write_text("in the way")
    reports = [step(keeping)]
    while reports[-1].ending is None:
        reports.append(step(keeping))
    assert isinstance(reports[-1].ending, Completed)
    assert "models cannot be kept (File exists)" in str(reports[-1].unsaved)
    (row,) = ResultStore(str(tmp_path / "results")).read("trials").to_pylist()
    assert (row["status"], row["model_digest"]) == ("completed", None)


@pytest.mark.parametrize(
    ("seed", "kind", "message"),
    [
        (1, "non_finite_loss", "loss is inf"),
        (2, "storage", "disk full"),
        (3, "unexpected", "RuntimeError"),
    ],
)
def test_a_fault_inside_a_trial_is_a_report_and_the_worker_takes_the_next_one(
    start, seed, kind, message
):
    worker = start(seed)
    step(worker), step(worker)
    failed = step(worker).ending
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.message) == (kind, message)
    assert "Traceback" in str(failed.traceback)
    assert worker.reset_config(config(seed=5))
    assert step(worker).ending is None
    assert step(worker).progress == progress(1)


@pytest.mark.slow
def test_an_unexpected_fault_on_a_gpu_ends_the_worker(start):
    worker = start(3, use_gpu=True)
    step(worker), step(worker)
    with pytest.raises(RuntimeError):
        worker.step()


@pytest.mark.parametrize("seed", [6, 7])
def test_a_fault_of_a_gpu_or_its_memory_ends_the_worker_and_keeps_its_kind(start, seed):
    worker = start(seed, use_gpu=True)
    step(worker), step(worker)
    with pytest.raises(TrialError) as caught:
        worker.step()
    assert caught.value.kind == FAULTS[seed].kind
    on_cpu = start(7)
    step(on_cpu), step(on_cpu)
    assert step(on_cpu).ending.kind == "out_of_memory", "memory of a CPU is given back"


def test_other_faults_of_a_trial_on_a_gpu_leave_the_worker(start):
    worker = start(1, use_gpu=True)
    step(worker), step(worker)
    assert step(worker).ending.kind == "non_finite_loss"


@pytest.mark.parametrize(
    ("given", "visible"),
    [([0], "0"), (["GPU-8932f937"], "GPU-8932f937"), ([3, 5], "3,5"), (["2"], "2")],
)
def test_a_worker_computes_on_the_gpu_that_it_was_given(given, visible):
    refuse_other_gpus(given, {"CUDA_VISIBLE_DEVICES": visible})


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({}, "and it sees all .CUDA_VISIBLE_DEVICES: not set"),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, "and it sees 0, 1, 2 "),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "and it sees none .CUDA_VISIBLE_DEVICES: -1"),
    ],
)
def test_a_worker_that_sees_other_gpus_does_not_compute_on_the_first(environ, seen):
    with pytest.raises(TrialError, match=f"GPU 1, {seen}.* RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE"):
        refuse_other_gpus([1], environ)


def test_a_real_worker_looks_before_it_touches_the_gpu(tmp_path, monkeypatch):
    class OnGpu(TrialTrainable):
        connect = Scripted.connect

        def given_gpus(self):
            return [1]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    worker = make_worker(OnGpu, setup_of(tmp_path, 1.0), {"cpu": 1, "gpu": 0})(config())
    step(worker)
    with pytest.raises(TrialError, match="Ray gave this worker the GPU 1") as caught:
        worker.step()
    assert caught.value.kind == "device"


def test_a_trial_that_waited_too_long_is_not_begun(start):
    assert step(start(start_by=time.time() - 1)).ending == TooLate()
    assert step(start(start_by=time.time() + 60)).ending is None


def test_a_trial_ends_when_the_sweep_stops(start):
    worker = start(4)
    step(worker), step(worker)
    worker.is_stopping = True
    assert step(worker).ending == Stopped()


def test_a_worker_on_a_leaving_node_says_so_with_its_last_report(start, tmp_path, monkeypatch):
    drain_file = Path(tmp_path / "drain")
    monkeypatch.setenv(DRAIN_FILE, str(drain_file))
    worker = start(4)
    step(worker)
    assert not step(worker).is_leaving
    drain_file.touch()
    last = step(worker)
    assert (last.is_leaving, last.ending, worker.is_leaving) == (True, None, True)


def test_a_worker_that_reports_rarely_leaves_as_soon(tmp_path, monkeypatch):
    drain_file = Path(tmp_path / "drain")
    monkeypatch.setenv(DRAIN_FILE, str(drain_file))
    rarely = setup_of(tmp_path, 0.0, report_every_s=3600.0)
    worker = make_worker(Scripted, rarely, {"cpu": 1, "gpu": 0})(config(seed=4))
    step(worker)
    drain_file.touch()
    assert step(worker).is_leaving


def test_a_checkpoint_that_cannot_be_written_is_reported(start):
    worker = start(4)
    assert step(worker).unsaved is None
    worker.checkpoint.unsaved = "the disk is full"
    assert step(worker).unsaved == "the disk is full"
    worker.reset_config(config())
    assert step(worker).unsaved is None, "it was another trial's"


def test_an_assignment_of_another_version_does_not_start_a_worker(start):
    worker = start()
    with pytest.raises(SweepError, match="assignment: unknown key 'colour'; .*different versions"):
        worker.reset_config(config() | {"colour": "red"})


def test_in_a_closed_place_a_worker_begins_no_trial_and_holds_the_place(start, monkeypatch):
    monkeypatch.setattr(Scripted, "is_closed", lambda self: True)
    worker = start()
    reports = [step(worker) for _ in range(3)]
    assert all(report.is_held and report.ending is None for report in reports)
    monkeypatch.setattr(Scripted, "is_closed", lambda self: False)
    worker.reset_config(config())
    assert not step(worker).is_held


def test_a_trial_that_predicts_nothing_says_so():
    def scores(*num_predicted, split="test"):
        codes = ("sw", "yo", "de")
        return tuple(
            make_score(language=code, split=split, num_predicted=number)
            for code, number in zip(codes, num_predicted, strict=False)
        )

    alone, both = make_trial_spec(), make_trial_spec(regime="multilingual", languages=("sw", "yo"))
    for spec, found, remark in (
        (alone, scores(0), "no entity predicted after 20 steps"),
        (alone, scores(1), ""),
        (alone, (*scores(0, split="validation"), *scores(1)), ""),
        (alone, scores(1, 0), ""),  # Yoruba is not what it is trained on
        (both, scores(1, 0, 0), "no entity of yo predicted after 20 steps"),
        (alone, (make_score(support=0, num_predicted=0),), ""),
    ):
        assert _remark(make_trial_result(scores=found, num_steps=20), spec) == remark
