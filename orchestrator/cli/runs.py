"""The commands that plan a sweep, run it, and check that it is whole."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.contract import DONE, INTERRUPTED, SOME_FAILED, STOPPED, Counts
from cluster.node.machine import (
    ask_gpus,
    available_memory_bytes,
    smallest_gpu_bytes,
    usable_cpus,
    visible_gpus,
)
from cluster.node.own_folder import remove_leftovers
from cluster.node.raylet import usable_offer
from cluster.profile_fields import Hardware
from orchestrator.analysis.inputs.aggregate import aggregate_cells, find_cells
from orchestrator.analysis.inputs.comparable import embeddings_name
from orchestrator.analysis.inputs.reading import read_rows
from orchestrator.analysis.show_aggregate import f1_table
from orchestrator.cli.shared import (
    FAILURES_READ,
    are_elsewhere,
    command_of,
    count,
    counts_line,
    find_failed_reruns,
    find_failures,
    load,
    open_console,
    print_failures,
    read_number,
    report_line,
)
from orchestrator.cli.supervised import stopped_lines
from orchestrator.errors import SweepError
from orchestrator.planning.estimate import estimate
from orchestrator.planning.few_steps import describe_few_steps
from orchestrator.planning.hub import describe_files, files_lacking
from orchestrator.planning.memory import (
    GIB,
    PEAKS,
    TrialMemory,
    describe_memory,
    memory_as_json,
    trial_memory,
)
from orchestrator.planning.model_room import describe_model_room
from orchestrator.planning.nothing_predicted import describe_silent
from orchestrator.planning.outlook import as_json, lines, on_hardware, refuse_useless_mps
from orchestrator.planning.plan import (
    PlannedTrial,
    describe_mended,
    describe_replaced_head,
    describe_unfindable,
    describe_unknown_languages,
    plan_digest,
    trials_left,
)
from orchestrator.planning.room import describe_room, has_gpus
from orchestrator.planning.sharing import find_sharing
from orchestrator.planning.speed import COLUMNS, Speeds
from orchestrator.planning.standing import (
    READ,
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
from orchestrator.spec.profiles import load_profile
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.wording import counted
from workers.trial import MULTILINGUAL, TrialError

if TYPE_CHECKING:
    from orchestrator.analysis.tables import AnalysisTable


def plan(args: argparse.Namespace) -> int:
    """Show what a sweep consists of, what of it is done, what would run, and how long that
    takes."""
    loaded = load(args)
    sweep, planned, store = loaded.sweep, loaded.planned, loaded.store
    standing, rows = _read_rows(sweep, planned, store)
    statuses, left = standing.statuses, trials_left(planned, standing.statuses)
    speeds = Speeds.from_rows(planned, rows, sweep.resources)
    sharing = find_sharing(left, sweep.resources.share_first_steps)
    asked = estimate(left, speeds, sweep.resources, sharing.shares)
    memory = trial_memory(left, rows, sweep.resources)
    here = _hardware_here()
    place: Hardware | None = here
    outlook, besides, is_counted = None, [], True
    if args.on:
        profile = load_profile(args.on, sweep.clusters)
        refuse_useless_mps(profile, sweep.resources)
        place = profile.hardware(here)
        outlook = on_hardware(asked, place, sweep.resources, memory)
        besides = [f"on that cluster: {line}" for line in profile.besides()]
        is_counted = not are_elsewhere(profile, store)
    power = None if args.power is None else _find_power(store, args.power)
    if args.json:
        trials = [
            {
                "trial_id": t.trial_id,
                "status": statuses.get(t.trial_id, "new"),
                "cost": t.cost,
                "to_score_from_predictions": standing.lack(t).of_predictions,
                "lacks": standing.lack(t).of_training,
                "lacks_model": standing.lack(t).is_without_model,
                "model_is_kept": t.trial_id in standing.models,
                "spec": asdict(t.spec),
            }
            for t in planned
        ]
        values = {
            "sweep": sweep.name,
            "results": str(store.location),
            "estimate": as_json(asked, outlook),
            "memory": memory_as_json(memory),
            "steps_left": {"all": sharing.num_steps, "shared": sharing.num_shared},
        }
        if power is not None:
            values["power"] = power.rows.to_pylist()
        print(json.dumps(values | {"trials": trials}))
        return DONE
    console = open_console()
    console.print(_plan_table(sweep, planned, statuses))
    if args.weights or sweep.pruning.include or sweep.pruning.exclude:
        _print_weights(planned, console)
    takes = _memory_lines(memory, sweep, here, place)
    if sweep.keeps_models:
        takes += describe_model_room(left)
    if not args.on and has_gpus(here, sweep.resources):
        takes += describe_room(memory, here, sweep.resources)
    console.print("\n".join([*lines(asked, outlook), *besides, *sharing.lines(), *takes]))
    if is_counted:
        console.print(counts_line(sweep, store, count(planned, statuses)), soft_wrap=True)
    else:
        where = f"results in {store.location}, which is on the cluster"
        what = "what of it is done is not counted here"
        console.print(f"{sweep.name}: {len(planned)} trials; {what}; {where}", soft_wrap=True)
    _print_lines(standing.lines(), console)
    _print_lines([*loaded.notes, *_notes(sweep, planned), *_describe_fetch(args, left)], console)
    _print_lines(describe_unused_checkpoints(sweep.name, planned, store), console)
    if power is not None:
        from orchestrator.analysis.show import show

        console.print(show([power]))
    return DONE


def _find_power(store: ResultStore, text: str) -> "AnalysisTable":
    """What `--power` asks for."""
    # It loads pandas and scipy, which a plan does not need.
    from orchestrator.analysis.analyze import plan_power

    return plan_power(store, read_number("--power", text))


def run(args: argparse.Namespace, signals: StopSignals) -> int:
    """Run what is missing of a sweep, until it is done or a signal stops it."""
    loaded = load(args)
    sweep, planned, store = loaded.sweep, loaded.planned, loaded.store
    _refuse_other_plan(args.expect_plan, planned)
    store.check_writable()
    store.remove_leftovers()
    remove_leftovers()
    standing, rows = _read_rows(sweep, planned, store)
    statuses = standing.statuses
    run_again = []
    if args.rerun_lacking or args.only_score:
        run_again = standing.to_run_again(planned, only_scored=args.only_score)
    work = Work.of(planned, statuses, args.retry_failed, run_again)
    if args.only_score:
        work = replace(work, left=run_again)
    unused = describe_unused_checkpoints(sweep.name, planned, store)
    store.write_plan(sweep.name, [trial.spec for trial in planned])
    console = open_console()
    console.print(counts_line(sweep, store, count(planned, statuses)), soft_wrap=True)
    if args.as_job:  # for who reads the log where the results cannot be seen
        console.print(str(_counts_of(work)))
    _print_lines([*standing.lines(), *loaded.notes, *_notes(sweep, planned), *unused], console)

    if lacking := files_lacking(
        work.left
    ):  # refuses what neither cache nor hub has, before Ray starts
        _print_lines([f"trials fetch from the hub first: {describe_files(lacking)}"], console)
    are_scored = _rescore(standing.to_rescore(planned), store, signals, console)
    # A signal that comes when nothing is left stops nothing.
    stop_reason = signals.received if work.left or not are_scored else None
    if work.left and stop_reason is None:
        progress = SweepProgress(
            sweep.name,
            str(store.location),
            work.left,
            num_done_before=len(work.completed),
            num_failed_before=len(work.failed),
            speeds=Speeds.from_rows(planned, rows, sweep.resources),
        )
        memory = trial_memory(work.left, rows, sweep.resources)
        driver = Driver(
            *(sweep, work.left, store, progress),
            signals=signals,
            memory=memory,
            models=standing.models,
        )
        with open_view(progress, console):
            driver.run()
        console.print(str(progress.snapshot()), soft_wrap=True)
        stop_reason = driver.stop_reason
    if stop_reason in (None, "SIGINT"):  # who stops us otherwise may not have the time for it
        store.compact()
    if stop_reason is not None:
        _print_lines(stopped_lines(stop_reason, args.words), console)
        return INTERRUPTED if stop_reason == "SIGINT" else STOPPED

    code = _conclude(sweep, planned, run_again, store, console)
    if args.only_score and code == STOPPED:
        return DONE  # that others are new is not its affair
    # A job that exits with a failure may be run again, and what failed would fail again.
    return DONE if code == SOME_FAILED and args.as_job else code


def verify(args: argparse.Namespace) -> int:
    """Check that every planned trial has exactly one valid completed row; say which have not."""
    loaded = load(args, args.results)
    planned, store = loaded.planned, loaded.store
    console = open_console()
    specs = {trial.trial_id: trial.spec for trial in planned}
    found = store.verify(specs)
    problems = [problem for problem in found if problem.is_fault]
    for problem in problems:
        spec = specs[problem.trial_id]
        name = f"{problem.trial_id} ({spec.describe()})"
        console.print(f"{name}: {problem.what}", soft_wrap=True)
    if notes := [f"{note.trial_id} ({note.what})" for note in found if not note.is_fault]:
        what = f"{counted(len(notes), 'trial')} resumed on another model of device"
        console.print(f"{what}, see column devices: {', '.join(notes)}", soft_wrap=True)
    console.print(
        f"{len(specs) - len(problems)} of {len(specs)} trials are valid in {store.location}",
        soft_wrap=True,
    )
    return SOME_FAILED if problems else DONE


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


def _notes(sweep: SweepSpec, planned: Sequence[PlannedTrial]) -> list[str]:
    """What is to be said of a sweep before it runs; nothing, as a rule."""
    return [
        *describe_unknown_languages(sweep, planned),
        *describe_mended(planned),
        *describe_unfindable(planned),
        *describe_replaced_head(planned),
        *describe_few_steps(planned),
    ]


def _describe_fetch(args: argparse.Namespace, left: Sequence[PlannedTrial]) -> list[str]:
    """What trials that are left read of the hub and this machine lacks; nothing, as a rule."""
    try:
        lacking = files_lacking(left)
    except SweepError as error:
        return [str(error)]
    if not lacking:
        return []
    fetch = command_of(args, "fetch")
    return [f"not in the hub's cache yet: {describe_files(lacking)}; `{fetch}` brings it"]


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def _read_rows(
    sweep: SweepSpec, planned: Sequence[PlannedTrial], store: ResultStore
) -> tuple[Standing, list[dict[str, Any]]]:
    """How the sweep stands, and the rows of stored trials, which tell how long trials take and how
    much memory."""
    rows = store.read("trials", list(dict.fromkeys((*READ, *COLUMNS, *PEAKS)))).to_pylist()
    return find_standing(planned, store, rows, sweep.keeps_models), rows


def _plan_table(
    sweep: SweepSpec, planned: Sequence[PlannedTrial], statuses: Mapping[str, str]
) -> Table:
    """Languages down, sparsities across, in each cell the trials that are done of all seeds."""
    cells: dict[tuple[str, str], dict[float, list[str]]] = {}
    for trial in planned:
        spec, status = trial.spec, statuses.get(trial.trial_id, "new")
        embeddings = embeddings_name(spec.target_sparsity, spec.embedding_sparsity)
        row = cells.setdefault((spec.language, embeddings), {})
        row.setdefault(spec.target_sparsity, []).append(status)
    has_embeddings = any(embeddings != "dense" for _, embeddings in cells)

    caption = f"completed trials of {len(sweep.seeds)} seeds, by sparsity"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("language", no_wrap=True)
    if has_embeddings:
        table.add_column("embeddings", no_wrap=True)
    for sparsity in sweep.sparsities:
        table.add_column(f"{sparsity:g}", justify="right")

    order: list[str] = [MULTILINGUAL] if sweep.regime == MULTILINGUAL else sweep.languages
    last = None
    for language, embeddings in sorted(cells, key=lambda place: (order.index(place[0]), place[1])):
        row = cells[language, embeddings]
        names = [language if language != last else "", *([embeddings] if has_embeddings else [])]
        table.add_row(*names, *(_cell(row.get(sparsity, [])) for sparsity in sweep.sparsities))
        last = language
    return table


def _cell(statuses: Sequence[str]) -> Text:
    """For example `3/5 1 failed`; nothing where no trial is planned."""
    if not statuses:
        return Text("")
    failed = f" {statuses.count('failed')} failed" if "failed" in statuses else ""
    return Text.assemble(f"{statuses.count('completed')}/{len(statuses)}", (failed, "red"))


def _memory_lines(
    memory: TrialMemory, sweep: SweepSpec, here: Hardware, place: Hardware | None
) -> list[str]:
    """What a trial takes of memory, beside what this machine has free, and what a share of a GPU is
    where trials would run: here, or at a place of which nothing may be known."""
    gpu_gib, where = None if place is None else place.gpu_gib, "here" if place is here else "there"
    free_bytes, cpus = available_memory_bytes(), usable_cpus()
    return describe_memory(memory, sweep.resources, free_bytes, cpus, gpu_gib, where)


def _hardware_here() -> Hardware:
    """This machine, as far as it is ours."""
    visible, gpu_bytes = visible_gpus(os.environ), smallest_gpu_bytes()
    offer = usable_offer(gpus=len(ask_gpus("uuid") if visible is None else visible))
    return Hardware(
        num_machines=1,
        cpus=offer.cpus,
        gpus=offer.gpus,
        gpu_gib=None if gpu_bytes is None else gpu_bytes / GIB,
        memory_gib=offer.memory_bytes / GIB,
    )


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
    _print_lines(describe_silent(stored.trials, stored.scores, split, ids), console)
    rows = stored.trials.select(FAILURES_READ).to_pylist()
    counts = count(planned, {row["trial_id"]: row["status"] for row in rows})
    print_failures(find_failures(planned, rows), console)
    failed_again = find_failed_reruns(run_again, store)
    _print_lines(_describe_unkept(sweep, planned, store), console)
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


def _print_weights(planned: Sequence[PlannedTrial], console: Console) -> None:
    """The names of the weights that would be pruned, once for each choice of them."""
    try:
        from workers.model.encoder import describe_prunable
    except ImportError as error:
        console.print(
            f"weights: not shown, since {error.name} is not installed here", soft_wrap=True
        )
        return
    choices = {
        trial.spec.pruning: trial.spec for trial in planned if trial.spec.pruning is not None
    }
    shown = set()
    for spec in choices.values():
        try:
            lines = tuple(describe_prunable(spec.model, spec.pruning, len(spec.corpus.tags)))
        except TrialError as error:
            if error.kind != "storage":
                raise SweepError(str(error)) from error
            console.print(f"weights: not shown; {error}", soft_wrap=True)
            return
        if lines not in shown:
            shown.add(lines)
            console.print("\n".join(["weights that are pruned:", *lines]), soft_wrap=True)
