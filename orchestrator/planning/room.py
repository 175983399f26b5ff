"""Whether a cluster's machines, as a profile asks for them, have the memory that trials take.

Pure: the caller says what the machines have.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.errors import SweepError
from orchestrator.planning.assumed_speed import gpu_memory_gib
from orchestrator.planning.capacity import num_fitting, refuse_small_share
from orchestrator.planning.memory import Need, TrialMemory
from orchestrator.wording import counted

if TYPE_CHECKING:
    from cluster.profile_fields import Hardware
    from orchestrator.spec.sweep_spec import Resources


def gpus_of_trial(hardware: "Hardware", resources: "Resources") -> float:
    """GPUs that a trial gets there."""
    if resources.gpus_per_trial is not None:
        return resources.gpus_per_trial
    return min(1, hardware.gpus)


def has_gpus(hardware: "Hardware", resources: "Resources") -> bool:
    """Whether trials compute on GPUs there."""
    return hardware.gpus > 0 and gpus_of_trial(hardware, resources) > 0


def num_on_machine(hardware: "Hardware", resources: "Resources") -> int:
    """Trials at a time on one machine that there are cores and GPUs for."""
    gpus = gpus_of_trial(hardware, resources)
    return num_fitting(hardware.cpus, hardware.gpus, resources.cpus_per_trial, gpus)


def num_within(memory_gib: float | None, need: Need | None) -> float:
    """Trials that fit beside each other into so much memory; one always may, since an estimate may
    be wrong. Any number where one of the two is not known."""
    if memory_gib is None or need is None:
        return math.inf
    return max(1, math.floor(memory_gib / need.gib))


def refuse_no_room(memory: TrialMemory, hardware: "Hardware", resources: "Resources") -> None:
    """What the machines of a profile are sure not to hold is not sent there.

    Args:
        memory: what a trial takes of it.
        hardware: the machines; what is only assumed of them refuses nothing.
        resources: of the sweep.

    Raises:
        SweepError: not one trial fits into a machine, or into its share of a GPU.
    """
    for _ in _look(memory, hardware, resources, hardware.gpu_gib, ""):
        pass


def describe_room(
    memory: TrialMemory, hardware: "Hardware", resources: "Resources", gpu: str = ""
) -> Iterator[str]:
    """A line on each memory that may not suffice.

    Args:
        memory: what a trial takes of it.
        hardware: the machines.
        resources: of the sweep.
        gpu: name of the GPU that is counted with, which tells its memory where the profile does
            not.
    """
    gpu_gib, origin = hardware.gpu_gib, ""
    if gpu_gib is None and (gpu_gib := gpu_memory_gib(hardware.gpu_type or gpu)) is not None:
        origin = f" ({hardware.gpu_type or gpu}, assumed)"
    try:
        yield from _look(memory, hardware, resources, gpu_gib, origin)
    except SweepError as error:
        yield str(error)


def _look(
    memory: TrialMemory,
    hardware: "Hardware",
    resources: "Resources",
    gpu_gib: float | None,
    origin: str,
) -> Iterator[str]:
    is_on_gpu = has_gpus(hardware, resources)
    if is_on_gpu:
        share = gpus_of_trial(hardware, resources)
        if line := refuse_small_share(memory.of_gpu, share, gpu_gib, origin):
            yield line
    need, has_gib = memory.beside_gpu if is_on_gpu else memory.of_host, hardware.memory_gib
    if need is None or has_gib is None:
        return
    remedy = "resources.cpus_per_trial" if not is_on_gpu else "resources.gpus_per_trial"
    if hardware.memory_field:
        remedy = f"{hardware.memory_field} of the profile, or {remedy}"
    if need.least_gib > has_gib:
        raise SweepError(
            f"model.name: weights, gradients and moments of a trial take {need.least_gib:.1f} GiB, "
            f"and a machine has {has_gib:.1f} GiB; raise {hardware.memory_field or 'its memory'}, "
            "take a smaller model, or set resources.memory_gib_per_trial where that is wrong"
        )
    number, fitting = num_on_machine(hardware, resources), num_within(has_gib, need)
    if fitting < number:
        yield (
            f"a machine has {has_gib:.1f} GiB, room for {counted(int(fitting), 'trial')} of "
            f"{need.gib:.1f} GiB ({need.basis}) and not {number}: raise {remedy}"
        )
