"""A Ray of one's own: what it is given, and that it is closed to others and leaves nothing."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.node.machine import usable_cpus
from cluster.node.own_folder import remove_own_folder
from cluster.node.private_ray import LocalRay, private_ray

REPOSITORY = Path(__file__).resolve().parents[3]

# A driver as the sweep's own: starts a private Ray, runs a task, says where it is, ends when its
# input does.
DRIVER = """
import json, os, sys
from cluster.node.private_ray import private_ray
local_ray = private_ray(num_cpus=1, num_gpus=0)
os.environ.update(local_ray.environment)
import ray
context = ray.init(**local_ray.init_options)
square = ray.remote(lambda value: value * value)
print(json.dumps({
    "square": ray.get(square.remote(12)),
    "address": context.address_info["address"],
    "token": local_ray.environment["RAY_AUTH_TOKEN"],
    "temp_dir": str(local_ray.temp_dir),
    "num_nodes": len(ray.nodes()),
}), flush=True)
sys.stdin.read()
ray.shutdown()
"""

STRANGER = """
import os, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("square", ray.get(ray.remote(lambda value: value * value).remote(12)), flush=True)
"""


@pytest.fixture
def made() -> Iterator[list[LocalRay]]:
    """Private Rays made by a test; their folders are removed after it."""
    rays: list[LocalRay] = []
    yield rays
    for local_ray in rays:
        remove_own_folder(local_ray.temp_dir)


def test_every_private_ray_has_a_token_and_a_folder_of_its_own(made):
    made += [private_ray(), private_ray()]
    first, second = made
    assert len(first.environment["RAY_AUTH_TOKEN"]) == 64
    assert first.environment["RAY_AUTH_TOKEN"] != second.environment["RAY_AUTH_TOKEN"]
    assert first.temp_dir != second.temp_dir
    assert first.init_options["_temp_dir"] == str(first.temp_dir / "r")


def test_torchs_caches_lie_in_the_folder_of_the_run_unless_the_user_has_named_another(
    made, monkeypatch
):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    made.append(private_ray())
    folder = Path(made[0].environment["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent == made[0].temp_dir
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/fast")
    made.append(private_ray())
    assert made[1].environment["TORCHINDUCTOR_CACHE_DIR"] == "/fast"


def test_memory_that_others_fill_kills_no_worker_unless_the_user_wants_rays_monitor(
    made, monkeypatch
):
    made.append(private_ray())
    assert made[0].environment["RAY_memory_monitor_refresh_ms"] == "0"
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "250")
    made.append(private_ray())
    assert made[1].environment["RAY_memory_monitor_refresh_ms"] == "250"


def test_only_the_user_can_enter_the_folder(made):
    made.append(private_ray())
    assert stat.S_IMODE(made[0].temp_dir.stat().st_mode) == 0o700


def test_ray_gets_the_usable_cores_unless_told_otherwise(made, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made += [private_ray(), private_ray(num_cpus=3, num_gpus=2)]
    assert made[0].init_options["num_cpus"] == usable_cpus()
    assert made[0].init_options["num_gpus"] is None
    assert (made[1].init_options["num_cpus"], made[1].init_options["num_gpus"]) == (3, 2)


@pytest.mark.parametrize("nothing", ["-1", "NoDevFiles", ""])
def test_ray_is_told_that_a_name_of_no_gpu_is_none(made, monkeypatch, nothing):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    made.append(private_ray())
    assert made[0].init_options["num_gpus"] == 0


def test_the_longest_socket_path_fits_below_the_longest_allowed_root():
    with tempfile.TemporaryDirectory(prefix="r" * 11, dir="/tmp") as root:
        local_ray = private_ray(temp_root=root)
        socket = (
            local_ray.temp_dir / "r/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store"
        )
        assert len(os.fsencode(socket)) == 103


def test_a_system_folder_too_long_for_sockets_gives_way_to_tmp(tmp_path, monkeypatch, made):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("r" * 40)))
    made.append(private_ray())
    assert made[0].temp_dir.parent == Path("/tmp")


def test_no_cores_are_refused():
    with pytest.raises(ValueError, match=r"num_cpus: 0; .* at least 1"):
        private_ray(num_cpus=0)


def test_a_negative_number_of_gpus_is_refused():
    with pytest.raises(ValueError, match=r"num_gpus: -1; give 0 or more"):
        private_ray(num_gpus=-1)


def test_a_root_too_long_for_sockets_is_refused_before_anything_is_made(tmp_path):
    root = tmp_path / ("r" * 40)
    root.mkdir()
    with pytest.raises(
        ValueError, match=r"temp_root: .*r{40} has \d+ bytes, at most 24 .* shorter folder"
    ):
        private_ray(temp_root=root)
    assert list(root.iterdir()) == []


def run_python(code: str, *args: str, **environment: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=clean | environment,
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_two_private_rays_run_side_by_side_closed_to_strangers_and_leave_nothing(tmp_path):
    # What would lead Ray astray: an address in the environment and the note of a cluster that is
    # long gone.
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:1")
    lures = {"RAY_ADDRESS": "127.0.0.1:1", "RAY_TMPDIR": str(tmp_path)}
    drivers = [run_python(DRIVER, **lures) for _ in range(2)]
    try:
        rays = [json.loads(driver.stdout.readline()) for driver in drivers if driver.stdout]
        children = [
            child
            for driver in drivers
            for child in psutil.Process(driver.pid).children(recursive=True)
        ]
        assert len(children) >= 6, "a Ray consists of several processes"
        for ray in rays:
            assert ray["square"] == 144
            assert ray["num_nodes"] == 1, "neither Ray has joined the other"
            mode = Path(ray["temp_dir"]).stat().st_mode
            assert stat.S_IMODE(mode) == 0o700, (
                "Ray opens its own folder to everybody, but that is inside this one"
            )
        assert rays[0]["address"] != rays[1]["address"]

        listening = {
            connection.laddr.ip
            for process in children
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}

        loopback = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "HOME": str(tmp_path),
        }
        # A stranger waits 20 s before it gives up; what the server answered is known at once.
        strangers = [
            run_python(STRANGER, rays[0]["address"], **loopback | {"RAY_AUTH_MODE": "disabled"}),
            run_python(STRANGER, rays[0]["address"], **loopback, RAY_AUTH_TOKEN=rays[1]["token"]),
        ]
        friend = run_python(
            STRANGER, rays[0]["address"], **loopback, RAY_AUTH_TOKEN=rays[0]["token"]
        )
        for stranger in strangers:
            assert "InvalidAuthToken" in first_line_with(stranger, "gcs_client")
            stranger.kill()
            assert "square" not in stranger.communicate()[0]
        assert "square 144" in friend.communicate(timeout=30)[0]
    finally:
        for driver in drivers:
            driver.communicate(timeout=30)
    assert [driver.returncode for driver in drivers] == [0, 0]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    for ray in rays:
        # A run that starts meanwhile may have removed what nobody owns any more.
        shutil.rmtree(ray["temp_dir"], ignore_errors=True)
        time.sleep(0.1)
        assert not Path(ray["temp_dir"]).exists(), "nobody is left to write there again"


def first_line_with(process: subprocess.Popen[str], word: str) -> str:
    """The first line on standard error that holds a word, or nothing."""
    return next((line for line in process.stderr or () if word in line), "")
