"""The driver in a Slurm job: how it is started on the job's Ray, watched, and stopped in time."""

import argparse
import os
import signal
import subprocess
import time

from cluster.contract import DEADLINE, ELASTIC, JOB_LENGTH_S, NUM_NODES, PROGRAM, STOPPED
from cluster.slurm import shared_files
from cluster.slurm.queue import is_live, time_left_s
from cluster.slurm.signals import Signals, StopRequest, log_line

RESERVE_S = 20.0
"""Time it takes to end Ray and to go back to the queue, kept of that before the time limit."""
LOOKS_EVERY_S, LOOKS_FOR_WORKERS_EVERY_S = 0.2, 30.0
SHORTEST_RUN_S = 60.0
"""A driver that stops by itself sooner than this would only do it again."""


def run_driver(args: argparse.Namespace, signals: Signals) -> int:
    """Run the same command as on a laptop, and return its exit code."""
    words = [args.python, "-P", "-m", PROGRAM, *args.words]
    if args.container and args.role == "block":
        words = [*srun_words(args, 1), f"--nodelist={os.environ['SLURMD_NODENAME']}", *words]
    # In a session of its own only what we pass on reaches it.
    driver = subprocess.Popen(
        words, env=_environment(args), stdin=subprocess.DEVNULL, start_new_session=True
    )
    signals.watch(driver)
    code = _wait_for(driver, args, signals)
    # A signal that comes in its very last moment, or its first, ends it without a word; its results
    # are as they were.
    return STOPPED if code in (-signal.SIGUSR2, -signal.SIGTERM) else code


def _environment(args: argparse.Namespace) -> dict[str, str]:
    """What the driver is told of the cluster, see `cluster.contract`."""
    environment = dict(os.environ)
    if args.role == "head":
        environment[ELASTIC] = "1"
    else:
        environment[NUM_NODES] = os.environ["SLURM_JOB_NUM_NODES"]
    left_s = time_left_s(os.environ["SLURM_JOB_ID"])
    if left_s is not None:
        environment[DEADLINE] = str(time.time() + left_s - args.stop_before_s)
        environment[JOB_LENGTH_S] = str(args.time_limit_s - args.stop_before_s - SHORTEST_RUN_S)
    return environment


def _wait_for(driver: "subprocess.Popen[bytes]", args: argparse.Namespace, signals: Signals) -> int:
    """Wait for the driver's exit code. One that has not stopped when the time limit is at hand is
    killed, so that the job can go back."""
    looked_s = time.monotonic()
    while (code := driver.poll()) is None:
        time.sleep(LOOKS_EVERY_S)
        is_late = signals.waited_s() > args.stop_before_s - RESERVE_S
        if signals.request and signals.request.comes_back and is_late:
            log_line("the driver does not stop; its trials go on from their last checkpoints")
            driver.kill()
            driver.wait()
            return STOPPED

        is_time_to_look = time.monotonic() - looked_s > LOOKS_FOR_WORKERS_EVERY_S
        if args.role == "head" and is_time_to_look:
            looked_s = time.monotonic()
            workers = shared_files.read(args.folder / shared_files.WORKERS)
            if workers and not signals.request and not is_live(workers):
                log_line(
                    "no worker is left, and none will come; look at the workers' logs, and submit "
                    "again"
                )
                signals.stop(StopRequest("no worker is left", comes_back=False))
    return code


def srun_words(args: argparse.Namespace, num_nodes: int) -> list[str]:
    """The beginning of an srun for one task a node, in the profile's container if it names one."""
    options = [
        *(f"--nodes={num_nodes}", f"--ntasks={num_nodes}", "--ntasks-per-node=1"),
        *("--overlap", "--no-kill", "--kill-on-bad-exit=0"),
        f"--cpus-per-task={os.environ.get('SLURM_CPUS_PER_TASK', '1')}",
    ]
    if args.container:
        mounts = [f"{args.folder}:{args.folder}", *args.container_mount]
        options += [f"--container-image={args.container}", f"--container-mounts={','.join(mounts)}"]
    return ["srun", *options]
