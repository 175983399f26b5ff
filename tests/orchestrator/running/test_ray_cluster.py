"""Whether a sweep runs on a cluster that is there, or on a private Ray."""

from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.running.ray_cluster import is_given_cluster, planned_code


def test_the_address_of_a_ray_client_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(
        SweepError, match="ray://head:10001 is for Ray's client; run on the cluster"
    ):
        is_given_cluster()


@pytest.mark.parametrize(
    ("address", "is_given"), [("", False), ("local", False), ("head:6379", True)]
)
def test_a_private_ray_is_started_unless_an_address_is_given(monkeypatch, address, is_given):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert is_given_cluster() == is_given


def test_workers_look_for_the_planned_code_and_not_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = planned_code()
    code._py_driver_sys_path.extend(["/bin", str(tmp_path)])  # as `ray.init` does
    paths = code._serialize()
    assert str(tmp_path).encode() not in paths
    assert str(Path(__file__).parents[3]).encode() in paths, "a checkout that is not installed"
