"""Slurm: hands batch scripts to `sbatch`, and says what became of them.

Two modes. `block` is one job of all nodes. `elastic` is a small head job and an array of single-GPU
worker jobs, which start as the queue lets them, and which may be preempted one by one; its job id
is HEAD+WORKERS. What runs inside is `cluster.slurm.job`.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster.backend import JobSpec, JobState, JobStatus, user_name
from cluster.contract import SOME_FAILED, STOPPED
from cluster.errors import ClusterError
from cluster.job_files import last_line, read_lines, write_sweep_file, write_whole
from cluster.slurm import shared_files
from cluster.slurm.profile import SlurmProfile
from cluster.slurm.queue import STATES, accounted_state, ask, is_live, job_fields, scancel
from cluster.slurm.refusals import MAY_BE_LATER, UNANSWERED, remedy_of, why_waits
from cluster.slurm.script import SETUP_FAILED, make_script, probe, worker_name

ENDED = {
    f"{STOPPED}:0": (JobState.CANCELLED, "stopped with trials left"),
    f"{SOME_FAILED}:0": (JobState.COMPLETED, "some trials failed"),
    f"{SETUP_FAILED}:0": (JobState.FAILED, "a line of setup in the profile ended the job"),
}
"""What exit codes of a job that Slurm calls failed mean, as Slurm writes them: code and signal."""
NEXT_SCRIPT = "\n# ---- the workers' script ----\n"
"""Stands between the two scripts of elastic mode in what `render` returns."""


class SlurmBackend:
    """A Slurm cluster whose commands are on this machine's PATH."""

    def __init__(self, profile: SlurmProfile):
        self.profile = profile

    def check(self) -> list[str]:
        """See `Backend`; asks Slurm for its partitions."""
        try:
            known = set(ask("sinfo", "-h", "-o", "%R").split())
        except ClusterError as error:
            return [str(error)]
        wanted = {
            "partition": self.profile.partition,
            "head_partition": self.profile.head_partition,
        }
        return [
            f"{field}: {name}: no such partition here; there are: {', '.join(sorted(known))}"
            for field, name in wanted.items()
            if name and not set(name.split(",")) <= known
        ]

    def render(self, job: JobSpec) -> str:
        """See `Backend`: the batch script, in elastic mode both."""
        return NEXT_SCRIPT.join(self._scripts(job))

    def submit(self, job: JobSpec) -> str:
        """See `Backend`: Slurm is asked whether it takes each script before the first is sent."""
        scripts = self._scripts(job)
        if problems := self.check():
            raise ClusterError("\n".join(problems))
        for script in scripts:
            _ask_first(script)
        write_sweep_file(job)
        write_whole(job.folder / shared_files.PROBE, probe(job))
        head = _send(scripts[0], job.job_name, job.folder)
        if len(scripts) == 1:
            return head
        workers = None
        try:
            write_whole(job.folder / shared_files.HEAD, head)
            name = worker_name(job.job_name)
            workers = _send(scripts[1], name, job.folder, f"--dependency=after:{head}")
            write_whole(job.folder / shared_files.WORKERS, workers)
        except BaseException:  # Ctrl-C, too
            scancel(head, *([workers] if workers else []))
            raise
        return f"{head}+{workers}"

    def live_jobs(self, job_name: str) -> list[str]:
        """See `Backend`."""
        return [*_ids(job_name), *_ids(worker_name(job_name))]

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """See `Backend`; an elastic job has the state of its head, and `detail` counts workers."""
        head, _, workers = job_id.partition("+")
        state, native, detail = _status(head)
        if state is JobState.FAILED and (line := last_line(folder / f"{head}.log")):
            detail = "; ".join(filter(None, (detail, f"its log ends: {line}")))
        if state is JobState.FAILED and not _was_seen(folder):
            shared = f"{folder}, which must be on a file system that all nodes share"
            detail = f"{detail}; its first node did not see {shared}"
        if workers and state.is_terminal and is_live(workers):
            state, detail = JobState.STOPPING, "its workers have not ended yet"
        if workers and not state.is_terminal:
            detail = "; ".join(part for part in (detail, _count_workers(workers)) if part)
        return JobStatus(job_id=job_id, state=state, native=native, detail=detail)

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """See `Backend`."""
        head = job_id.partition("+")[0]

        def is_over() -> bool:
            return self.status(job_id, folder).state.is_terminal

        yield from read_lines(folder / f"{head}.log", is_over if follow else None)

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """See `Backend`: a running job is sent USR1, upon which it stops its trials and ends;
        others are cancelled."""
        head, _, workers = job_id.partition("+")
        fields = job_fields(head)
        _refuse_foreign(head, fields, job_name)
        if now or not fields or _state(fields[0])[0] is not JobState.RUNNING:
            scancel(head, *([workers] if workers else []))
        else:
            scancel("--batch", "--signal=USR1", head)

    def _scripts(self, job: JobSpec) -> list[str]:
        if self.profile.mode == "block":
            return [make_script(job, self.profile, "block")]
        return [make_script(job, self.profile, "head"), make_script(job, self.profile, "worker")]


def _ask_first(script: str) -> None:
    """Ask whether Slurm would take a script; where it cannot tell, sending it will."""
    try:
        _sbatch(script, "--test-only")
    except ClusterError as error:
        if not MAY_BE_LATER.search(str(error)):
            raise


def _send(script: str, name: str, folder: Path, *options: str) -> str:
    """Submit a script and return the job's id, also where Slurm took it and was too busy to say so.

    Args:
        script: the batch script.
        name: of the job.
        folder: of this submission, where the job starts; no other job does.
        options: of sbatch.
    """
    try:
        return _sbatch(script, "--parsable", *options)
    except ClusterError as error:
        if not UNANSWERED.search(str(error)):
            raise
        with contextlib.suppress(ClusterError):
            for job_id in _ids(name):
                if any(task.get("WorkDir") == str(folder) for task in job_fields(job_id)):
                    return job_id
        raise


def _sbatch(script: str, *options: str) -> str:
    """Hand over a script; what Slurm refuses comes with what can be done about it."""
    try:
        return ask("sbatch", *options, stdin=script).strip().partition(";")[0]
    except ClusterError as error:
        text = re.sub(r"\b(sbatch|allocation failure): (error: )?", "", str(error)).removeprefix(
            "slurm: "
        )
        raise ClusterError(f"slurm: sbatch refuses the job: {text}; {remedy_of(text)}") from error


def _ids(name: str) -> list[str]:
    text = ask("squeue", "-h", f"--user={user_name()}", f"--name={name}", "-o", "%F")
    return sorted(set(text.split()), key=int)


def _status(job_id: str) -> tuple[JobState, str, str]:
    fields = job_fields(job_id)
    if fields:
        return _state(fields[0])
    accounted = accounted_state(job_id)
    if accounted is None:
        return JobState.GONE, "unknown to Slurm", "Slurm keeps no more record of it"
    return _state({"JobState": accounted[0], "ExitCode": accounted[1]})


def _was_seen(folder: Path) -> bool:
    """Whether a node has had the job's folder before it; Slurm itself writes the logs there."""
    return (folder / shared_files.SEEN).exists() or any(folder.glob("*.log"))


def _state(fields: Mapping[str, str]) -> tuple[JobState, str, str]:
    """Our state, Slurm's, and what it says besides."""
    native = fields["JobState"].partition(",")[0]
    state = STATES.get(native, JobState.UNKNOWN)
    if native == "FAILED" and (ended := ENDED.get(fields.get("ExitCode", ""))):
        return ended[0], native, ended[1]
    if state is JobState.PENDING:
        return state, native, f"waits: {why_waits(fields.get('Reason', 'None'))}"
    if state is JobState.RUNNING:
        restarts = int(fields.get("Restarts", "0"))
        ran = (
            f"on {fields.get('NodeList', '?')} for {fields.get('RunTime', '?')} of "
            f"{fields.get('TimeLimit', '?')}"
        )
        return state, native, ran + (f", after {restarts} returns to the queue" if restarts else "")
    if state is JobState.FAILED:
        return state, native, f"exit code {fields.get('ExitCode', '?')}"
    return state, native, ""


def _count_workers(workers: str) -> str:
    tasks = [task for task in job_fields(workers) if "JobState" in task]
    counts: Counter[JobState] = Counter()
    for task in tasks:
        counts[_state(task)[0]] += _num_tasks(task.get("ArrayTaskId", "0"))
    running, waiting = counts[JobState.RUNNING], counts[JobState.PENDING]
    return f"workers: {running} running, {waiting} waiting"


def _num_tasks(task_ids: str) -> int:
    """Tasks of one record; those that have not started share one, such as 3-7 or 1,4-6%2."""
    number = 0
    for part in task_ids.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        number += int(last or first) - int(first) + 1
    return number


def _refuse_foreign(job_id: str, fields: Sequence[Mapping[str, str]], job_name: str) -> None:
    """A job id may be wrong, or have come to somebody else since."""
    if not fields:
        return
    name, owner = fields[0].get("JobName"), fields[0].get("UserId", "").partition("(")[0]
    if name != job_name or owner != user_name():
        raise ClusterError(
            f"slurm: job {job_id} is {name} of {owner}, not {job_name} of {user_name()}; left alone"
        )


Backend = SlurmBackend
"""What `cluster.BACKENDS` leads to."""
