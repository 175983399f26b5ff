"""Jobs and profiles for the tests of the Kubernetes backend."""

from pathlib import Path
from typing import Any

from kmock import KubernetesError

from cluster.backend import JobSpec
from cluster.kubernetes.backend import KubernetesBackend
from cluster.kubernetes.profile import KubernetesProfile

FOLDER = Path("/home/ada/.sparsweep/jobs/1")
PROFILES = {
    "default": {"image": "ghcr.io/lab/sparsweep:0.1.0"},
    "full": {
        "context": "lab",
        "namespace": "nlp",
        "image": "registry.example.org:5000/sparsweep@sha256:0123",
        "image_pull_secrets": ["registry", "mirror"],
        "image_pull_policy": "Always",
        "service_account": "sweeps",
        "workers": 24,
        "gpus_per_worker": 2,
        "gpu_resource": "amd.com/gpu",
        "worker_cpus": 12,
        "worker_memory": "96Gi",
        "head_cpus": 3,
        "head_memory": "12Gi",
        "node_selector": {"gpu": "a100", "zone": "no"},
        "head_node_selector": {"pool": "cpu"},
        "tolerations": [
            {"key": "amd.com/gpu"},
            {"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
        ],
        "volumes": [
            {"claim": "sweeps", "mount": "/data/sweeps"},
            {"claim": "corpora", "mount": "/data/corpora", "read_only": True},
        ],
        "env_from_secrets": ["s3-keys"],
        "queue": "gpu-queue",
        "priority_class": "batch",
        "labels": {"team": "nlp", "example.org/cost-centre": "1234"},
        "grace_period_s": 300,
        "retries": 5,
        "deadline_s": 3600,
        "ttl_s": 0,
    },
}


def make_job(**changes: Any) -> JobSpec:
    """A job that fits the default profile."""
    given = {
        "name": "two-languages",
        "sweep_id": "0123abcd",
        "folder": FOLDER,
        "results": "s3://lab/two-languages",
        "sweep_json": '{"name": "two-languages", "seeds": [0, 1]}',
        "plan_digest": "4f2a" * 16,
        "cpus_per_trial": 2,
        "gpus_per_trial": None,
    }
    return JobSpec(**given | changes)


def make_profile(name: str = "default", **changes: Any) -> KubernetesProfile:
    """One of `PROFILES`, changed."""
    return KubernetesProfile.model_validate(PROFILES[name] | changes)


JOB = make_job()
NAME = JOB.job_name
ID = f"team/{NAME}"


def make_backend(**profile: Any) -> KubernetesBackend:
    """A backend that does not wait long."""
    return KubernetesBackend(make_profile(**profile), poll_s=0.02, gone_within_s=0.3)


def refusal(status: int, reason: str, message: str) -> KubernetesError:
    """An answer of the server."""
    return KubernetesError(status=status, reason=reason, message=message)
