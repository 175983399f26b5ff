"""How to start a Ray of one's own on this machine: values for `os.environ` and `ray.init`; nothing
is started here.

The Ray is private in three ways. It is new: `address="local"` never joins a cluster that somebody
left running, whatever `RAY_ADDRESS` or a `ray_current_cluster` file says. It listens on the
loopback interface only. And it answers only to those who know its token, because whoever can reach
an open Ray can run code as its owner.
"""

import logging
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.node.machine import usable_cpus, usable_memory_bytes, visible_gpus
from cluster.node.own_folder import make_own_folder

# Trials pass only small values through Ray. Its minimum is 75 MiB, its default 30 % of the memory.
OBJECT_STORE_BYTES = 128 * 2**20

MEMORY_MONITOR = "RAY_memory_monitor_refresh_ms"
"""Ray's setting of how often it looks at the node's memory; 0: never."""

# For nodes that run nothing but sweeps.
NODE_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would start a Python for each core beforehand. No trial ever runs in one, since Tune gives
    # its workers variables of their own.
    "RAY_prestart_worker_first_driver": "0",
}

# For Ray Tune on any cluster.
TUNE_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the folder that the sweep was started in
    "RAY_ENABLE_AUTO_CONNECT": "0",  # Tune would start another Ray in place of one that is gone
    "RAY_AIR_NEW_OUTPUT": "0",  # with it Tune prints its configuration even when told to be quiet
    # The store keeps the results; Tune would write 5 files a trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}

# Ray's longest socket, <temp dir>/session_2026-01-31_23-59-59_123456_1234567/sockets/plasma_store,
# takes 64 bytes more than its folder; a socket's path may have 107 bytes on Linux and 103 on macOS.
_LONGEST_TEMP_DIR = 103 - 64
_LONGEST_TEMP_ROOT = _LONGEST_TEMP_DIR - len("/ray-12345678/r")


@dataclass(frozen=True, kw_only=True)
class LocalRay:
    """How to start a private Ray: set `environment`, then `import ray`, then
    `ray.init(**init_options)`.

    Ray reads some of the variables while it is imported, and its workers inherit all of them. After
    `ray.shutdown()` the caller removes `temp_dir`, which holds Ray's logs, by `remove_own_folder`.
    """

    environment: dict[str, str]
    init_options: dict[str, Any]
    temp_dir: Path


def private_environment() -> dict[str, str]:
    """What has to be in `os.environ` before Ray is imported.

    A token that is there already stays: Ray reads it once a process, so a second Ray of the process
    has the same.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32),
        # Ray otherwise replaces 127.0.0.1 by the machine's outward address and listens on every
        # interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray's monitor kills workers as soon as anybody's processes fill the machine to 95 %. The
        # kernel only does when no memory is left.
        MEMORY_MONITOR: os.environ.get(MEMORY_MONITOR, "0"),
        **NODE_ENVIRONMENT,
        **TUNE_ENVIRONMENT,
    }


def private_caches(folder: Path) -> dict[str, str]:
    """Variables by which workers keep caches in this folder that torch would otherwise keep below
    /tmp, under a name that anybody could take before."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    return {name: os.environ.get(name) or str(folder / "inductor")}


def private_ray(
    num_cpus: int | None = None, num_gpus: int | None = None, temp_root: str | Path | None = None
) -> LocalRay:
    """Decide how to start a private Ray and make its temporary folder, which only the user can
    enter.

    Args:
        num_cpus: cores that Ray may give to trials, at least 1; None: all that this process may
            use.
        num_gpus: GPUs that Ray may give to trials; None: those it finds (it honours
            CUDA_VISIBLE_DEVICES).
        temp_root: where the temporary folder is made; None: the system's place, or /tmp where that
            path is too long.

    Raises:
        ValueError: a number is out of range, or sockets below `temp_root` would have too long a
            path.
    """
    if num_cpus is not None and num_cpus < 1:
        raise ValueError(
            f"num_cpus: {num_cpus}; a local Ray needs at least 1, or None for all usable cores"
        )
    if num_gpus is not None and num_gpus < 0:
        raise ValueError(f"num_gpus: {num_gpus}; give 0 or more, or None for those that Ray finds")
    if num_gpus is None and visible_gpus(os.environ) == []:
        num_gpus = 0  # Ray takes some names of no GPU for one
    temp_dir = _make_temp_dir(temp_root)
    return LocalRay(
        environment=private_environment() | private_caches(temp_dir),
        init_options={
            "address": "local",
            "num_cpus": usable_cpus() if num_cpus is None else num_cpus,
            "num_gpus": num_gpus,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_memory": usable_memory_bytes() - OBJECT_STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            # Ray lets everybody write to its folder, so it is one inside ours.
            "_temp_dir": str(temp_dir / "r"),
        },
        temp_dir=temp_dir,
    )


def _make_temp_dir(temp_root: str | Path | None) -> Path:
    root = str(Path(temp_root or tempfile.gettempdir()).absolute())
    if len(root.encode()) > _LONGEST_TEMP_ROOT:
        if temp_root is not None:
            raise ValueError(
                f"temp_root: {root} has {len(root.encode())} bytes, at most {_LONGEST_TEMP_ROOT} "
                "leave room for Ray's sockets; give a shorter folder such as /tmp"
            )
        root = "/tmp"  # noqa: S108 (a folder of its own is made in it)
    return make_own_folder("ray-", root)
