"""What the driver and its workers say to each other, and how it travels through Ray Tune.

A worker is given a `WorkerSetup` once, when it starts, and an `Assignment` for each trial; it
answers with `Report`s. Tune carries dictionaries, so each message is turned into one and back here
and nowhere else. Whoever reads a message checks its keys: on a cluster the driver and a worker may
run different versions of this code.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.planning.speed import Device, Timing
from workers.pruning.prefix import SharedPrefix
from workers.result import Progress
from workers.trial import ErrorKind, TrialSpec

REPORT = "report"
"""Key of a report in Tune's result, which has keys of Tune's own beside it."""

REPORT_EVERY_S, REPORT_WITHIN_S = 0.5, 20.0
"""Seconds from one report of a worker to the next, at least and at most. A stop reaches it with a
report, and must before it is given up, see `orchestrator.running.events`."""
REPORTS_PER_S = 50.0
"""Of all workers together. Ray Tune takes milliseconds for each, the longer the more workers there
are, and a worker waits until its report was taken."""


def report_every_s(num_workers: int) -> float:
    """Seconds from one report of a worker to the next.

    Args:
        num_workers: trials that run at a time.
    """
    return min(max(REPORT_EVERY_S, num_workers / REPORTS_PER_S), REPORT_WITHIN_S)


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """What is the same for all trials of a sweep.

    Attributes:
        results: location of the results.
        sweep_name: of the sweep.
        asked_json: the sweep as it was asked for, which results are stored with.
        checkpoint_every_s: seconds between checkpoints of a trial; None: none on the way.
        num_threads: CPU cores that a trial computes with.
        gpus_per_trial: GPUs that it is given; a fraction of one, 0 for none.
        kernels: `pruning.kernels` of the sweep.
        keeps_models: whether each trial that is trained leaves its model.
        stop_signal: name of the actor that workers ask whether they shall stop.
        report_every_s: seconds from one report of a worker to the next, see `report_every_s`.
        code: which code planned the sweep, see `workers.source.code_identity`.
    """

    results: str
    sweep_name: str
    asked_json: str
    checkpoint_every_s: float | None
    num_threads: int
    gpus_per_trial: float
    kernels: str
    keeps_models: bool
    stop_signal: str
    report_every_s: float
    code: str

    @property
    def use_gpu(self) -> bool:
        """Whether a trial computes on a GPU."""
        return self.gpus_per_trial > 0

    def to_parameter(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_parameter(cls, values: Mapping[str, Any]) -> "WorkerSetup":
        """As it arrives.

        Raises:
            SweepError: a key is unknown or missing.
        """
        return cls(**_checked("setup of a worker", values, cls))


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial that a worker is given.

    Attributes:
        trial_id: of the trial.
        spec_json: the trial, as `TrialSpec.to_json` writes it.
        attempt: from 1; one that failed for a cause that may pass is followed by another.
        num_node_losses: nodes that were lost under the trial in this run.
        wait_s: seconds that the worker waits before it begins, so that what failed may pass.
        start_by: the latest time, in seconds since 1970, at which it may begin; None: any time.
        prefix_id: of the first steps that it shares with other trials; None: it shares none.
        prefix_steps: how many these are.
        model_digest: of the kept model that is scored, and nothing trained; None: it is trained.
    """

    trial_id: str
    spec_json: str
    attempt: int = 1
    num_node_losses: int = 0
    wait_s: float = 0.0
    start_by: float | None = None
    prefix_id: str | None = None
    prefix_steps: int = 0
    model_digest: str | None = None

    @property
    def prefix(self) -> SharedPrefix | None:
        """What the trial shares with others; None: nothing."""
        if self.prefix_id is None:
            return None
        return SharedPrefix(self.prefix_id, self.prefix_steps)

    def spec(self) -> TrialSpec:
        """The trial. The driver has it already and does not parse it."""
        return TrialSpec.from_json(self.spec_json)

    def to_config(self) -> dict[str, Any]:
        """As it travels: the `config` of a trial in Tune."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Assignment":
        """As it arrives.

        Raises:
            SweepError: a key is unknown or missing.
        """
        return cls(**_checked("assignment", config, cls))


@dataclass(frozen=True, kw_only=True)
class Completed:
    """The trial's result is stored, by this worker or by another one before it.

    `f1` is the one to show; None where it is not defined. `remark` says what there is to say
    of it, nothing as a rule. Device and seconds are those of the
    trial's `TrialResult`; `work_s` are its seconds of training and scoring, and `share` is the
    fraction of its steps that others computed, all of a trial that is scored from its model.
    """

    f1: float | None
    remark: str
    device: str
    device_name: str
    num_threads: int
    load_s: float
    work_s: float
    share: float

    @property
    def timing(self) -> Timing:
        """How long the trial took, and on what."""
        device = Device.reported(self.device, self.device_name, self.num_threads)
        return Timing(device, self.load_s, self.work_s, self.share)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The attempt failed: the kind of its error, one line, and Python's traceback if there is
    one."""

    kind: ErrorKind
    message: str
    traceback: str | None


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The trial saved its checkpoint, since the sweep stops."""


@dataclass(frozen=True, kw_only=True)
class TooLate:
    """The trial was not begun: it waited for a worker until after `Assignment.start_by`."""


Ending = Completed | Failed | Stopped | TooLate

ENDINGS: dict[str, type[Ending]] = {
    "completed": Completed,
    "failed": Failed,
    "stopped": Stopped,
    "too_late": TooLate,
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker says of its trial; the first report comes before the trial's first step.

    Attributes:
        node_id: Ray's id of the node.
        host: the node's name.
        gpu: ids of the GPUs that the worker was given; None: none.
        progress: how far the trial is; None: nothing new.
        is_held: whether the trial was not begun since its place gets no more trials; the worker
            takes no other, so that none comes there.
        is_leaving: whether the node is about to leave; the trial is saved, the worker ends.
        unsaved: why the trial's state could not be saved, or its model not kept, in a line; None:
            it was, or was not due.
        ending: how the attempt ended; None: it goes on.
    """

    node_id: str
    host: str
    gpu: str | None = None
    progress: Progress | None = None
    is_held: bool = False
    is_leaving: bool = False
    unsaved: str | None = None
    ending: Ending | None = None

    def to_result(self) -> dict[str, Any]:
        """As it travels: what a trial returns to Tune, which ends the trial when it is `done`."""
        values = vars(self) | {
            "progress": None if self.progress is None else asdict(self.progress),
            "ending": None if self.ending is None else _tagged(self.ending),
        }
        return {"done": self.ending is not None, REPORT: values}

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> "Report":
        """As it arrives.

        Raises:
            SweepError: it is not there, or a key of it is unknown or missing.
        """
        if REPORT not in result:
            raise _other_version("result", f"missing key {REPORT!r}")
        values = _checked(REPORT, result[REPORT], cls)
        if (progress := values["progress"]) is not None:
            values["progress"] = Progress(**_checked("report.progress", progress, Progress))
        if values["ending"] is not None:
            values["ending"] = _untagged(values["ending"])
        return cls(**values)


def _tagged(ending: Ending) -> dict[str, dict[str, Any]]:
    (name,) = (name for name, kind in ENDINGS.items() if type(ending) is kind)
    return {name: asdict(ending)}


def _untagged(values: Any) -> Ending:
    if not isinstance(values, Mapping) or len(values) != 1:
        raise _other_version("report.ending", f"{values!r} is not one ending by its name")
    ((name, content),) = values.items()
    if name not in ENDINGS:
        raise _other_version("report.ending", f"unknown key {name!r}")
    kind = ENDINGS[name]
    return kind(**_checked(f"report.ending.{name}", content, kind))


def _checked(what: str, values: Any, kind: type) -> dict[str, Any]:
    """The values, if they are exactly those that this message has here."""
    if not isinstance(values, Mapping):
        raise _other_version(what, f"{values!r} is not a mapping")
    known = {field.name for field in fields(kind)}
    faults = [f"unknown key {name!r}" for name in sorted(values.keys() - known)]
    faults += [f"missing key {name!r}" for name in sorted(known - values.keys())]
    if faults:
        raise _other_version(what, ", ".join(faults))
    return dict(values)


def _other_version(what: str, fault: str) -> SweepError:
    return SweepError(
        f"{what}: {fault}; the driver and this worker run different versions of sparsweep: install "
        "the same one on all machines of the cluster"
    )
