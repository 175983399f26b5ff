"""How much the trials left need of each device: as measured, or as assumed until there is more.

How long a trial takes is said by `orchestrator.planning.speed`. Pure: the caller reads; neither
torch nor ray is needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.planning.assumed_speed import CPU, GPUS, LOAD_S, USUAL_GPU, core_s_per_sentence
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import Device, Kind, Speed, Speeds
from workers.trial import TrialSpec

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import Resources

HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What the trials left need of one device.

    Attributes:
        speed: of the device.
        units: GPUs (a fraction where trials share one) or cores that a trial takes.
        trial_s: seconds of each trial left.
    """

    speed: Speed
    units: float
    trial_s: tuple[float, ...]

    @cached_property
    def hours(self) -> float:
        """GPU-hours, or core-hours."""
        return math.fsum(self.trial_s) * self.units / HOUR


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the trials left need, by device: measured ones first, of these first what most is known
    of."""

    num_left: int
    demands: tuple[Demand, ...]

    def of(self, kind: Kind, name: str | None = None) -> Demand:
        """The one to count with.

        Args:
            kind: GPU or CPU.
            name: of the GPU, such as a100; one called so goes before others that were measured.
        """
        demands = [demand for demand in self.demands if demand.speed.device.kind == kind]
        is_measured = any(demand.speed.is_measured for demand in demands)
        for wanted in filter(None, (name, None if is_measured else USUAL_GPU)):
            for demand in demands:
                if wanted.lower() in demand.speed.device.name.lower():
                    return demand
        return demands[0]


def estimate(
    left: Sequence[PlannedTrial],
    speeds: Speeds,
    resources: "Resources",
    shares: Mapping[str, float] | None = None,
) -> Estimate:
    """How long the trials left take.

    Args:
        left: these.
        speeds: what is known of them.
        resources: of the sweep.
        shares: expected fractions of steps that another trial computes, by trial id, see
            `orchestrator.planning.sharing`; None: each computes all.
    """
    if not left:
        return Estimate(num_left=0, demands=())
    spec = left[0].spec  # the trials of a sweep have the same model and batches
    measured = speeds.measured()
    has_measured_cpu = any(speed.device.kind == "CPU" for speed in measured)
    assumed = [
        Speed.assumed(device, LOAD_S, s_per_sentence)
        for device, s_per_sentence in _assumed_devices(spec, resources).items()
        if device.kind == "GPU" or not has_measured_cpu
    ]
    demands = tuple(
        _demand(speed, left, resources, shares or {}) for speed in (*measured, *assumed)
    )
    return Estimate(num_left=len(left), demands=demands)


def _demand(
    speed: Speed,
    left: Sequence[PlannedTrial],
    resources: "Resources",
    shares: Mapping[str, float],
) -> Demand:
    is_cpu = speed.device.kind == "CPU"
    return Demand(
        speed=speed,
        units=speed.device.num_cores if is_cpu else resources.gpus_per_trial or 1,
        trial_s=tuple(speed.expected_s(trial, shares.get(trial.trial_id, 0.0)) for trial in left),
    )


def _assumed_devices(spec: TrialSpec, resources: "Resources") -> Mapping[Device, float]:
    """Seconds of a sentence on each device that `assumed_speed` knows and trials may get."""
    model, training, num_cores = spec.model.name, spec.training, resources.cpus_per_trial
    cpu = {Device(CPU, "CPU", num_cores): core_s_per_sentence(model) / num_cores}
    if resources.gpus_per_trial == 0:
        return cpu
    gpus = {
        Device(gpu.name, "GPU", 0): gpu.s_per_sentence(
            model, training.precision, training.batch_size
        )
        for gpu in GPUS
    }
    return gpus | cpu
