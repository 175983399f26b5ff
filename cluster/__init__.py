"""Obtains a Ray cluster, here or from a batch system, and runs one command on it.

Nothing here imports torch, `orchestrator` or `workers`, and ray only where its job submission is
asked for: what a cluster needs is decided before any of them loads.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.backend import Backend
    from cluster.profile_fields import ClusterProfile

BACKENDS = {
    "local": "cluster.local",
    "slurm": "cluster.slurm",
    "kubernetes": "cluster.kubernetes",
    "ray": "cluster.rayjobs",
}
"""Name of a backend -> its package, of which `profile.py` has a `Profile` and `backend.py` a
`Backend`. This is the only list of backends: a new one is a folder and a line here. Each part is
imported when it is asked for."""


def profile_type(backend: str) -> "type[ClusterProfile]":
    """What profiles of a backend are made of."""
    model: type[ClusterProfile] = import_module(f"{BACKENDS[backend]}.profile").Profile
    return model


def open_backend(profile: "ClusterProfile") -> "Backend":
    """The batch system that a profile describes. Nothing is contacted yet."""
    backend: Backend = import_module(f"{BACKENDS[profile.backend]}.backend").Backend(profile)
    return backend
