"""What runs inside a Slurm job: starts Ray on its nodes, the driver on the first, and brings both
to a good end.

    python -m cluster.slurm.job block …     a whole allocation: a raylet a node (by srun), the
    driver beside the first python -m cluster.slurm.job head …      elastic: a raylet without
    trials, the driver, and the address for workers python -m cluster.slurm.job worker …    elastic:
    one raylet that joins, leaves, and comes back python -m cluster.slurm.job node …      one node
    of a block; started by `block`

Signals, as Slurm sends them: USR2 before the time limit and TERM on preemption make trials save
their checkpoints and the job go back to the queue; USR1, which `sparsweep cancel` sends, does the
same but the job does not come back. Only the standard library is needed here.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cluster.contract import BAD_INPUT, DEADLINE, ELASTIC, JOB_LENGTH_S, NUM_NODES, PROGRAM, STOPPED
from cluster.job_files import write_whole
from cluster.node.raylet import Offer, Ports, Raylet, own_address, wait_until_reachable
from cluster.slurm import nodes
from cluster.slurm import shared_files as files
from cluster.slurm.queue import is_live, requeue_myself, scancel, time_left_s
from cluster.slurm.signals import Signals, Wish, say

RAY_READY_S = 120.0
NODES_END_S = 30.0
RESERVE_S = 20.0
"""Of the time before the time limit, what it takes to end Ray and to go back to the queue."""
LOOKS_FOR_WORKERS_EVERY_S = 30.0
SHORTEST_RUN_S = 60.0
"""A driver that stops by itself sooner than this would only do it again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one role; the exit code is the job's."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    args = _parser().parse_args(given[:end])
    args.words = given[
        end + 1 :
    ]  # the command line of sparsweep; argparse would take its options for ours
    roles = {"block": drive, "head": drive, "worker": nodes.run_worker, "node": nodes.run_node}
    return roles[args.role](args)


def drive(args: argparse.Namespace) -> int:
    """Start Ray, run the driver on it until it ends or is told to, and decide whether the job comes
    back."""
    signals, started_s = Signals(), time.monotonic()
    try:
        code = _drive(args, signals)
        if _goes_back(code, signals.wish, time.monotonic() - started_s):
            return code
    except BaseException:
        _let_workers_go(args)
        raise
    _let_workers_go(args)
    if code == STOPPED and signals.wish and not signals.wish.comes_back:
        scancel(os.environ["SLURM_JOB_ID"])  # so that Slurm calls it cancelled, not failed
    return code


def _drive(args: argparse.Namespace, signals: Signals) -> int:
    _check_folder(args)
    offer = nodes.offer() if args.role == "block" else replace(nodes.offer(), cpus=0, gpus=0)
    ports, own = nodes.free_ports(offer), own_address(os.environ.get("SLURMD_NODENAME"))
    address = f"{own}:{ports.gcs}"
    os.environ |= {
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    cluster = _Block(args) if args.role == "block" else _Head(args, address, own, ports, offer)
    code = STOPPED
    try:
        if wait_until_reachable(
            address, RAY_READY_S, lambda: cluster.is_running() and not signals.wish
        ):
            cluster.announce()
            code = _run_driver(args, signals)
        elif not signals.wish:
            say(
                f"Ray did not start within {RAY_READY_S:g} s on {address}; see the other logs in {args.folder}"
            )
            code = BAD_INPUT
    finally:
        cluster.close()
    return code


class _Block:
    """Raylets on all nodes, started by srun."""

    def __init__(self, args: argparse.Namespace):
        words = [
            args.python,
            "-P",
            "-m",
            "cluster.slurm.job",
            "node",
            "--head-name",
            os.environ["SLURMD_NODENAME"],
        ]
        words += ["--folder", str(args.folder), "--temp-root", args.temp_root]
        log = f"--output={str(args.folder).replace('%', '%%')}/%j.%N.log"
        environment = os.environ | {nodes.BATCH_PID: str(os.getpid())}
        self._step = subprocess.Popen(
            [*_srun(args, int(os.environ["SLURM_JOB_NUM_NODES"])), log, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def is_running(self) -> bool:
        return self._step.poll() is None

    def announce(self) -> None:
        """Nobody has to be told: the nodes got the address from their environment."""

    def close(self) -> None:
        """End the raylets: srun passes USR1 on to them, while TERM would make it kill the step at
        once."""
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
        self._file, self._address = args.folder / files.ADDRESS, address
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


def _run_driver(args: argparse.Namespace, signals: Signals) -> int:
    """The same command as on a laptop; returns its exit code."""
    environment = dict(os.environ)
    if args.role == "head":
        environment[ELASTIC] = "1"
    else:
        environment[NUM_NODES] = os.environ["SLURM_JOB_NUM_NODES"]
    left_s = time_left_s(os.environ["SLURM_JOB_ID"])
    if left_s is not None:
        environment[DEADLINE] = str(time.time() + left_s - args.stop_before_s)
        environment[JOB_LENGTH_S] = str(args.time_limit_s - args.stop_before_s - SHORTEST_RUN_S)
    words = [args.python, "-P", "-m", PROGRAM, *args.words]
    if args.container and args.role == "block":
        words = [*_srun(args, 1), f"--nodelist={os.environ['SLURMD_NODENAME']}", *words]
    # A session of its own: only what we pass on reaches it.
    driver = subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    signals.watch(driver)
    code = _wait_for_driver(args, driver, signals)
    # A signal that comes in its very last moment, or its first, ends it without a word; its results
    # are as they were.
    return STOPPED if code in (-signal.SIGUSR2, -signal.SIGTERM) else code


def _wait_for_driver(
    args: argparse.Namespace, driver: "subprocess.Popen[bytes]", signals: Signals
) -> int:
    """Its exit code. One that has not stopped when the time limit is at hand is killed, so that the
    job can go back."""
    looked_s = time.monotonic()
    while (code := driver.poll()) is None:
        time.sleep(0.2)
        if (
            signals.wish
            and signals.wish.comes_back
            and signals.waited_s() > args.stop_before_s - RESERVE_S
        ):
            say("the driver does not stop; its trials go on from their last checkpoints")
            driver.kill()
            driver.wait()
            return STOPPED
        if args.role == "head" and time.monotonic() - looked_s > LOOKS_FOR_WORKERS_EVERY_S:
            looked_s = time.monotonic()
            workers = _read(args.folder / files.WORKERS)
            if workers and not signals.wish and not is_live(workers):
                say(
                    "no worker is left, and none will come; look at the workers' logs, and submit again"
                )
                signals.stop(Wish("no worker is left", comes_back=False))
    return code


def _goes_back(code: int, wish: Wish | None, ran_s: float) -> bool:
    """Back to the queue while trials are left, unless it was cancelled."""
    if (
        code == STOPPED
        and (wish.comes_back if wish else ran_s >= SHORTEST_RUN_S)
        and requeue_myself()
    ):
        say("trials are left; back to the queue")
        return True
    return False


def _let_workers_go(args: argparse.Namespace) -> None:
    """However a head ends: workers that nobody needs must not hold GPUs, nor ask for them again."""
    if args.role != "head":
        return
    with contextlib.suppress(
        OSError
    ):  # where the folder is not to be seen, workers do not see it either
        (args.folder / files.OVER).touch()
    if workers := _read(args.folder / files.WORKERS):
        scancel(workers)


def _read(file: Path) -> str:
    """What `submit` wrote there; nothing where it could not, or has not yet."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _check_folder(args: argparse.Namespace) -> None:
    """Read back what `submit` wrote, and answer: the results folder must be one that all machines
    share."""
    try:
        found = (args.folder / files.PROBE).read_text()
    except OSError as error:
        found = error.strerror
    node = os.environ.get("SLURMD_NODENAME", "this node")
    if found != args.probe:
        say(
            f"results: {args.folder} on {node} is not the folder of the submission ({found}); all nodes must see it"
        )
        sys.exit(BAD_INPUT)
    (args.folder / files.SEEN).write_text(node)


def _srun(args: argparse.Namespace, num_nodes: int) -> list[str]:
    """srun for one task a node, in the profile's container if it names one."""
    options = [
        f"--nodes={num_nodes}",
        f"--ntasks={num_nodes}",
        "--ntasks-per-node=1",
        "--overlap",
        "--no-kill",
    ]
    options += [
        "--kill-on-bad-exit=0",
        f"--cpus-per-task={os.environ.get('SLURM_CPUS_PER_TASK', '1')}",
    ]
    if args.container:
        mounts = [f"{args.folder}:{args.folder}", *args.container_mount]
        options += [f"--container-image={args.container}", f"--container-mounts={','.join(mounts)}"]
    return ["srun", *options]


def _parser() -> argparse.ArgumentParser:
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
