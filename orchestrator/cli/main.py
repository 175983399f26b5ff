"""The `sparsweep` command: one function a command; the only place that prints or exits.

Exit codes: 0 done, 1 some trials failed, 2 bad input, 70 a fault of ours, 75 stopped with trials
left, 130 interrupted. What a command needs is imported inside it, so that `--help` and `plan` need
neither torch nor ray.
"""

import argparse
import io
import json
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cluster import BACKENDS
from cluster.contract import BAD_INPUT, DONE, FAULT, INTERRUPTED, SOME_FAILED, STOPPED
from cluster.errors import ClusterError
from orchestrator.cli import jobs as cli_jobs
from orchestrator.cli.shared import (
    count,
    counts_line,
    find_failures,
    load,
    open_console,
    open_store,
    plan_table,
    print_failures,
)
from orchestrator.errors import SweepError
from workers.trial import PERTURBATIONS

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.planning.estimate import Estimate
    from orchestrator.planning.outlook import Outlook
    from orchestrator.planning.plan import PlannedTrial
    from orchestrator.results.store import ResultStore
    from orchestrator.running.stopping import StopSignals
    from orchestrator.spec.sweep_spec import SweepSpec

MAX_ERROR_LINES = 10
ANALYSIS_WIDTH = 100
"""Columns that the tables of `analyze` are made for; used where there is no terminal."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show ± shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = _parser().parse_args(arguments)
    try:
        code = args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except (SweepError, ClusterError, OSError) as error:
        code = BAD_INPUT
        _print_error(str(error), args.debug)
    except Exception as error:
        code = FAULT
        _print_error(
            f"{type(error).__name__}: {error}; this is a fault of sparsweep, --debug shows where",
            args.debug,
        )
    sys.exit(code)


def _print_error(message: str, is_debugging: bool) -> None:
    if is_debugging:
        traceback.print_exc()
    lines = message.splitlines()
    if len(lines) > MAX_ERROR_LINES:
        lines = [*lines[:MAX_ERROR_LINES], f"... and {len(lines) - MAX_ERROR_LINES} more"]
    sys.stderr.write("".join(f"sparsweep: {line}\n" for line in lines))


# Commands


def plan(args: argparse.Namespace) -> int:
    """Show what a sweep consists of, what of it is done, what would run, and how long that
    takes."""
    from orchestrator.planning.estimate import COLUMNS, estimate
    from orchestrator.planning.outlook import as_json, lines
    from orchestrator.planning.plan import trials_left

    sweep, planned, store = load(args)
    rows = store.read("trials", COLUMNS).to_pylist()
    statuses = {row["trial_id"]: row["status"] for row in rows}
    asked = estimate(trials_left(planned, statuses), planned, rows, sweep.resources)
    outlook = _outlook(asked, args.on, sweep) if args.on else None
    if args.json:
        trials = [
            {
                "trial_id": t.trial_id,
                "status": statuses.get(t.trial_id, "new"),
                "cost": t.cost,
                "spec": asdict(t.spec),
            }
            for t in planned
        ]
        values = {
            "sweep": sweep.name,
            "results": str(store.location),
            "estimate": as_json(asked, outlook),
        }
        print(json.dumps(values | {"trials": trials}))
        return DONE
    console = open_console()
    console.print(plan_table(sweep, planned, statuses))
    if args.weights or sweep.pruning.include or sweep.pruning.exclude:
        _print_weights(planned, console)
    console.print("\n".join(lines(asked, outlook)))
    console.print(counts_line(sweep, store, count(planned, statuses)), soft_wrap=True)
    return DONE


def run(args: argparse.Namespace) -> int:
    """Run what is missing of a sweep."""
    from orchestrator.running.stopping import StopSignals

    with StopSignals() as signals:  # first, so that a signal is never more than a stop
        return _run(args, signals)


def _run(args: argparse.Namespace, signals: "StopSignals") -> int:
    from orchestrator.planning.plan import trials_left

    sweep, planned, store = load(args)
    _refuse_other_plan(args.expect_plan, planned)
    store.check_writable()
    statuses = store.statuses()
    store.write_plan(sweep.name, [trial.spec for trial in planned])
    console = open_console()
    console.print(counts_line(sweep, store, count(planned, statuses)), soft_wrap=True)
    left = trials_left(planned, statuses, args.retry_failed)
    stop_reason = None
    if left:
        others = {trial.trial_id for trial in planned} - {trial.trial_id for trial in left}
        before = [trial for trial in planned if trial.trial_id in others]
        stop_reason = _run_trials(sweep, left, before, statuses, store, signals, console)
    if stop_reason in (None, "SIGINT"):  # who stops us otherwise may not have the time for it
        store.compact()
    if stop_reason is not None:
        console.print(f"Stopped ({stop_reason}); all that was finished is kept. Go on with:")
        console.print(f"  {shlex.join(['sparsweep', *args.words])}", soft_wrap=True)
        return INTERRUPTED if stop_reason == "SIGINT" else STOPPED
    code = _conclude(sweep, planned, store, console)
    return (
        DONE if code == SOME_FAILED and args.as_job else code
    )  # what failed would fail again: no case for a new job


def aggregate(args: argparse.Namespace) -> int:
    """Mean, spread and difference to dense of F1, by language and sparsity; what is missing is
    named."""
    from orchestrator.analysis.aggregate import aggregate as aggregate_results
    from orchestrator.analysis.report import render
    from orchestrator.analysis.tables import AGGREGATES
    from orchestrator.results.export import write_csv, write_parquet

    result = aggregate_results(open_store(args.results), args.split)
    if args.csv is not None:
        write_csv(result.table, args.csv)
    if args.parquet is not None:
        write_parquet(AGGREGATES, result.table, args.parquet)
    open_console().print(render(result))
    return DONE


def analyze(args: argparse.Namespace) -> int:
    """Quality, robustness and disagreement by language and sparsity, with tests: as tables, Parquet
    and CSV."""
    from orchestrator.analysis.analyze import analyze as analyze_results
    from orchestrator.analysis.analyze import write_tables
    from orchestrator.analysis.show import show

    store = open_store(args.results)
    tables = analyze_results(store, args.split)
    folder = args.out or str(store.location / "analysis")
    write_tables(tables, folder)
    console = open_console(width=None if sys.stdout.isatty() else ANALYSIS_WIDTH)
    console.print(show(tables))
    console.print(
        f"All columns, with what they mean: {folder}/<table>.parquet, and .csv", soft_wrap=True
    )
    return DONE


def perturb(args: argparse.Namespace) -> int:
    """Write a perturbed test set of a sweep to a file, to look at it."""
    from orchestrator.planning.plan import make_plan
    from orchestrator.spec.sweep_spec import load_sweep_spec
    from workers.scoring.robustness import load_perturbed, write_perturbed
    from workers.trial import TrialError

    overrides = [
        *args.set,
        f"languages=[{args.language}]",
        f"robustness.perturbations=[{args.perturbation}]",
    ]
    sweep = load_sweep_spec(args.spec, overrides)
    spec = make_plan(sweep)[0].spec
    assert spec.robustness is not None
    (pool,) = spec.robustness.pools
    if not pool.donors:
        raise SweepError(f"{args.language} {args.perturbation}: not applicable, {pool.reason}")
    try:
        perturbed = load_perturbed(spec.corpus, spec.robustness, pool, args.draw)
        write_perturbed(args.file, perturbed)
    except (TrialError, ValueError) as error:
        raise SweepError(str(error)) from error
    replaced = int(perturbed.num_replaced.sum())
    print(
        f"{args.file}: {len(perturbed.sentences.tokens)} sentences, {replaced} entities replaced, "
        f"from {perturbed.num_donors} of {', '.join(pool.donors)}"
    )
    return DONE


def compact(args: argparse.Namespace) -> int:
    """Write each table of the results as one Parquet file."""
    for location in open_store(args.results).compact():
        print(location)
    return DONE


def verify(args: argparse.Namespace) -> int:
    """Check that every planned trial has exactly one valid completed row; say which have not."""
    _, planned, _ = load(args)
    store = open_store(args.results)
    console = open_console()
    specs = {trial.trial_id: trial.spec for trial in planned}
    problems = store.verify(specs)
    for problem in problems:
        spec = specs[problem.trial_id]
        name = f"{problem.trial_id} ({spec.describe()})"
        console.print(f"{name}: {problem.what}", soft_wrap=True)
    console.print(
        f"{len(specs) - len(problems)} of {len(specs)} trials are valid in {store.location}",
        soft_wrap=True,
    )
    return SOME_FAILED if problems else DONE


def schema(args: argparse.Namespace) -> int:
    """Print the JSON schema of sweep files or cluster profiles, or with --results the tables and
    columns of results."""
    if args.results:
        from orchestrator.analysis.tables import AGGREGATES, ANALYSES
        from orchestrator.results.schema import TABLES, describe

        print(describe([*TABLES.values(), AGGREGATES, *ANALYSES.values()]), end="")
        return DONE
    from cluster import profile_type
    from orchestrator.spec.sweep_spec import SweepSpec

    print(
        json.dumps(
            (profile_type(args.cluster) if args.cluster else SweepSpec).model_json_schema(),
            indent=2,
        )
    )
    return DONE


def sweeps(args: argparse.Namespace) -> int:
    """List the built-in sweeps, or print one to copy."""
    from orchestrator.spec.sweep_spec import builtin_sweeps

    known = builtin_sweeps()
    if args.name is None:
        for name, file in known.items():
            print(f"{name:<16} {file.read_text().splitlines()[0].removeprefix('# ')}")
    elif args.name in known:
        print(known[args.name].read_text(), end="")
    else:
        raise SweepError(f"{args.name}: no such built-in sweep; there are: {', '.join(known)}")
    return DONE


def doctor(args: argparse.Namespace) -> int:
    """Show versions, devices, disk and Ray, and what would be used."""
    from orchestrator.cli.doctor import examine, render

    findings = examine()
    open_console().print(render(findings))
    return DONE if all(finding.is_ok for finding in findings) else SOME_FAILED


# Their parts


def _outlook(asked: "Estimate", name: str, sweep: "SweepSpec") -> "Outlook | None":
    """What an estimate means on a cluster."""
    from cluster.node.raylet import usable_offer
    from cluster.profile_fields import Hardware
    from orchestrator.planning.outlook import on_hardware
    from orchestrator.spec.profiles import load_profile

    offer = usable_offer()
    here = Hardware(num_machines=1, cpus=offer.cpus, gpus=offer.gpus)
    hardware = load_profile(name, sweep.clusters).hardware(here)
    return on_hardware(asked, hardware, sweep.resources)


def _run_trials(
    sweep: "SweepSpec",
    left: "Sequence[PlannedTrial]",
    before: "Sequence[PlannedTrial]",
    statuses: Mapping[str, str],
    store: "ResultStore",
    signals: "StopSignals",
    console: "Console",
) -> str | None:
    """Run the trials left under a view, `before` being those that are over; returns why it was
    stopped, if it was."""
    from orchestrator.running.driver import Sweep
    from orchestrator.running.progress import SweepProgress, open_view, summary_line

    completed = [trial for trial in before if statuses[trial.trial_id] == "completed"]
    progress = SweepProgress(
        sweep.name,
        str(store.location),
        left,
        num_done_before=len(completed),
        num_failed_before=len(before) - len(completed),
    )
    running = Sweep(sweep, left, store, progress, signals=signals, completed=completed)
    with open_view(progress, console):
        running.run()
    console.print(summary_line(progress), soft_wrap=True)
    return running.stop_reason


def _refuse_other_plan(expected: str | None, planned: "Sequence[PlannedTrial]") -> None:
    """A job must run the trials that were planned where it was submitted."""
    from orchestrator.planning.plan import plan_digest

    if expected is not None and plan_digest(planned) != expected:
        raise SweepError(
            f"--expect-plan {expected}: the trials planned here are others, {plan_digest(planned)}; data, model or "
            "package versions differ between this machine and the one that submitted: make them equal, submit again"
        )


def _conclude(
    sweep: "SweepSpec", planned: "Sequence[PlannedTrial]", store: "ResultStore", console: "Console"
) -> int:
    """After the last trial: the table, the failures, where the files are, and the exit code."""
    from orchestrator.analysis.aggregate import aggregate as aggregate_results
    from orchestrator.analysis.report import f1_table

    split = "test" if "test" in sweep.evaluation.splits else "validation"
    cells = {trial.spec.cell_id() for trial in planned}  # other sweeps may share the results
    console.print(f1_table(aggregate_results(store, split).of_cells(cells)))
    counts = count(planned, store.statuses())
    print_failures(find_failures(planned, store) if counts["failed"] else [], console)
    console.print(
        f"Results: {store.location}, all trials of a table in compact/<table>.parquet",
        soft_wrap=True,
    )
    if counts["failed"]:
        console.print(
            f"{counts['failed']} of {len(planned)} trials failed; try them again with --retry-failed"
        )
        return SOME_FAILED
    return STOPPED if counts["new"] else DONE


def _print_weights(planned: "Sequence[PlannedTrial]", console: "Console") -> None:
    """The names of the weights that would be pruned, once for each choice of them."""
    from workers.trial import TrialError

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
            lines = tuple(describe_prunable(spec.model, spec.pruning))
        except TrialError as error:
            if error.kind != "storage":
                raise SweepError(str(error)) from error
            console.print(f"weights: not shown; {error}", soft_wrap=True)
            return
        if lines not in shown:
            shown.add(lines)
            console.print("\n".join(["weights that are pruned:", *lines]), soft_wrap=True)


# The command line


def _parser() -> argparse.ArgumentParser:
    about = "Sweeps of pruned multilingual encoders."
    parser = argparse.ArgumentParser(prog="sparsweep", description=about, allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        function: Any, *, takes_spec: bool = False, takes_results: bool = False
    ) -> argparse.ArgumentParser:
        summary = function.__doc__.splitlines()[0]
        added = commands.add_parser(
            function.__name__, help=summary, description=summary, allow_abbrev=False
        )
        added.set_defaults(command=function, words=sys.argv[1:])
        if takes_spec:
            added.add_argument(
                "spec", metavar="SPEC", help="a sweep file, or the name of a built-in sweep"
            )
            added.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="PATH=VALUE",
                help="replace a field, for example --set training.lr=1e-4",
            )
        if takes_results:
            added.add_argument(
                "results", metavar="RESULTS", help="a folder or s3:// location with results"
            )
        return added

    with_json = "print JSON"
    planning = command(plan, takes_spec=True)
    planning.add_argument("--on", metavar="CLUSTER", help="what the hours mean there; see `submit`")
    planning.add_argument("--json", action="store_true", help=with_json)
    planning.add_argument(
        "--weights", action="store_true", help="name the weights that are pruned (needs torch)"
    )
    running = command(run, takes_spec=True)
    running.add_argument(
        "--retry-failed", action="store_true", help="run trials again that failed in an earlier run"
    )
    running.add_argument(
        "--as-job", action="store_true", help="exit with 0 although trials failed; for batch jobs"
    )
    running.add_argument(
        "--expect-plan",
        metavar="DIGEST",
        help="refuse to run other trials than those; for batch jobs",
    )
    cli_jobs.add_commands(command)
    aggregated = command(aggregate, takes_results=True)
    aggregated.add_argument(
        "--split", default="test", choices=["validation", "test"], help="default: %(default)s"
    )
    aggregated.add_argument("--csv", metavar="FILE", help="write the table as CSV, too")
    aggregated.add_argument("--parquet", metavar="FILE", help="write the table as Parquet, too")
    analyzed = command(analyze, takes_results=True)
    analyzed.add_argument(
        "--split", default="test", choices=["validation", "test"], help="default: %(default)s"
    )
    analyzed.add_argument(
        "--out", metavar="FOLDER", help="where tables are written; default: RESULTS/analysis"
    )
    perturbing = command(perturb, takes_spec=True)
    perturbing.add_argument(
        "language", metavar="LANGUAGE", help="whose test sentences, for example sw"
    )
    perturbing.add_argument(
        "perturbation", choices=PERTURBATIONS, metavar="PERTURBATION", help=", ".join(PERTURBATIONS)
    )
    perturbing.add_argument(
        "file", metavar="FILE", help="where to: a name that ends in .tsv or .parquet"
    )
    perturbing.add_argument(
        "--draw", type=int, default=0, help="number of the draw, from 0; default: %(default)s"
    )
    command(compact, takes_results=True)
    command(verify, takes_spec=True, takes_results=True)
    describing = command(schema)
    describing.add_argument("--results", action="store_true", help="the tables of results instead")
    describing.add_argument(
        "--cluster", choices=BACKENDS, help="the fields of a profile of this backend instead"
    )
    command(sweeps).add_argument("name", nargs="?", help="print this one")
    command(doctor)
    return parser


if __name__ == "__main__":
    main()
