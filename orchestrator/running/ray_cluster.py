"""The Ray that a sweep runs on: a cluster that RAY_ADDRESS names, or a private one on this machine.

Ray is imported inside functions: it reads its environment while it is imported.
"""

import contextlib
import logging
import os
import signal
import site
import sysconfig
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cluster.contract import AUTOSCALED, ELASTIC, NUM_NODES
from cluster.node.own_folder import remove_own_folder
from cluster.node.private_ray import TUNE_ENVIRONMENT, private_ray
from cluster.node.processes import starting_deaf_to
from cluster.node.raylet import wait_until_reachable
from orchestrator.errors import SweepError
from orchestrator.running.ray_watch import RayWatch
from orchestrator.running.stopping import StopSignals
from workers.hub.repository import hub_cache, hub_endpoint, is_offline
from workers.source import code_folder
from workers.trial import first_line

if TYPE_CHECKING:
    from ray.job_config import JobConfig

NODES_WITHIN_S = 120.0
ANSWERS_WITHIN_S = 10.0

PASSED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "SPARSWEEP_CACHE",
)
"""Variables that workers of a given cluster get from the driver as they are, see `passed_on`."""


def is_given_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster; `local` asks for a private Ray in Ray's own words.

    Raises:
        SweepError: it is the address of a Ray client, through which Tune cannot be driven.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise SweepError(
            f"RAY_ADDRESS: {address} is for Ray's client; run on the cluster and give its HOST:PORT"
        )
    return address not in ("", "local")


def is_elastic() -> bool:
    """Whether nodes join and leave the given cluster all the time, see `ELASTIC`."""
    return is_given_cluster() and os.environ.get(ELASTIC) == "1"


def is_autoscaled() -> bool:
    """Whether an autoscaler takes idle nodes of the given cluster away, see `AUTOSCALED`."""
    return is_given_cluster() and os.environ.get(AUTOSCALED) == "1"


def passed_on() -> dict[str, str]:
    """Variables that workers of a given cluster get from the driver: by name, their values. None is
    a secret, since Ray shows them to all its users.

    Which cache of the hub it is, and whether the hub is asked, can be said by several variables;
    workers get what the driver makes of them, so that they find what it found.
    """
    found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    found["HF_HUB_CACHE"] = str(hub_cache().absolute())
    if is_offline():
        found["HF_HUB_OFFLINE"] = "1"
    if "HF_ENDPOINT" in os.environ and "@" not in hub_endpoint():
        found["HF_ENDPOINT"] = hub_endpoint()
    return found


def refuse_stale_address(address: str) -> None:
    """Ray itself would try for minutes to reach a cluster that is not there.

    Raises:
        SweepError: it is no HOST:PORT, or nobody answers there.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host.strip() or not port.isdecimal():
        raise SweepError(
            f"RAY_ADDRESS: {address!r} is no address; unset it to run on this machine, or give the "
            "HOST:PORT of a cluster"
        )
    if not wait_until_reachable(address, ANSWERS_WITHIN_S):
        raise SweepError(
            f"RAY_ADDRESS: no Ray answers at {address}; unset it to run on this machine, or give "
            "the HOST:PORT of a cluster that runs"
        )


class NoRayError(Exception):
    """Ray did not start, or could not be connected to; its message is the first line of Ray's."""


@contextlib.contextmanager
def connected_ray(signals: StopSignals) -> Iterator[tuple[ModuleType, RayWatch]]:
    """Ray, connected to the cluster that RAY_ADDRESS names, or to a private one that ends with the
    block; and what notices when it is gone. While it connects, a loss ends this process.

    Args:
        signals: which Ray's native code takes for itself; after that they are ours again.

    Raises:
        SweepError: RAY_ADDRESS names no cluster.
        NoRayError: Ray failed.
    """
    if is_given_cluster():
        os.environ.update(TUNE_ENVIRONMENT)
        address = os.environ["RAY_ADDRESS"]
        refuse_stale_address(address)
        import ray

        try:
            with RayWatch.of_cluster(address) as watch:
                _connect(
                    signals,
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": passed_on()},
                    job_config=planned_code(),
                )
                watch.follow(ray)
                yield ray, watch
        finally:
            ray.shutdown()
        return
    local = private_ray()
    try:
        os.environ.update(local.environment)
        import ray

        try:
            with RayWatch.of_private_ray() as watch:
                _connect(signals, **local.init_options, job_config=planned_code())
                yield ray, watch
        finally:
            ray.shutdown()
    finally:
        remove_own_folder(local.temp_dir)


def planned_code() -> "JobConfig":
    """What makes workers find the code that planned the sweep, and not what lies in the current
    folder, which Ray would put before all else on their path.

    A checkout that is not installed is named to them. On another machine where it does not lie,
    that means nothing; what workers found is compared in any case, see
    `orchestrator.running.trainable.refuse_other_code`.
    """
    from ray.job_config import JobConfig

    root = str(code_folder().parent)
    installed = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.USER_SITE}

    class PlannedCode(JobConfig):
        def _serialize(self) -> str:
            self._py_driver_sys_path = [] if root in installed else [root]
            serialized: str = super()._serialize()
            return serialized

    return PlannedCode()


def wait_for_nodes(ray: ModuleType, is_stopping: Callable[[], bool]) -> None:
    """Wait until as many machines are there as `NUM_NODES` says, if it does, or for two minutes.

    The machines that are there at the start settle how many trials run at a time. The sweep runs
    without those that do not come.
    """
    wanted, until = int(os.environ.get(NUM_NODES) or 0), time.monotonic() + NODES_WITHIN_S
    while (
        sum(node["Alive"] for node in ray.nodes()) < wanted
        and time.monotonic() < until
        and not is_stopping()
    ):
        time.sleep(0.5)


def _connect(signals: StopSignals, **options: Any) -> None:
    """Connect. Signals that come meanwhile are remembered.

    For a tenth of a second the handler of Ray's native code is there instead, which ends the
    process, see `orchestrator.cli.supervised`.
    """
    import ray
    from ray._private import utils, worker

    # Ray's reports of dead processes, with pages of its logs; what they mean is said by us.
    worker.print_to_stdstream = lambda data, ignore_prefix: None
    worker.listen_error_messages = lambda worker, threads_stopped: None
    utils.set_sigterm_handler = lambda handler: None
    try:
        # Who closes the terminal sends HUP to all of its processes at once, and trials are to be
        # saved first.
        with starting_deaf_to(signal.SIGHUP):
            ray.init(**options)
    except Exception as error:  # of many classes, some of which are Ray's own
        raise NoRayError(first_line(error)) from error
    finally:
        signals.take()
