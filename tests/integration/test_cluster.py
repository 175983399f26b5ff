"""A sweep on a Ray cluster that is there already."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.conftest import numbers, sparsweep, write_sweep

CLUSTER = """
import json, os, sys
from cluster.node.private_ray import private_ray
local = private_ray(num_cpus=2)
os.environ.update(local.environment)
import ray
address = ray.init(**local.init_options).address_info["gcs_address"]
print(json.dumps(local.environment | {"RAY_ADDRESS": address}), flush=True)
sys.stdin.read()
print(json.dumps(ray.cluster_resources()))
"""


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """A running Ray of another process; its address and token as environment variables."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield json.loads(process.stdout.readline())
    rest, _ = process.communicate("", timeout=60)
    assert json.loads(rest)["CPU"] == 2, "the sweep left the cluster as it was"


def test_sweep_uses_the_cluster_of_ray_address_and_leaves_it_running(
    cluster, undisturbed, tmp_path
):
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results")
    code, output = sparsweep("run", spec, **cluster)
    assert code == 0, output
    assert numbers(tmp_path / "results") == numbers(undisturbed)
