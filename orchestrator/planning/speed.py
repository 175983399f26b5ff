"""How long a trial takes: the one answer that `plan`, the live view and the time limit give.

A trial is taken to last as long as loading does, plus its cost (`PlannedTrial.cost`, in sentences
trained) times the seconds that a sentence takes. Both are medians over completed trials on a
device, since a few may have shared it with others. Completed trials are those that are stored, of
this sweep or of others, and those of this run. Only trials count that trained the same model on
batches of the same size, length and precision. Sentences of a language take as long as that
language's did: in some scripts they have twice as many sub-words. Sparsity makes no difference,
since pruning costs next to nothing.

Pure: the caller reads the rows and the clock; neither torch nor ray is needed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from orchestrator.planning.plan import PlannedTrial
from workers.trial import TrialSpec

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import Resources

COLUMNS = (
    *("trial_id", "status", "language", "device", "device_name", "num_threads"),
    *("load_s", "train_s", "evaluate_s"),
    *("num_train_sentences", "training_num_steps", "training_num_epochs"),
    *("num_steps", "shared_steps"),
    *("model_name", "model_fingerprint"),
    *("training_batch_size", "training_max_length", "training_precision"),
)
"""What `Speeds` needs of the table `trials`."""

Kind = Literal["GPU", "CPU"]
Rows = Iterable[Mapping[str, Any]]


class Device(NamedTuple):
    """What a trial is computed on: a GPU, or cores of a CPU. A GPU has `num_cores` 0."""

    name: str
    kind: Kind
    num_cores: int

    @classmethod
    def reported(cls, device: str, name: str, num_threads: int) -> "Device":
        """The device as a `TrialResult`, or the row of one, describes it."""
        return cls(name, "CPU", num_threads) if device == "cpu" else cls(name, "GPU", 0)


NOT_TOLD = Device("a device that is not told yet", "CPU", 0)
"""The device of trials that have not ended."""


class Timing(NamedTuple):
    """How long a completed trial took, all its resumptions together, and on which device.

    `work_s` are the seconds of training and scoring; `share` is the fraction of its steps that
    another trial computed.
    """

    device: Device
    load_s: float
    work_s: float
    share: float = 0.0


class Speed:
    """How fast a device is: what was learned from trials, or what is assumed.

    Args:
        device: what trials run on.
    """

    def __init__(self, device: Device):
        self.device = device
        self._loads: list[float] = []
        self._rates: dict[str, list[float]] = defaultdict(list)  # by language
        self._assumed: tuple[float, float] | None = None
        self._medians: tuple[float, dict[str, float], float] | None = None

    @classmethod
    def assumed(cls, device: Device, load_s: float, s_per_sentence: float) -> "Speed":
        """A speed that nothing was measured of."""
        speed = cls(device)
        speed._assumed = (load_s, s_per_sentence)
        return speed

    def learn(self, language: str, load_s: float, s_per_sentence: float) -> None:
        """A trial on this language took so long; one that took no time teaches nothing."""
        if s_per_sentence > 0:
            self._loads.append(load_s)
            self._rates[language].append(s_per_sentence)
            self._medians = None

    @property
    def num_trials(self) -> int:
        """Trials that the speed was learned from; 0: it is assumed."""
        return len(self._loads)

    @property
    def is_measured(self) -> bool:
        """Whether it was measured rather than assumed."""
        return self.num_trials > 0

    @property
    def load_s(self) -> float:
        """Seconds to load model and data, a trial."""
        return self._known()[0]

    def s_per_sentence(self, language: str) -> float:
        """Seconds to train on a sentence of this language.

        For a language that no trial was on, it is the median of the languages, each counted once:
        of some all trials may be done, of others none.
        """
        _, languages, usual = self._known()
        return languages.get(language, usual)

    def expected_s(self, trial: PlannedTrial, share: float = 0.0) -> float:
        """Seconds that a trial takes from its start to its end.

        Args:
            trial: this one.
            share: the fraction of its steps that another trial computes.
        """
        return self.load_s + trial.cost_without(share) * self.s_per_sentence(trial.spec.language)

    @property
    def s_per_1000(self) -> float:
        """Seconds to train on 1,000 sentences; the median over trials."""
        return 1000 * median(self._sorted_rates())

    @property
    def low(self) -> float:
        """Lower end of the middle 80 % of the trials' `s_per_1000`."""
        rates = self._sorted_rates()
        return 1000 * rates[math.floor(0.1 * (len(rates) - 1))]

    @property
    def high(self) -> float:
        """Upper end of the middle 80 % of the trials' `s_per_1000`."""
        rates = self._sorted_rates()
        return 1000 * rates[math.ceil(0.9 * (len(rates) - 1))]

    def _sorted_rates(self) -> list[float]:
        if self._assumed is not None and not self.is_measured:
            return [self._assumed[1]]
        return sorted(rate for rates in self._rates.values() for rate in rates)

    def _known(self) -> tuple[float, dict[str, float], float]:
        """Seconds of loading, of a sentence by language, and of one in any other language."""
        if self._medians is None:  # kept until more is learned: thousands of trials may be asked of
            if self.is_measured:
                languages = {language: median(rates) for language, rates in self._rates.items()}
                self._medians = median(self._loads), languages, median(languages.values())
            elif self._assumed is not None:
                load_s, s_per_sentence = self._assumed
                self._medians = load_s, {}, s_per_sentence
            else:
                raise ValueError("speed: nothing is known of it yet; learn from a trial first")
        return self._medians


class Speeds:
    """What is known of the speed of devices for the trials of one sweep.

    Args:
        resources: of the sweep: what a trial gets. None: not known.
    """

    def __init__(self, resources: "Resources | None" = None):
        self.resources = resources
        self.kind: Kind | None = None
        self._by_device: dict[Device, Speed] = {}
        self._num_in_this_run: Counter[Device] = Counter()

    @classmethod
    def from_rows(
        cls, planned: Sequence[PlannedTrial], rows: Rows, resources: "Resources | None" = None
    ) -> Self:
        """What stored trials tell.

        Args:
            planned: all trials of the sweep, whose costs are known. They have the same model and
                batches.
            rows: of the table `trials`, with `COLUMNS`; of this sweep or of others. Failed ones do
                not count.
            resources: of the sweep. Trials that were measured are taken to have had as much of
                their GPU.
        """
        speeds = cls(resources)
        by_id = {trial.trial_id: trial for trial in planned}
        for row in rows:
            if planned and row["status"] == "completed" and is_alike(row, planned[0].spec):
                device = Device.reported(row["device"], row["device_name"], row["num_threads"])
                rate = _s_per_sentence(row, by_id.get(row["trial_id"]))
                speeds._of(device).learn(row["language"], row["load_s"], rate)
        return speeds

    def learn(self, trial: PlannedTrial, timing: Timing) -> None:
        """A trial was completed in this run."""
        cost = trial.cost_without(timing.share)
        rate = timing.work_s / cost if cost else 0.0
        self._of(timing.device).learn(trial.spec.language, timing.load_s, rate)
        self._num_in_this_run[timing.device] += 1

    def runs_on(self, kind: Kind) -> None:
        """The workers of this run were found to have GPUs, or none."""
        self.kind = kind

    def measured(self) -> list[Speed]:
        """The devices that trials were completed on: those that the sweep asks for first, of these
        first what most is known of."""
        known = [speed for speed in self._by_device.values() if speed.is_measured]
        return sorted(known, key=lambda speed: (not self._is_asked(speed), -speed.num_trials))

    def here(self) -> Speed | None:
        """The speed to count with in this run; None while nothing is known.

        It is that of the device on which most trials of this run were completed, before the first
        of them that of the best known device of the kind that the workers have.
        """
        if self._num_in_this_run:
            ((device, _),) = self._num_in_this_run.most_common(1)
            if self._by_device[device].is_measured:
                return self._by_device[device]
        for speed in self.measured():
            if self.kind is None or speed.device.kind == self.kind:
                return speed
        return None

    def _of(self, device: Device) -> Speed:
        return self._by_device.setdefault(device, Speed(device))

    def _is_asked(self, speed: Speed) -> bool:
        """Whether the device is what trials of the sweep would get: so many cores, or a GPU."""
        if self.resources is None:
            return True
        if speed.device.kind == "CPU":
            return speed.device.num_cores == self.resources.cpus_per_trial
        return self.resources.gpus_per_trial != 0


def is_alike(row: Mapping[str, Any], spec: TrialSpec) -> bool:
    """Whether a stored trial had the model and the batches of this one.

    Args:
        row: of the table `trials`, with `COLUMNS`.
        spec: the other one.
    """
    names = ("batch_size", "max_length", "precision")
    batches = all(row[f"training_{name}"] == getattr(spec.training, name) for name in names)
    model = row["model_fingerprint"] or row["model_name"]
    return batches and model == (spec.model.fingerprint or spec.model.name)


def _s_per_sentence(row: Mapping[str, Any], planned: PlannedTrial | None) -> float:
    """Seconds a unit of cost. The times of a row are over all resumptions, unlike `duration_s`,
    which is that of the last one, and without the steps that another trial computed."""
    seconds, share = row["train_s"], row["shared_steps"] / row["num_steps"]
    if planned is not None:
        seconds += row["evaluate_s"]
        cost = planned.cost_without(share)
    elif row["training_num_steps"] is not None:
        # Of another sweep: how much it scored is not in its row, so its training alone is counted.
        cost = (1 - share) * row["training_num_steps"] * row["training_batch_size"]
    else:
        cost = (1 - share) * row["training_num_epochs"] * row["num_train_sentences"]
    return seconds / cost if cost else 0.0
