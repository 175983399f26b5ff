"""The commands that run a sweep and check that it is whole."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from cluster.contract import DONE, INTERRUPTED, SOME_FAILED, STOPPED, Counts
from cluster.node.own_folder import remove_leftovers
from orchestrator.analysis.inputs.aggregate import aggregate_cells, find_cells
from orchestrator.analysis.inputs.reading import read_rows
from orchestrator.analysis.show_aggregate import f1_table
from orchestrator.cli.shared import (
    FAILURES_READ,
    Loaded,
    count,
    counts_line,
    find_failed_reruns,
    find_failures,
    load,
    notes_on,
    open_console,
    print_failures,
    print_lines,
    read_standing,
    report_line,
)
from orchestrator.cli.supervised import stopped_lines
from orchestrator.errors import SweepError
from orchestrator.planning.hub import describe_files, files_lacking
from orchestrator.planning.memory import (
    trial_memory,
)
from orchestrator.planning.nothing_predicted import describe_silent
from orchestrator.planning.plan import (
    PlannedTrial,
    plan_digest,
)
from orchestrator.planning.speed import Speeds
from orchestrator.planning.standing import (
    Standing,
    describe_unused_checkpoints,
    find_standing,
)
from orchestrator.planning.work import Work
from orchestrator.results.store import ResultStore
from orchestrator.running.driver import Driver
from orchestrator.running.progress import SweepProgress
from orchestrator.running.stopping import StopSignals
from orchestrator.running.views import open_view
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.wording import counted


def run(args: argparse.Namespace, signals: StopSignals) -> int:
    """Run what is missing of a sweep, until it is done or a signal stops it."""
    loaded = load(args)
    sweep, planned, store = loaded.sweep, loaded.planned, loaded.store
    _refuse_other_plan(args.expect_plan, planned)
    store.check_writable()
    store.remove_leftovers()
    remove_leftovers()
    standing, rows = read_standing(loaded)
    run_again: Sequence[PlannedTrial] = []
    if args.rerun_lacking or args.only_score:
        run_again = standing.to_run_again(planned, only_scored=args.only_score)
    work = Work.of(planned, standing.statuses, args.retry_failed, run_again)
    if args.only_score:
        work = replace(work, left=run_again)
    unused = describe_unused_checkpoints(sweep.name, planned, store)
    store.write_plan(sweep.name, [trial.spec for trial in planned])

    console = open_console()
    console.print(counts_line(sweep, store, count(planned, standing.statuses)), soft_wrap=True)
    if args.as_job:  # for who reads the log where the results cannot be seen
        console.print(str(_counts_of(work)))
    taken_up = (trial.trial_id for trial in run_again)
    print_lines([*standing.lines(taken_up), *notes_on(loaded), *unused], console)
    # This refuses what neither cache nor hub has, before Ray starts.
    if lacking := files_lacking(work.left):
        print_lines([f"trials fetch from the hub first: {describe_files(lacking)}"], console)

    are_scored = _rescore(standing.to_rescore(planned), store, signals, console)
    # A signal that comes when nothing is left stops nothing.
    stop_reason = signals.received if work.left or not are_scored else None
    if work.left and stop_reason is None:
        stop_reason = _drive(loaded, work, standing, rows, signals, console)
    if stop_reason in (None, "SIGINT"):  # who stops us otherwise may not have the time for it
        store.compact()
    if stop_reason is not None:
        print_lines(stopped_lines(stop_reason, args.words), console)
        return INTERRUPTED if stop_reason == "SIGINT" else STOPPED

    code = _conclude(sweep, planned, run_again, store, console)
    if args.only_score and code == STOPPED:
        return DONE  # that others are new is not its affair
    # A job that exits with a failure may be run again, and what failed would fail again.
    return DONE if code == SOME_FAILED and args.as_job else code


def verify(args: argparse.Namespace) -> int:
    """Check that every planned trial has exactly one valid completed row, and the model that this
    names; say which have not."""
    from orchestrator.models.kept import find_faulty_models

    loaded = load(args, args.results)
    planned, store = loaded.planned, loaded.store
    console = open_console()
    specs = {trial.trial_id: trial.spec for trial in planned}
    found, of_models = store.verify(specs), find_faulty_models(store, specs)
    problems = [problem for problem in found if problem.is_fault]
    faulty_models = [problem for problem in of_models if problem.is_fault]
    for problem in (*problems, *faulty_models):
        spec = specs[problem.trial_id]
        name = f"{problem.trial_id} ({spec.describe()})"
        console.print(f"{name}: {problem.what}", soft_wrap=True)
    if notes := [f"{note.trial_id} ({note.what})" for note in found if not note.is_fault]:
        what = f"{counted(len(notes), 'trial')} resumed on another model of device"
        console.print(f"{what}, see column devices: {', '.join(notes)}", soft_wrap=True)
    for orphan in (problem for problem in of_models if not problem.is_fault):
        console.print(orphan.what, soft_wrap=True)
    console.print(
        f"{len(specs) - len(problems)} of {len(specs)} trials are valid in {store.location}",
        soft_wrap=True,
    )
    if faulty_models:
        console.print(f"{counted(len(faulty_models), 'kept model')} to mend", soft_wrap=True)
    return SOME_FAILED if problems or faulty_models else DONE


# What these commands are made of


def _counts_of(work: Work) -> Counts:
    """How far a sweep is before anything of it runs."""
    return Counts(
        done=len(work.completed),
        total=len(work.planned),
        failed=len(work.failed),
        running=0,
        left=len(work.left),
    )


def _drive(
    loaded: Loaded,
    work: Work,
    standing: Standing,
    rows: Sequence[dict[str, Any]],
    signals: StopSignals,
    console: Console,
) -> str | None:
    """Let the driver run what is left, and show how it goes; returns what stopped it, if anything
    did."""
    sweep, store = loaded.sweep, loaded.store
    progress = SweepProgress(
        sweep.name,
        str(store.location),
        work.left,
        num_done_before=len(work.completed),
        num_failed_before=len(work.failed),
        speeds=Speeds.from_rows(loaded.planned, rows, sweep.resources),
    )
    driver = Driver(
        *(sweep, work.left, store, progress),
        signals=signals,
        memory=trial_memory(work.left, rows, sweep.resources),
        models=standing.models,
    )
    with open_view(progress, console):
        driver.run()
    console.print(str(progress.snapshot()), soft_wrap=True)
    return driver.stop_reason


def _rescore(
    trials: Sequence[PlannedTrial], store: ResultStore, signals: StopSignals, console: Console
) -> bool:
    """Compute the scores that follow from stored predictions, until a signal comes. Returns whether
    all are computed."""
    if not trials:
        return True
    from orchestrator.running.rescoring import rescore

    specs = [trial.spec for trial in trials]
    number = sum(1 for _ in rescore(store, specs, lambda: signals.received is not None))
    rule = specs[0].evaluation.matching
    console.print(f"{counted(number, 'trial')} scored by the {rule} rule from stored predictions")
    return number == len(trials)


def _refuse_other_plan(expected: str | None, planned: Sequence[PlannedTrial]) -> None:
    """A job must run the trials that were planned where it was submitted."""
    if expected is not None and plan_digest(planned) != expected:
        raise SweepError(
            f"--expect-plan {expected}: the trials planned here are others, "
            f"{plan_digest(planned)}; data, model or package versions differ between this machine "
            "and the one that submitted: make them equal, submit again"
        )


def _conclude(
    sweep: SweepSpec,
    planned: Sequence[PlannedTrial],
    run_again: Sequence[PlannedTrial],
    store: ResultStore,
    console: Console,
) -> int:
    """After the last trial: the table, the failures, where the files are, and the exit code.

    Args:
        sweep: the sweep.
        planned: its trials.
        run_again: those of them that were completed before and run for what they lacked.
        store: its results.
        console: where all is printed.
    """
    split = sweep.evaluation.shown_split
    cells = {trial.spec.cell_id() for trial in planned}  # other sweeps may share the results
    stored = read_rows(store)  # once: a sweep of thousands has as many rows
    by_rule = aggregate_cells(find_cells(stored, split, sweep.evaluation.matching), split)
    console.print(f1_table(by_rule.of_cells(cells)))
    ids = {trial.trial_id for trial in planned}
    print_lines(describe_silent(stored.trials, stored.scores, split, ids), console)
    rows = stored.trials.select(FAILURES_READ).to_pylist()
    counts = count(planned, {row["trial_id"]: row["status"] for row in rows})
    print_failures(find_failures(planned, rows), console)
    failed_again = find_failed_reruns(run_again, store)
    print_lines(_describe_unkept(sweep, planned, store), console)
    print_failures(failed_again, console)
    console.print(
        f"Results: {store.location}, all trials of a table in compact/<table>.parquet",
        soft_wrap=True,
    )
    if counts["failed"]:
        failed = f"{counts['failed']} of {len(planned)} trials failed"
        console.print(f"{failed}; try them again with --retry-failed")
    if failed_again:
        failed = f"{len(failed_again)} of {counted(len(run_again), 'trial')} that ran again failed"
        console.print(
            f"{failed} and are as they were; try them again with --rerun-lacking", soft_wrap=True
        )
    if counts["completed"]:
        console.print(report_line(store), soft_wrap=True)
    if counts["failed"] or failed_again:
        return SOME_FAILED
    return STOPPED if counts["new"] else DONE


def _describe_unkept(
    sweep: SweepSpec, planned: Sequence[PlannedTrial], store: ResultStore
) -> list[str]:
    """A line on the models that should have been kept and are not; nothing, as a rule."""
    if not sweep.keeps_models:
        return []
    lacks = find_standing(planned, store, keeps_models=True).lacks
    without = [trial_id for trial_id, lack in lacks.items() if lack.is_without_model]
    if not without:
        return []
    are = "model is" if len(without) == 1 else "models are"
    names = ", ".join(without[:3]) + (" and others" if len(without) > 3 else "")
    return [
        f"{len(without):,} {are} not kept, of completed trials ({names}); --rerun-lacking trains "
        "them again"
    ]
