"""What runs inside a Slurm job: starts Ray on its nodes, the driver on the first, and brings both
to a good end.

    python -m cluster.slurm.job ROLE …

    block   a whole allocation: a raylet a node (by srun), the driver beside the first
    node    one node of a block; started by `block`
    head    elastic: a raylet without trials, the driver, and the address for workers
    worker  elastic: one raylet that joins, leaves, and comes back

Signals, as Slurm sends them: USR2 before the time limit and TERM on preemption make trials save
their checkpoints and the job go back to the queue; USR1, which `sparsweep cancel` sends, does the
same but the job does not come back.
"""

import argparse
import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cluster.contract import BAD_INPUT, STOPPED, has_crashed
from cluster.job_files import write_whole
from cluster.node.raylet import Offer, Ports, Raylet, own_address, wait_until_reachable
from cluster.slurm import nodes, shared_files
from cluster.slurm.driver import SHORTEST_RUN_S, run_driver, srun_words
from cluster.slurm.queue import requeue_myself, scancel
from cluster.slurm.signals import Signals, StopRequest, log_line

RAY_READY_S = 120.0
NODES_END_S = 30.0
MAX_RETURNS, SHORT_RUN_S = 3, 600.0
"""A job whose driver crashed, or stopped by itself within so many seconds and half its time limit,
comes back no more when it has come back so often, for any reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one role; the exit code is the job's."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    roles = {"block": drive, "head": drive, "worker": nodes.run_worker, "node": nodes.run_node}
    return roles[args.role](args)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `words`, what follows a `--`, are those of `sparsweep`, whose options
    argparse would take for ours."""
    given = list(arguments)
    end = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(prog="cluster.slurm.job", allow_abbrev=False)
    parser.add_argument("role", choices=["block", "head", "worker", "node"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--probe")
    parser.add_argument("--temp-root", required=True)
    parser.add_argument("--stop-before-s", type=int)
    parser.add_argument("--time-limit-s", type=int)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--container")
    parser.add_argument("--container-mount", action="append", default=[])
    parser.add_argument("--head-name")
    parser.add_argument("--mps", action="store_true")
    args = parser.parse_args(given[:end])
    args.words = given[end + 1 :]
    return args


def drive(args: argparse.Namespace) -> int:
    """Run the driver on a Ray of the job's own, and decide whether the job comes back."""
    signals, started_s = Signals(), time.monotonic()
    try:
        code = _drive(args, signals)
        ran_s, num_returns = time.monotonic() - started_s, os.environ.get("SLURM_RESTART_COUNT")
        # Near its limit a driver stops by itself when no trial would end in time.
        short_run_s = min(SHORT_RUN_S, (args.time_limit_s or math.inf) / 2)
        comes_back = goes_back(code, signals.request, ran_s, int(num_returns or 0), short_run_s)
        if comes_back and requeue_myself():
            ended = f"the driver ended with exit code {code}" if has_crashed(code) else ""
            log_line("; ".join(filter(None, (ended, "trials are left; back to the queue"))))
            return code
    except BaseException:
        let_workers_go(args)
        raise
    let_workers_go(args)
    if code == STOPPED and signals.request and not signals.request.comes_back:
        scancel(os.environ["SLURM_JOB_ID"])  # so that Slurm calls it cancelled, not failed
    return code


def _drive(args: argparse.Namespace, signals: Signals) -> int:
    check_folder(args)
    offer = nodes.offer() if args.role == "block" else replace(nodes.offer(), cpus=0, gpus=0)
    ports, own = nodes.free_ports(offer), own_address(os.environ.get("SLURMD_NODENAME"))
    address = f"{own}:{ports.gcs}"

    # The nodes of a block and the driver inherit these.
    os.environ |= {
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }

    cluster = _Block(args) if args.role == "block" else _Head(args, address, own, ports, offer)
    try:
        if wait_until_reachable(
            address, RAY_READY_S, lambda: cluster.is_running() and not signals.request
        ):
            cluster.announce()
            return run_driver(args, signals)
        if signals.request:
            return STOPPED
        log_line(
            f"Ray did not start within {RAY_READY_S:g} s on {address}; see the other logs in "
            f"{args.folder}"
        )
        return BAD_INPUT
    finally:
        cluster.close()


class _Block:
    """Raylets on all nodes, started by srun."""

    def __init__(self, args: argparse.Namespace):
        words = [
            *(args.python, "-P", "-m", "cluster.slurm.job", "node"),
            *("--head-name", os.environ["SLURMD_NODENAME"]),
            *("--folder", str(args.folder), "--temp-root", args.temp_root),
            *(["--mps"] if args.mps else []),
        ]
        log = f"--output={str(args.folder).replace('%', '%%')}/%j.%N.log"
        self._step = subprocess.Popen(
            [*srun_words(args, int(os.environ["SLURM_JOB_NUM_NODES"])), log, *words],
            env=os.environ | {nodes.BATCH_PID: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def is_running(self) -> bool:
        return self._step.poll() is None

    def announce(self) -> None:
        """Nobody has to be told: the nodes got the address from their environment."""

    def close(self) -> None:
        """End the raylets: srun passes USR1 on, while TERM would make it kill the step at once."""
        if self.is_running():
            self._step.send_signal(signal.SIGUSR1)
        try:
            self._step.wait(timeout=NODES_END_S)
        except subprocess.TimeoutExpired:
            self._step.kill()


class _Head:
    """A raylet that gives nothing to trials, and the file by which workers find it."""

    def __init__(
        self, args: argparse.Namespace, address: str, own: str, ports: Ports, offer: Offer
    ):
        self._file, self._address = args.folder / shared_files.ADDRESS, address
        log = args.folder / f"{os.environ['SLURM_JOB_ID']}.ray.log"
        self._raylet = Raylet(address, own, ports, offer, args.temp_root, is_head=True, log=log)

    def is_running(self) -> bool:
        return self._raylet.is_running()

    def announce(self) -> None:
        """Tell workers where to go; the file holds the token, so only its owner can read it."""
        write_whole(
            self._file,
            json.dumps({"address": self._address, "token": os.environ["RAY_AUTH_TOKEN"]}),
        )

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        self._raylet.close()


def goes_back(
    code: int,
    request: StopRequest | None,
    ran_s: float,
    num_returns: int,
    short_run_s: float = SHORT_RUN_S,
) -> bool:
    """Whether a job goes back to the queue: while trials are left, unless it was cancelled or does
    not get on.

    Args:
        code: of the driver.
        request: to stop, if there was one.
        ran_s: how long the job ran, in seconds.
        num_returns: how often it has come back before.
        short_run_s: a job that stopped by itself sooner, in seconds, may not have got on.
    """
    if code != STOPPED and not has_crashed(code):
        return False
    is_of_no_use = has_crashed(code) or ran_s < short_run_s
    if is_of_no_use and not request and num_returns >= MAX_RETURNS:
        return False
    return request.comes_back if request else ran_s >= SHORTEST_RUN_S


def let_workers_go(args: argparse.Namespace) -> None:
    """End the workers of a head that ends, however it does: those that nobody needs must not hold
    GPUs, nor ask for them again."""
    if args.role != "head":
        return
    # Where the folder is not to be seen, workers do not see it either.
    with contextlib.suppress(OSError):
        (args.folder / shared_files.OVER).touch()
    if workers := shared_files.read(args.folder / shared_files.WORKERS):
        scancel(workers)


def check_folder(args: argparse.Namespace) -> None:
    """Read back what `submit` wrote, and answer: the results folder must be one that all machines
    share. Exits where it is not."""
    try:
        content = (args.folder / shared_files.PROBE).read_text()
    except (OSError, ValueError) as error:
        content = getattr(error, "strerror", None) or str(error)
    node = os.environ.get("SLURMD_NODENAME", "this node")
    if content != args.probe:
        log_line(
            f"results: {args.folder} on {node} is not the folder of the submission ({content}); "
            "all nodes must see it"
        )
        sys.exit(BAD_INPUT)
    (args.folder / shared_files.SEEN).write_text(node)


if __name__ == "__main__":
    sys.exit(main())
