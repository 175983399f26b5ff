"""The profile of a Ray cluster that runs already."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from cluster.profile_fields import ClusterProfile, Hardware, Word


class RayProfile(ClusterProfile):
    """A Ray cluster that runs already, asked through its job submission API."""

    shares_files: ClassVar[bool] = False
    data_is_there: ClassVar[bool] = False
    grows: ClassVar[bool] = False
    takes_another: ClassVar[bool] = False

    backend: Literal["ray"] = "ray"
    address: Annotated[str, Field(pattern=r"^https?://[^\s/@]+/?$")] | None = None
    """Address of the cluster's dashboard, such as http://head:8265. `--address` replaces it. A
    token comes from RAY_AUTH_TOKEN."""
    python: Word = "python"
    """The Python there that has sparsweep installed."""

    @field_validator("mps")
    @classmethod
    def _is_not_ours(cls, mps: bool) -> bool:
        if mps:
            raise ValueError(
                "this Ray cluster runs already, and MPS starts before Ray; have nvidia-cuda-mps-"
                "control -d run on its nodes, and leave mps out"
            )
        return mps

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """Not known: the cluster says what it has when the driver runs on it."""
        return None


Profile = RayProfile
"""What `cluster.BACKENDS` leads to."""
