"""Why a job waits or fails: what real servers answered, and the sentence that a person gets."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.backend import JobState
from cluster.kubernetes.kubectl import Kubectl
from cluster.kubernetes.manifest import render_manifests
from cluster.kubernetes.reasons import CAUSES, Documents, Object, Reason, find_reason
from cluster.kubernetes.states import job_status
from tests.cluster.kubernetes.jobs import JOB, NAME, make_profile

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)

# What a Kubernetes 1.36 with KubeRay 1.7 said, and what we make of it.
RECORDED = {
    "claim-missing": Reason(
        cause="claim",
        text=(
            "the head waits for claim nope, which is not there; make it, or correct volumes in "
            "the profile"
        ),
    ),
    "head-does-not-fit": Reason(
        cause="scheduling",
        text=(
            "no node has room for the head: of 5 nodes, 5 have too little cpu, 5 have too little "
            "memory; wait, or lower head_cpus or head_memory in the profile"
        ),
    ),
    "image-cannot-be-pulled": Reason(
        cause="image",
        text=(
            "the head cannot get the image localhost/nope:1 (dial tcp 127.0.0.1:80: connect: "
            "connection refused); correct image, image_pull_secrets or image_pull_policy in the "
            "profile"
        ),
    ),
    "priority-class-missing": Reason(
        cause="priority class",
        text=(
            "the head waits for priority class nope, which is not there; make it, or correct "
            "priority_class in the profile"
        ),
    ),
    "secret-missing": Reason(
        cause="secret",
        text=(
            "the head waits for secret nope, which is not there; make it, or correct "
            "env_from_secrets or image_pull_secrets in the profile"
        ),
    ),
}


def read_recorded(folder: Path, name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = yaml.safe_load((folder / "recorded" / f"{name}.yaml").read_text())
    return recorded


def test_every_recorded_answer_has_a_sentence(kuberay: Path) -> None:
    assert {file.stem for file in (kuberay / "recorded").iterdir()} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers_are_explained(kuberay: Path, name: str) -> None:
    recorded = read_recorded(kuberay, name)
    ray_job = {"metadata": {"name": "sw-example-0123abcd"}, "status": recorded["rayjob_status"]}
    documents = Documents(ray_job=ray_job, pods=recorded["pods"], events=recorded["events"])

    reason = find_reason(documents, NOW)

    assert reason == RECORDED[name]
    status = job_status("ns/x", ray_job, reason=reason)
    assert (status.state, status.detail) == (JobState.PENDING, reason.text)


@pytest.mark.parametrize(
    "name", ["image-cannot-be-pulled", "priority-class-missing", "secret-missing"]
)
def test_the_rayjob_alone_suffices_for_most(kuberay: Path, name: str) -> None:
    status = read_recorded(kuberay, name)["rayjob_status"]

    assert find_reason(Documents(ray_job={"metadata": {}, "status": status}), NOW) == RECORDED[name]


def test_events_of_an_earlier_cluster_and_of_pods_that_have_a_node_by_now_are_not_believed(
    kuberay: Path,
) -> None:
    """All recordings have such events."""
    for name in RECORDED:
        events = read_recorded(kuberay, name)["events"]
        ray_job = {"metadata": {"name": "sw-example-0123abcd"}, "status": {"rayClusterName": "new"}}
        assert events
        assert find_reason(Documents(ray_job=ray_job, events=events), NOW) is None


# What else servers say; each message as Kubernetes 1.36, KubeRay 1.7 or Kueue writes it.


def pod(kind: str, **status: Any) -> Object:
    labels = {} if kind == "submitter" else {"ray.io/node-type": kind, "ray.io/cluster": "sw-abc"}
    return {"metadata": {"name": f"pod-{kind}", "labels": labels}, "status": status}


def unschedulable(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"conditions": [condition | {"message": message}]}


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "x", "state": state}]}


def refused(message: str, who: str = "Head") -> dict[str, Any]:
    reason = f"FailedCreate{who}Pod"
    condition = {"type": "ReplicaFailure", "status": "True", "reason": reason}
    return {"conditions": [condition | {"message": f"{reason}\n{message}"}]}


def warning(kind: str, name: str, reason: str, message: str) -> Object:
    about = {"kind": kind, "name": name}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}


def documents(
    deployment: str = "Initializing",
    cluster: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    **more: Any,
) -> Documents:
    """Of a job that was rendered from a profile."""
    _, ray_job = yaml.safe_load_all(render_manifests(JOB, make_profile(**profile or {})))
    ray_job["status"] = {
        "jobDeploymentStatus": deployment,
        "rayClusterName": "sw-abc",
        "rayClusterStatus": cluster or {},
    }
    return Documents(ray_job=ray_job, **more)


DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
SAID = [
    (
        documents(
            pods=[
                pod(
                    "worker",
                    **unschedulable(
                        "0/4 nodes are available: 1 node(s) had untolerated taint(s) {spot: true}, "
                        "3 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: "
                        "0/4 nodes are available: 4 Preemption is not helpful for scheduling."
                    ),
                )
            ]
        ),
        "scheduling",
        "no node has room for a worker (cpu 4, memory 16Gi, nvidia.com/gpu 1): of 4 nodes, 3 have "
        "too little nvidia.com/gpu, 1 have a taint {spot: true} that it does not tolerate "
        "(tolerations); wait, or lower gpus_per_worker in the profile",
    ),
    (
        documents(
            pods=[
                pod(
                    "head",
                    **unschedulable("0/2 nodes are available: 2 Insufficient memory. x"),
                )
            ]
        ),
        "scheduling",
        "no node has room for the head (cpu 2, memory 8Gi, and cpu 500m, memory 512Mi for "
        "KubeRay's autoscaler): of 2 nodes, 2 have too little memory; wait, or lower "
        "head_memory in the profile",
    ),
    (
        documents(
            pods=[
                pod(
                    "worker",
                    **unschedulable(
                        "0/3 nodes are available: 3 node(s) didn't match Pod's node "
                        "affinity/selector. preemption: 0/3 nodes are available."
                    ),
                )
            ]
        ),
        "scheduling",
        "no node takes a worker: of 3 nodes, 3 do not have the labels of node_selector; correct "
        "the profile",
    ),
    (
        documents(pods=[pod("head", **unschedulable("no nodes available to schedule pods"))]),
        "scheduling",
        "no node takes the head: no nodes available to schedule pods; ask who runs the cluster",
    ),
    (
        documents(
            cluster=refused(
                'pods "sw-abc-head-" is forbidden: exceeded quota: q, requested: '
                "limits.memory=3584Mi,requests.cpu=1500m, used: limits.memory=0,requests.cpu=0, "
                "limited: limits.memory=2Gi,requests.cpu=1"
            )
        ),
        "quota",
        "the head does not fit into the namespace's quota q: it asks for "
        "limits.memory=3584Mi,requests.cpu=1500m, limits.memory=0,requests.cpu=0 is in use, "
        "limits.memory=2Gi,requests.cpu=1 is the limit; lower head_cpus or head_memory in the "
        "profile, wait for other jobs, or ask who runs the cluster",
    ),
    (
        documents(
            cluster=refused(
                'pods "sw-abc-head-" is forbidden: violates PodSecurity "restricted:latest": '
                "allowPrivilegeEscalation != false (container \"ray-job-submitter\" must set "
                "securityContext.allowPrivilegeEscalation=false)"
            )
        ),
        "Pod Security",
        'Pod Security "restricted:latest" of the namespace forbids the head: '
        'allowPrivilegeEscalation != false (container "ray-job-submitter" must set '
        "securityContext.allowPrivilegeEscalation=false); use submission_mode: K8sJobMode, whose "
        "pods keep to it",
    ),
    (
        documents(
            events=[
                warning(
                    "RayCluster",
                    "sw-abc",
                    "AutoscalerServiceAccountNotFound",
                    "Failed to reconcile RayCluster team/sw-abc. If users specify "
                    "ServiceAccountName for the head Pod, they need to create a ServiceAccount "
                    "themselves. However, ServiceAccount nope is not found. Please create one.",
                )
            ]
        ),
        "service account",
        "the job waits for service account nope, which is not there; make it, or correct "
        "service_account in the profile",
    ),
    (
        documents(
            cluster=refused(
                'pods "sw-abc-workers-worker-" is forbidden: error looking up service account '
                'team/nope: serviceaccount "nope" not found',
                "Worker",
            )
        ),
        "service account",
        "a worker waits for service account nope, which is not there; make it, or correct "
        "service_account in the profile",
    ),
    (
        documents(cluster=refused('pods "sw-abc-head-" is forbidden: no one may come in')),
        "refusal",
        "the cluster forbids the head: no one may come in; correct the profile, or ask who runs "
        "the cluster",
    ),
    (
        documents(
            pods=[pod("head", **unschedulable("0/2 nodes are available: pod has unbound "
                                              "immediate PersistentVolumeClaims. not found"))]
        ),
        "claim",
        "the head waits for a volume that its claim does not have yet; see `kubectl describe pvc`, "
        "and ask who runs the cluster",
    ),
    (
        documents(
            pods=[pod("worker", **waiting("ContainerCreating", ""))],
            events=[
                warning("Pod", "pod-worker", "FailedAttachVolume",
                        'Multi-Attach error for volume "pvc-1" Volume is already used by 1 pod(s)')
            ],
        ),
        "claim",
        "a worker cannot mount a volume that is bound to another node; use a claim with "
        "ReadWriteMany, or results on an object store",
    ),
    (
        documents(
            pods=[pod("head", **waiting("ContainerCreating", ""))],
            events=[
                warning("Pod", "pod-head", "FailedMount",
                        'MountVolume.SetUp failed for volume "sweep" : configmap "sw-x" not found')
            ],
        ),
        "sweep",
        "the head waits for the sweep, config map sw-x, which somebody removed; cancel the job and "
        "submit the sweep again",
    ),
    (
        documents(
            pods=[pod("head", **waiting("PodInitializing", ""))],
            events=[warning("Pod", "pod-head", "FailedMount", "mount failed: exit status 32")],
        ),
        "volume",
        "the head cannot mount a volume: mount failed: exit status 32; ask who runs the cluster",
    ),
    (
        documents(pods=[pod("worker", containerStatuses=[{"name": "x", "state": KILLED}])]),
        "memory",
        "a worker was killed, since it took more memory than it may have (16Gi); raise "
        "worker_memory in the profile",
    ),
    (
        documents(pods=[pod("head", containerStatuses=[{"name": "x", "lastState": KILLED}])]),
        "memory",
        "the head was killed, since it took more memory than it may have (8Gi); raise head_memory "
        "in the profile",
    ),
    (
        documents(pods=[pod("worker", phase="Failed", reason="Evicted",
                            message="The node was low on resource: ephemeral-storage.")]),
        "eviction",
        "a worker was evicted (The node was low on resource: ephemeral-storage.); if it happens "
        "again, raise what it asks for in the profile",
    ),
    (
        documents(
            "Running",
            pods=[pod("worker", conditions=[DISRUPTED | {"message": "Taint manager: deleting"}])],
        ),
        "eviction",
        "a worker had to leave its node (Taint manager: deleting); its trials are saved and go on "
        "elsewhere",
    ),
    (
        documents(
            "Suspended",
            workloads=[
                {"status": {"conditions": [
                    {"type": "QuotaReserved", "status": "False", "reason": "Pending",
                     "message": "couldn't assign flavors to pod set workers: insufficient unused "
                     "quota for nvidia.com/gpu in flavor default-flavor, 2 more needed"}
                ]}}
            ],
        ),
        "queue",
        "Kueue does not admit it yet: couldn't assign flavors to pod set workers: insufficient "
        "unused quota for nvidia.com/gpu in flavor default-flavor, 2 more needed; wait, or lower "
        "workers or what they ask for in the profile",
    ),
    (
        documents(pods=[pod("submitter", **waiting("InvalidImageName", "couldn't parse"))]),
        "image",
        "the submitter cannot get its image (couldn't parse); correct image, "
        "image_pull_secrets or image_pull_policy in the profile",
    ),
    (
        documents(pods=[pod("head", **waiting("RunContainerError", "no such device"))]),
        "other",
        "the head: RunContainerError: no such device",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "cause", "text"), SAID, ids=[cause for _, cause, _ in SAID])
def test_what_servers_say_is_put_into_words(said: Documents, cause: str, text: str) -> None:
    assert find_reason(said, NOW) == Reason(cause=cause, text=text)


def test_every_cause_is_tested() -> None:
    tested = {cause for _, cause, _ in SAID} | {reason.cause for reason in RECORDED.values()}

    assert tested - {"other"} == {cause.name for cause in CAUSES}


def test_what_keeps_a_successor_away_comes_before_what_ended_a_pod() -> None:
    left = pod("worker", conditions=[DISRUPTED])
    waits = pod("worker", **unschedulable("0/1 nodes are available: 1 Insufficient cpu."))

    reason = find_reason(documents("Running", pods=[left, waits]), NOW)

    assert reason is not None
    assert reason.cause == "scheduling"


def test_pods_of_an_earlier_attempt_explain_nothing() -> None:
    earlier = pod("head", containerStatuses=[{"name": "x", "state": KILLED}])
    earlier["metadata"]["labels"]["ray.io/cluster"] = "sw-before"

    assert find_reason(documents(pods=[earlier]), NOW) is None


def test_a_job_that_has_ended_waits_for_nothing_and_may_have_run_out_of_memory() -> None:
    lacks = pod("submitter", **waiting("CreateContainerConfigError", 'secret "token" not found'))
    killed = pod("worker", containerStatuses=[{"name": "x", "state": KILLED}])

    assert find_reason(documents("Failed", pods=[lacks]), NOW, has_ended=True) is None
    reason = find_reason(documents("Failed", pods=[lacks, killed]), NOW, has_ended=True)
    assert reason is not None
    assert reason.cause == "memory"


@pytest.mark.parametrize(
    ("status", "created", "cause"),
    [
        ({}, "2026-11-26T11:58:00Z", "operator"),
        ({}, "2026-11-26T11:59:30Z", None),  # so soon nothing is wrong
        ({"jobDeploymentStatus": "Initializing"}, "2026-11-26T11:00:00Z", None),
    ],
)
def test_nobody_who_looks_at_a_job_is_said_after_a_minute(
    status: dict[str, str], created: str, cause: str | None
) -> None:
    ray_job = {"metadata": {"name": NAME, "creationTimestamp": created}, "status": status}

    reason = find_reason(Documents(ray_job=ray_job), NOW)

    assert (reason.cause if reason else None) == cause
    if reason is not None:
        assert reason.text == (
            "no operator has looked at the job for 120 s; is KubeRay's operator running, and does "
            "it watch this namespace? Ask who runs the cluster"
        )


def test_what_may_not_be_looked_at_is_said_where_nothing_else_explains() -> None:
    said = documents(unseen=["pods", "events"])
    said.ray_job["metadata"]["creationTimestamp"] = "2026-11-26T11:00:00Z"

    reason = find_reason(said, NOW)

    assert reason is not None
    assert reason.text == (
        "why it waits is not known, since you may not look at pods and events; ask who runs the "
        "cluster for that right"
    )


def test_a_claim_is_looked_at_where_the_job_is() -> None:
    unbound = unschedulable("0/2 nodes are available: unbound immediate PersistentVolumeClaims.")
    said = documents(pods=[pod("head", **unbound)], kubectl=Kubectl("lab", "team"))

    reason = find_reason(said, NOW)

    assert reason is not None
    assert "see `kubectl --context lab -n team describe pvc`" in reason.text


def test_a_deleted_job_that_stays_says_the_way_out() -> None:
    kubectl = Kubectl("my*lab", "team")
    said = documents(profile={"service_account": "nope"}, kubectl=kubectl)
    said.ray_job["metadata"] |= {
        "finalizers": ["ray.io/rayjob-finalizer"],
        "deletionTimestamp": "2026-11-26T11:50:00Z",
    }

    reason = find_reason(said, NOW)

    assert reason is not None
    assert reason.text == (
        "it was deleted 600 s ago and does not go; see that KubeRay's operator runs, make its "
        "service account if that is missing (`kubectl --context 'my*lab' -n team create "
        "serviceaccount nope`), or take the job's finalizer away: `kubectl --context 'my*lab' -n "
        f"team patch rayjob {NAME} --type merge -p "
        '\'{"metadata":{"finalizers":null}}\'`'
    )
    said.ray_job["metadata"]["deletionTimestamp"] = "2026-11-26T11:59:00Z"
    assert find_reason(said, NOW) is None  # pods have their grace period
