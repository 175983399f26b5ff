"""A toy batch system: a job is a file in a folder, and its content is how it stands."""

from collections.abc import Iterator
from pathlib import Path

from cluster.backend import JobSpec, JobState, JobStatus
from cluster.contract import Counts
from cluster.errors import ClusterError
from cluster.job_files import run_words, write_sweep_file
from tests.orchestrator.toybox.profile import ToyProfile


class ToyBackend:
    """The queue of a profile."""

    def __init__(self, profile: ToyProfile):
        self.queue = profile.queue

    def check(self) -> list[str]:
        """Whether the queue is there."""
        return [] if self.queue.is_dir() else [f"queue: {self.queue} is not there; make it"]

    def render(self, job: JobSpec) -> str:
        """What is put into the queue."""
        return f"sparsweep {' '.join(run_words(job))}\n"

    def submit(self, job: JobSpec) -> str:
        """Put a job into the queue."""
        if problems := self.check():
            raise ClusterError("\n".join(problems))
        write_sweep_file(job)
        job_id = f"{job.job_name}.{len(list(self.queue.iterdir())) + 1}"
        (self.queue / job_id).write_text("pending")
        return job_id

    def live_jobs(self, job_name: str) -> list[str]:
        """Jobs of that name that are not over."""
        ids = [file.name for file in self.queue.glob(f"{job_name}.*")]
        return [job_id for job_id in ids if not self.status(job_id, Path()).state.is_terminal]

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """What the job's file says: its state and, on a line of its own, what its driver said."""
        native, _, said = (self.queue / job_id).read_text().partition("\n")
        progress = Counts.read(said)
        return JobStatus(job_id=job_id, state=JobState(native), native=native, progress=progress)

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """A line of the toy's own."""
        yield f"{job_id} in {folder}"

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """Write that it was cancelled."""
        (self.queue / job_id).write_text("cancelled")


Backend = ToyBackend
