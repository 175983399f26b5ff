"""The profile of this machine."""

from typing import ClassVar, Literal

from cluster.profile_fields import ClusterProfile, Hardware


class LocalProfile(ClusterProfile):
    """This machine: the sweep goes on in the background."""

    shares_files: ClassVar[bool] = True
    data_is_there: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    backend: Literal["local"] = "local"

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """This machine, where the caller knows it."""
        return here


Profile = LocalProfile
"""What `cluster.BACKENDS` leads to."""
