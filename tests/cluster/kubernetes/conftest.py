"""What the tests of Kubernetes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubernetes.api_server import FakeServer, kubernetes_server, write_kubeconfig


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """An API server to which the kubeconfig leads, in whose namespace `team` is nothing yet but
    the queue `gpus`."""
    monkeypatch.setenv("LOGNAME", "ada")
    with kubernetes_server() as (fake, url):
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", url)))
        fake.put("localqueues", "gpus", {})
        yield fake
