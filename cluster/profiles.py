"""Cluster profiles: every field of each backend with its meaning and default.

A profile says how to ask one cluster for what a sweep needs. It comes from a file of the user's or
from the sweep file; who reads these is not this module's business. Profiles hold no secrets.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    field_validator,
    model_validator,
)

from cluster.slurm.time_limit import seconds

PositiveInt = Annotated[StrictInt, Field(gt=0, lt=2**31)]
NaturalInt = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Word = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\s'\"\\`$;&|<>#\x00-\x1f]+$")
]
"""Text that goes into a batch script or a manifest as one word."""
Line = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\n\r\x00]+$")]
DnsName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
LabelKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
    ),
]
LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")
]


def _as_time_limit(value: Any) -> Any:
    if isinstance(value, int):  # YAML takes 12:00:00 for a number to the base of 60
        raise ValueError('input should be text; write it in quotes, for example "12:00:00"')
    if isinstance(value, str):
        seconds(value)
    return value


TimeLimit = Annotated[str, BeforeValidator(_as_time_limit)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount as Kubernetes writes it, such as 16Gi."""


class ProfileSection(BaseModel):
    """A part of a profile: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )


class LocalProfile(ProfileSection):
    """This machine: the sweep goes on in the background."""

    backend: Literal["local"] = "local"


class RayProfile(ProfileSection):
    """A Ray cluster that runs already, asked through its job submission API."""

    backend: Literal["ray"] = "ray"
    address: Annotated[str, Field(pattern=r"^https?://[^\s/@]+/?$")] | None = None
    """Of its dashboard, such as http://head:8265. `--address` replaces it. A token comes from
    RAY_AUTH_TOKEN."""
    python: Word = "python"
    """The Python there that has sparsweep installed."""


class SlurmProfile(ProfileSection):
    """A Slurm cluster."""

    backend: Literal["slurm"] = "slurm"
    mode: Literal["block", "elastic"] = "block"
    """block: one allocation of all nodes; elastic: a small head job without GPUs, and single-GPU
    worker jobs that join as the queue lets them in."""
    partition: Word | None = None
    """Of the block, or of elastic workers; null: the cluster's default."""
    head_partition: Word | None = None
    """Of the head job of elastic mode; should not be preempted; null: as `partition`."""
    account: Word | None = None
    """Who pays."""
    qos: Word | None = None
    """Quality of service."""
    constraint: Line | None = None
    """Features that nodes must have, such as a100|h100."""
    nodes: PositiveInt = 1
    """Nodes of the block."""
    workers: PositiveInt = 8
    """Elastic mode: worker jobs, and how many GPUs the sweep uses at most."""
    gpus_per_node: NaturalInt = 1
    """GPUs of each node of the block; elastic workers have one, or none where this is 0."""
    gpu_type: Word | None = None
    """Such as a100; null: any."""
    cpus_per_gpu: PositiveInt = 4
    """Cores for each GPU; where there are none, of each node."""
    mem_gib_per_gpu: PositiveInt = 16
    """Memory for each GPU in GiB; where there are none, of each node."""
    time_limit: TimeLimit = "24:00:00"
    """As Slurm takes it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS. The job goes back
    to the queue when it is over, as often as trials are left."""
    head_time_limit: TimeLimit | None = None
    """Of the head job of elastic mode; null: as `time_limit`."""
    stop_before_s: Annotated[StrictInt, Field(ge=30, lt=65536)] = 180
    """How long before the time limit trials are told to save their checkpoints, in seconds."""
    setup: list[Line] = []
    """Shell lines before anything else, on every node, such as `module load cuda`."""
    python: Line | None = None
    """The Python on the nodes that has sparsweep installed; null: the one that submits."""
    container: Line | None = None
    """Image for `srun --container-image` (pyxis), of mode block; null: none. Results and
    `temp_root` are mounted."""
    container_mounts: list[Line] = []
    """More mounts of the container: those of corpus and model folders, such as /data:/data."""
    temp_root: Annotated[str, Field(pattern=r"^/[^\s'\"\\`$]*$", max_length=20)] = "/tmp"  # noqa: S108
    """Folder on the nodes for Ray's sockets and logs; at most 20 bytes."""
    extra: list[Line] = []
    """More options of sbatch, such as --exclusive, a line each; not for the head job of elastic
    mode."""

    @field_validator("extra")
    @classmethod
    def _are_options(cls, lines: list[str]) -> list[str]:
        ours = (
            "job-name",
            "signal",
            "requeue",
            "no-requeue",
            "output",
            "error",
            "open-mode",
            "array",
            "nodes",
            "ntasks",
        )
        for line in lines:
            name = re.match(r"--([a-z-]+)", line)
            if name is None:
                raise ValueError(
                    f"{line!r} is no option of sbatch; begin with --, for example --exclusive"
                )
            if name[1] in ours or name[1].startswith("ntasks"):
                raise ValueError(f"{line!r}: --{name[1]} is set by sparsweep; leave it out")
        return lines

    @model_validator(mode="after")
    def _check_mode(self) -> "SlurmProfile":
        foreign = BLOCK_FIELDS if self.mode == "elastic" else ELASTIC_FIELDS
        if given := sorted(foreign & self.model_fields_set):
            raise ValueError(
                f"{given[0]}: has no meaning in mode {self.mode}; leave it out, or set another mode"
            )
        if self.container_mounts and self.container is None:
            raise ValueError(
                "container_mounts: given without container; name the image or leave the mounts out"
            )
        return self


BLOCK_FIELDS, ELASTIC_FIELDS = (
    {"nodes", "container"},
    {"workers", "head_partition", "head_time_limit"},
)
"""Fields of `SlurmProfile` that belong to one mode."""


class Toleration(ProfileSection):
    """A taint that pods put up with."""

    key: LabelKey | None = None
    """Of the taint; null: all."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Exists: whatever its value."""
    value: LabelValue | None = None
    """Of the taint, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Which effect; null: all."""


class Volume(ProfileSection):
    """A persistent volume claim that all pods mount."""

    claim: DnsName
    """Name of the claim."""
    mount: Annotated[str, Field(pattern=r"^/[^:\n]+$", max_length=500)]
    """Where it is mounted; results and corpora below it are seen by all pods."""
    read_only: bool = False
    """Whether pods may only read it."""

    @field_validator("mount")
    @classmethod
    def _is_plain(cls, mount: str) -> str:
        if ".." in PurePosixPath(mount).parts:
            raise ValueError("input should be an absolute path without ..")
        return mount


class KubernetesProfile(ProfileSection):
    """A Kubernetes cluster with KubeRay's operator."""

    backend: Literal["kubernetes"] = "kubernetes"
    context: Word | None = None
    """Context of the kubeconfig; null: the current one."""
    namespace: DnsName | None = None
    """Where the job is made; null: the context's."""
    image: Annotated[str, Field(pattern=r"^[^\s'\"\\]+$", max_length=500)]
    """Container image with sparsweep, for driver and workers; see docker/."""
    image_pull_secrets: list[DnsName] = []
    """Names of secrets for the registry."""
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the image is fetched."""
    service_account: DnsName | None = None
    """Of the pods; null: the namespace's default. The token of Kubernetes is not mounted where Ray
    does not need it."""
    submission_mode: Literal["K8sJobMode", "HTTPMode", "SidecarMode"] = "K8sJobMode"
    """How KubeRay starts the driver. Its InteractiveMode starts none."""
    workers: PositiveInt = 8
    """Worker pods at most; there are as many as trials need, down to none."""
    gpus_per_worker: NaturalInt = 1
    """GPUs of a worker pod."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """What the cluster calls a GPU."""
    worker_cpus: PositiveInt = 4
    """Cores of a worker pod."""
    worker_memory: Quantity = "16Gi"
    """Memory of a worker pod."""
    head_cpus: PositiveInt = 2
    """Cores of the head pod, which runs no trials."""
    head_memory: Quantity = "8Gi"
    """Memory of the head pod."""
    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels of the nodes that workers run on."""
    head_node_selector: dict[LabelKey, LabelValue] = {}
    """Labels of the nodes that the head runs on."""
    tolerations: list[Toleration] = []
    """Taints that workers put up with."""
    volumes: list[Volume] = []
    """Persistent volume claims that all pods mount."""
    env_from_secrets: list[DnsName] = []
    """Names of secrets whose entries become environment variables, such as those for an object
    store."""
    queue: DnsName | None = None
    """Kueue's queue: the job waits, suspended, until it is admitted."""
    priority_class: DnsName | None = None
    """Of the pods."""
    labels: dict[LabelKey, LabelValue] = {}
    """More labels of all objects."""
    grace_period_s: Annotated[StrictInt, Field(ge=30, le=3600)] = 120
    """Time that a pod has to save checkpoints when it is told to go."""
    retries: NaturalInt = 2
    """How often KubeRay builds the cluster anew when the driver failed."""
    deadline_s: PositiveInt = 7 * 24 * 3600
    """The job is stopped after this time."""
    ttl_s: NaturalInt = 60
    """How long the pods of a finished job stay to be looked at; the job itself and the driver's log
    stay longer."""


Profile = Annotated[
    LocalProfile | SlurmProfile | KubernetesProfile | RayProfile,
    Field(discriminator="backend"),
]

PROFILES: dict[str, type[ProfileSection]] = {
    model.model_fields["backend"].default: model
    for model in (LocalProfile, SlurmProfile, KubernetesProfile, RayProfile)
}
"""Backend name -> its profile."""


def backends_with(field: str) -> list[str]:
    """Backends whose profiles have a field of that name."""
    return [name for name, model in PROFILES.items() if field in model.model_fields]


def describe_profile(profile: Any) -> dict[str, Any]:
    """What a profile sets, without what it leaves at its default."""
    fields: dict[str, Any] = {"backend": profile.backend} | profile.model_dump(
        exclude_defaults=True
    )
    return fields
