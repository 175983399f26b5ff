"""Submitted sweeps: what was sent where, so that it can be followed, stopped and gone on with.

Each submission has a folder of its own, which only its owner can read, with the sweep as it was
then and a record, see `records`. The folder is below the results where these are a folder that the
job shares, otherwise below the user's state folder. There is one live job per sweep unless one asks
for more.
"""

import contextlib
import errno
import json
import logging
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster import open_backend
from cluster.backend import Backend, JobSpec, job_name, user_name
from cluster.errors import ClusterError
from cluster.profile_fields import ClusterProfile
from cluster.user_folders import state_folder
from orchestrator.errors import SweepError
from orchestrator.planning.memory import trial_memory
from orchestrator.planning.outlook import fixed_resources, refuse_useless_mps
from orchestrator.planning.plan import PlannedTrial, plan_digest, trials_left
from orchestrator.planning.room import refuse_no_room
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.submission.records import JobRecord, Submission, ask, read_records, send
from workers.storage import Location
from workers.trial import digest_bytes

log = logging.getLogger(__name__)


class Jobs:
    """The jobs of one sweep.

    Args:
        sweep: the sweep.
        planned: its trials; None where its data is not here.
        statuses: of trials that the results have.
        results: where its results go.
        lacking: ids of completed trials that lack what only running them again gives.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        planned: Sequence[PlannedTrial] | None,
        statuses: Mapping[str, str],
        results: Location,
        lacking: Collection[str] = (),
    ):
        self.sweep, self.planned, self.statuses, self.results = sweep, planned, statuses, results
        self.lacking = lacking
        self.sweep_id = _digest(f"{sweep.name}\n{results}")[:8]
        self._said: set[str] = set()

    def update(self, statuses: Mapping[str, str]) -> None:
        """Take over what the results have by now."""
        self.statuses = statuses

    def left(
        self, retry_failed: bool = False, rerun_lacking: bool = False
    ) -> list[PlannedTrial] | None:
        """The trials that would run; None where the sweep is not planned."""
        if self.planned is None:
            return None
        left = {trial.trial_id for trial in trials_left(self.planned, self.statuses, retry_failed)}
        if rerun_lacking:
            left |= set(self.lacking)
        return [trial for trial in self.planned if trial.trial_id in left]

    def draft(
        self, profile: ClusterProfile, retry_failed: bool = False, rerun_lacking: bool = False
    ) -> JobSpec:
        """What would be submitted now.

        Raises:
            SweepError: a trial fits on no machine of the profile, or not into its memory.
        """
        resources, hardware = self.sweep.resources, profile.hardware()
        refuse_useless_mps(profile, resources)
        if hardware is not None and (left := self.left(retry_failed, rerun_lacking)):
            refuse_no_room(trial_memory(left, [], resources), hardware, resources)
        is_shared = profile.shares_files and self.results.is_local
        root = self._shared_root() if is_shared else self._own_root()
        return JobSpec(
            name=self.sweep.name,
            sweep_id=self.sweep_id,
            folder=root / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f"),
            results=str(self.results),
            sweep_json=self._freeze(profile),
            plan_digest=plan_digest(self.planned) if self.planned is not None else None,
            cpus_per_trial=self.sweep.resources.cpus_per_trial,
            gpus_per_trial=self.sweep.resources.gpus_per_trial,
            retry_failed=retry_failed,
            rerun_lacking=rerun_lacking,
        )

    def submit(
        self,
        profile_name: str,
        profile: ClusterProfile,
        *,
        another: bool = False,
        retry_failed: bool = False,
        rerun_lacking: bool = False,
    ) -> tuple[Submission, bool]:
        """Send the sweep, unless a live job has it.

        Args:
            profile_name: what the user calls the cluster.
            profile: the cluster.
            another: send it beside a live one.
            retry_failed: also what failed.
            rerun_lacking: also what is completed and lacks scores.

        Returns:
            The submission, and whether it is new.

        Raises:
            SweepError: a live job runs another version of the sweep.
            ClusterError: the cluster does not take it; nothing was sent, and nothing is left of the
                attempt.
        """
        left = self.left(retry_failed, rerun_lacking)
        job = self.draft(profile, retry_failed, rerun_lacking)
        backend = open_backend(profile)
        record = _record(job, profile_name, profile, None if left is None else len(left))
        with _one_at_a_time(job.folder.parent):
            if not another and (live := self._live(record, backend)):
                return live, False
            record = send(job, record, backend)
        return ask(job.folder, record), True

    def latest(self) -> Submission | None:
        """The newest submission."""
        return next((ask(folder, record) for folder, record in self.records()), None)

    def records(self) -> list[tuple[Path, JobRecord]]:
        """Folder and record of every submission of this user, the newest first; nobody is asked.

        What is left out, since it is another's or cannot be read, is logged once.
        """
        roots = [self._own_root()]
        if self.results.is_local:
            roots.insert(0, self._shared_root())
        submissions, left_out = read_records(roots, job_name(self.sweep.name, self.sweep_id))
        for line in left_out:
            if line not in self._said:
                log.warning(line)
        self._said.update(left_out)
        return submissions

    def live(self) -> list[Submission]:
        """Jobs that are not over, the newest first; where a new job takes an old one's name, that
        is one job."""
        by_id: dict[str, Submission] = {}
        for submission in (ask(folder, record) for folder, record in self.records()):
            if not submission.status.state.is_terminal:
                by_id.setdefault(submission.status.job_id, submission)
        return list(by_id.values())

    def has_changed_since(self, record: JobRecord) -> bool:
        """Whether the sweep is another one now than when it was submitted."""
        return _digest(self._freeze(record.cluster())) != record.sweep_digest

    def _live(self, wanted: JobRecord, backend: Backend) -> Submission | None:
        """A live job of the sweep that does what is wanted.

        Raises:
            SweepError: a live job does something else; or nothing is recorded of it, as happens
                where a process died while it submitted.
        """
        live = self.live()
        if not live:
            if strays := backend.live_jobs(wanted.job_name):
                raise SweepError(
                    f"{self.sweep.name}: job {strays[0]} of this sweep is live, though nothing is "
                    "recorded of it; wait for its end or cancel it there, or use --another"
                )
            return None

        newest = live[0]
        is_elsewhere = newest.record.profile_name != wanted.profile_name
        if is_elsewhere or self.has_changed_since(newest.record):
            takes_another = wanted.cluster().takes_another or is_elsewhere
            beside = ", or submit beside it with --another" if takes_another else ""
            what = "on" if is_elsewhere else "of another version of this sweep on"
            raise SweepError(
                f"{self.sweep.name}: job {newest.status.job_id} {what} "
                f"{newest.record.profile_name} is {newest.status.state}; `sparsweep cancel` it "
                f"first{beside}"
            )
        return newest

    def _freeze(self, profile: ClusterProfile) -> str:
        """The sweep as the job reads it: paths absolute, and on a cluster that grows, what a trial
        gets and how many may run."""
        fields: dict[str, Any] = json.loads(self.sweep.model_dump_json(exclude_unset=True))
        fields["results"] = str(self.results)
        if self.planned:
            spec = self.planned[0].spec
            fields["model"] = fields.get("model", {}) | {"name": spec.model.name}
            if spec.corpus.path is not None:
                fields["corpus"] = fields.get("corpus", {}) | {"path": spec.corpus.path}
        fixed = fixed_resources(profile.hardware(), self.sweep.resources) if profile.grows else {}
        fields["resources"] = fields.get("resources", {}) | fixed
        return json.dumps(fields, ensure_ascii=False, indent=1)

    def _own_root(self) -> Path:
        """Where submissions to clusters go that do not share the results."""
        return state_folder() / "jobs" / f"{self.sweep.name}-{self.sweep_id}"

    def _shared_root(self) -> Path:
        """Where all submissions to clusters go that share the results, whoever submits."""
        return Path(self.results.path) / "jobs" / self.sweep.name


def _digest(text: str) -> str:
    return digest_bytes([text.encode()])


def _record(
    job: JobSpec, profile_name: str, profile: ClusterProfile, num_left: int | None
) -> JobRecord:
    """What is known of a job before it is sent."""
    return JobRecord(
        job_id=None,
        job_name=job.job_name,
        profile_name=profile_name,
        profile=profile.describe(),
        sweep_digest=_digest(job.sweep_json),
        plan_digest=job.plan_digest,
        num_left=num_left,
        submitted_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        user=user_name(),
        host=socket.gethostname(),
    )


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Hold back other submissions of the sweep to the same place.

    One lock suffices. It lies where the record will: with the results where the cluster shares
    them, so that it holds for all users and machines, and otherwise in the user's own folder. Two
    submissions that lie in different places are to clusters of which one does not see the results
    here, so their drivers write to different folders.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with Location.parse(str(root)).locked():
            yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        place = Path(error.filename or root)
        # Something in the user's folder, or the first part of its path that could not be made.
        is_own = place.is_relative_to(state_folder()) or state_folder().is_relative_to(place)
        remedy = "set XDG_STATE_HOME to a folder" if is_own else "give results"
        raise ClusterError(f"{place}: {error.strerror}; {remedy} where you may write") from error
