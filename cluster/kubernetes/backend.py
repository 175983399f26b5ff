"""Kubernetes: a job is a RayJob of KubeRay, and its id is NAMESPACE/NAME.

A name is used by one job at a time. The RayJob stays after its end, to be looked at, until the
sweep is submitted again.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cluster.backend import JobSpec, JobState, JobStatus
from cluster.errors import ClusterError
from cluster.kubernetes.checks import look, look_for_things
from cluster.kubernetes.documents import collect, list_pods
from cluster.kubernetes.explain import status_of
from cluster.kubernetes.kept import LogKeeper, keep_words, kept_lines, words_before
from cluster.kubernetes.logs import driver_lines, hear, heard_in, no_output
from cluster.kubernetes.manifest import USER_LABEL, render_manifests, this_user
from cluster.kubernetes.profile import KubernetesProfile
from cluster.kubernetes.reasons import find_reason, way_out
from cluster.kubernetes.server import Object, Server
from cluster.kubernetes.states import (
    CANCELLED_ANNOTATION,
    job_status,
    pods_of_cluster,
    queue_of,
)

log = logging.getLogger(__name__)

LONGEST_SUBMISSION = timedelta(seconds=60)
"""A ConfigMap without a RayJob that is older was left behind."""


NOT_BEGUN = ("", "Waiting")
"""States of a RayJob that KubeRay does not suspend: no operator has looked at it, or it waits."""


class KubernetesBackend:
    """Runs jobs on the cluster of a profile.

    Args:
        profile: which cluster, and how.
        poll_s: time between two looks at something that is waited for.
        gone_within_s: how long a deleted job may take to go away.
    """

    def __init__(
        self, profile: KubernetesProfile, poll_s: float = 1.0, gone_within_s: float = 300.0
    ):
        self._profile = profile
        self._poll_s = poll_s
        self._gone_within_s = gone_within_s

    def check(self) -> list[str]:
        """What stands in the way of a submission, one line each; empty when all is well."""
        try:
            found = look(self._server(), self._profile)
        except ClusterError as error:
            return str(error).splitlines()
        _tell(found.notes)
        return found.obstacles

    def render(self, job: JobSpec) -> str:
        """The manifests, as YAML; pure, and quick.

        Raises:
            ClusterError: KubeRay would refuse them, or the job does not fit the profile.
        """
        return render_manifests(job, self._profile)

    def submit(self, job: JobSpec) -> str:
        """Create the ConfigMap and the RayJob, after the server has checked both, and return the
        job's id.

        An earlier job of that name makes room if it is over. What the profile names is looked for
        first: pods would wait for it, and KubeRay cannot even delete some jobs that lack something.
        """
        config_map, ray_job = _parse(self.render(job))
        server = self._server()
        earlier = server.find_job(job.job_name)
        if earlier is not None:
            self._refuse_if_live(server, earlier)
        found = look_for_things(server, self._profile)
        if found.obstacles:
            raise ClusterError("\n".join(found.obstacles))
        _tell(found.notes)
        _rehearse(server, config_map, ray_job)
        if earlier is not None:
            self._remove(server, earlier)
        _create(server, config_map, ray_job)
        return f"{server.namespace}/{job.job_name}"

    def live_jobs(self, job_name: str) -> list[str]:
        """Ids of this user's jobs of that name that are not over."""
        server = self._server()
        ray_job = server.find_job(job_name)
        job_id = f"{server.namespace}/{job_name}"
        if (
            ray_job is None
            or _user_of(ray_job) != this_user()
            or job_status(job_id, ray_job).state.is_terminal
        ):
            return []
        return [job_id]

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """How a job stands, why it waits, and how far its driver said it is; `GONE` once the
        RayJob was deleted and its pods have ended."""
        server, name = self._server_of(job_id)
        ray_job = server.find_job(name)
        if ray_job is None:
            return _gone(job_id, server, name, folder)
        return _status(job_id, server, ray_job, folder)

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """The driver's lines so far; with `follow` also those to come, until the job is over.
        `folder` keeps what was read, for when the pod that has it is gone."""
        server, name = self._server_of(job_id)
        is_silent = True
        describe = partial(_status, job_id, server, folder=folder)
        with contextlib.closing(LogKeeper(folder)) as keeper:
            for line in driver_lines(server, name, describe, keeper.add, follow, self._poll_s):
                is_silent = False
                yield line
        if is_silent and (kept := kept_lines(folder)):
            yield from kept
        elif is_silent and (ray_job := server.find_job(name)) is not None:
            yield no_output(ray_job, describe(ray_job))
        elif is_silent:
            yield f"{job_id}: the job is gone, and its log with it"

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """Stop a job; running trials have the pods' grace period to save their checkpoints, unless
        `now`.

        A RayJob takes no signals. It can be suspended, by which KubeRay deletes the pods, each with
        its preStop and its grace period, while the RayJob stays and says that it was cancelled. In
        a queue that would not last, since Kueue lets suspended jobs go on, and a job that KubeRay
        has not begun stays as it is: there the RayJob is deleted, with the same grace for the pods.

        Raises:
            ClusterError: it is not a job of that name of this user, or it may not be stopped.
        """
        server, name = self._server_of(job_id)
        ray_job = server.find_job(name)
        if ray_job is None or name != job_name:
            raise ClusterError(
                f"job: {job_id} is no job of this sweep, which would be {job_name}; look with "
                "`status`"
            )
        _refuse_if_not_ours(ray_job, job_id)
        if job_status(job_id, ray_job).state.is_terminal:
            return
        if now:
            _kill(server, ray_job)
        elif queue_of(ray_job) is not None or _deployment(ray_job) in NOT_BEGUN:
            server.delete_job(ray_job)
        else:
            mark = {"annotations": {CANCELLED_ANNOTATION: "true"}}
            server.patch_job(name, {"metadata": mark, "spec": {"suspend": True}})

    def _server(self) -> Server:
        return Server(self._profile.context, self._profile.namespace)

    def _server_of(self, job_id: str) -> tuple[Server, str]:
        namespace, _, name = job_id.partition("/")
        if not namespace or not name or "/" in name:
            raise ClusterError(
                f"job: {job_id} is no id of a job on Kubernetes; give NAMESPACE/NAME"
            )
        return Server(self._profile.context, namespace), name

    def _refuse_if_live(self, server: Server, earlier: Object) -> None:
        job_id = f"{server.namespace}/{earlier['metadata']['name']}"
        _refuse_if_not_ours(earlier, job_id)
        status = job_status(job_id, earlier)
        if not status.state.is_terminal:
            is_deleted = "deletionTimestamp" in earlier["metadata"]
            remedy = (
                f"wait for its end; if it does not go away, {way_out(earlier, server.kubectl)}"
                if is_deleted
                else "wait for its end or cancel it"
            )
            raise ClusterError(
                f"job: {job_id} is there already and {status.state} ({status.native}); {remedy}"
            )

    def _remove(self, server: Server, earlier: Object) -> None:
        """Delete a job that is over, and wait until its name is free."""
        name, uid = earlier["metadata"]["name"], earlier["metadata"]["uid"]
        server.delete_job(earlier)
        until = time.monotonic() + self._gone_within_s
        while (ray_job := server.find_job(name)) is not None and ray_job["metadata"]["uid"] == uid:
            if time.monotonic() > until:
                raise ClusterError(
                    f"job: {server.namespace}/{name} was deleted and does not go away; "
                    f"{way_out(ray_job, server.kubectl)}"
                )
            time.sleep(self._poll_s)


def _status(job_id: str, server: Server, ray_job: Object, folder: Path) -> JobStatus:
    """All that is known of a job that is there."""
    documents, heard = collect(server, ray_job), hear(server, ray_job)
    state = job_status(job_id, ray_job).state
    has_ended = state.is_terminal or state is JobState.STOPPING
    if heard.pod is None:
        progress = heard_in(kept_lines(folder)).progress
    else:
        progress = heard.progress
        keep_words(folder, heard.pod, heard.words)
    return job_status(
        job_id,
        ray_job,
        pods=documents.pods,
        reason=find_reason(documents, has_ended=has_ended),
        progress=progress,
        fault=heard.fault,
        words_before=words_before(folder, heard.pod),
    )


def _gone(job_id: str, server: Server, name: str, folder: Path) -> JobStatus:
    """How a job stands whose RayJob was deleted: its pods may still save their checkpoints."""
    try:
        ending = pods_of_cluster(list_pods(server, name))
    except ClusterError:
        ending = []
    return JobStatus(
        job_id=job_id,
        state=JobState.STOPPING if ending else JobState.GONE,
        native="NotFound",
        detail=f"pods that have not ended: {', '.join(ending)}" if ending else "",
        progress=heard_in(kept_lines(folder)).progress,
    )


def _tell(notes: list[str]) -> None:
    for note in notes:
        log.warning("%s", note)


def _parse(text: str) -> tuple[Object, Object]:
    import yaml

    config_map, ray_job = yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return config_map, ray_job


def _rehearse(server: Server, config_map: Object, ray_job: Object) -> None:
    """Have the server check both objects before anything is stored or removed."""
    for create, manifest in ((server.create_config_map, config_map), (server.create_job, ray_job)):
        try:
            create(manifest, is_dry_run=True)
        except ClusterError as error:
            if status_of(error) != 409:  # what is there still makes room; the check comes before
                raise


def _create(server: Server, config_map: Object, ray_job: Object) -> None:
    """Create both or none; the head's pod needs the ConfigMap, which goes with the RayJob."""
    name = ray_job["metadata"]["name"]
    _clear_leftover(server, name)
    server.create_config_map(config_map)
    try:
        owner = server.create_job(ray_job)
    except BaseException:
        server.delete_config_map(name)
        raise
    try:
        server.own_config_map(config_map, owner)
    except BaseException:
        server.delete_job(owner, is_now=True)
        server.delete_config_map(name)
        raise


def _clear_leftover(server: Server, name: str) -> None:
    """Remove the ConfigMap of a job that is gone or of a submission that was cut off."""
    config_map = server.find_config_map(name)
    if not config_map:
        return
    metadata = config_map["metadata"]
    age = datetime.now(UTC) - datetime.fromisoformat(metadata["creationTimestamp"])
    if "ownerReferences" not in metadata and age < LONGEST_SUBMISSION:
        raise ClusterError(
            f"job: {server.namespace}/{name} is being submitted by somebody else since "
            f"{age.seconds} s; try again in {LONGEST_SUBMISSION.seconds} s"
        )
    server.delete_config_map(name)


def _kill(server: Server, ray_job: Object) -> None:
    server.delete_job(ray_job, is_now=True)
    try:
        server.delete_pods(f"app.kubernetes.io/instance={ray_job['metadata']['name']}")
    except ClusterError as error:
        if status_of(error) != 403:
            raise
        spec = ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        log.warning(
            "kubernetes: you may not delete pods in namespace %s, so they have their grace period "
            "of %s s all the same; ask who runs the cluster for that right (deletecollection)",
            server.namespace,
            spec["terminationGracePeriodSeconds"],
        )


def _refuse_if_not_ours(ray_job: Object, job_id: str) -> None:
    if _user_of(ray_job) != this_user():
        raise ClusterError(
            f"job: {job_id} belongs to {_user_of(ray_job) or 'somebody else'}, and you are "
            f"{this_user()}"
        )


def _user_of(ray_job: Object) -> str | None:
    user: str | None = (ray_job["metadata"].get("labels") or {}).get(USER_LABEL)
    return user


def _deployment(ray_job: dict[str, Any]) -> str:
    return str((ray_job.get("status") or {}).get("jobDeploymentStatus") or "")


Backend = KubernetesBackend
"""What `cluster.BACKENDS` leads to."""
