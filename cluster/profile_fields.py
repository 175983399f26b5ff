"""What the profiles of all backends share: the questions that the rest of the project asks of a
profile, and the types of its fields.

A profile says how to ask one cluster for what a sweep needs. Each backend has a profile of its own,
in its folder, with every field, its meaning and its default. A profile comes from a file of the
user's or from the sweep file; who reads these is not this module's business. Profiles hold no
secrets.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt

PositiveInt = Annotated[StrictInt, Field(gt=0, lt=2**31)]
NaturalInt = Annotated[StrictInt, Field(ge=0, lt=2**31)]
Word = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\s'\"\\`$;&|<>#\x00-\x1f]+$")
]
"""Text that goes into a batch script or a manifest as one word."""
Line = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\n\r\x00]+$")]
HubFolder = Annotated[str, Field(max_length=500, pattern=r"^/[^\x00-\x1f\x7f:,]*$")]


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Machines that are alike, as a profile asks for them, and how long trials may run there.

    Attributes:
        num_machines: how many there are.
        cpus: cores of each that trials may use.
        gpus: GPUs of each.
        gpu_type: the user's word for them, such as a100; None: not known.
        gpu_gib: memory of each GPU in GiB; None: not known.
        memory_gib: memory of each machine in GiB; None: not known.
        memory_field: the profile's field that sets `memory_gib`; empty where none does.
        job_s: how long trials may run in one job, in seconds; None: as long as it takes.
        comes_back: whether a job that reached its time limit goes on in another by itself.
        limit_field: the profile's field that sets `job_s`; empty where none does.
    """

    num_machines: int
    cpus: int
    gpus: int
    gpu_type: str | None = None
    gpu_gib: float | None = None
    memory_gib: float | None = None
    memory_field: str = ""
    job_s: float | None = None
    comes_back: bool = False
    limit_field: str = ""


class Section(BaseModel):
    """A part of a profile or of a sweep file: unknown keys are refused, values do not change after
    reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )


class ClusterProfile(Section):
    """One cluster. What differs between backends is asked here, never by the backend's name."""

    shares_files: ClassVar[bool]
    """Whether a job sees the folders of the machine that submits it."""
    data_is_there: ClassVar[bool]
    """Whether corpora, models and results may be on the cluster alone."""
    grows: ClassVar[bool]
    """Whether machines join while the sweep runs. What a trial gets is then decided beforehand,
    from `hardware`."""
    keeps_log: ClassVar[bool] = True
    """Whether the driver's log can be read after the job was cancelled."""
    takes_another: ClassVar[bool] = True
    """Whether a sweep may have several live jobs there."""

    backend: str
    mps: bool = False
    """Whether trials that share a GPU (resources.gpus_per_trial below 1) compute on it at the same
    time: the job starts NVIDIA's MPS for itself on each node and ends it; false: they take turns,
    unless the node has MPS running. Not for parts of a GPU (MIG). Numbers are the same."""
    offline: bool = False
    """Whether nodes have no internet: jobs ask no hub (HF_HUB_OFFLINE=1), and `submit` refuses a
    sweep whose corpus or model is not where they look for it, as far as that can be seen."""
    hub_cache: HubFolder | None = None
    """Folder where jobs look for files of the Hugging Face hub, which nodes see: that of
    `sparsweep fetch SPEC --to FOLDER`; null: the cache that the hub's client has there."""

    @abstractmethod
    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """The machines that the profile asks for; None where that is not known beforehand.

        Args:
            here: this machine, for a profile that stands for it.
        """

    def environment(self) -> dict[str, str]:
        """Variables that say to a job where files of the hub are, and whether the hub is asked."""
        cache = {} if self.hub_cache is None else {"HF_HUB_CACHE": self.hub_cache}
        return cache | ({"HF_HUB_OFFLINE": "1"} if self.offline else {})

    def besides(self) -> list[str]:
        """What a job asks of the cluster besides the machines that run trials, a line each."""
        return []

    def describe(self) -> dict[str, Any]:
        """The fields that are set, as JSON values, without those at their default."""
        return {"backend": self.backend} | self.model_dump(mode="json", exclude_defaults=True)
