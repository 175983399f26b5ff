"""The profile of a Ray cluster that runs already."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from cluster.profile_fields import ClusterProfile, Hardware, Word


class RayProfile(ClusterProfile):
    """A Ray cluster that runs already, asked through its job submission API."""

    shares_files: ClassVar[bool] = False
    data_is_there: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    backend: Literal["ray"] = "ray"
    address: Annotated[str, Field(pattern=r"^https?://[^\s/@]+/?$")] | None = None
    """Address of the cluster's dashboard, such as http://head:8265. `--address` replaces it. A
    token comes from RAY_AUTH_TOKEN."""
    python: Word = "python"
    """The Python there that has sparsweep installed."""

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """Not known: the cluster says what it has when the driver runs on it."""
        return None


Profile = RayProfile
"""What `cluster.BACKENDS` leads to."""
