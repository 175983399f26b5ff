"""The nodes of a Slurm job: one of a block, and an elastic worker that comes and goes."""

import argparse
import json
import os
import signal
import time
from pathlib import Path

from cluster.contract import DONE, STOPPED
from cluster.node.raylet import (
    Offer,
    Ports,
    Raylet,
    find_ports,
    is_reachable,
    own_address,
    usable_offer,
    wait_until_reachable,
)
from cluster.slurm import shared_files
from cluster.slurm.queue import is_live, requeue_myself
from cluster.slurm.signals import NodeSignals, Signals, StopRequest, log_line

BATCH_PID = "SPARSWEEP_BATCH_PID"
"""Environment variable of a block's nodes: the process of the batch script, on the first node."""

HEAD_PATIENCE_S = 120.0
"""How long a node waits for the head: one that has just started, or went back to the queue, needs a
few seconds."""
LOOKS_FOR_HEAD_EVERY_S = 1.0
ASKS_EVERY_S = 15.0
"""How often a worker that looks for the head asks Slurm whether its job is still there."""
HEAD_LOST_S = 60.0
"""Without an answer for so long the head's machine is taken to be lost. It is longer than a job
takes to end."""
RESTARTS = 3
"""How often the raylet of a node is started anew in one job."""
LOOKS_EVERY_S = 0.5
LEAVING_RESERVE_S = 30.0
"""Time that a worker needs to go back to the queue, kept of that before the time limit."""
RETRY_AFTER_S = 300
"""When a worker without a head asks for a GPU again."""


def offer() -> Offer:
    """What Slurm gives this job on this node, even where no cgroup enforces it."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    memory_mib = os.environ.get("SLURM_MEM_PER_NODE")
    return usable_offer(
        cpus=int(cpus) if cpus else None,
        memory_bytes=int(memory_mib or 0) * 2**20 or None,  # 0: the whole node
    )


def free_ports(offered: Offer) -> Ports:
    """This job's ports on this node."""
    return find_ports(int(os.environ["SLURM_JOB_ID"]), max(1, offered.cpus))


def run_node(args: argparse.Namespace) -> int:
    """Run a raylet of a block, until the batch script ends it or Slurm takes the node away."""
    signals, name = NodeSignals(), os.environ["SLURMD_NODENAME"]
    address, offered = os.environ["RAY_ADDRESS"], offer()
    ports, is_head = free_ports(offered), name == args.head_name
    if is_head:
        ports = Ports(int(address.rpartition(":")[2]), ports.number)
    elif not wait_until_reachable(address, HEAD_PATIENCE_S):
        log_line(f"{name}: no head at {address} within {HEAD_PATIENCE_S:g} s")
        return 1

    def start() -> Raylet:
        return _start(address, own_address(name), ports, offered, args, is_head=is_head)

    # The head's raylet holds the state of the cluster, so it is not started anew.
    raylet, restarts_left = start(), 0 if is_head else RESTARTS
    head_seen_s = time.monotonic()
    try:
        while not signals.is_over:
            if not raylet.is_running():
                if restarts_left == 0 or signals.must_save:
                    break
                # Where nobody answers, Ray gave up a head that is gone, which is seen below.
                if is_reachable(address):
                    log_line(f"{name}: its raylet ended, and is started anew")
                    restarts_left -= 1
                    raylet.close()
                    raylet = start()

            if signals.must_save and not raylet.drain_file.exists():
                raylet.drain_file.touch()
                # Slurm tells the steps of a preemption, and the batch script only where it is so
                # set.
                if is_head:
                    os.kill(int(os.environ[BATCH_PID]), signal.SIGTERM)

            if not is_head and not signals.must_save:
                if is_reachable(address):
                    head_seen_s = time.monotonic()
                elif time.monotonic() - head_seen_s > HEAD_LOST_S:
                    log_line(f"{name}: the head at {address} is gone")
                    # With --no-kill Slurm keeps a job whose first node died.
                    requeue_myself()
                    break
            time.sleep(LOOKS_EVERY_S)
    finally:
        raylet.close()
    return DONE


def _start(
    address: str, own: str, ports: Ports, offered: Offer, args: argparse.Namespace, is_head: bool
) -> Raylet:
    raylet = Raylet(
        address, own, ports, offered, args.temp_root, is_head=is_head, with_mps=args.mps
    )
    if raylet.without_mps:
        log_line(f"{os.environ.get('SLURMD_NODENAME', 'this node')}: {raylet.without_mps}")
    return raylet


def run_worker(args: argparse.Namespace) -> int:
    """Run one raylet of the sweep's head, which leaves when told or when it is not needed."""
    signals = Signals()
    while not signals.request:
        head = find_head(args.folder, signals)
        if head is None:
            break
        if _serve(head, args, signals):
            log_line("no trial waits for this worker")
            return DONE
    if (args.folder / shared_files.OVER).exists():
        log_line("the sweep is over")
        return DONE
    if signals.request:
        return _come_back(signals.request)
    if not _is_head_live(args.folder):
        log_line("the head's job is over, and so is this one")
        return DONE
    log_line(f"no head within {HEAD_PATIENCE_S:g} s; asks again in {RETRY_AFTER_S} s")
    return STOPPED if requeue_myself(delay_s=RETRY_AFTER_S) else DONE


def _serve(head: dict[str, str], args: argparse.Namespace, signals: Signals) -> bool:
    """Be a node of the head's cluster. Returns whether the sweep sent this node away; otherwise
    the worker may look for a head again."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head["token"]}
    offered, name = offer(), os.environ.get("SLURMD_NODENAME")
    log_line(f"joins {head['address']} with {offered.cpus} CPUs and {offered.gpus} GPUs")
    own, ports = own_address(name), free_ports(offered)
    raylet = _start(head["address"], own, ports, offered, args, is_head=False)
    try:
        while raylet.is_running() and not signals.request:
            time.sleep(LOOKS_EVERY_S)
        if signals.request:
            raylet.leave(within_s=max(10.0, args.stop_before_s - LEAVING_RESERVE_S))
            return False
    finally:
        raylet.close()
    # The raylet ended and the head is there: so the head sent it away.
    return is_reachable(head["address"])


def _come_back(request: StopRequest) -> int:
    if request.comes_back and requeue_myself():
        log_line("back to the queue")
        return STOPPED
    return DONE


def _is_head_live(folder: Path) -> bool:
    head = shared_files.read(folder / shared_files.HEAD)
    return bool(head) and is_live(head)  # without a folder there is no sweep


def find_head(folder: Path, signals: Signals) -> dict[str, str] | None:
    """Where the head is, as soon as it answers; None when it does not in time, or its job or the
    sweep is over."""
    started_s = asked_s = time.monotonic()
    while time.monotonic() - started_s < HEAD_PATIENCE_S:
        if signals.request or (folder / shared_files.OVER).exists():
            return None
        try:
            head: dict[str, str] = json.loads((folder / shared_files.ADDRESS).read_text())
            if head["token"] and is_reachable(head["address"]):
                return head
        except (OSError, ValueError, TypeError, KeyError):
            pass  # not there yet, or not to be read: the head may write it anew
        if time.monotonic() - asked_s > ASKS_EVERY_S:
            asked_s = time.monotonic()
            if not _is_head_live(folder):
                return None
        time.sleep(LOOKS_FOR_HEAD_EVERY_S)
    return None
