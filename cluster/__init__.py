"""Obtains a Ray cluster, here or from a batch system, and runs one command on it.

Nothing here imports torch, `orchestrator` or `workers`, and ray only where its job submission is
asked for: what a cluster needs is decided before any of them loads.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.backend import Backend
    from cluster.profiles import KubernetesProfile, LocalProfile, RayProfile, SlurmProfile


def open_backend(
    profile: "LocalProfile | SlurmProfile | KubernetesProfile | RayProfile",
) -> "Backend":
    """The backend of a profile, loaded on demand. Nothing is contacted yet."""
    if profile.backend == "slurm":
        from cluster.slurm.backend import SlurmBackend

        return SlurmBackend(profile)
    if profile.backend == "kubernetes":
        from cluster.kubernetes.backend import KubernetesBackend

        return KubernetesBackend(profile)
    if profile.backend == "ray":
        from cluster.rayjobs.backend import RayJobsBackend

        return RayJobsBackend(profile)
    from cluster.local.backend import LocalBackend

    return LocalBackend(profile)
