"""The driver's output. The pod that hands the driver to Ray, KubeRay's submitter, repeats it in its
own log."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cluster.backend import JobStatus
from cluster.contract import COMMAND, Counts
from cluster.errors import ClusterError
from cluster.job_files import last_said
from cluster.kubernetes.explain import status_of
from cluster.kubernetes.server import Object, Server
from cluster.kubernetes.states import job_status

SUBMITTER = "ray-job-submitter"
"""Container that follows the driver's output; KubeRay's name for it."""

TAIL = 400
"""Lines among which the driver's last words and its counts are looked for: the table at a sweep's
end comes after these."""

LOOKS_EVERY_S = 10.0
"""Who follows a job that waits is told why, whenever that has changed."""

_INTERRUPTED = "(the log is interrupted"
_TRACEBACK = "Traceback (most recent call last):"
_OF_TRACEBACK = re.compile(
    r"\s|$|Traceback \(most recent|During handling of the above|The above exception was"
    r"|[\w.]+(Error|Exception|Timeout)\b"
)
_CLUSTER_GONE = re.compile(r"-head-svc\b")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a driver said last.

    Attributes:
        pod: that follows it; None: there is none.
        words: its last line; `fault`, if there is one.
        fault: the last line that says what ended it without the sweep being done.
        progress: the last counts that it gave.
    """

    pod: str | None
    words: str = ""
    fault: str = ""
    progress: Counts | None = None


def hear(server: Server, ray_job: Object) -> Heard:
    """The end of what the newest driver said; nothing where the log cannot be read now."""
    try:
        pod = _find_pod(server, ray_job)
        lines = [] if pod is None else list(server.log_lines(pod, SUBMITTER, False, TAIL))
    except ClusterError:  # who asks how a job stands has more to learn than this
        return Heard(pod=None)
    return heard_in(lines, pod)


def heard_in(lines: Iterable[str], pod: str | None = None) -> Heard:
    """What the lines of a driver's log say of it."""
    lines = list(without_farewell(lines))
    faults = (line for line in reversed(lines) if line.startswith(f"{COMMAND}: "))
    fault = next(faults, "")
    counts = (Counts.read(line) for line in reversed(lines))
    progress = next((one for one in counts if one is not None), None)
    return Heard(pod=pod, words=fault or last_said(lines), fault=fault, progress=progress)


def driver_lines(
    server: Server,
    name: str,
    status: Callable[[Object], JobStatus],
    keep: Callable[[str], None],
    follow: bool,
    poll_s: float,
) -> Iterator[str]:
    """Lines so far; with `follow` also those to come, until the job is over, and why there are none
    yet.

    Nothing where there is no output. After a retry the output is that of the newest driver. A node
    that does not answer is waited for.

    Args:
        server: has the job.
        name: of the job.
        status: says how a job stands, for who waits.
        keep: is given each line of the driver.
        follow: whether lines to come are waited for.
        poll_s: time between two looks, in seconds.
    """
    # Pod -> its lines that were passed on; a connection that broke starts from the beginning.
    shown: dict[str, int] = {}
    said, next_look = "", 0.0
    while True:
        ray_job = server.find_job(name)
        is_over = ray_job is None or job_status("", ray_job).state.is_terminal
        pod = None if ray_job is None else _find_pod(server, ray_job)
        if pod is not None:
            lines = _new_lines(server, pod, follow and not is_over, shown)
            for line in without_farewell(lines):
                if not line.startswith(_INTERRUPTED):
                    keep(line)
                yield line
        if is_over or not follow:
            return
        if pod is None and ray_job is not None and time.monotonic() >= next_look:
            next_look = time.monotonic() + LOOKS_EVERY_S
            why = no_output(ray_job, status(ray_job))
            if _without_numbers(why) != said:
                said = _without_numbers(why)
                yield why
        time.sleep(poll_s)


def no_output(ray_job: Object, status: JobStatus) -> str:
    """Why there is no log to read."""
    if ray_job["spec"].get("submissionMode") == "HTTPMode":
        return f"{status.job_id}: HTTPMode keeps the driver's log on the head; use K8sJobMode"
    because = f": {status.detail}" if status.detail else ""
    if status.state.is_terminal:
        return (
            f"{status.job_id}: the log went with its pod, the job is {status.state} "
            f"({status.native}{because})"
        )
    return f"{status.job_id}: no output yet, the job is {status.state} ({status.native}{because})"


def _without_numbers(text: str) -> str:
    """Without how long something lasts, which changes all the time."""
    return re.sub(r"\d+", "", text)


def without_farewell(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the tracebacks of a submitter whose cluster went before it, as happens when
    a job is cancelled."""
    held: list[str] = []
    for line in lines:
        if line.startswith(_TRACEBACK) or (held and _OF_TRACEBACK.match(line)):
            held.append(line)
            continue
        yield from _unless_gone(held)
        held = []
        yield line
    yield from _unless_gone(held)


def _unless_gone(held: list[str]) -> list[str]:
    return [] if any(_CLUSTER_GONE.search(line) for line in held) else held


def _new_lines(server: Server, pod: str, follow: bool, shown: dict[str, int]) -> Iterator[str]:
    already = shown.setdefault(pod, 0)
    try:
        for number, line in enumerate(server.log_lines(pod, SUBMITTER, follow)):
            if number >= already:
                shown[pod] = number + 1
                yield line
    except ClusterError as error:
        # The pod's node may not answer for a while, though the job goes on.
        if not follow or (status_of(error) or 500) < 500:
            raise
        if already == shown[pod]:
            return
        yield f"{_INTERRUPTED}, and asked for again: {error})"


def _find_pod(server: Server, ray_job: Object) -> str | None:
    """The newest pod whose submitter has started; None if there is none."""
    pods = server.list_pods(_selector(ray_job))
    started = [pod["metadata"]["name"] for pod in pods if _has_started(pod)]
    return started[-1] if started else None


def _selector(ray_job: Object) -> str:
    if ray_job["spec"].get("submissionMode") == "SidecarMode":  # beside the head
        cluster = (ray_job.get("status") or {}).get("rayClusterName") or "none"
        return f"ray.io/cluster={cluster},ray.io/node-type=head"
    # KubeRay's Kubernetes job has the RayJob's name.
    return f"job-name={ray_job['metadata']['name']}"


def _has_started(pod: Object) -> bool:
    states = (pod.get("status") or {}).get("containerStatuses") or []
    return any(
        state["name"] == SUBMITTER and "waiting" not in (state.get("state") or {})
        for state in states
    )
