"""What befalls a sweep. Each fault is one entry of `ALL`, and what is counted has its name."""

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from cluster.contract import PROGRAM, TRIAL_TITLE
from cluster.node.processes import command_line, descendants
from tests.chaos.places import File, Place
from tests.real_sweeps import Command


class RunningSweep(Protocol):
    """A `sparsweep run` that a fault is done to."""

    command: Command
    sent: set[int]
    """Signals that its driver got."""
    is_heard: bool
    """Whether the driver had begun to take signals when it got each of them."""

    def wait(self, seconds: float) -> bool:
        """Wait; whether it still runs then."""


@dataclass
class Scene:
    """What a fault may be done to; `run` is None between two runs."""

    random: random.Random
    place: Place
    run: RunningSweep | None = None
    deaths: int = 0
    """Workers that were killed in this run."""


class Fault(Protocol):
    """Something that may befall a sweep.

    Attributes:
        name: by which it is counted.
        ends: whether the run may be expected to end of it.
    """

    name: str
    ends: bool

    def __call__(self, scene: Scene) -> str | None:
        """Do it: what exactly was done; None where there was nothing to do it to."""


# Signals

STOP_S = (0.2, 5.0)
"""How long a process is stopped before it may go on."""

MAX_DEATHS = 2
"""Workers that are killed in a run: with the third death of its worker a trial has failed."""


@dataclass(frozen=True)
class Signal:
    """A signal to a process below the driver, to the driver, or to its whole group; after STOP
    comes CONT."""

    number: signal.Signals
    target: str

    @property
    def name(self) -> str:
        return f"{self.number.name.removeprefix('SIG')} {self.target}"

    @property
    def ends(self) -> bool:
        is_harmless = self.number == signal.SIGSTOP or self.target in ("worker", "helper")
        return not is_harmless

    def __call__(self, scene: Scene) -> str | None:
        driver = scene.run.command.process.pid
        victims = TARGETS[self.target](driver)
        if self.target == "worker" and self.number != signal.SIGSTOP:
            if scene.deaths >= MAX_DEATHS:
                return None
            scene.deaths += 1
        if not victims:
            return None
        victim = scene.random.choice(victims)
        who = f"{victim} {_title(victim)}"
        send = os.killpg if self.target == "group" else os.kill
        if driver == victim and self.number != signal.SIGSTOP:
            scene.run.is_heard &= takes_signals(driver)
            scene.run.sent.add(self.number)
        with contextlib.suppress(ProcessLookupError):
            send(victim, self.number)
            if self.number == signal.SIGSTOP:
                seconds = scene.random.uniform(*STOP_S)
                scene.run.wait(seconds)
                send(victim, signal.SIGCONT)
                return f"{who}, CONT after {seconds:.1f} s"
        return who


def _below(matches: Callable[[psutil.Process], bool]) -> Callable[[int], list[int]]:
    def find(driver: int) -> list[int]:
        found = []
        for process in descendants(driver):
            with contextlib.suppress(psutil.Error):
                if matches(process):
                    found.append(process.pid)
        return found

    return find


def _title(number: int) -> str:
    """The last parts of a process' path, or what it calls itself."""
    try:
        words = command_line(psutil.Process(number))
    except psutil.Error:
        return "which has just ended"
    scripts = [word for word in words if word.endswith(".py")] or words[:1]
    return "".join(scripts[:1]).rpartition("/")[2]


def _is_worker(process: psutil.Process) -> bool:
    return TRIAL_TITLE in " ".join(command_line(process))


def _is_driver(process: psutil.Process) -> bool:
    """The process that does the work; the one that was started waits for it."""
    return PROGRAM in command_line(process)


def _is_helper(process: psutil.Process) -> bool:
    is_service = process.name() in ("raylet", "gcs_server")
    return not (is_service or _is_worker(process) or _is_driver(process))


TARGETS: dict[str, Callable[[int], list[int]]] = {
    "driver": lambda driver: [driver, *_below(_is_driver)(driver)],
    "group": lambda driver: [driver],
    "worker": _below(_is_worker),
    "raylet": _below(lambda process: process.name() == "raylet"),
    "GCS": _below(lambda process: process.name() == "gcs_server"),
    "helper": _below(_is_helper),
}
"""Who gets a signal, by the driver's number; a helper is any other process of Ray."""

SENT = ("TERM", "INT", "HUP", "KILL", "STOP")
SIGNALS = [Signal(signal.Signals[f"SIG{name}"], target) for name in SENT for target in TARGETS]


def takes_signals(process: int) -> bool:
    """Whether a driver has come so far that it takes signals; before, it dies as any program. The
    process that waits for it has them blocked, and takes them one by one."""
    status = Path(f"/proc/{process}/status")
    with contextlib.suppress(OSError):
        masks = [
            int(line.split()[1], 16)
            for line in status.read_text().splitlines()
            if line.startswith(("SigCgt:", "SigBlk:"))
        ]
        return any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)
    return True


# Files


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """One to eight bits are others."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(data: bytes, chance: random.Random) -> bytes:
    """The end is missing, or all."""
    return data[: chance.randrange(len(data))]


def overwrite(data: bytes, chance: random.Random) -> bytes:
    """A piece is zeros, as after a power cut."""
    start = chance.randrange(len(data))
    end = chance.randint(start + 1, len(data))
    return data[:start] + bytes(end - start) + data[end:]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": flip_bits,
    "truncate": truncate,
    "zeros": overwrite,
}
DELETE = "delete"


@dataclass(frozen=True)
class Damage:
    """A file that sparsweep wrote is damaged or deleted."""

    kind: str
    damage: str
    ends = False

    @property
    def name(self) -> str:
        return f"{self.damage} {self.kind}"

    def __call__(self, scene: Scene) -> str | None:
        files = [file for file in scene.place.files() if file.kind == self.kind]
        if not files:
            return None
        file = scene.random.choice(files)
        with contextlib.suppress(OSError):  # it has just gone
            return self._damage(file, scene.random)
        return None

    def _damage(self, file: File, chance: random.Random) -> str | None:
        if self.damage == DELETE:
            file.delete()
            return file.name
        data = file.read()
        if not data:
            return None
        changed = DAMAGES[self.damage](data, chance)
        file.write(changed)
        places = [place for place in range(len(changed)) if changed[place] != data[place]]
        where = f", {len(places)} of them from {places[0]}" if places else ""
        return f"{file.name}: {len(data)} bytes, now {len(changed)}{where}"


KINDS = (
    *("trials", "scores", "robustness", "predictions", "sentences", "curves", "layers"),
    *("vocabulary", "attempts", "plans", "compact", "checkpoints", "models", "cache", "jobs"),
)
FILES = [Damage(kind, damage) for kind in KINDS for damage in (*DAMAGES, DELETE)]
ROWS = [damage for damage in FILES if damage.kind == "trials"]


# Disks and object stores

FAILS_S = (1.0, 15.0)


@dataclass(frozen=True)
class Failing:
    """The place of the results fails for a while, or until the run ends of it."""

    name: str
    during: Callable[[Place], contextlib.AbstractContextManager[None] | None]
    ends = False

    def __call__(self, scene: Scene) -> str | None:
        failing = self.during(scene.place)
        if failing is None:
            return None
        seconds = scene.random.uniform(*FAILS_S)
        try:
            with failing:
                scene.run.wait(seconds)
        except OSError as error:
            return None if "busy" in str(error) else str(error)
        return f"for at most {seconds:.1f} s"


@contextlib.contextmanager
def without_permission(folder: Path) -> Iterator[None]:
    """Folders below this one cannot be written inside the block, which root can all the same."""
    folders = [Path(root) for root, _, _ in os.walk(folder)]

    def change(mode: int) -> None:
        for each in folders:
            with contextlib.suppress(FileNotFoundError):
                each.chmod(mode)

    change(0o500)
    try:
        yield
    finally:
        change(0o700)


def _read_only(place: Place) -> contextlib.AbstractContextManager[None] | None:
    if place.disk is not None:
        return place.disk.read_only()
    if place.way is not None or os.geteuid() == 0:
        return None
    return without_permission(Path(place.results))


def _store(mode: str) -> Callable[[Place], contextlib.AbstractContextManager[None] | None]:
    return lambda place: place.way.failing(mode) if place.way else None


DISKS = [
    Failing("full disk", lambda place: place.disk.full() if place.disk else None),
    Failing("read-only folder", _read_only),
]
STORES = [Failing(f"store {mode}", _store(mode)) for mode in ("errs", "slow", "silent", "refuses")]

ALL: list[Fault] = [*SIGNALS, *FILES, *DISKS, *STORES]
