"""What tests of real sweeps share: one that ran undisturbed, and a Ray that runs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray_nodes import Cluster
from tests.real_sweeps import TO_STOP, run_once

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


@pytest.fixture(scope="session")
def for_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all of pytest's processes share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def undisturbed(for_all: Path) -> Path:
    """Results of the sweep of `write_sweep`, run in one go, with the kernels that users get."""
    return run_once(for_all / "undisturbed", pruning={"update_every_steps": 5})


@pytest.fixture(scope="session")
def never_stopped(for_all: Path) -> Path:
    """Results of the sweep `TO_STOP`, run in one go."""
    return run_once(for_all / "never-stopped", **TO_STOP)


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[dict[str, str]]:
    """A running Ray of another process, for sweeps that are not about Ray's life; its address and
    token as environment variables. Its workers see the environment of the test run's start.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield json.loads(process.stdout.readline())
    rest, _ = process.communicate("", timeout=60)
    assert json.loads(rest)["CPU"] == 2, "the sweeps left the cluster as it was"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of the test's own: a head that runs no trials, to which it adds nodes."""
    running = Cluster()
    yield running
    running.close()
