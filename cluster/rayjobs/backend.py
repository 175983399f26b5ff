"""Sweeps on a Ray cluster that runs already, through Ray's job submission API.

The cluster has sparsweep installed. Its machines need not see this one's files, since the sweep
file travels with the job. The driver runs on the cluster's head. Ray is imported inside functions:
that takes seconds.
"""

import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.backend import JobSpec, JobState, JobStatus, user_name
from cluster.contract import PROGRAM
from cluster.errors import ClusterError
from cluster.job_files import exit_state, last_said, lines_of, run_options, sweep_file, write_whole
from cluster.rayjobs.profile import RayProfile

RAYS_FIRST_LINE = "Running entrypoint for job "
"""How Ray's own line in the log of each job begins. Its message about a failed job ends with that
line where Ray read the log too early. The log has what the driver said, before or after it: Ray
writes its line when the driver has been started."""

STATES = {
    "PENDING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "STOPPED": JobState.CANCELLED,
    "SUCCEEDED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
}
"""Ray's state of a job -> ours. What FAILED means the driver's exit code says, if there is one."""

STOP_WAIT_S = 120
"""How long Ray waits for trials to save their checkpoints before it kills the driver; its default
is 3 s."""

NOT_INSTALLED = 127
"""Exit code of a job whose Python has no sparsweep: a shell's for a command that is not found."""

NONSENSE = (ValueError, LookupError, TypeError, AttributeError)
"""What Ray's client raises where something else than a Ray cluster answers."""

CONNECT_TIMEOUT_S = 10.0
POLL_S = 2.0

USER, SWEEP = "sparsweep-user", "sparsweep-sweep"
"""Entries of a job's metadata that say whose it is. They keep people from mistakes, not from each
other."""


class RayJobsBackend:
    """A Ray cluster behind the address of its dashboard."""

    def __init__(self, profile: RayProfile) -> None:
        self.profile = profile

    def check(self) -> list[str]:
        """Whether the cluster answers, and takes us."""
        try:
            self._client()
        except ClusterError as error:
            return [str(error)]
        return []

    def render(self, job: JobSpec) -> str:
        """The request to Ray's job API, and the sweep file that goes with it."""
        folder = f"(a folder that holds {sweep_file(job.folder).name} alone)"
        return (
            f"# POST {self.profile.address or '(no address)'}/api/jobs/\n"
            "# A submission id is used once; later submissions of the sweep end in -2, -3 and so "
            "on.\n"
            f"{json.dumps(self._request(job, job.job_name, folder), indent=2)}\n\n"
            f"# {sweep_file(job.folder).name}\n"
            f"{job.sweep_json}\n"
        )

    def submit(self, job: JobSpec) -> str:
        """Upload the sweep and start its driver.

        Ids of deleted jobs must not be used again, says Ray, so a finished job stays and the next
        one is numbered. Of two that submit at once Ray refuses one, since both ask for the same id.

        Raises:
            ClusterError: the sweep runs there already, or the cluster refuses.
        """
        client = self._client()
        jobs = self._list(client)
        if running := _live(jobs, job.job_name):
            raise ClusterError(
                f"ray: {running[0]} runs already at {self._address}; wait for its end, or cancel it"
            )
        job_id = _next_id(job.job_name, {details.submission_id for details in jobs})
        with tempfile.TemporaryDirectory(prefix="sparsweep-") as folder, self._in_words():
            write_whole(sweep_file(Path(folder)), job.sweep_json)
            client.submit_job(**self._request(job, job_id, folder))
        return job_id

    def live_jobs(self, job_name: str) -> list[str]:
        """This user's jobs of that name that are not over."""
        return _live(self._list(self._client()), job_name)

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """How a job stands, as Ray says and, where the driver ended, as its exit code does."""
        client = self._client()
        details = self._details(client, job_id)
        if details is None:
            return JobStatus(
                job_id=job_id,
                state=JobState.GONE,
                native="unknown",
                detail="the cluster has no such job",
            )
        last_line = last_said((details.message or "").splitlines())
        if last_line.startswith(RAYS_FIRST_LINE):
            with self._in_words():
                lines = client.get_job_logs(job_id).splitlines()
            last_line = last_said([line for line in lines if not line.startswith(RAYS_FIRST_LINE)])
        return _status(job_id, details, last_line)

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """What the driver printed.

        Raises:
            ClusterError: the cluster has no such job.
        """
        return lines_of(self._log(job_id, follow))

    def _log(self, job_id: str, follow: bool) -> Iterator[bytes]:
        client = self._client()
        num_given = 0
        while True:
            details = self._details(client, job_id)
            if details is None:
                raise ClusterError(
                    f"ray: {self._address} has no job {job_id}; its head may have been started anew"
                )
            is_last = not follow or details.status.is_terminal()
            with self._in_words():
                text = client.get_job_logs(job_id)
            # A line that is still being written comes when it is whole.
            end = len(text) if is_last else text.rfind("\n") + 1
            yield text[num_given:end].encode()
            num_given = max(num_given, end)
            if is_last:
                return
            time.sleep(POLL_S)

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """Stop a job: Ray sends SIGTERM, upon which trials save their checkpoints, and kills after
        `STOP_WAIT_S`.

        Ray has no other way: `now` does the same. Of a job that is over nothing is left to stop.

        Raises:
            ClusterError: the cluster has no such job, or it is another's.
        """
        client = self._client()
        details = self._details(client, job_id)
        if details is None:
            raise ClusterError(f"ray: {self._address} has no job {job_id}; see sparsweep status")
        metadata = details.metadata or {}
        if (metadata.get(USER), metadata.get(SWEEP)) != (user_name(), job_name):
            owner, sweep = metadata.get(USER, "somebody"), metadata.get(SWEEP, "something else")
            raise ClusterError(
                f"ray: job {job_id} is {sweep} of {owner}, not {job_name} of {user_name()}; left "
                "alone"
            )
        with self._in_words():
            client.stop_job(job_id)

    def _request(self, job: JobSpec, job_id: str, folder: str) -> dict[str, Any]:
        """Arguments of Ray's `submit_job`; the driver starts in `folder`, beside the sweep."""
        python = shlex.quote(self.profile.python)
        words = shlex.join(["run", sweep_file(job.folder).name, *run_options(job)])
        # Python's exit code for a missing module is 1, as for much else.
        check = f"{python} -P -c 'import {PROGRAM}.main' || exit {NOT_INSTALLED}"
        return {
            "entrypoint": f"{check}; exec {python} -P -m {PROGRAM} {words}",
            "submission_id": job_id,
            "metadata": {USER: user_name(), SWEEP: job.job_name},
            "runtime_env": {
                "working_dir": folder,
                "env_vars": {
                    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
                    **self.profile.environment(),
                },
            },
        }

    @property
    def _address(self) -> str:
        if self.profile.address is None:
            raise ClusterError(
                "ray: no address; give --address http://HOST:8265, or `address` in the profile"
            )
        return self.profile.address.rstrip("/")

    def _client(self) -> Any:
        """A connected `JobSubmissionClient`."""
        address = self._address
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise ClusterError(
                f"ray: {error.name} is not installed here; pip install 'sparsweep[jobs]'"
            ) from error
        self._refuse_unreachable()
        # Ray prefers these variables to its argument.
        with self._in_words(), _without("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            return JobSubmissionClient(address, headers=_headers())

    def _refuse_unreachable(self) -> None:
        """Ray's client waits for minutes where nothing answers.

        Raises:
            ClusterError: nothing listens at the address.
        """
        import requests

        try:
            requests.get(f"{self._address}/api/version", timeout=CONNECT_TIMEOUT_S)
        except requests.RequestException as error:
            place = urlsplit(self._address).netloc
            raise ClusterError(
                f"ray: {self._address} does not answer ({type(error).__name__}); is the dashboard "
                "of a Ray cluster at "
                f"{place}, and does it listen beyond its own machine (--dashboard-host)?"
            ) from error

    def _list(self, client: Any) -> list[Any]:
        with self._in_words():
            jobs: list[Any] = client.list_jobs()
        return jobs

    def _details(self, client: Any, job_id: str) -> Any:
        """Ray's `JobDetails`; None: the cluster has no such job."""
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", job_id):
            raise ClusterError(
                f"ray: {job_id!r} is no id of a job; they are of letters, digits, -, _ and ."
            )
        with self._in_words():
            try:
                return client.get_job_info(job_id)
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Turn what Ray's client raises into a `ClusterError`."""
        from ray.exceptions import RayError

        try:
            yield
        except (RayError, RuntimeError, OSError, *NONSENSE) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> ClusterError:
        said = str(error)
        if re.match(r"Authentication (required|failed)|40[13] ", said):
            sent = "the one in RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else "none"
            return ClusterError(
                f"ray: {self._address} asks for a token and does not take {sent}; set "
                "RAY_AUTH_TOKEN to the cluster's"
            )
        if "Version check returned 404" in said or isinstance(error, NONSENSE):
            return ClusterError(
                f"ray: {self._address} has no job API; give the address of a Ray dashboard whose "
                "head has ray[default]"
            )
        lines = [line.strip() for line in said.splitlines() if line.strip()] or [
            type(error).__name__
        ]
        return ClusterError(f"ray: {self._address} refuses: {lines[-1]}")


def _status(job_id: str, details: Any, last_line: str) -> JobStatus:
    native = str(details.status)
    state, detail = STATES.get(native, JobState.UNKNOWN), ""
    if details.driver_exit_code is not None:
        native = f"{native}, exit code {details.driver_exit_code}"
        state, detail = exit_state(details.driver_exit_code, last_line)
        if details.driver_exit_code == NOT_INSTALLED:
            detail = f"{last_line}; name a Python that has sparsweep in the profile's `python`"
    elif state is JobState.CANCELLED:
        detail = "stopped with trials left"
    elif state in (JobState.FAILED, JobState.PENDING):
        detail = last_line
    return JobStatus(job_id=job_id, state=state, native=native, detail=detail)


def _live(jobs: list[Any], job_name: str) -> list[str]:
    ours = {USER: user_name(), SWEEP: job_name}
    return sorted(
        job.submission_id
        for job in jobs
        if not job.status.is_terminal()
        and ours.items() <= (job.metadata or {}).items()
        and job.submission_id
    )


def _next_id(job_name: str, used: set[str | None]) -> str:
    number = 1
    while (job_id := job_name if number == 1 else f"{job_name}-{number}") in used:
        number += 1
    return job_id


def _headers() -> dict[str, str]:
    """The user's token, which Ray's client itself sends only with RAY_AUTH_MODE=token."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """The environment without these variables."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


Backend = RayJobsBackend
"""What `cluster.BACKENDS` leads to."""
