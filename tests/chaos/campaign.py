"""One round: a sweep is disturbed and run again until it is done, and comes to the same numbers."""

import contextlib
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.contract import BAD_INPUT, DONE
from cluster.node.processes import command_line, kill
from orchestrator.results.store import ResultStore
from tests.chaos import faults
from tests.chaos.faults import Fault, Scene
from tests.chaos.places import Place
from tests.chaos.words import complaint, files_to_delete, options_to_add
from tests.real_sweeps import TRAINING, Command, numbers, write_sweep
from workers.model.kept_model import read_model_of
from workers.trial import TrialError

SWEEP = {
    "seeds": [0, 1],
    "training": TRAINING | {"num_steps": 150},
    "models": {"keep": "final"},
}
"""Eight trials, which train for some seconds each and leave their models."""

DISTURBED, CALM = 3, 12
"""Runs of a round with faults, and as many without as it may take to come to an end."""

SUBMITTED = 0.5
"""Fraction of rounds that begin with a job."""
EARLY, ENDED = 0.25, 0.7
"""Fractions of runs that end while Ray starts, and of the others that do not end by themselves."""
RAY_STARTS_S = (0.0, 15.0)
NUM_FAULTS, PAUSE_S = (8, 20), (0.1, 1.2)
"""Faults of a run beside the one that ends it, and the time between two."""
LONGEST_START_S = 60.0
MOST_REMEDIES = 8
NUM_UNDONE = 3
"""Rows that are damaged where all is done."""

HUNG_S, LONGEST_S = 180.0, 900.0
"""A run hangs that neither ends nor gets on for so long after its last fault, or does not end at
all."""
ENDS_S = 180.0
"""Processes and files that the last run left may take so long to go."""

SHARED_MEMORY = Path("/dev/shm")

BAD = ("lost", "wrong", "hung", "untidy")
"""How a round may fail: trials that cannot be completed; other numbers; a run that does not end;
what a user must not see: an exit code, a traceback, things that stay."""


@dataclass(frozen=True)
class Failure:
    """What went wrong, how bad it is, and the fault after which it did."""

    how: str
    what: str
    fault: str


@dataclass
class Report:
    """What became of a round."""

    seed: int
    place: str
    num_runs: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    duration_s: float = 0.0

    def __str__(self) -> str:
        line = (
            f"round {self.seed:<5} {self.place:<7}{self.num_runs:>3} runs{self.tried.total():>4} "
            f"faults{self.duration_s:>5.0f} s  "
        )
        whats = [f"{failure.how} ({failure.fault}): {failure.what}" for failure in self.failures]
        return line + ("; ".join(whats) or "ok")


class HungError(Exception):
    """A run does not end."""


class Run:
    """A command of the sweep under way, see `faults.RunningSweep`."""

    def __init__(self, words: Sequence[str], output: Path, environment: dict[str, str]):
        self.words, self.name, self._output = words, output.name, output
        with output.open("wb") as file:
            self.command = Command(*words, output=file, **environment)
        self.sent: set[int] = set()
        self.is_heard = True
        self._seen, self._changed = "", time.monotonic()

    def output(self) -> str:
        """All that it has said so far."""
        return self._output.read_text(errors="replace")

    def wait(self, seconds: float) -> bool:
        return self._wait_until(lambda: False, seconds)

    def wait_for(self, words: str, seconds: float) -> bool:
        """Wait until it says so; whether it still runs then."""
        return self._wait_until(lambda: words in self.output(), seconds)

    def _wait_until(self, condition, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.command.process.poll() is None:
            if condition() or time.monotonic() > until:
                return True
            time.sleep(0.05)
        return False

    def finish(self) -> tuple[int, str]:
        """Exit code and all output.

        Raises:
            HungError: it neither ends nor gets on.
        """
        began = got_on = time.monotonic()
        said = ""
        while self.command.process.poll() is None:
            now = time.monotonic()
            lines = "".join(line for line in self.output().splitlines() if line[:1] != "[")
            if lines != said:
                said, got_on = lines, now
            if now - got_on > HUNG_S or now - began > LONGEST_S:
                raise HungError(f"no sign of an end {now - began:.0f} s after the last fault")
            time.sleep(0.1)
        return self.command.process.returncode, self.output()


class Round:
    """A sweep that is disturbed.

    Args:
        seed: decides which faults come when.
        folder: a new one for all that the round keeps.
        temporary: a folder for temporary files, which other rounds have used; its path is short.
        name: of the kind of place.
        place: where results and cache are.
        expected: what `numbers` gives of an undisturbed sweep.
    """

    def __init__(
        self, seed: int, folder: Path, temporary: Path, name: str, place: Place, expected: dict
    ):
        self.report = Report(seed, name)
        self.random = random.Random(seed)
        self.folder, self.place, self.expected = folder, place, expected
        self.temporary = temporary
        self.last_fault = "none"
        self.options: list[str] = []
        self.is_done = False
        self.shared_memory = _names(SHARED_MEMORY)
        place.home.mkdir()
        self.environment = {
            "TMPDIR": str(self.temporary),
            "HOME": str(place.home),
            "SPARSWEEP_CACHE": str(place.cache),
            "HF_HUB_OFFLINE": "1",
            **place.environment,
        }
        resources = {"checkpoint_every_s": 0.2, "max_concurrent_trials": self.random.choice([1, 2])}
        self.spec = write_sweep(folder / "tiny.yaml", place.results, **SWEEP, resources=resources)

    def play(self) -> Report:
        """Disturb the sweep, then run it until it is done."""
        began = time.monotonic()
        try:
            if self.random.random() < SUBMITTED:
                self._submit_and_cancel()
            for _ in range(DISTURBED):
                self._damage_files()
                self._run_disturbed()
                self._end(self._start("status", self.spec))
            if self._is_completed():
                self._compare()
                self._look_for_leftovers()
        except HungError as error:
            self._fail("hung", str(error))
            self._say(_stacks(self._processes()))
        finally:
            for process in self._processes():
                kill(process)
        self.report.duration_s = time.monotonic() - began
        return self.report

    # What is done to it

    def _damage_files(self) -> None:
        """Between two runs; where all is done, so that the next one has something to do."""
        scene = Scene(self.random, self.place)
        for _ in range(self.random.randint(1, 4)):
            self._do_one_of(faults.FILES, scene)
        if self.is_done:
            for _ in range(NUM_UNDONE):
                self._do_one_of(faults.ROWS, scene)

    def _disturb(self, run: Run) -> None:
        """Do some faults while it runs; the last one may end it, at any moment."""
        chance, scene = self.random, Scene(self.random, self.place, run)
        ending = [each for each in faults.SIGNALS if each.ends]
        others = [each for each in faults.SIGNALS if not each.ends]
        failing = [*faults.DISKS, *faults.STORES]
        if chance.random() < EARLY:
            if run.wait(chance.uniform(*RAY_STARTS_S)):
                self._do_one_of(ending, scene)
            return
        run.wait_for("started ", LONGEST_START_S)
        for _ in range(chance.randint(*NUM_FAULTS)):
            if not run.wait(chance.uniform(*PAUSE_S)):
                return
            (kinds,) = chance.choices([others, faults.FILES, failing], weights=[6, 2, 2])
            self._do_one_of(kinds, scene) or self._do_one_of(others, scene)
        if run.wait(chance.uniform(*PAUSE_S)) and chance.random() < ENDED:
            self._do_one_of(ending, scene)

    def _do_one_of(self, kinds: Sequence[Fault], scene: Scene) -> bool:
        """Do one of these faults that can be done here and now; whether there was one."""
        for fault in self.random.sample(kinds, len(kinds)):
            if (what := fault(scene)) is not None:
                self.last_fault = fault.name
                self.report.tried[fault.name] += 1
                self._say(f"{fault.name}: {what}")
                return True
        return False

    # What a user does

    def _run_disturbed(self) -> None:
        """Disturb one run; those that end at once, with what is to be done first, do not count."""
        num_tried = self.report.tried.total()
        for _ in range(MOST_REMEDIES):
            run = self._start("run", self.spec, *self.options)
            self._disturb(run)
            if self._end(run) != BAD_INPUT or self.report.tried.total() > num_tried:
                break

    def _submit_and_cancel(self) -> None:
        """Leave records of a job, which is stopped at any moment."""
        self._end(self._start("submit", self.spec, "--on", "local"))
        time.sleep(self.random.uniform(*RAY_STARTS_S))
        now = self.random.choice([[], ["--now"]])
        self._end(self._start("cancel", self.spec, *now))
        until = time.monotonic() + HUNG_S
        while self._processes():
            if time.monotonic() > until:
                raise HungError("a job does not end that was cancelled")
            time.sleep(0.2)

    def _start(self, *words: str) -> Run:
        number = len(list(self.folder.glob("*.out"))) + 1
        self.report.num_runs += words[0] == "run"
        self._say(f"$ sparsweep {' '.join(words)} > {number:02}.out")
        return Run(words, self.folder / f"{number:02}.out", self.environment)

    def _end(self, run: Run) -> int:
        """Wait for its end, and do what it says."""
        code, output = run.finish()
        self._say(f"exit code {code}")
        if run.words[0] == "run":
            self.is_done = code == DONE
        if wrong := complaint(code, output, run.sent, run.is_heard):
            self._fail("untidy", f"{wrong}, {run.name}")
        self.options = options_to_add(output)
        names = files_to_delete(output)
        for file in self.place.files():
            if file.name in names:
                self._say(f"$ rm {file.name}")
                file.delete()
        return code

    def _is_completed(self) -> bool:
        """Run it until it is done and `verify` finds nothing."""
        for _ in range(CALM):
            is_verified = self._verify()
            if self.is_done and is_verified and "--rerun-lacking" not in self.options:
                return True
            self._end(self._start("run", self.spec, *self.options))
        self._fail("lost", "it is not done, whatever a user does")
        return False

    def _verify(self) -> bool:
        """Whether all is valid; what is not is deleted, as that says, to be run again."""
        options = self.options
        is_valid = self._end(self._start("verify", self.spec, self.place.results)) == DONE
        self.options = self.options or options
        return is_valid

    # What must hold in the end

    def _compare(self) -> None:
        found = computed(self.place.results)
        for table, rows in self.expected.items():
            if found[table] != rows:
                ids = {row["trial_id"] for row in rows}
                others = [
                    trial
                    for trial in sorted(ids)
                    if [row for row in rows if row["trial_id"] == trial]
                    != [row for row in found[table] if row["trial_id"] == trial]
                ]
                self._fail("wrong", f"{table} of {', '.join(others) or 'more than planned'}")
        for what in damaged_models(self.place.results, found["trials"]):
            self._fail("wrong", what)

    def _look_for_leftovers(self) -> None:
        until = time.monotonic() + ENDS_S
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(0.5)
        if left:
            self._fail("untidy", f"left: {', '.join(left)}")

    def _left(self) -> list[str]:
        processes = [" ".join(command_line(process))[:60] for process in self._processes()]
        temporary = [f"TMPDIR/{name}" for name in _names(self.temporary)]
        shared = [f"{SHARED_MEMORY}/{name}" for name in _names(SHARED_MEMORY) - self.shared_memory]
        return [*processes, *temporary, *shared, *self.place.half_written()]

    def _processes(self) -> list[psutil.Process]:
        """All that the round has started and that lives, by the TMPDIR that they were given."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                given = process.environ().get("TMPDIR", "")
                is_ours = given.startswith(self.environment["TMPDIR"])
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    # What is kept

    def _fail(self, how: str, what: str) -> None:
        self._say(f"{how.upper()}: {what}")
        self.report.failures.append(Failure(how, what, self.last_fault))

    def _say(self, line: str) -> None:
        with (self.folder / "log.txt").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def computed(results: str) -> dict[str, list[dict]]:
    """`numbers`, but for which run of a trial they are of: one whose model was lost has two."""
    tables = numbers(results)
    for row in tables["trials"]:
        del row["file_key"]
    return tables


def damaged_models(results: str, trials: Sequence[dict]) -> list[str]:
    """Of rows of completed trials: those whose model is not there, not whole, or not the one that
    the row names by its digest; each in a line."""
    store, found = ResultStore(results), []
    for row in trials:
        trial_id, digest = row["trial_id"], row["model_digest"]
        try:
            kept = read_model_of(store.model(trial_id), trial_id, digest)
            kept.weights(
                {}
            )  # of random weights: there is no encoder; compares them with the digest
        except TrialError as error:
            found.append(str(error))
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _stacks(processes: Sequence[psutil.Process]) -> str:
    """What processes wait for, where py-spy is installed."""
    lines = [f"{process.pid} {' '.join(command_line(process))[:200]}" for process in processes]
    for process in processes:
        if "python" in process.name() and (spy := shutil.which("py-spy")):
            words = [spy, "dump", "--pid", str(process.pid)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            lines.append(done.stdout + done.stderr)
    return "\n".join(lines)
