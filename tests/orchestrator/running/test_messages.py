"""Messages arrive as they were sent, and those of another version are refused by the name of the
key."""

import json
from dataclasses import replace

import pytest

from orchestrator.errors import SweepError
from orchestrator.planning.speed import Device, Timing
from orchestrator.running.messages import (
    Assignment,
    Completed,
    Failed,
    Report,
    Stopped,
    TooLate,
    WorkerSetup,
    report_every_s,
)
from tests.factories import make_trial_spec
from workers.result import Progress

OTHER_VERSION = "the driver and this worker run different versions of sparsweep: install the same"

ASSIGNMENT = Assignment(
    trial_id="t1",
    spec_json=make_trial_spec().to_json(),
    attempt=2,
    num_node_losses=3,
    wait_s=2.0,
    start_by=1e9,
    prefix_id="p1",
    prefix_steps=3,
    model_digest="d1",
)
SETUP = WorkerSetup(
    results="/results",
    sweep_name="tiny",
    asked_json="{}",
    checkpoint_every_s=None,
    num_threads=2,
    gpus_per_trial=0.5,
    kernels="auto",
    keeps_models=True,
    stop_signal="stop",
    report_every_s=0.5,
    code="0.2.0, code 012345678901",
)
PROGRESS = Progress(
    step=1, num_steps=2, loss=None, sparsity=0.5, subwords_per_s=1.0, phase="training"
)
COMPLETED = Completed(
    f1=None,
    remark="no entity predicted after 40 steps",
    device="cuda",
    device_name="A100",
    num_threads=1,
    load_s=1.0,
    work_s=2.0,
    share=0.25,
)
REPORT = Report(node_id="n1", host="node7")


def sent(values: dict) -> dict:
    """Only plain values travel."""
    return json.loads(json.dumps(values))


def test_an_assignment_arrives_as_it_was_sent():
    arrived = Assignment.from_config(sent(ASSIGNMENT.to_config()))
    assert arrived == ASSIGNMENT
    assert arrived.spec() == make_trial_spec()


def test_the_setup_of_a_worker_arrives_as_it_was_sent():
    assert WorkerSetup.from_parameter(sent(SETUP.to_parameter())) == SETUP


@pytest.mark.parametrize(
    ("num_workers", "every_s"), [(1, 0.5), (25, 0.5), (64, 1.28), (500, 10), (9999, 20)]
)
def test_many_workers_report_less_often_each(num_workers, every_s):
    assert report_every_s(num_workers) == every_s


@pytest.mark.parametrize(
    "report",
    [
        REPORT,
        replace(REPORT, progress=PROGRESS),
        replace(REPORT, progress=PROGRESS, is_leaving=True),
        replace(REPORT, ending=COMPLETED),
        replace(REPORT, ending=Failed(kind="storage", message="disk full", traceback=None)),
        replace(REPORT, ending=Stopped()),
        replace(REPORT, ending=TooLate()),
    ],
)
def test_a_report_arrives_as_it_was_sent_beside_what_tune_adds(report):
    result = sent(report.to_result())
    assert result["done"] == (report.ending is not None)
    assert Report.from_result(result | {"training_iteration": 1, "hostname": "x"}) == report


def test_a_completed_trial_tells_its_device_and_time():
    assert COMPLETED.timing == Timing(Device("A100", "GPU", 0), 1.0, 2.0, 0.25)
    on_cpu = replace(COMPLETED, device="cpu", device_name="AMD EPYC", num_threads=4)
    assert on_cpu.timing.device == Device("AMD EPYC", "CPU", 4)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colour": "red"}, "assignment: unknown key 'colour'"),
        ({"attempt": None}, "assignment: missing key 'attempt'"),
        (
            {"attempt": None, "try": 1, "a": 2},
            "assignment: unknown key 'a', unknown key 'try', missing key 'attempt'",
        ),
    ],
)
def test_an_assignment_of_another_version_is_refused(change, fault):
    config = ASSIGNMENT.to_config() | change
    values = {key: value for key, value in config.items() if value is not None}
    with pytest.raises(SweepError, match=f"^{fault}; {OTHER_VERSION}"):
        Assignment.from_config(values)


def test_a_setup_of_another_version_is_refused():
    with pytest.raises(SweepError, match=f"setup of a worker: unknown key 'x'; {OTHER_VERSION}"):
        WorkerSetup.from_parameter(SETUP.to_parameter() | {"x": 1})


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        ({"colour": "red"}, "report: unknown key 'colour'"),
        ({"progress": {"step": 1}}, "report.progress: missing key 'loss', missing key 'num_steps'"),
        ({"ending": {"vanished": {}}}, "report.ending: unknown key 'vanished'"),
        ({"ending": {"failed": {"kind": "storage"}}}, "report.ending.failed: missing key 'mess"),
        ({"ending": {"stopped": {"why": "x"}}}, "report.ending.stopped: unknown key 'why'"),
        ({"ending": {"stopped": None}}, "report.ending.stopped: None is not a mapping"),
        ({"ending": "stopped"}, "report.ending: 'stopped' is not one ending by its name"),
        ({"ending": {}}, "report.ending: {} is not one ending by its name"),
    ],
)
def test_a_report_of_another_version_is_refused(report, fault):
    result = REPORT.to_result()
    with pytest.raises(SweepError, match=f"^{fault}.*; {OTHER_VERSION}"):
        Report.from_result(result | {"report": result["report"] | report})


def test_a_result_without_a_report_is_refused():
    with pytest.raises(SweepError, match=f"result: missing key 'report'; {OTHER_VERSION}"):
        Report.from_result({"done": True, "outcome": "completed"})
