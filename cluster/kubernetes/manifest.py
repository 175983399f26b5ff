"""Renders a job as Kubernetes manifests: pure text work, with nothing but the profile, the job and
the user's name.

What the manifests look like stands in `templates/rayjob.yaml`.
"""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

from cluster.backend import JobSpec, user_name
from cluster.contract import COMMAND
from cluster.errors import ClusterError
from cluster.job_files import run_options
from cluster.kubernetes.profile import AUTOSCALER, SUBMITTER, KubernetesProfile

TEMPLATE = Path(__file__).with_name("templates") / "rayjob.yaml"
SWEEP_PATH = "/etc/sparsweep/sweep.json"
MOST_SWEEP_BYTES = 2**20
"""What a ConfigMap can hold."""

USER_LABEL = "sparsweep/user"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
OUR_LABEL_PREFIXES = ("sparsweep/", "app.kubernetes.io/", "ray.io/", "kueue.x-k8s.io/")

FIRST_RAY_WITH_TOKENS = (2, 52)

# Paths of the pods that something else is mounted at or below.
TAKEN_PATHS = (
    "/tmp",  # noqa: S108
    "/scratch",
    "/dev",
    "/etc",
    "/opt",
    "/proc",
    "/sys",
    "/usr",
    "/bin",
    "/lib",
    "/var/run",
)

# Characters that JSON allows as they are and YAML does not, or takes for the end of a line.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_PLACEHOLDER_ITEM = re.compile(r"^(?P<indent> *)- \$(?P<name>\w+)$")
_PLACEHOLDER_VALUE = re.compile(r"^ *[\w-]+: \$(?P<name>\w+)$")


def render_manifests(job: JobSpec, profile: KubernetesProfile) -> str:
    """A ConfigMap with the sweep and the RayJob that runs it.

    Raises:
        ClusterError: the job does not fit the profile, so that it would wait or fail in vain.
    """
    ray_version = importlib.metadata.version("ray")
    faults = [
        *_sweep_faults(job, profile),
        *_profile_faults(profile),
        *token_faults(ray_version),
    ]
    if faults:
        raise ClusterError("\n".join(faults))
    _, _, text = TEMPLATE.read_text(encoding="utf-8").partition("---\n")
    return fill_in(text, _values(job, profile) | {"ray_version": ray_version})


def fill_in(text: str, values: dict[str, Any]) -> str:
    """A template with values, by the rules that the template states."""
    return "".join(f"{line}\n" for line in _filled_lines(text, values))


def _filled_lines(text: str, values: dict[str, Any]) -> Iterator[str]:
    as_yaml = {name: to_yaml(value) for name, value in values.items()}
    is_kept = True
    for line in text.splitlines():
        word, _, name = line.strip().partition(" ")
        if word == "#if":
            is_kept = bool(values[name])
        elif word == "#endif":
            is_kept = True
        elif not is_kept:
            continue
        elif match := _PLACEHOLDER_ITEM.match(line):
            yield from (f"{match['indent']}- {to_yaml(item)}" for item in values[match["name"]])
        elif not ((match := _PLACEHOLDER_VALUE.match(line)) and values[match["name"]] is None):
            yield Template(line).substitute(as_yaml)


def to_yaml(value: Any) -> str:
    """A value as one line of YAML, for which JSON nearly suffices."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def this_user() -> str:
    """The user who submits, as the value of a label."""
    return label_value(user_name())


def label_value(text: str) -> str:
    """Text as the value of a label: at most 63 letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:63].strip("._-") or "x"


def _values(job: JobSpec, profile: KubernetesProfile) -> dict[str, Any]:
    """Everything that the template names."""
    labels = {
        **profile.labels,
        "app.kubernetes.io/name": "sparsweep",
        "app.kubernetes.io/instance": job.job_name,
        "sparsweep/sweep": label_value(job.name),
        "sparsweep/sweep-id": job.sweep_id,
        USER_LABEL: this_user(),
    }
    is_queued = profile.queue is not None
    gpus = {profile.gpu_resource: str(profile.gpus_per_worker)} if profile.gpus_per_worker else {}
    names = [f"claim-{index}" for index in range(len(profile.volumes))]
    return {
        # What is run, and how it is found.
        "job_name": job.job_name,
        "namespace": profile.namespace,
        "labels": labels,
        "job_labels": labels | ({QUEUE_LABEL: profile.queue} if is_queued else {}),
        "annotations": {"sparsweep/results": job.results},
        "sweep_json": job.sweep_json,
        "entrypoint": " ".join([COMMAND, "run", SWEEP_PATH, *_as_job(profile), *run_options(job)]),
        "submission_mode": profile.submission_mode,
        "has_submitter": profile.submission_mode == "K8sJobMode",
        "is_queued": is_queued,
        "is_autoscaled": not is_queued,
        # What all pods have.
        "image": profile.image,
        "image_pull_policy": profile.image_pull_policy,
        "image_pull_secrets": [{"name": name} for name in profile.image_pull_secrets],
        "service_account": profile.service_account,
        "priority_class": profile.priority_class,
        "node_selector": profile.node_selector,
        "head_node_selector": profile.head_node_selector,
        "tolerations": [
            toleration.model_dump(exclude_none=True) for toleration in profile.tolerations
        ],
        "environment": [
            {"name": name, "value": value} for name, value in profile.environment().items()
        ],
        "env_from": [{"secretRef": {"name": name}} for name in profile.env_from_secrets],
        "claim_volumes": [
            {
                "name": name,
                "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only},
            }
            for name, volume in zip(names, profile.volumes, strict=True)
        ],
        "claim_mounts": [
            {"name": name, "mountPath": volume.mount, "readOnly": volume.read_only}
            for name, volume in zip(names, profile.volumes, strict=True)
        ],
        # How large head and workers are, and how many there may be.
        "head_resources": {"cpu": str(profile.head_cpus), "memory": profile.head_memory},
        "worker_resources": {
            "cpu": str(profile.worker_cpus),
            "memory": profile.worker_memory,
            **gpus,
        },
        "autoscaler_resources": AUTOSCALER,
        "submitter_resources": SUBMITTER,
        "mps": profile.mps,
        "worker_cpus": str(profile.worker_cpus),
        "worker_gpus": str(profile.gpus_per_worker),
        "min_workers": profile.workers if is_queued else 0,
        "max_workers": profile.workers,
        "max_pending": str(profile.workers),
        "num_nodes": str(profile.workers + 1),
        # When it ends.
        "grace_period_s": profile.grace_period_s,
        "grace_period_text": str(profile.grace_period_s),
        "retries": profile.retries,
        "deadline_s": profile.deadline_s,
        "ttl_s": profile.ttl_s,
    }


def _as_job(profile: KubernetesProfile) -> list[str]:
    """Options by which the driver ends well where another attempt would meet the same: KubeRay
    builds the whole cluster anew for one that does not.

    A refusal has to be told by the driver's log, which HTTPMode does not give.
    """
    refused = [] if profile.submission_mode == "HTTPMode" else ["--exit-0-if-refused"]
    return ["--as-job", *refused]


def _sweep_faults(job: JobSpec, profile: KubernetesProfile) -> Iterator[str]:
    size = len(job.sweep_json.encode())
    if size > MOST_SWEEP_BYTES:
        yield (
            f"sweep: {size} bytes are more than the {MOST_SWEEP_BYTES} that a ConfigMap holds; "
            "split the sweep"
        )
    if "://" not in job.results and not _is_shared(job.results, profile):
        yield (
            f"results: {job.results} is on no volume that the pods mount and may write; "
            "give a folder below the mount of one of the profile's volumes, or s3://BUCKET/FOLDER"
        )
    if job.cpus_per_trial > profile.worker_cpus:
        yield (
            f"resources.cpus_per_trial: {job.cpus_per_trial} cores, and a worker pod has "
            f"{profile.worker_cpus}; raise worker_cpus in the profile or lower it"
        )
    if (job.gpus_per_trial or 0) > profile.gpus_per_worker:
        yield (
            f"resources.gpus_per_trial: {job.gpus_per_trial:g} GPUs, and a worker pod has "
            f"{profile.gpus_per_worker}; raise gpus_per_worker in the profile or lower it"
        )


def token_faults(ray_version: str) -> Iterator[str]:
    """What is wrong with the version of Ray here, which that of the pods must equal: the cluster
    that KubeRay makes asks for a token."""
    numbers = re.match(r"(\d+)\.(\d+)", ray_version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < FIRST_RAY_WITH_TOKENS:
        first = ".".join(str(number) for number in FIRST_RAY_WITH_TOKENS)
        yield (
            f"rayVersion: {ray_version} is older than tokens, which came with {first}; install a "
            "newer ray"
        )


def _profile_faults(profile: KubernetesProfile) -> Iterator[str]:
    for key in profile.labels:
        if key.startswith(OUR_LABEL_PREFIXES):
            yield f"labels: {key} is not yours to set; leave it out" + (
                "; name the queue as `queue`" * (key == QUEUE_LABEL)
            )
    mounts = [volume.mount for volume in profile.volumes]
    for mount in mounts:
        if PurePosixPath(mount) == PurePosixPath("/") or any(
            _is_below(mount, taken) for taken in TAKEN_PATHS
        ):
            yield (
                f"volumes: {mount} hides files that the pods need; mount the claim elsewhere, for "
                "example at /data"
            )
        if mounts.count(mount) > 1:
            yield f"volumes: {mount} is the mount of several claims; give each its own"


def _is_shared(path: str, profile: KubernetesProfile) -> bool:
    return any(not volume.read_only and _is_below(path, volume.mount) for volume in profile.volumes)


def _is_below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder) and ".." not in PurePosixPath(path).parts
