"""A sweep on a real cluster with KubeRay: kind, or any context of the kubeconfig. `make
test-kubernetes` runs these.

They need an image that the cluster can start (docker/Dockerfile) and a claim for results that all
its nodes can mount.
"""

import importlib.util
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.backend import JobSpec, JobState
from cluster.errors import ClusterError
from cluster.kubernetes.backend import KubernetesBackend
from cluster.kubernetes.profile import KubernetesProfile

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]

CONTEXT, IMAGE = os.environ.get("SPARSWEEP_KUBE_CONTEXT"), os.environ.get("SPARSWEEP_IMAGE")
NAMESPACE, CLAIM = (
    os.environ.get("SPARSWEEP_KUBE_NAMESPACE"),
    os.environ.get("SPARSWEEP_KUBE_CLAIM"),
)
SMOKE = Path(__file__).parents[3] / "orchestrator" / "sweeps" / "smoke.yaml"
WITHIN_S = 1200


@pytest.fixture(scope="module")
def backend() -> KubernetesBackend:
    if importlib.util.find_spec("kubernetes") is None:
        pytest.skip("needs the kubernetes package: pip install 'sparsweep[kubernetes]'")
    if not CONTEXT or not IMAGE or not CLAIM:
        pytest.skip(
            "needs a cluster with KubeRay: set SPARSWEEP_KUBE_CONTEXT to a context of the "
            "kubeconfig, SPARSWEEP_IMAGE to an image from docker/Dockerfile that it can pull, and "
            "SPARSWEEP_KUBE_CLAIM to a claim for results"
        )
    profile = KubernetesProfile.model_validate(
        {
            "context": CONTEXT,
            "namespace": NAMESPACE,
            "image": IMAGE,
            "workers": 2,
            "gpus_per_worker": 0,
            "worker_cpus": 1,
            "worker_memory": "4Gi",
            "head_cpus": 1,
            "head_memory": "4Gi",
            "volumes": [{"claim": CLAIM, "mount": "/results"}],
            "retries": 0,
            "grace_period_s": 60,
            "deadline_s": WITHIN_S,
        }
    )
    return KubernetesBackend(profile)


@pytest.fixture
def job(backend: KubernetesBackend) -> Iterator[JobSpec]:
    """`smoke`, made small, with results of its own; what is left of its jobs is removed."""
    sweep_id = uuid.uuid4().hex[:8]
    sweep = yaml.safe_load(SMOKE.read_text()) | {
        "results": f"/results/test-{sweep_id}",
        "languages": ["en"],
        "seeds": [0],
    }
    # As `submit` sets it where machines join while the sweep runs.
    sweep["resources"] = {"cpus_per_trial": 1, "gpus_per_trial": 0, "max_concurrent_trials": 2}
    job = JobSpec(
        name="smoke",
        sweep_id=sweep_id,
        folder=Path("/"),
        results=sweep["results"],
        sweep_json=json.dumps(sweep),
        plan_digest=None,
        cpus_per_trial=1,
        gpus_per_trial=0,
    )
    yield job
    for job_id in backend.live_jobs(job.job_name):
        backend.cancel(job_id, job.job_name, now=True)


def test_nothing_stands_in_the_way(backend: KubernetesBackend) -> None:
    assert backend.check() == []


def test_sweep_runs_to_its_end_and_its_log_can_be_read(
    backend: KubernetesBackend, job: JobSpec
) -> None:
    job_id = backend.submit(job)
    lines = list(backend.logs(job_id, job.folder, follow=True))

    status = backend.status(job_id, Path("/"))
    assert status.state is JobState.COMPLETED, (status, lines[-20:])
    assert backend.live_jobs(job.job_name) == []


def test_live_job_is_not_replaced(backend: KubernetesBackend, job: JobSpec) -> None:
    backend.submit(job)

    with pytest.raises(ClusterError, match="is there already"):
        backend.submit(job)


def test_cancelled_sweep_can_be_resumed(backend: KubernetesBackend, job: JobSpec) -> None:
    job_id = backend.submit(job)
    _wait_for(backend, job_id, JobState.RUNNING)
    backend.cancel(job_id, job.job_name, now=False)
    _wait_for(backend, job_id, JobState.CANCELLED)

    assert backend.submit(job) == job_id
    _wait_for(backend, job_id, JobState.COMPLETED)


def _wait_for(backend: KubernetesBackend, job_id: str, state: JobState) -> None:
    until = time.monotonic() + WITHIN_S
    while (status := backend.status(job_id, Path("/"))).state is not state:
        assert time.monotonic() < until, status
        assert not status.state.is_terminal, status
        time.sleep(2)
