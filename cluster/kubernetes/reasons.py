"""Why a job waits or fails, in a person's words. Pure: from what the server says to a `Reason`.

Kubernetes says it in many places: in the states of containers, in the conditions of pods and of the
RayCluster, in events. `_voices` collects them, the best first; the table `CAUSES` says what each
means, and what to do. All commands take their words from here.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cluster.kubernetes.kubectl import ANYWHERE, Kubectl
from cluster.kubernetes.profile import AUTOSCALER

Object = dict[str, Any]

ENDINGS = ("memory", "eviction")
"""Causes that end a job; the others keep it waiting."""

UNTAKEN_S = 60.0
"""A running operator says something of a new job within seconds."""
UNDELETED_S = 120.0
"""After this time, and the pods' grace period, a deleted job is taken to be stuck."""
FREED = '{"metadata":{"finalizers":null}}'
"""What a job is patched with whose finalizer nobody takes away."""

FIELDS = {
    "secret": "env_from_secrets or image_pull_secrets",
    "claim": "volumes",
    "service account": "service_account",
    "priority class": "priority_class",
    "queue": "queue",
}
"""Kind of a thing that a profile names -> the profile's field."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What the server has of a job.

    Attributes:
        ray_job: the RayJob.
        pods: that belong to it.
        events: warnings about it, its RayCluster and its pods, the newest last.
        workloads: what Kueue made of it.
        unseen: what the user may not look at, such as `events`.
        kubectl: where the job is, for commands that are named.
    """

    ray_job: Object
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    workloads: Sequence[Object] = ()
    unseen: Sequence[str] = ()
    kubectl: Kubectl = ANYWHERE


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a job waits or fails.

    Attributes:
        cause: one word or two, such as `image`; the same for all clusters.
        text: a person's words, with what to do, in one line.
    """

    cause: str
    text: str


@dataclass(frozen=True, kw_only=True)
class _Voice:
    """One thing that the server says.

    Attributes:
        who: of whom it is said: `the head`, `a worker`, `the submitter`, `the job`.
        reason: Kubernetes' word.
        message: its sentence, in one line.
        asks: what that pod's main container asks for, by resource.
        beside: what KubeRay adds to that, likewise.
        kubectl: see `Documents`.
    """

    who: str
    reason: str
    message: str
    asks: Object = field(default_factory=dict)
    beside: Object = field(default_factory=dict)
    kubectl: Kubectl = ANYWHERE

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class _Cause(NamedTuple):
    """What something that the server says means.

    Attributes:
        name: see `Reason.cause`.
        pattern: what it is known by, found in `REASON: message`.
        says: a person's words, from the voice and what the pattern found.
    """

    name: str
    pattern: str
    says: Callable[[_Voice, dict[str, str]], str]


def find_reason(
    documents: Documents, now: datetime | None = None, *, has_ended: bool = False
) -> Reason | None:
    """Why a job does not go on, or failed; None where nothing is known to be wrong.

    Args:
        documents: what the server has of it.
        now: the time; None: that of this machine's clock.
        has_ended: whether it is over or stops, so that nothing is waited for any more.
    """
    now = now or datetime.now(UTC)
    if stuck := _undeletable(documents, now):
        return stuck
    reasons = [_explain(voice) for voice in _voices(documents)]
    if has_ended:
        return next((reason for reason in reasons if reason.cause in ENDINGS), None)
    # A pod that left is a reason only where nothing keeps its successor away.
    stays = [reason for reason in reasons if reason.cause != "eviction"]
    return next(iter([*stays, *reasons]), None) or _silence(documents, now)


def _explain(voice: _Voice) -> Reason:
    for cause in CAUSES:
        if match := re.search(cause.pattern, str(voice)):
            found = {key: value or "" for key, value in match.groupdict().items()}
            return Reason(cause=cause.name, text=cause.says(voice, found))
    return Reason(cause="other", text=f"{voice.who}: {voice}")


def no_such(kind: str, name: str, namespace: str) -> str:
    """That a thing that the profile names is not there."""
    return f"there is no {kind} {name} in namespace {namespace}"


def how_many_workers(ray_job: Object) -> tuple[int, int | None] | None:
    """Workers that are there, and that are wanted, None where that is not said; None: neither is.

    KubeRay leaves out what is 0.
    """
    cluster = (ray_job.get("status") or {}).get("rayClusterStatus") or {}
    there, wanted = cluster.get("availableWorkerReplicas"), cluster.get("desiredWorkerReplicas")
    return None if there is None and wanted is None else (int(there or 0), wanted)


# What the server says


def _voices(documents: Documents) -> Iterator[_Voice]:
    """What the server says that may explain it: Kueue, pods, conditions of the cluster, events."""
    yield from _of_queue(documents.workloads)
    cluster = (documents.ray_job.get("status") or {}).get("rayClusterName")
    order = {"the head": 0, "the submitter": 1, "a worker": 2}
    for pod in sorted(documents.pods, key=lambda pod: order[_who(pod)]):
        of = (pod["metadata"].get("labels") or {}).get("ray.io/cluster")
        if of in (None, cluster):  # an earlier attempt's may still be ending
            yield from _of_pod(pod, documents)
    yield from _of_cluster(documents)
    for event in reversed(documents.events):
        about = event.get("involvedObject") or {}
        if about.get("kind") in ("RayCluster", "RayJob") and about.get("name") in (
            cluster,
            documents.ray_job.get("metadata", {}).get("name"),
        ):
            yield from _warning("the job", event)


def _of_queue(workloads: Sequence[Object]) -> Iterator[_Voice]:
    for workload in workloads:
        for condition in _conditions(workload):
            kind, status = condition.get("type"), condition.get("status")
            if (kind, status) == ("QuotaReserved", "False"):
                yield _Voice(who="the job", reason="Kueue", message=_message(condition))


def _of_pod(pod: Object, documents: Documents) -> Iterator[_Voice]:
    who, status = _who(pod), pod.get("status") or {}
    voice = _speaker(who, documents)
    if status.get("reason"):
        yield voice(status["reason"], status)
    for container in _containers(status):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                yield voice("OOMKilled", ended)
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            yield voice(waiting["reason"], waiting)
    for condition in _conditions(pod):
        kind, is_so = condition.get("type"), condition.get("status")
        if (kind, is_so) in (("PodScheduled", "False"), ("DisruptionTarget", "True")):
            yield voice(condition.get("reason", ""), condition)
    if not any("running" in (one.get("state") or {}) for one in _containers(status)):
        yield from _mounts(pod, who, documents.events)


def _mounts(pod: Object, who: str, events: Sequence[Object]) -> Iterator[_Voice]:
    """Volumes that cannot be mounted, which nothing but events tells."""
    for event in reversed(events):
        is_about = (event.get("involvedObject") or {}).get("name") == pod["metadata"]["name"]
        if is_about and event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            yield from _warning(who, event)


def _of_cluster(documents: Documents) -> Iterator[_Voice]:
    cluster = (documents.ray_job.get("status") or {}).get("rayClusterStatus") or {}
    conditions = {one.get("type"): one for one in cluster.get("conditions") or []}
    failure, head = conditions.get("ReplicaFailure", {}), conditions.get("HeadPodReady", {})
    if failure.get("status") == "True":
        reason = failure.get("reason", "")
        who = "a worker" if "Worker" in reason else "the head"
        yield _speaker(who, documents)(reason, failure)
    quiet = (None, "", "Unknown", "HeadPodNotFound", "ContainersNotReady", "PodInitializing")
    if head.get("status") == "False" and head.get("reason") not in (*quiet, "ContainerCreating"):
        yield _speaker("the head", documents)(head["reason"], head)


def _warning(who: str, event: Object) -> Iterator[_Voice]:
    if event.get("type") == "Warning":
        yield _Voice(who=who, reason=event.get("reason", ""), message=_message(event))


def _who(pod: Object) -> str:
    kind = (pod["metadata"].get("labels") or {}).get("ray.io/node-type", "")
    return {"head": "the head", "worker": "a worker"}.get(kind, "the submitter")


def _speaker(who: str, documents: Documents) -> Callable[[str, Object], _Voice]:
    """Makes voices that speak of a kind of pod, from a reason and what has its message."""
    spec = (documents.ray_job.get("spec") or {}).get("rayClusterSpec") or {}
    groups = {
        "the head": [spec["headGroupSpec"]] if "headGroupSpec" in spec else [],
        "a worker": spec.get("workerGroupSpecs") or [],
    }.get(who, [])
    containers = [one for group in groups for one in group["template"]["spec"]["containers"]]
    asks = (containers[0].get("resources") or {}).get("requests") or {} if containers else {}
    is_autoscaled = who == "the head" and spec.get("enableInTreeAutoscaling")

    def voice(reason: str, thing: Object) -> _Voice:
        return _Voice(
            who=who,
            reason=reason,
            message=_message(thing),
            asks=asks,
            beside=AUTOSCALER if is_autoscaled else {},
            kubectl=documents.kubectl,
        )

    return voice


def _containers(status: Object) -> list[Object]:
    return [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]


def _conditions(thing: Object) -> list[Object]:
    conditions: list[Object] = (thing.get("status") or {}).get("conditions") or []
    return conditions


def _message(thing: Object) -> str:
    return " ".join(str(thing.get("message") or "").split())


# Where it says nothing


def _silence(documents: Documents, now: datetime) -> Reason | None:
    ray_job = documents.ray_job
    status = (ray_job.get("status") or {}).get("jobDeploymentStatus") or "New"
    waited_s = _seconds_since((ray_job.get("metadata") or {}).get("creationTimestamp"), now)
    if status == "New" and waited_s >= UNTAKEN_S:
        return Reason(
            cause="operator",
            text=(
                f"no operator has looked at the job for {waited_s:.0f} s; is KubeRay's operator "
                "running, and does it watch this namespace? Ask who runs the cluster"
            ),
        )
    if status == "Initializing" and documents.unseen and waited_s >= UNTAKEN_S:
        return Reason(
            cause="unseen",
            text=(
                f"why it waits is not known, since you may not look at "
                f"{' and '.join(documents.unseen)}; ask who runs the cluster for that right"
            ),
        )
    return None


def _undeletable(documents: Documents, now: datetime) -> Reason | None:
    """A job that was deleted and whose finalizer KubeRay does not take away."""
    ray_job = documents.ray_job
    metadata, spec = ray_job.get("metadata") or {}, ray_job.get("spec") or {}
    if not metadata.get("finalizers") or not metadata.get("deletionTimestamp"):
        return None
    head = ((spec.get("rayClusterSpec") or {}).get("headGroupSpec") or {}).get("template") or {}
    pod = head.get("spec") or {}
    waited_s = _seconds_since(metadata["deletionTimestamp"], now)
    if waited_s < UNDELETED_S + pod.get("terminationGracePeriodSeconds", 0):
        return None
    return Reason(
        cause="undeletable",
        text=f"it was deleted {waited_s:.0f} s ago and does not go; "
        f"{way_out(ray_job, documents.kubectl)}",
    )


def way_out(ray_job: Object, kubectl: Kubectl) -> str:
    """What lets a deleted job go that KubeRay does not release."""
    spec = (ray_job.get("spec") or {}).get("rayClusterSpec") or {}
    pod = ((spec.get("headGroupSpec") or {}).get("template") or {}).get("spec") or {}
    account, name = pod.get("serviceAccountName"), ray_job["metadata"]["name"]
    create = ""
    if account:
        line = kubectl.line("create", "serviceaccount", str(account))
        create = f"make its service account if that is missing (`{line}`), "
    patch = (*("patch", "rayjob", name), *("--type", "merge"), *("-p", FREED))
    return (
        f"see that KubeRay's operator runs, {create}or take the job's finalizer away: "
        f"`{kubectl.line(*patch)}`"
    )


def _seconds_since(moment: str | None, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds() if moment else 0.0


# In a person's words


def _image(voice: _Voice, found: dict[str, str]) -> str:
    why = re.split(r'": ', voice.message)[-1] if '": ' in voice.message else voice.message
    name = f"the image {found['image']}" if found["image"] else "its image"
    return (
        f"{voice.who} cannot get {name} ({why or voice.reason}); correct image, "
        "image_pull_secrets or image_pull_policy in the profile"
    )


def _missing(kind: str) -> Callable[[_Voice, dict[str, str]], str]:
    def says(voice: _Voice, found: dict[str, str]) -> str:
        name = found["name"].strip("\"'") or "that the profile names"
        return (
            f"{voice.who} waits for {kind} {name}, which is not there; make it, or correct "
            f"{FIELDS[kind]} in the profile"
        )

    return says


def _quota(voice: _Voice, found: dict[str, str]) -> str:
    return (
        f"{voice.who} does not fit into the namespace's quota {found['name']}: it asks for "
        f"{found['asked']}, {found['used'] or 'nothing'} is in use, {found['limited']} is the "
        f"limit; lower {_fields(voice, found['asked'])} in the profile, wait for other jobs, or "
        "ask who runs the cluster"
    )


def _pod_security(voice: _Voice, found: dict[str, str]) -> str:
    remedy = "ask who runs the cluster"
    if "ray-job-submitter" in found["what"] and voice.who == "the head":
        remedy = "use submission_mode: K8sJobMode, whose pods keep to it"
    return (
        f"Pod Security {found['policy']} of the namespace forbids {voice.who}: {found['what']}; "
        f"{remedy}"
    )


def _unschedulable(voice: _Voice, found: dict[str, str]) -> str:
    """No node takes the pod: how many nodes, and what each lacks."""
    total = found["total"]
    lacking, others = _faults_of_nodes(voice, found["nodes"].split(". ")[0].rstrip(". "))
    if not lacking:
        faults = ", ".join(others)
        return f"no node takes {voice.who}: of {total} nodes, {faults}; correct the profile"
    faults = ", ".join(
        [*(f"{number} have too little {resource}" for resource, number in lacking.items()), *others]
    )
    asked = _amounts(voice.asks)
    if voice.beside:
        asked += f", and {_amounts(voice.beside)} for KubeRay's autoscaler"
    return (
        f"no node has room for {voice.who}{f' ({asked})' if asked else ''}: of {total} nodes, "
        f"{faults}; wait, or lower {_fields(voice, ' '.join(lacking))} in the profile"
    )


def _faults_of_nodes(voice: _Voice, nodes: str) -> tuple[dict[str, str], list[str]]:
    """How many nodes lack which resource, and what else keeps the pod from nodes."""
    lacking, others = {}, []
    for part in re.split(r", (?=\d)", nodes):
        number, _, why = part.partition(" ")
        if why.startswith("Insufficient "):
            lacking[why.removeprefix("Insufficient ")] = number
        elif "taint" in why:
            taint = re.search(r"\{[^}]*\}", why)
            named, where = f" {taint[0]}" if taint else "", " (tolerations)"
            where = where if voice.who == "a worker" else ""
            others.append(f"{number} have a taint{named} that it does not tolerate{where}")
        elif "affinity" in why or "selector" in why:
            selector = "node_selector" if voice.who == "a worker" else "head_node_selector"
            others.append(f"{number} do not have the labels of {selector}")
        else:
            others.append(f"{number}: {why}")
    return lacking, others


def _amounts(asks: Object) -> str:
    return ", ".join(f"{resource} {amount}" for resource, amount in asks.items())


def _fields(voice: _Voice, asked: str) -> str:
    """Fields of the profile that set what a pod asks for."""
    which = "worker" if voice.who == "a worker" else "head"
    fields = [
        f"{which}_{name}" for name, word in (("cpus", "cpu"), ("memory", "memory")) if word in asked
    ]
    if "/" in asked or "gpu" in asked:
        fields.append("gpus_per_worker")
    return " or ".join(fields) or f"what {which}s ask for"


def _leaves(voice: _Voice, found: dict[str, str]) -> str:
    then = (
        "its trials are saved and go on elsewhere"
        if voice.who == "a worker"
        else "KubeRay makes another"
    )
    return f"{voice.who} had to leave its node ({voice.message or voice.reason}); {then}"


def _out_of_memory(voice: _Voice, found: dict[str, str]) -> str:
    which = "worker" if voice.who == "a worker" else "head"
    has = voice.asks.get("memory")
    return (
        f"{voice.who} was killed, since it took more memory than it may have"
        f"{f' ({has})' if has else ''}; raise {which}_memory in the profile"
    )


def _evicted(voice: _Voice, found: dict[str, str]) -> str:
    return (
        f"{voice.who} was evicted ({voice.message or 'no reason given'}); if it happens again, "
        "raise what it asks for in the profile"
    )


CAUSES = (
    _Cause(
        "image",
        r"^(ErrImage|ImagePull|InvalidImageName|ImageInspect|RegistryUnavailable)\w*:"
        r"(.*?image \"(?P<image>[^\"]+)\")?",
        _image,
    ),
    _Cause("secret", r"secret (?P<name>\"[^\"]+\") not found", _missing("secret")),
    _Cause(
        "sweep",
        r"configmap \"(?P<name>[^\"]+)\" not found",
        lambda voice, found: (
            f"{voice.who} waits for the sweep, config map {found['name']}, which somebody removed; "
            "cancel the job and submit the sweep again"
        ),
    ),
    _Cause("claim", r"persistentvolumeclaim (?P<name>\"[^\"]+\") not found", _missing("claim")),
    _Cause(
        "claim",
        r"unbound immediate PersistentVolumeClaims",
        lambda voice, found: (
            f"{voice.who} waits for a volume that its claim does not have yet; see "
            f"`{voice.kubectl.line('describe', 'pvc')}`, and ask who runs the cluster"
        ),
    ),
    _Cause(
        "claim",
        r"Multi-Attach error|volume node affinity conflict",
        lambda voice, found: (
            f"{voice.who} cannot mount a volume that is bound to another node; use a claim with "
            "ReadWriteMany, or results on an object store"
        ),
    ),
    _Cause(
        "volume",
        r"^Failed(Mount|AttachVolume): (?P<why>.*)",
        lambda voice, found: (
            f"{voice.who} cannot mount a volume: {found['why']}; ask who runs the cluster"
        ),
    ),
    _Cause(
        "priority class",
        r"no PriorityClass with name (?P<name>\S+) was found",
        _missing("priority class"),
    ),
    _Cause(
        "service account",
        r"ServiceAccount (?P<name>\S+) is not found",
        _missing("service account"),
    ),
    _Cause(
        "service account",
        r"serviceaccount (?P<name>\"[^\"]+\") not found",
        _missing("service account"),
    ),
    _Cause(
        "quota",
        r"exceeded quota: (?P<name>[^,]+), requested: (?P<asked>\S+), used: (?P<used>\S+), "
        r"limited: (?P<limited>\S+)",
        _quota,
    ),
    _Cause(
        "Pod Security", r"violates PodSecurity (?P<policy>\"[^\"]+\"): (?P<what>.*)", _pod_security
    ),
    _Cause(
        "scheduling",
        r"^Unschedulable: 0/(?P<total>\d+) nodes are available: (?P<nodes>.*)",
        _unschedulable,
    ),
    _Cause(
        "scheduling",
        r"^(Unschedulable|SchedulingGated): (?P<why>.*)",
        lambda voice, found: f"no node takes {voice.who}: {found['why']}; ask who runs the cluster",
    ),
    _Cause("memory", r"^OOMKilled", _out_of_memory),
    _Cause("eviction", r"^Evicted", _evicted),
    _Cause(
        "eviction",
        r"^(PreemptionByScheduler|EvictionByEvictionAPI|DeletionByTaintManager"
        r"|DeletionByPodGC|TerminationByKubelet|NodeLost|NodeShutdown|Terminated)",
        _leaves,
    ),
    _Cause(
        "queue",
        r"^Kueue: (?P<why>.*)",
        lambda voice, found: (
            f"Kueue does not admit it yet: {found['why'] or 'no reason given'}; wait, or lower "
            "workers or what they ask for in the profile"
        ),
    ),
    _Cause(
        "refusal",
        r"is forbidden: (?P<why>.*)",
        lambda voice, found: (
            f"the cluster forbids {voice.who}: {found['why']}; correct the profile, or ask who "
            "runs the cluster"
        ),
    ),
)
"""What the server says -> what it means. The first that fits counts."""
