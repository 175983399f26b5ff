"""Results of thousands of trials: committing, reading and aggregating them, and how long `status`
of such a sweep takes."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from orchestrator.analysis.inputs.aggregate import aggregate
from orchestrator.planning.plan import PlannedTrial, make_plan
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from tests.benchmarks.measurement import Measurement, set_words, sparsweep, timed
from tests.factories import make_circumstances, make_trial_result

NUM_SEEDS = 167
REPEATS = 5
ASKING = ("open", "os.rename", "os.mkdir", "os.listdir", "os.scandir")
"""Python's audit events."""


def many_trials(num_seeds: int, results: str = "unused", extra: Sequence[str] = ()) -> SweepSpec:
    """The smoke sweep with so many seeds, 12 trials a seed, and more settings."""
    return load_sweep_spec("smoke", [*settings(num_seeds, results), *extra])


def settings(num_seeds: int, results: str) -> list[str]:
    """What a person sets for it."""
    return [f"seeds={list(range(num_seeds))}", f"results={results}"]


def results() -> Iterator[Measurement]:
    """Committing, reading and aggregating 2,004 trials."""
    with tempfile.TemporaryDirectory() as folder:
        store, planned = ResultStore(folder), make_plan(many_trials(NUM_SEEDS))
        commit_s = timed(lambda: commit(store, planned)) / len(planned)
        yield Measurement(what="commit of one trial, eight files", values=(commit_s,), unit="s")
        for what, action in (
            ("statuses of 2,004 trials", store.statuses),
            ("compact, 2,004 trials", store.compact),
            ("aggregate, 2,004 trials, compacted", lambda: aggregate(store)),
        ):
            yield Measurement(what=what, values=(timed(action),), unit="s")
        (another,) = make_plan(many_trials(NUM_SEEDS + 1))[-1:]
        yield Measurement(
            what="file operations of a commit, beside 2,004 trials",
            values=(_file_operations(lambda: commit(store, [another])),),
            unit="operations",
        )


def _file_operations(action: Callable[[], object]) -> int:
    """How often an action opens or renames a file, or makes or lists a folder, by Python."""
    asked: list[str] = []
    is_counting = True

    def count(event: str, arguments: tuple) -> None:
        # A descriptor that becomes a file of Python was opened, and counted, before.
        if is_counting and event in ASKING and not isinstance(arguments[0], int):
            asked.append(event)

    sys.addaudithook(count)  # for good
    action()
    is_counting = False
    return len(asked)


def status() -> Iterator[Measurement]:
    """`sparsweep status` of 2,004 completed trials: as the sweep runs, and after its driver was
    killed before it had made a compact file."""
    with tempfile.TemporaryDirectory() as folder:
        commit(ResultStore(folder), make_plan(many_trials(NUM_SEEDS)))
        yield _ask("status of 2,004 trials, whole command", folder, at_most=1)
        shutil.rmtree(f"{folder}/compact")
        yield _ask("the same without the compact file that a sweep renews", folder)


def commit(store: ResultStore, planned: list[PlannedTrial]) -> None:
    """These trials, completed."""
    for trial in planned:
        store.commit_completed(trial.spec, make_trial_result(), **make_circumstances())


def _ask(what: str, folder: str, at_most: float | None = None) -> Measurement:
    words = set_words(*settings(NUM_SEEDS, folder))

    def ask() -> None:
        answer = sparsweep("status", "smoke", *words, "--json")
        assert f'"completed": {12 * NUM_SEEDS}' in answer

    seconds = tuple(timed(ask) for _ in range(REPEATS))
    return Measurement(what=what, values=seconds, unit="s", at_most=at_most)
