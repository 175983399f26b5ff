"""The `sparsweep` command: its command line, its errors and its exit codes.

What a command does stands in the files beside this one, which alone print. They are loaded when
their command is run, so that `--help` takes a moment, and needs neither torch nor ray.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from cluster import BACKENDS
from cluster.contract import BAD_INPUT, DONE, FAULT, INTERRUPTED
from cluster.errors import ClusterError
from orchestrator.cli import jobs
from orchestrator.errors import SweepError
from orchestrator.running.stopping import StopSignals
from workers.trial import PERTURBATIONS

MAX_ERROR_LINES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code: 0 done, 1 some trials failed, 2 bad input, 70 a fault
    of ours, 75 stopped with trials left, 130 interrupted."""
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
        fault = "this is a fault of sparsweep, --debug shows where"
        _print_error(f"{type(error).__name__}: {error}; {fault}", args.debug)
    sys.exit(code)


def _print_error(message: str, is_debugging: bool) -> None:
    if is_debugging:
        traceback.print_exc()
    lines = message.splitlines()
    if len(lines) > MAX_ERROR_LINES:
        lines = [*lines[:MAX_ERROR_LINES], f"... and {len(lines) - MAX_ERROR_LINES} more"]
    sys.stderr.write("".join(f"sparsweep: {line}\n" for line in lines))


# The commands; those of jobs are in `orchestrator.cli.jobs`


def plan(args: argparse.Namespace) -> int:
    """Show what a sweep consists of, what of it is done, what would run, and how long that
    takes."""
    from orchestrator.cli import runs

    return runs.plan(args)


def run(args: argparse.Namespace) -> int:
    """Run what is missing of a sweep."""
    with StopSignals() as signals:  # first: a signal while the rest is loaded is a stop as well
        from orchestrator.cli import runs

        return runs.run(args, signals)


def verify(args: argparse.Namespace) -> int:
    """Check that every planned trial has exactly one valid completed row; say which have not."""
    from orchestrator.cli import runs

    return runs.verify(args)


def aggregate(args: argparse.Namespace) -> int:
    """Mean, spread and difference to dense of F1, by language and sparsity; what is missing is
    named."""
    from orchestrator.cli import reading

    return reading.aggregate(args)


def analyze(args: argparse.Namespace) -> int:
    """Quality, robustness and disagreement by language and sparsity, with tests: as tables, Parquet
    and CSV."""
    from orchestrator.cli import reading

    return reading.analyze(args)


def compact(args: argparse.Namespace) -> int:
    """Write each table of the results as one Parquet file."""
    from orchestrator.cli import reading

    return reading.compact(args)


def perturb(args: argparse.Namespace) -> int:
    """Write a perturbed test set of a sweep to a file, to look at it."""
    from orchestrator.cli import reading

    return reading.perturb(args)


def schema(args: argparse.Namespace) -> int:
    """Print the JSON schema of sweep files or cluster profiles, or with --results the tables and
    columns of results."""
    from orchestrator.cli import reading

    return reading.schema(args)


def sweeps(args: argparse.Namespace) -> int:
    """List the built-in sweeps, or print one to copy."""
    from orchestrator.cli import reading

    return reading.sweeps(args)


def doctor(args: argparse.Namespace) -> int:
    """Show versions, devices, disk and Ray, and what would be used."""
    from orchestrator.cli import doctor as checks

    return checks.doctor(args)


# The command line


def _parser() -> argparse.ArgumentParser:
    about = "Sweeps of pruned multilingual encoders."
    parser = argparse.ArgumentParser(prog="sparsweep", description=about, allow_abbrev=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        function: Any, *, takes_spec: bool = False, takes_results: bool = False
    ) -> argparse.ArgumentParser:
        summary = " ".join(function.__doc__.partition("\n\n")[0].split())
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
    jobs.add_commands(command)
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
