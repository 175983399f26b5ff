"""The profile of a Slurm cluster."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from cluster.profile_fields import ClusterProfile, Hardware, Line, NaturalInt, PositiveInt, Word
from cluster.slurm.time_limit import seconds

BLOCK_FIELDS = {"nodes", "container"}
ELASTIC_FIELDS = {"workers", "head_partition", "head_time_limit"}
"""Fields that belong to one mode."""

OUR_OPTIONS = (
    *("job-name", "signal", "requeue", "no-requeue", "output", "error", "open-mode", "array"),
    *("nodes", "ntasks"),
)
"""Options of sbatch that the script sets."""


def _as_time_limit(value: Any) -> Any:
    if isinstance(value, int):  # of minutes, or of seconds?
        raise ValueError('input should be text; write it in quotes, for example "12:00:00"')
    if isinstance(value, str):
        seconds(value)
    return value


SlurmTime = Annotated[str, BeforeValidator(_as_time_limit)]


class SlurmProfile(ClusterProfile):
    """A Slurm cluster."""

    shares_files: ClassVar[bool] = True
    data_is_there: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    backend: Literal["slurm"] = "slurm"
    mode: Literal["block", "elastic"] = "block"
    """block: one allocation of all nodes; elastic: a small head job without GPUs, and single-GPU
    worker jobs that join as the queue lets them in."""
    partition: Word | None = None
    """Partition of the block, or of elastic workers; null: the cluster's default."""
    head_partition: Word | None = None
    """Partition of the head job of elastic mode; should not be preempted; null: as `partition`."""
    account: Word | None = None
    """The account that is charged."""
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
    """Type of the GPUs, such as a100; null: any."""
    gpu_memory_gib: PositiveInt | None = None
    """Memory that each GPU has, in GiB, for `plan` and `submit` to compare with what trials take;
    null: not known, and `plan` takes that of `gpu_type`."""
    cpus_per_gpu: PositiveInt = 4
    """Cores for each GPU; where there are none, of each node."""
    mem_gib_per_gpu: PositiveInt = 16
    """Memory for each GPU in GiB; where there are none, of each node."""
    time_limit: SlurmTime = "24:00:00"
    """As Slurm takes it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS. The job goes back
    to the queue when it is over, as often as trials are left."""
    head_time_limit: SlurmTime | None = None
    """Time limit of the head job of elastic mode; null: as `time_limit`."""
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
    """More options of sbatch, such as --exclusive, a line each; not for an elastic head job."""

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """The nodes of the block, or the workers of elastic mode."""
        return Hardware(
            num_machines=self.workers if self.mode == "elastic" else self.nodes,
            cpus=self.cpus_per_gpu * max(1, self.gpus_of_node()),
            gpus=self.gpus_of_node(),
            gpu_type=self.gpu_type,
            gpu_gib=self.gpu_memory_gib,
            memory_gib=self.mem_gib_per_gpu * max(1, self.gpus_of_node()),
            memory_field="mem_gib_per_gpu",
            job_s=max(1, seconds(self.time_limit) - self.stop_before_s),
            comes_back=True,
            limit_field="time_limit",
        )

    def gpus_of_node(self) -> int:
        """GPUs of a node of the block, or of an elastic worker."""
        return min(1, self.gpus_per_node) if self.mode == "elastic" else self.gpus_per_node

    @field_validator("extra")
    @classmethod
    def _are_options(cls, lines: list[str]) -> list[str]:
        for line in lines:
            name = re.match(r"--([a-z-]+)", line)
            if name is None:
                raise ValueError(
                    f"{line!r} is no option of sbatch; begin with --, for example --exclusive"
                )
            if name[1] in OUR_OPTIONS or name[1].startswith("ntasks"):
                raise ValueError(f"{line!r}: --{name[1]} is set by sparsweep; leave it out")
        return lines

    @model_validator(mode="after")
    def _check_mode(self) -> "SlurmProfile":
        foreign = BLOCK_FIELDS if self.mode == "elastic" else ELASTIC_FIELDS
        if given := sorted(foreign & self.model_fields_set):
            raise ValueError(
                f"{given[0]}: has no meaning in mode {self.mode}; leave it out, or set another mode"
            )
        if self.mps and not self.gpus_per_node:
            raise ValueError("mps: the nodes have no GPUs (gpus_per_node: 0); leave mps out")
        if self.mps and re.search(r"\dg\.\d+gb", self.gpu_type or ""):
            raise ValueError(
                f"mps: {self.gpu_type} is a part of a GPU (MIG); take whole GPUs, or leave mps out"
            )
        if self.container_mounts and self.container is None:
            raise ValueError(
                "container_mounts: given without container; name the image or leave the mounts out"
            )
        return self


Profile = SlurmProfile
"""What `cluster.BACKENDS` leads to."""
