"""Whether a sweep runs on a cluster that is there, or on a private Ray."""

import socket
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.running.ray_cluster import (
    is_given_cluster,
    passed_on,
    planned_code,
    refuse_stale_address,
)


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


def test_workers_look_for_the_hubs_files_where_the_driver_does(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = passed_on()
    assert found["HF_HUB_CACHE"] == str(tmp_path / "hub"), "also where HF_HOME alone is set"
    assert (found["HF_HUB_OFFLINE"], found["AWS_REGION"]) == ("1", "here")
    assert "HF_ENDPOINT" not in found
    assert "secret" not in found.values()


@pytest.mark.parametrize(("user", "is_passed"), [("", True), ("me:secret@", False)])
def test_workers_get_no_address_of_a_hub_with_a_password(monkeypatch, user, is_passed):
    endpoint = f"https://{user}mirror"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    assert passed_on().get("HF_ENDPOINT") == (endpoint if is_passed else None)


@pytest.mark.slow
def test_an_address_where_no_ray_answers_is_refused_by_its_name(monkeypatch):
    monkeypatch.setattr("orchestrator.running.ray_cluster.ANSWERS_WITHIN_S", 0.1)
    with socket.socket() as unused:  # bound, and not listening
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SweepError, match=f"^RAY_ADDRESS: no Ray answers at {address}; unset"):
            refuse_stale_address(address)
    with pytest.raises(SweepError, match="no Ray answers at localhost:99999"):
        refuse_stale_address("localhost:99999")


@pytest.mark.parametrize("address", [" ", "head", ":6379", "head:ray"])
def test_what_is_no_address_is_refused_by_its_name(address):
    with pytest.raises(SweepError, match=f"^RAY_ADDRESS: '{address}' is no address; unset it"):
        refuse_stale_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_where_something_answers_is_left_to_ray(host):
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((host.strip("[]"), 0))
        server.listen()
        refuse_stale_address(f"{host}:{server.getsockname()[1]}")
    refuse_stale_address("auto")
