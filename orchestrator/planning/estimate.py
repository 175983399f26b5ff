"""How long the trials left will take: from trials that were measured, or from assumptions until
there are some.

A trial is taken to last as long as loading does, plus its cost (`PlannedTrial.cost`, in sentences
trained) times the seconds that a sentence takes. Both are medians over completed trials on a
device, since a few may have shared it with others. Only trials count that trained the same model on
batches of the same size, length and precision. Sentences of a language take as long as that
language's did: in some scripts they have twice as many sub-words. Sparsity makes no difference,
since pruning costs next to nothing. Pure: the caller reads; neither torch nor ray is needed.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.planning.assumed_speed import CPU, GPUS, LOAD_S, USUAL_GPU, core_s_per_sentence
from orchestrator.planning.plan import PlannedTrial
from workers.trial import TrialSpec

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import Resources

COLUMNS = (
    *(
        "trial_id",
        "status",
        "language",
        "device",
        "device_name",
        "num_threads",
        "load_s",
        "train_s",
        "evaluate_s",
    ),
    *("num_train_sentences", "training_num_steps", "training_num_epochs"),
    *(
        "model_name",
        "model_fingerprint",
        "training_batch_size",
        "training_max_length",
        "training_precision",
    ),
)
"""What `estimate` needs of the table `trials`."""

HOUR = 3600

Kind = Literal["GPU", "CPU"]
Rows = Iterable[Mapping[str, Any]]


class Device(NamedTuple):
    """What a trial is computed on: a GPU, or cores of a CPU."""

    name: str
    kind: Kind
    num_cores: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a device is; seconds.

    Attributes:
        num_trials: completed trials that it was measured on; 0: assumed.
        load_s: to load model and data, a trial.
        s_per_1000: to train on 1,000 sentences; the median over trials.
        low, high: the middle 80 % of them.
    """

    device: Device
    num_trials: int
    load_s: float
    s_per_1000: float
    low: float
    high: float

    @property
    def is_measured(self) -> bool:
        """Whether it was measured rather than assumed."""
        return self.num_trials > 0


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
        found = [demand for demand in self.demands if demand.speed.device.kind == kind]
        for wanted in filter(
            None, (name, None if any(one.speed.is_measured for one in found) else USUAL_GPU)
        ):
            for demand in found:
                if wanted.lower() in demand.speed.device.name.lower():
                    return demand
        return found[0]


def estimate(
    left: Sequence[PlannedTrial],
    planned: Iterable[PlannedTrial],
    rows: Rows,
    resources: "Resources",
) -> Estimate:
    """How long the trials left take.

    Args:
        left: these.
        planned: all trials of the sweep, whose costs are known.
        rows: of the table `trials`, with `COLUMNS`; of this sweep or of others. Failed ones do not
            count.
        resources: of the sweep. Trials that were measured are taken to have had as much of their
            GPU.
    """
    if not left:
        return Estimate(num_left=0, demands=())
    spec = left[0].spec  # the trials of a sweep have the same model and batches
    samples = _samples(spec, rows, {trial.trial_id: trial.cost for trial in planned})
    measured = [_measured(device, found, left, resources) for device, found in samples.items()]
    measured.sort(
        key=lambda one: (not _is_asked(one.speed.device, resources), -one.speed.num_trials)
    )
    assumed = [
        _assumed(device, s_per_sentence, left, resources)
        for device, s_per_sentence in _assumed_devices(spec, resources).items()
        if device.kind == "GPU" or all(known.kind != "CPU" for known in samples)
    ]
    return Estimate(num_left=len(left), demands=(*measured, *assumed))


# What is known of speeds


class _Sample(NamedTuple):
    """What a completed trial says of speed."""

    language: str
    load_s: float
    s_per_sentence: float


def _samples(
    spec: TrialSpec, rows: Rows, costs: Mapping[str, float]
) -> dict[Device, list[_Sample]]:
    """The completed trials with this one's model and batches, by device."""
    asked = (spec.training.batch_size, spec.training.max_length, spec.training.precision)
    model = spec.model.fingerprint or spec.model.name
    found: dict[Device, list[_Sample]] = defaultdict(list)
    for row in rows:
        settings = tuple(
            row[f"training_{name}"] for name in ("batch_size", "max_length", "precision")
        )
        if (
            row["status"] != "completed"
            or settings != asked
            or (row["model_fingerprint"] or row["model_name"]) != model
        ):
            continue
        sample = _sample(row, costs.get(row["trial_id"]))
        if sample.s_per_sentence > 0:
            found[_device(row)].append(sample)
    return found


def _sample(row: Mapping[str, Any], cost: float | None) -> _Sample:
    """Its times are over all resumptions, unlike `duration_s`, which is that of the last one."""
    seconds = row["train_s"]
    if cost is not None:
        seconds += row["evaluate_s"]
    elif (
        row["training_num_steps"] is not None
    ):  # of another sweep: how much it scored is not in its row
        cost = row["training_num_steps"] * row["training_batch_size"]
    else:
        cost = row["training_num_epochs"] * row["num_train_sentences"]
    return _Sample(row["language"], row["load_s"], seconds / cost if cost else 0.0)


def _device(row: Mapping[str, Any]) -> Device:
    return (
        Device(row["device_name"], "CPU", row["num_threads"])
        if row["device"] == "cpu"
        else _gpu(row["device_name"])
    )


def _gpu(name: str) -> Device:
    return Device(name, "GPU", num_cores=0)


def _is_asked(device: Device, resources: "Resources") -> bool:
    """Whether it is what trials of the sweep would get: so many cores, or a GPU."""
    if device.kind == "CPU":
        return device.num_cores == resources.cpus_per_trial
    return resources.gpus_per_trial != 0


def _measured(
    device: Device, samples: Sequence[_Sample], left: Sequence[PlannedTrial], resources: "Resources"
) -> Demand:
    by_language: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        by_language[sample.language].append(sample.s_per_sentence)
    medians = {language: median(values) for language, values in by_language.items()}
    usual = median(
        medians.values()
    )  # each language once: of some all trials may be done, of others none
    rates = sorted(sample.s_per_sentence for sample in samples)
    speed = Speed(
        device=device,
        num_trials=len(samples),
        load_s=median(sample.load_s for sample in samples),
        s_per_1000=1000 * median(rates),
        low=1000 * rates[math.floor(0.1 * (len(rates) - 1))],
        high=1000 * rates[math.ceil(0.9 * (len(rates) - 1))],
    )
    trial_s = (
        speed.load_s + trial.cost * medians.get(trial.spec.language, usual) for trial in left
    )
    return Demand(speed=speed, units=_units(device, resources), trial_s=tuple(trial_s))


def _assumed_devices(spec: TrialSpec, resources: "Resources") -> dict[Device, float]:
    """Seconds of a sentence on each device that `assumed_speed` knows and trials may get."""
    model, training, num_cores = spec.model.name, spec.training, resources.cpus_per_trial
    gpus = {
        _gpu(gpu.name): gpu.s_per_sentence(model, training.precision, training.batch_size)
        for gpu in GPUS
    }
    return (gpus if resources.gpus_per_trial != 0 else {}) | {
        Device(CPU, "CPU", num_cores): core_s_per_sentence(model) / num_cores
    }


def _assumed(
    device: Device, s_per_sentence: float, left: Sequence[PlannedTrial], resources: "Resources"
) -> Demand:
    rate = 1000 * s_per_sentence
    speed = Speed(device=device, num_trials=0, load_s=LOAD_S, s_per_1000=rate, low=rate, high=rate)
    trial_s = tuple(LOAD_S + trial.cost * s_per_sentence for trial in left)
    return Demand(speed=speed, units=_units(device, resources), trial_s=trial_s)


def _units(device: Device, resources: "Resources") -> float:
    return device.num_cores if device.kind == "CPU" else resources.gpus_per_trial or 1
