"""Submitted sweeps: what was sent where, so that it can be followed, stopped and gone on with.

Each submission has a folder of its own, which only its owner can read, with the sweep as it was
then and a record, `job.json`. The folder is below the results where these are a folder that the job
shares, otherwise below the user's state folder. There is one live job per sweep unless one asks for
more.
"""

import contextlib
import hashlib
import json
import math
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import open_backend
from cluster.backend import Backend, JobSpec, JobState, JobStatus, job_name, user_name
from cluster.errors import ClusterError
from cluster.job_files import state_folder, write_whole
from cluster.profiles import KubernetesProfile, Profile, RayProfile, describe_profile
from orchestrator.errors import SweepError
from orchestrator.planning.capacity import num_fitting
from orchestrator.planning.outlook import machines
from orchestrator.planning.plan import PlannedTrial, plan_digest, trials_left
from orchestrator.spec.profiles import make_profile
from orchestrator.spec.sweep_spec import SweepSpec
from workers.storage import Location

RECORD, END = "job.json", "end.json"
"""Files of a submission: the record, and how the job ended, once that is known."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One submission.

    Attributes:
        job_id: what the backend calls it; None while it is being sent, and for ever where that
            process died.
        job_name: see `JobSpec`.
        profile_name: what `--on` said.
        profile: its fields, without defaults.
        sweep_digest: hash of the sweep as it was sent.
        plan_digest: hash of its trial ids; None if it was not planned where it was submitted.
        num_left: trials that were left then; None likewise.
        submitted_at: UTC, ISO 8601.
        user: who submitted.
        host: where.
    """

    job_id: str | None
    job_name: str
    profile_name: str
    profile: dict[str, Any]
    sweep_digest: str
    plan_digest: str | None
    num_left: int | None
    submitted_at: str
    user: str
    host: str

    def cluster(self) -> Profile:
        """The profile as it was then.

        Raises:
            SweepError: this version of sparsweep does not know it.
        """
        try:
            return make_profile(self.profile_name, self.profile)
        except ValueError as error:
            where = f"{self.profile_name}, as it was when the sweep was submitted at {self.submitted_at}"
            raise SweepError(f"{where}: {error}; submit the sweep anew") from error

    def backend(self) -> Backend:
        """Of that profile."""
        return open_backend(self.cluster())


@dataclass(frozen=True)
class Submission:
    """A record, its folder, and what the backend says of it now."""

    folder: Path
    record: JobRecord
    status: JobStatus


class Jobs:
    """The jobs of one sweep.

    Args:
        sweep: the sweep.
        planned: its trials; None where its data is not here.
        statuses: of trials that the results have.
        results: where its results go.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        planned: Sequence[PlannedTrial] | None,
        statuses: Mapping[str, str],
        results: Location,
    ):
        self.sweep, self.planned, self.statuses, self.results = sweep, planned, statuses, results
        identity = f"{sweep.name}\n{results}".encode()
        self.sweep_id = hashlib.sha256(identity).hexdigest()[:8]

    def left(self, retry_failed: bool = False) -> list[PlannedTrial] | None:
        """The trials that would run; None where the sweep is not planned."""
        return (
            None if self.planned is None else trials_left(self.planned, self.statuses, retry_failed)
        )

    def draft(self, profile: Profile, retry_failed: bool = False) -> JobSpec:
        """What would be submitted now.

        Raises:
            SweepError: a trial fits on no machine of the profile.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        return JobSpec(
            name=self.sweep.name,
            sweep_id=self.sweep_id,
            folder=self._root(profile) / stamp,
            results=str(self.results),
            sweep_json=self._freeze(profile),
            plan_digest=plan_digest(self.planned) if self.planned is not None else None,
            cpus_per_trial=self.sweep.resources.cpus_per_trial,
            gpus_per_trial=self.sweep.resources.gpus_per_trial,
            retry_failed=retry_failed,
        )

    def submit(
        self,
        profile_name: str,
        profile: Profile,
        *,
        another: bool = False,
        retry_failed: bool = False,
    ) -> tuple[Submission, bool]:
        """Send the sweep, unless a live job has it.

        Args:
            profile_name: what the user calls the cluster.
            profile: the cluster.
            another: send it beside a live one.
            retry_failed: also what failed.

        Returns:
            The submission, and whether it is new.

        Raises:
            SweepError: a live job runs another version of the sweep.
            ClusterError: the cluster does not take it; nothing was sent, and nothing is left of the
                attempt.
        """
        job, shared = self.draft(profile, retry_failed), self._root(profile) != self._roots()[-1]
        # Two locks: of this user, whatever the cluster; and of all who share the results.
        with (
            _locked(self._roots()[-1]),
            _locked(self._root(profile)) if shared else contextlib.nullcontext(),
        ):
            if not another and (live := self._live(job, profile_name, profile)):
                return live, False
            job.folder.mkdir(mode=0o700)
            try:
                record = self._record(job, profile_name, profile)
                _write(
                    job.folder, record
                )  # first: should we die while sending, the job is found by its name
                record = replace(record, job_id=open_backend(profile).submit(job))
            except BaseException:
                shutil.rmtree(job.folder, ignore_errors=True)
                raise
            _write(job.folder, record)
        return self._ask(job.folder, record), True

    def latest(self) -> Submission | None:
        """The newest submission."""
        return next((self._ask(folder, record) for folder, record in self.records()), None)

    def records(self) -> list[tuple[Path, JobRecord]]:
        """Folder and record of every submission, the newest first; nobody is asked."""
        found = [
            (file.parent, _read(file))
            for root in self._roots()
            for file in root.glob(f"*/{RECORD}")
        ]
        ours = [(folder, record) for folder, record in found if record.job_name == self._job_name]
        return sorted(ours, key=lambda one: one[1].submitted_at, reverse=True)

    def live(self) -> list[Submission]:
        """Jobs that are not over, the newest first; where a new job takes an old one's name, that
        is one job."""
        found: dict[str, Submission] = {}
        for one in (self._ask(folder, record) for folder, record in self.records()):
            if not one.status.state.is_terminal:
                found.setdefault(one.status.job_id, one)
        return list(found.values())

    def has_changed_since(self, record: JobRecord) -> bool:
        """Whether the sweep is another one now than when it was submitted."""
        return self._digest(record.cluster()) != record.sweep_digest

    @property
    def _job_name(self) -> str:
        return job_name(self.sweep.name, self.sweep_id)

    def _live(self, job: JobSpec, profile_name: str, profile: Profile) -> Submission | None:
        """A live job of the sweep; one without a record is that of a process that died while it
        submitted."""
        live = self.live()
        if not live:
            if strays := open_backend(profile).live_jobs(job.job_name):
                raise SweepError(
                    f"{self.sweep.name}: job {strays[0]} of this sweep is live, though nothing is recorded of it; "
                    "wait for its end or cancel it there, or use --another"
                )
            return None
        first = live[0]
        if self.has_changed_since(first.record) or first.record.profile_name != profile_name:
            what = (
                "on"
                if first.record.profile_name != profile_name
                else "of another version of this sweep on"
            )
            raise SweepError(
                f"{self.sweep.name}: job {first.status.job_id} {what} {first.record.profile_name} is "
                f"{first.status.state}; `sparsweep cancel` it first, or submit beside it with --another"
            )
        return first

    def _ask(self, folder: Path, record: JobRecord) -> Submission:
        """How it stands; a cluster that does not answer must not keep one from the others."""
        if (ended := _read_end(folder)) is not None:
            return Submission(folder, record, ended)
        try:
            found = self._ask_backend(folder, record)
        except ClusterError as error:
            status = JobStatus(
                job_id=record.job_id or "?",
                state=JobState.UNKNOWN,
                native="no answer",
                detail=str(error),
            )
            return Submission(folder, record, status)
        if found.status.state.is_terminal and found.status.state is not JobState.GONE:
            _write_end(folder, found.status)  # batch systems forget
        return found

    def _ask_backend(self, folder: Path, record: JobRecord) -> Submission:
        backend = record.backend()
        job_id = record.job_id
        if job_id is None:  # whoever submitted died while doing so
            job_id = next(iter(backend.live_jobs(record.job_name)), None)
        if job_id is None:
            return Submission(
                folder, record, JobStatus(job_id="?", state=JobState.GONE, native="was never sent")
            )
        status = backend.status(job_id)
        if record.profile.get("backend") == "slurm" and status.state is JobState.FAILED:
            status = _explain_unseen(folder, status)
        return Submission(folder, record, status)

    def _record(self, job: JobSpec, profile_name: str, profile: Profile) -> JobRecord:
        return JobRecord(
            job_id=None,
            job_name=job.job_name,
            profile_name=profile_name,
            profile=describe_profile(profile),
            sweep_digest=self._digest(profile),
            plan_digest=job.plan_digest,
            num_left=None if (left := self.left(job.retry_failed)) is None else len(left),
            submitted_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            user=user_name(),
            host=socket.gethostname(),
        )

    def _digest(self, profile: Profile) -> str:
        return hashlib.sha256(self._freeze(profile).encode()).hexdigest()[:16]

    def _freeze(self, profile: Profile) -> str:
        """The sweep as the job reads it: paths absolute, and on a cluster that grows, how far it
        may."""
        fields: dict[str, Any] = json.loads(self.sweep.model_dump_json(exclude_unset=True))
        fields["results"] = str(self.results)
        if self.planned:
            spec = self.planned[0].spec
            fields["model"] = fields.get("model", {}) | {"name": spec.model.name}
            if spec.corpus.path is not None:
                fields["corpus"] = fields.get("corpus", {}) | {"path": spec.corpus.path}
        fields["resources"] = fields.get("resources", {}) | _growth(self.sweep, profile)
        return json.dumps(fields, ensure_ascii=False, indent=1)

    def _root(self, profile: Profile) -> Path:
        """Where submissions go: to what the job shares with us, else to the user's own folder."""
        is_shared = self.results.is_local and not isinstance(
            profile, KubernetesProfile | RayProfile
        )
        return self._roots()[0] if is_shared else self._roots()[-1]

    def _roots(self) -> list[Path]:
        own = state_folder() / "jobs" / f"{self.sweep.name}-{self.sweep_id}"
        return (
            [Path(self.results.path) / "jobs" / self.sweep.name, own]
            if self.results.is_local
            else [own]
        )


def _growth(sweep: SweepSpec, profile: Profile) -> dict[str, Any]:
    """Where machines join as they come, nobody can tell at the start what a trial gets and how many
    may run."""
    if profile.backend not in ("slurm", "kubernetes"):
        return {}
    there, asked = machines(profile), sweep.resources
    assert there is not None
    gpus_per_trial = (
        asked.gpus_per_trial if asked.gpus_per_trial is not None else float(min(1, there.gpus))
    )
    each = num_fitting(there.cpus, there.gpus, asked.cpus_per_trial, gpus_per_trial)
    if each == 0:
        raise SweepError(
            f"resources: a trial asks for {asked.cpus_per_trial} CPUs and {gpus_per_trial:g} GPUs, a "
            f"machine of the profile has {there.cpus} and {there.gpus}; lower resources.cpus_per_trial or "
            "gpus_per_trial, or change the profile"
        )
    return {
        "gpus_per_trial": gpus_per_trial,
        "max_concurrent_trials": min(
            there.num_machines * each, asked.max_concurrent_trials or math.inf
        ),
    }


def _explain_unseen(folder: Path, status: JobStatus) -> JobStatus:
    """A job whose log Slurm could not even open on the node."""
    from cluster.slurm.shared_files import SEEN

    if (folder / SEEN).exists() or list(folder.glob("*.log")):
        return status
    detail = f"{status.detail}; its first node did not see {folder}, which must be on a file system that all nodes share"
    return replace(status, detail=detail)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One submission of a sweep at a time."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with Location.parse(str(root)).locked():
            yield
    except PermissionError as error:
        raise ClusterError(
            f"{error.filename or root}: {error.strerror}; give results where you may write"
        ) from error


def _write_end(folder: Path, status: JobStatus) -> None:
    with contextlib.suppress(OSError):  # a disk that is full or read-only
        write_whole(folder / END, json.dumps(asdict(status)))


def _read_end(folder: Path) -> JobStatus | None:
    try:
        fields = json.loads((folder / END).read_text())
        return JobStatus(**fields | {"state": JobState(fields["state"])})
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
    ):  # not over yet; or not readable, then the system is asked
        return None


def _write(folder: Path, record: JobRecord) -> None:
    write_whole(folder / RECORD, json.dumps(asdict(record), indent=1))


def _read(file: Path) -> JobRecord:
    try:
        return JobRecord(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise SweepError(f"{file}: not a record of a job ({error}); remove it to go on") from error
