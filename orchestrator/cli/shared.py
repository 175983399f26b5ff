"""What the commands share: a sweep with its trials and results, a console, and how these are
shown."""

import argparse
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc
from rich.console import Console

from cluster.profile_fields import ClusterProfile
from orchestrator.errors import SweepError
from orchestrator.planning.few_steps import describe_few_steps
from orchestrator.planning.hub import pin
from orchestrator.planning.memory import PEAKS
from orchestrator.planning.plan import (
    PlannedTrial,
    describe_mended,
    describe_replaced_head,
    describe_unfindable,
    describe_unknown_languages,
    make_plan,
)
from orchestrator.planning.speed import COLUMNS
from orchestrator.planning.standing import READ, Standing, find_standing, known_fingerprints
from orchestrator.results.store import ResultStore
from orchestrator.running.places import NO_MORE
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from workers.trial import describe_place
from workers.visits import visiting


def load_sweep(args: argparse.Namespace) -> SweepSpec:
    """The sweep that a command names, with what `--set` changes."""
    return load_sweep_spec(args.spec, args.set)


def command_of(args: argparse.Namespace, command: str, *options: str) -> str:
    """Another command on the sweep that a command names, with what `--set` changes, to be pasted.

    Args:
        args: of the command that runs.
        command: the other one.
        options: that it is given besides.
    """
    changes = (word for change in args.set for word in ("--set", change))
    return shlex.join(["sparsweep", command, args.spec, *changes, *options])


def fetch_command(args: argparse.Namespace, profile: ClusterProfile | None = None) -> str:
    """The command that brings what a sweep needs of the hub to where jobs look for it.

    Args:
        args: of the command that runs.
        profile: of the cluster that jobs run on; None: this machine.
    """
    folder = None if profile is None else profile.hub_cache
    if profile is not None and not profile.shares_files:
        folder = "FOLDER"  # to be copied to where the cluster sees it
    return command_of(args, "fetch", *(() if folder is None else ("--to", folder)))


class Loaded(NamedTuple):
    """A sweep as it stands against the results.

    Attributes:
        sweep: with the commits of its revisions on the hub, where these are known.
        planned: its trials in order.
        store: its results.
        notes: what is to be said of its revisions.
    """

    sweep: SweepSpec
    planned: list[PlannedTrial]
    store: ResultStore
    notes: tuple[str, ...]


def load(args: argparse.Namespace, results: str | None = None) -> Loaded:
    """The sweep that a command names, planned.

    Args:
        args: of the command.
        results: where its results are; None: where the sweep says.
    """
    sweep = load_sweep(args)
    store = open_store(results or sweep.results, must_exist=results is not None)
    pinned = pin(sweep, store)
    planned = make_plan(pinned.sweep, known_fingerprints(sweep, store))
    return Loaded(pinned.sweep, planned, store, pinned.notes)


def open_store(location: str, must_exist: bool = True) -> ResultStore:
    """The results at a location; where they must exist, a sweep has been run there."""
    store = ResultStore(location)
    with visiting(store.location):
        path = Path(store.location.path)
        is_file = store.location.is_local and path.exists() and not path.is_dir()
    if is_file:
        raise SweepError(f"results: {location} is a file; give a folder")
    if must_exist:
        store.refuse_unless_planned(location)
    return store


def are_elsewhere(profile: ClusterProfile, store: ResultStore) -> bool:
    """Whether the results of a sweep on a cluster are, as far as is known, in a folder that only
    the cluster sees."""
    return profile.data_is_there and store.location.is_local and not store.planned_sweeps()


def report_line(store: ResultStore) -> str:
    """The command that draws what is there."""
    return f"Figures: sparsweep report {shlex.quote(str(store.location))}"


def count(planned: Sequence[PlannedTrial], statuses: Mapping[str, str]) -> dict[str, int]:
    """Trials by status."""
    numbers = Counter(statuses.get(trial.trial_id, "new") for trial in planned)
    return {status: numbers[status] for status in ("completed", "failed", "new")}


def counts_line(sweep: SweepSpec, store: ResultStore, counts: Mapping[str, int]) -> str:
    """The state of a sweep in one line."""
    shown = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{sweep.name}: {sum(counts.values())} trials, {shown}; results in {store.location}"


PLACE = ("language", "target_sparsity", "embedding_sparsity", "seed")
SHOWN_OF_FAILURES = ("trial_id", *PLACE, "error_kind", "error_message")
FAILURES_READ = ("status", *SHOWN_OF_FAILURES)
"""Columns of `trials` that tell which trials failed."""


def find_failures(
    planned: Sequence[PlannedTrial], rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Which trials failed, and why.

    Args:
        planned: the trials of a sweep.
        rows: of all stored trials, with the columns `FAILURES_READ` and maybe others.
    """
    ids = {trial.trial_id for trial in planned}
    failed = (row for row in rows if row["status"] == "failed" and row["trial_id"] in ids)
    return [{name: row[name] for name in SHOWN_OF_FAILURES} for row in failed]


def find_closed(sweep: str, store: ResultStore) -> list[str]:
    """A line for each GPU or node that got no more trials of a sweep, since they failed there one
    after another."""
    columns = ["sweep", "ended_at", "error_message"]
    attempts = store.read("attempts", columns)
    rows = attempts.filter(pc.match_substring(attempts["error_message"], NO_MORE)).to_pylist()
    lines = {}
    for row in sorted(rows, key=lambda row: row["ended_at"]):
        if row["sweep"] == sweep:
            cause, _, closing = row["error_message"].rpartition("; ")
            lines[closing] = f"{closing} since {row['ended_at']:%Y-%m-%d %H:%M:%S}: {cause}"
    return list(lines.values())


def find_failed_reruns(
    run_again: Sequence[PlannedTrial], store: ResultStore
) -> list[dict[str, Any]]:
    """Which of the completed trials that were run again for what they lacked still lack it, and why
    their last attempt failed; as `find_failures` has it."""
    lacking = find_standing(run_again, store).to_run_again(run_again) if run_again else []
    if not lacking:
        return []
    columns = ["trial_id", "status", "started_at", "error_kind", "error_message"]
    attempts = store.read("attempts", columns).sort_by("started_at").to_pylist()
    reasons = {row["trial_id"]: row for row in attempts if row["status"] == "failed"}
    failures = []
    for trial in lacking:
        reason = reasons.get(trial.trial_id, {})
        failures.append(
            {"trial_id": trial.trial_id}
            | {name: getattr(trial.spec, name) for name in PLACE}
            | {
                "error_kind": reason.get("error_kind", "unexpected"),
                "error_message": reason.get("error_message", "no failed attempt is recorded"),
            }
        )
    return failures


def print_failures(failures: list[dict[str, Any]], console: Console) -> None:
    """Print a line for each trial that failed."""
    for row in failures:
        place = describe_place(*(row[name] for name in PLACE))
        text = f"failed: {place}: {row['error_kind']}: {row['error_message']}"
        console.print(text, soft_wrap=True)


def open_console(width: int | None = None) -> Console:
    """For tables and lines that are taken as they are."""
    return PlainConsole(markup=False, highlight=False, width=width)


class PlainConsole(Console):
    """A console that leaves it to `main` when its reader goes away."""

    def on_broken_pipe(self) -> None:
        """Rich itself would end the process with an error."""
        raise BrokenPipeError


def read_number(option: str, text: str) -> float:
    """The number that an option was given.

    Raises:
        SweepError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise SweepError(f"{option}: {text!r} is no number; give one such as 0.01") from None


def notes_on(loaded: Loaded) -> list[str]:
    """What is to be said of a sweep before it runs; nothing, as a rule."""
    sweep, planned = loaded.sweep, loaded.planned
    return [
        *loaded.notes,
        *describe_unknown_languages(sweep, planned),
        *describe_mended(planned),
        *describe_unfindable(planned),
        *describe_replaced_head(planned),
        *describe_few_steps(planned),
    ]


def read_standing(loaded: Loaded) -> tuple[Standing, list[dict[str, Any]]]:
    """How a sweep stands, and the rows of stored trials, which tell how long trials take and how
    much memory."""
    columns = list(dict.fromkeys((*READ, *COLUMNS, *PEAKS)))
    rows = loaded.store.read("trials", columns).to_pylist()
    standing = find_standing(loaded.planned, loaded.store, rows, loaded.sweep.keeps_models)
    return standing, rows


def print_lines(lines: Sequence[str], console: Console) -> None:
    """Print lines as they are: who reads them may paste parts of them."""
    for line in lines:
        console.print(line, soft_wrap=True)
