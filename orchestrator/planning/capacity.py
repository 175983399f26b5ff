"""How many trials run at a time on given machines, and how long a list of trials takes there.

Pure arithmetic: the caller says what the machines have.
"""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cluster.contract import ELASTIC
from orchestrator.errors import SweepError

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
