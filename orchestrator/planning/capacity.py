"""How many trials run at a time on given machines, and how long a list of trials takes there.

Pure arithmetic: the caller says what the machines have.
"""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.contract import ELASTIC
from orchestrator.errors import SweepError
from orchestrator.planning.memory import GIB, Need
from orchestrator.wording import counted

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import Resources


def num_fitting(cpus: float, gpus: float, cpus_per_trial: int, gpus_per_trial: float) -> int:
    """Trials that run at a time on one machine with so many cores and GPUs; a fraction of a GPU
    never spans two."""
    by_cpu = math.floor(cpus / cpus_per_trial)
    if not gpus_per_trial:
        return by_cpu
    if gpus_per_trial >= 1:
        return min(by_cpu, math.floor(gpus / gpus_per_trial))
    return min(by_cpu, math.floor(gpus) * math.floor(1 / gpus_per_trial + 1e-9))


def trial_resources(
    asked: "Resources",
    nodes: Sequence[Mapping[str, float]],
    may_grow: bool,
    is_elastic: bool = False,
) -> tuple[dict[str, float], int]:
    """Resources of a trial in Ray's terms, and how many trials run at a time.

    Args:
        asked: the sweep's `resources`.
        nodes: resources of each machine of the Ray cluster.
        may_grow: whether machines may join later, so that a trial that fits on none may wait for
            one.
        is_elastic: whether machines join and leave all the time, so that those there now do not
            tell what there will be.

    Raises:
        SweepError: a trial fits on no machine, unless the cluster may grow and
            `max_concurrent_trials` is given; or what it needs is left to the machines that are
            there, of which an elastic cluster may have none.
    """
    gpus = asked.gpus_per_trial
    if is_elastic:
        if gpus is None or asked.max_concurrent_trials is None:
            raise SweepError(
                "resources.gpus_per_trial, max_concurrent_trials: not given, and cannot be taken "
                f"from a cluster whose nodes come and go ({ELASTIC}=1); give both"
            )
        return {"cpu": float(asked.cpus_per_trial), "gpu": gpus}, asked.max_concurrent_trials

    if gpus is None:
        gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
    fitting = sum(
        num_fitting(node.get("CPU", 0), node.get("GPU", 0), asked.cpus_per_trial, gpus)
        for node in nodes
    )
    if fitting == 0 and not (may_grow and asked.max_concurrent_trials):
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)))
        raise SweepError(
            f"resources: a trial asks for {asked.cpus_per_trial} CPUs and {gpus:g} GPUs, the "
            f"largest machine has {largest.get('CPU', 0):g} and {largest.get('GPU', 0):g}; lower "
            "resources.cpus_per_trial or gpus_per_trial"
        )

    if may_grow and asked.gpus_per_trial is not None and asked.max_concurrent_trials:
        concurrency: float = asked.max_concurrent_trials  # some machines may still be starting
    else:
        concurrency = min(fitting, asked.max_concurrent_trials or math.inf)
    return {"cpu": float(asked.cpus_per_trial), "gpu": gpus}, int(concurrency)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine of a Ray cluster.

    Attributes:
        cpus: cores that trials may use.
        free_bytes: memory that they may fill.
        all_bytes: all memory, used or not; None: not known.
    """

    cpus: float
    free_bytes: float
    all_bytes: float | None = None


def num_within_memory(
    cpus_per_trial: int, concurrency: int, machines: Sequence[Machine], need: Need
) -> tuple[int, str]:
    """How many trials on CPUs run at a time, so that those beside each other fit into memory.

    An estimate may be wrong: a machine that has the cores runs one trial, whatever that takes,
    unless what it needs for sure is more than there is.

    Args:
        cpus_per_trial: cores of a trial.
        concurrency: trials at a time that there are cores for; or more, where machines are still to
            come, which then stays.
        machines: those that are there.
        need: what a trial takes.

    Returns:
        The number, and a line where it is less than `concurrency`.

    Raises:
        SweepError: not one trial fits into any machine.
    """
    largest_gib = max(machine.all_bytes or math.inf for machine in machines) / GIB
    if need.least_gib > largest_gib:
        raise SweepError(
            f"model.name: weights, gradients and moments of a trial take {need.least_gib:.1f} GiB, "
            f"and the machine has {largest_gib:.1f} GiB; take a smaller model or a larger machine, "
            "or set resources.memory_gib_per_trial where that is wrong"
        )
    by_cpu = [math.floor(machine.cpus / cpus_per_trial) for machine in machines]
    by_memory = [max(1, math.floor(machine.free_bytes / GIB / need.gib)) for machine in machines]
    fitting = sum(map(min, by_cpu, by_memory))
    if concurrency > sum(by_cpu) or fitting >= concurrency:
        return concurrency, ""
    free_gib = sum(machine.free_bytes for machine in machines) / GIB
    return fitting, (
        f"{counted(fitting, 'trial')} at a time and not {concurrency}: a trial takes "
        f"{need.gib:.1f} GiB ({need.basis}), and {free_gib:.1f} GiB are free; "
        "resources.memory_gib_per_trial sets another number"
    )


def refuse_small_share(
    need: Need | None, gpus_per_trial: float, gpu_gib: float | None, origin: str = ""
) -> str:
    """A trial may fill its share of a GPU's memory, and one that has several computes on one.

    Args:
        need: what a trial takes of a GPU; None: not known.
        gpus_per_trial: GPUs of a trial.
        gpu_gib: memory of the smallest GPU; None: not known.
        origin: how that is known, in words for the line.

    Returns:
        A line where the share is less than the estimate and more than what is needed for sure.

    Raises:
        SweepError: it is less than that.
    """
    if need is None or gpu_gib is None or not gpus_per_trial:
        return ""
    share, what = min(gpus_per_trial, 1.0), f"a GPU with {gpu_gib:.0f} GiB{origin}"
    if share < 1:
        what = f"{share:g} of {what} is {share * gpu_gib:.1f} GiB, and a trial takes"
    else:
        what = f"a trial is given {what}, and takes"
    what = f"resources.gpus_per_trial: {what}"
    remedy = "take larger GPUs, a smaller model or a smaller training.batch_size"
    if fitting := math.floor(gpu_gib / need.gib):
        remedy = f"give it {math.ceil(100 / fitting) / 100:g} or more"
    if share * gpu_gib < need.least_gib:
        raise SweepError(f"{what} {need.least_gib:.1f} GiB without its batches; {remedy}")
    if share * gpu_gib < need.gib:
        return f"{what} about {need.gib:.1f} GiB ({need.basis}); where it runs out, {remedy}"
    return ""


def wall_s(trial_s: Iterable[float], num_slots: int, busy_s: Iterable[float] = ()) -> float:
    """Seconds until the last trial ends, when the longest start first, each in the slot that is
    free first.

    Args:
        trial_s: how long each waiting trial takes.
        num_slots: trials at a time, at least 1.
        busy_s: how long each running trial still takes; they may be more than there are slots.
    """
    free_at = list(busy_s)
    free_at += [0.0] * (num_slots - len(free_at))
    heapq.heapify(free_at)
    for seconds in sorted(trial_s, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + seconds)
    return max(free_at)
