"""The profile of a toy batch system: all that `sparsweep` has to know to submit to a new one."""

from pathlib import Path
from typing import ClassVar, Literal

from cluster.profile_fields import ClusterProfile, Hardware, PositiveInt


class ToyProfile(ClusterProfile):
    """A batch system whose queue is a folder."""

    shares_files: ClassVar[bool] = True
    data_is_there: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    backend: Literal["toy"] = "toy"
    queue: Path
    """Folder that jobs are put into."""
    machines: PositiveInt = 2
    """Machines of 4 cores."""

    def hardware(self, here: Hardware | None = None) -> Hardware | None:
        """The machines of the profile."""
        return Hardware(num_machines=self.machines, cpus=4, gpus=0)


Profile = ToyProfile
