"""The profile of a Kubernetes cluster."""

import re
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, field_validator, model_validator

from cluster.profile_fields import (
    ClusterProfile,
    Hardware,
    NaturalInt,
    PositiveInt,
    Section,
    Word,
)

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
Quantity = Annotated[
    str, Field(max_length=30, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
]
"""An amount as Kubernetes writes it, such as 16Gi."""
WHOLE_GPU = "nvidia.com/gpu"
"""What clusters call a GPU of NVIDIA's; parts of one (MIG) have other names."""
_UNITS = {unit: Decimal(1000) ** power for power, unit in enumerate("num", -3)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate(["", *"kMGTPE"])}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+\Z)?)([a-zA-Z]*)")

AUTOSCALER = {"cpu": "500m", "memory": "512Mi"}
"""What KubeRay's autoscaler asks for, in the head's pod and besides the head."""
SUBMITTER = {"cpu": "500m", "memory": "1Gi"}
"""What the pod asks for that hands the driver to Ray and follows its log."""


class Toleration(Section):
    """A taint that pods put up with."""

    key: LabelKey | None = None
    """Key of the taint; null: all."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Exists: whatever its value."""
    value: LabelValue | None = None
    """Value of the taint, for Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Which effect; null: all."""


class Volume(Section):
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


class KubernetesProfile(ClusterProfile):
    """A Kubernetes cluster with KubeRay's operator."""

    shares_files: ClassVar[bool] = False
    data_is_there: ClassVar[bool] = True
    grows: ClassVar[bool] = True
    keeps_log: ClassVar[bool] = False
    takes_another: ClassVar[bool] = False

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
    """Service account of the pods; null: the namespace's default. The token of Kubernetes is not
    mounted where Ray does not need it."""
    submission_mode: Literal["K8sJobMode", "HTTPMode", "SidecarMode"] = "K8sJobMode"
    """How KubeRay starts the driver. Its InteractiveMode starts none; SidecarMode cannot run where
    Pod Security `restricted` is enforced; HTTPMode has no log to follow."""
    workers: PositiveInt = 8
    """Worker pods at most; there are as many as trials need, down to none."""
    gpus_per_worker: NaturalInt = 1
    """GPUs of a worker pod."""
    gpu_resource: LabelKey = WHOLE_GPU
    """What the cluster calls a GPU."""
    gpu_memory_gib: PositiveInt | None = None
    """Memory that each GPU has, in GiB, for `plan` and `submit` to compare with what trials take;
    null: not known, and `plan` takes that of the GPU that it assumes."""
    worker_cpus: PositiveInt = 4
    """Cores of a worker pod."""
    worker_memory: Quantity = "16Gi"
    """Memory of a worker pod."""
    head_cpus: PositiveInt = 2
    """Cores of the head pod, which runs no trials."""
    head_memory: Quantity = "8Gi"
    """Memory of the head pod. KubeRay's autoscaler asks for 500m and 512Mi in the same pod."""
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
    """Priority class of the pods."""
    labels: dict[LabelKey, LabelValue] = {}
    """More labels of all objects."""
    grace_period_s: Annotated[StrictInt, Field(ge=30, le=3600)] = 120
    """Time that a pod has to save checkpoints when it is told to go."""
    retries: NaturalInt = 2
    """How often KubeRay builds the cluster anew when the driver failed; not for input that cannot
    run (but with submission_mode HTTPMode)."""
    deadline_s: PositiveInt = 7 * 24 * 3600
    """The job has failed after this time, and its pods go `ttl_s` later."""
    ttl_s: NaturalInt = 60
    """How long the pods of a finished job stay to be looked at; the job itself and the driver's log
    stay longer."""

    @model_validator(mode="after")
    def _check_mps(self) -> "KubernetesProfile":
        if self.mps and not self.gpus_per_worker:
            raise ValueError("mps: worker pods have no GPUs (gpus_per_worker: 0); leave mps out")
        if self.mps and self.gpu_resource != WHOLE_GPU:
            raise ValueError(
                f"mps: it is for whole GPUs of NVIDIA, and gpu_resource is {self.gpu_resource}; "
                f"set gpu_resource: {WHOLE_GPU}, or leave mps out"
            )
        return self

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """The worker pods, as if the cluster had room for all of them."""
        return Hardware(
            num_machines=self.workers,
            cpus=self.worker_cpus,
            gpus=self.gpus_per_worker,
            gpu_gib=self.gpu_memory_gib,
            memory_gib=amount(self.worker_memory) / 2**30,
            memory_field="worker_memory",
            job_s=self.deadline_s,
            limit_field="deadline_s",
        )

    def besides(self) -> list[str]:
        """What pods ask for that run no trials."""
        asks = [f"the head asks for {self.head_cpus} CPUs and {self.head_memory}"]
        if self.queue is None:
            asks.append(_asks("KubeRay's autoscaler in the same pod", AUTOSCALER))
        if self.submission_mode == "K8sJobMode":
            asks.append(_asks("the pod that follows the driver's log", SUBMITTER))
        return [f"besides the workers, {', '.join(asks)}"]


def _asks(what: str, asked: dict[str, str]) -> str:
    return f"{what} for {asked['cpu']} and {asked['memory']}"


def amount(quantity: str) -> float:
    """An amount as Kubernetes writes it as a number: cores, bytes, or how many.

    Args:
        quantity: a number, with an exponent (1e3) or a unit (n, u, m, k, M, G, T, P, E, Ki, Mi, Gi,
            Ti, Pi, Ei) or neither.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{quantity!r} is no quantity of Kubernetes")
    return float(Decimal(match[1]) * _UNITS[match[2]])


Profile = KubernetesProfile
"""What `cluster.BACKENDS` leads to."""
