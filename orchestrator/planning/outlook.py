"""What an estimate means on a cluster's machines, and how both are told. Pure."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.planning.capacity import wall_s
from orchestrator.planning.estimate import Demand, Estimate, Speed
from orchestrator.planning.memory import Need, TrialMemory
from orchestrator.planning.room import (
    describe_room,
    gpus_of_trial,
    has_gpus,
    num_on_machine,
    num_within,
)
from orchestrator.wording import counted, duration

if TYPE_CHECKING:
    from cluster.profile_fields import ClusterProfile, Hardware
    from orchestrator.spec.sweep_spec import Resources

MAX_DEVICES_SHOWN = 2


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What an estimate means on a cluster. Waiting in queues is not counted.

    Attributes:
        demand: of the device that is counted with.
        num_slots: trials at a time; None: not known; 0: none fits.
        wall_s: seconds from the first trial's start to the last one's end; None: not known.
        job_s: how long trials may run in one job; None: as long as it takes.
        num_jobs: how many such jobs it takes, one after another.
        warning: what to think about first; empty if nothing.
        memory: where that may not suffice for the trials, a line each.
    """

    demand: Demand
    num_slots: int | None
    wall_s: float | None
    job_s: float | None
    num_jobs: int
    warning: str
    memory: tuple[str, ...] = ()


def on_hardware(
    asked: Estimate,
    hardware: "Hardware | None",
    resources: "Resources",
    memory: TrialMemory | None = None,
) -> Outlook | None:
    """What an estimate means on a cluster.

    Args:
        asked: the estimate.
        hardware: the cluster's machines; None: not known before.
        resources: of the sweep.
        memory: what a trial takes of it; None: not known.

    Returns:
        None when nothing is left.
    """
    if not asked.num_left:
        return None
    if hardware is None:
        demand = asked.of("CPU" if resources.gpus_per_trial == 0 else "GPU")
        return Outlook(
            demand=demand, num_slots=None, wall_s=None, job_s=None, num_jobs=1, warning=""
        )
    has_gpu, memory = has_gpus(hardware, resources), memory or TrialMemory()
    demand = asked.of("GPU" if has_gpu else "CPU", hardware.gpu_type)
    num_slots = _num_slots(hardware, resources, None if has_gpu else memory.of_host)
    takes_s = wall_s(demand.trial_s, num_slots) if num_slots else None
    return Outlook(
        demand=demand,
        num_slots=num_slots,
        wall_s=takes_s,
        job_s=hardware.job_s,
        num_jobs=math.ceil(takes_s / hardware.job_s) if takes_s and hardware.job_s else 1,
        warning=_warning(hardware, resources, demand, takes_s),
        memory=tuple(describe_room(memory, hardware, resources, demand.speed.device.name)),
    )


def lines(asked: Estimate, outlook: Outlook | None = None) -> list[str]:
    """What a person is told, in a few lines."""
    if not asked.num_left:
        return ["nothing is left to run"]
    measured = [demand for demand in asked.demands if demand.speed.is_measured]
    shown = [
        f"time left: {_hours(demand)} on {_name(demand)}, {_origin(demand.speed)}"
        for demand in measured[:MAX_DEVICES_SHOWN]
    ]
    kinds = {demand.speed.device.kind for demand in measured}
    # Who has measured GPUs does not ask for CPUs.
    wanted = {"GPU"} - kinds if measured else {"GPU", "CPU"}
    assumed = [
        demand
        for demand in asked.demands
        if not demand.speed.is_measured and demand.speed.device.kind in wanted
    ]
    if assumed:
        shown.append(
            "time left, assumed and not measured: "
            f"{', or '.join(f'{_hours(demand)} on {_name(demand)}' for demand in assumed)}"
        )
    if sharing := [demand for demand in assumed if demand.units < 1]:
        share = f"{sharing[0].units:g} of it each"
        shown.append(f"assumed as well: trials that share a GPU ({share}) do not slow each other")
    if outlook is not None:
        shown += [_outlook_line(outlook), *(f"on that cluster: {line}" for line in outlook.memory)]
    return shown


def as_json(asked: Estimate, outlook: Outlook | None = None) -> dict[str, Any]:
    """The same as JSON values, of all devices."""
    return {
        "num_left": asked.num_left,
        "devices": [_demand_json(demand) for demand in asked.demands],
        "outlook": None
        if outlook is None
        else vars(outlook) | {"demand": _demand_json(outlook.demand)},
    }


# What fits


def fixed_resources(hardware: "Hardware | None", resources: "Resources") -> dict[str, float]:
    """What the sweep must say of resources where machines join as they come: nobody can tell at
    the start what a trial gets and how many may run.

    Args:
        hardware: the cluster's machines; None: not known, so nothing is fixed.
        resources: of the sweep.

    Returns:
        Fields of `resources`.

    Raises:
        SweepError: a trial fits on no machine.
    """
    if hardware is None:
        return {}
    gpus_per_trial = float(gpus_of_trial(hardware, resources))
    num_slots = _num_slots(hardware, resources)
    if num_slots == 0:
        raise SweepError(
            f"resources: a trial asks for {resources.cpus_per_trial} CPUs and {gpus_per_trial:g} "
            f"GPUs, a machine of the profile has {hardware.cpus} and {hardware.gpus}; lower "
            "resources.cpus_per_trial or gpus_per_trial, or change the profile"
        )
    return {"gpus_per_trial": gpus_per_trial, "max_concurrent_trials": num_slots}


def refuse_useless_mps(profile: "ClusterProfile", resources: "Resources") -> None:
    """MPS is for trials that share a GPU.

    Args:
        profile: of the cluster.
        resources: of the sweep.

    Raises:
        SweepError: the profile asks for it, and the sweep's trials do not share any.
    """
    gpus = resources.gpus_per_trial
    if profile.mps and (gpus is None or not 0 < gpus < 1):
        given = "not given, so a whole one" if gpus is None else f"{gpus:g}"
        raise SweepError(
            f"mps: trials do not share a GPU (resources.gpus_per_trial: {given}) and gain nothing; "
            "set it below 1, such as 0.25, or leave mps out of the profile"
        )


def _num_slots(hardware: "Hardware", resources: "Resources", of_host: Need | None = None) -> int:
    """Trials at a time; none is on two machines.

    Args:
        hardware: the machines.
        resources: of the sweep.
        of_host: memory of a trial on CPUs, so much of which is kept free for each.
    """
    each = min(num_on_machine(hardware, resources), num_within(hardware.memory_gib, of_host))
    num_slots = int(hardware.num_machines * each)
    return min(num_slots, resources.max_concurrent_trials or num_slots)


def _warning(
    hardware: "Hardware", resources: "Resources", demand: Demand, wall_s: float | None
) -> str:
    if wall_s is None:
        gpus = "" if resources.gpus_per_trial is None else f" and {resources.gpus_per_trial:g} GPUs"
        return (
            f"no trial fits: it asks for {resources.cpus_per_trial} CPUs{gpus}, a machine has "
            f"{hardware.cpus} and {hardware.gpus}; lower resources.cpus_per_trial or "
            "gpus_per_trial, or change the profile"
        )
    if hardware.job_s is None:
        return ""
    longest_s = max(demand.trial_s)
    if hardware.comes_back and longest_s > hardware.job_s:
        return (
            f"the longest trial takes {duration(longest_s)}: it goes on from its checkpoint in the "
            "next job"
        )
    if not hardware.comes_back and wall_s > hardware.job_s:
        return (
            f"the job is stopped after {duration(hardware.job_s)}: raise {hardware.limit_field} of "
            "the profile, or submit the sweep again then"
        )
    return ""


# How it is told


def _hours(demand: Demand) -> str:
    return (
        f"{_digits(demand.hours)} "
        f"{'core-hours' if demand.speed.device.kind == 'CPU' else 'GPU-hours'}"
    )


def _digits(value: float) -> str:
    """Two digits or more, without an exponent unless it is tiny."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2g}"


def _name(demand: Demand) -> str:
    device = demand.speed.device
    if device.kind == "CPU" and device.num_cores > 1:
        return f"{device.name} ({device.num_cores} cores a trial)"
    return device.name


def _origin(speed: Speed) -> str:
    return (
        f"measured on {counted(speed.num_trials, 'trial')}: {_digits(speed.s_per_1000)} s per "
        f"1,000 sentences ({_digits(speed.low)} to {_digits(speed.high)})"
    )


def _outlook_line(outlook: Outlook) -> str:
    name = f"{_name(outlook.demand)}{'' if outlook.demand.speed.is_measured else ' (assumed)'}"
    if outlook.num_slots is None:
        return f"on that cluster: how many trials run at a time on {name} is not known before"
    if outlook.wall_s is None:
        return f"on that cluster: {outlook.warning}"
    at_a_time = f"up to {counted(outlook.num_slots, 'trial')} at a time"
    parts = [f"{duration(outlook.wall_s)} on {name}, {at_a_time}, waiting in a queue not counted"]
    if outlook.job_s is not None:
        jobs = f"{outlook.num_jobs} jobs, one after another," if outlook.num_jobs > 1 else "1 job"
        parts.append(f"{jobs} of at most {duration(outlook.job_s)}")
    return f"on that cluster: {'; '.join(filter(None, (*parts, outlook.warning)))}"


def _demand_json(demand: Demand) -> dict[str, Any]:
    speed, device = demand.speed, demand.speed.device
    return {
        "device": device.name,
        "kind": device.kind,
        "cores_per_trial": device.num_cores or None,
        "basis": "measured" if speed.is_measured else "assumed",
        "num_trials": speed.num_trials,
        "s_per_1000_sentences": speed.s_per_1000,
        "s_per_1000_sentences_low": speed.low,
        "s_per_1000_sentences_high": speed.high,
        "load_s": speed.load_s,
        "hours": demand.hours,
        "longest_trial_s": max(demand.trial_s),
    }
