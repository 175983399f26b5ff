"""The `sparsweep` command: its command line, its errors and its exit codes.

What a command does stands in the files beside this one, which alone print. They are loaded when
their command is run, so that `--help` takes a moment, and needs neither torch nor ray.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from cluster import BACKENDS
from cluster.contract import BAD_INPUT, DONE, FAULT, INTERRUPTED, STOPPED
from cluster.errors import ClusterError
from orchestrator.errors import SweepError
from orchestrator.running.stopping import StopSignals, hear_interrupts
from workers.storage import LEFT_WAITING, is_full_disk, is_storage_fault, may_pass
from workers.trial import PERTURBATIONS

MAX_ERROR_LINES = 10

Call = Callable[[argparse.Namespace], Any]
"""Runs a command; gives its exit code."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code: 0 done, 2 bad input, 3 some trials failed, 70 a fault
    of ours, 75 stopped with trials left, 130 interrupted."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show ± shows a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = _parser().parse_args(arguments)
    try:
        code = _run_supervised(args) if arguments is None else args.command(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except (SweepError, ClusterError, OSError) as error:
        code = STOPPED if may_pass(error) else getattr(args, "code_if_refused", BAD_INPUT)
        _print_error(f"{error}{_remedy(error)}", args.debug)
    except Exception as error:
        code = FAULT
        fault = "this is a fault of sparsweep, --debug shows where"
        _print_error(f"{type(error).__name__}: {error}; {fault}", args.debug)
    if LEFT_WAITING:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Where one of them is closed, as `>&-` does, let it lead nowhere: the next file that is opened
    would take its place, and get what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
            if getattr(sys, name) is None:
                mode = "w" if number else "r"
                setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _remedy(error: Exception) -> str:
    """What a person can do about an error of the system, which does not say so itself."""
    if is_full_disk(error):
        return "; make room, then go on"
    if is_storage_fault(error):
        return "; see whether it is mounted and its server runs, then go on"
    return ""


def _print_error(message: str, is_debugging: bool) -> None:
    if is_debugging:
        traceback.print_exc()
    lines = message.splitlines()
    if len(lines) > MAX_ERROR_LINES:
        lines = [*lines[:MAX_ERROR_LINES], f"... and {len(lines) - MAX_ERROR_LINES} more"]
    sys.stderr.write("".join(f"sparsweep: {line}\n" for line in lines))


# What commands do, loaded when one of them is run


def _plans() -> ModuleType:
    from orchestrator.cli import plans

    return plans


def _runs() -> ModuleType:
    from orchestrator.cli import runs

    return runs


def _jobs() -> ModuleType:
    from orchestrator.cli import jobs

    return jobs


def _fetching() -> ModuleType:
    from orchestrator.cli import fetching

    return fetching


def _reading() -> ModuleType:
    from orchestrator.cli import reading

    return reading


def _corpus() -> ModuleType:
    from orchestrator.cli import corpus

    return corpus


def _reports() -> ModuleType:
    from orchestrator.cli import reports

    return reports


def _models() -> ModuleType:
    from orchestrator.cli import models

    return models


def _trackers() -> ModuleType:
    from orchestrator.cli import trackers

    return trackers


def _doctor() -> ModuleType:
    from orchestrator.cli import doctor

    return doctor


def _run(args: argparse.Namespace) -> Any:
    # First: a signal while the rest is loaded is a stop as well.
    with StopSignals(args.heard) as signals:
        return _runs().run(args, signals)


def _run_supervised(args: argparse.Namespace) -> Any:
    """Run the command in a process below this one, which gives its exit code."""
    from orchestrator.cli.supervised import supervised

    try:
        os.getcwd()  # noqa: PTH109, only whether it is there
    except FileNotFoundError as error:
        raise SweepError("the current folder is gone; cd to one that is there") from error

    def command(heard: Callable[[], None]) -> Any:
        args.heard = heard
        hear_interrupts(heard)
        return args.command(args)

    return supervised(command, args.words, args.debug, is_sweep=args.command is _run)


# The command line


class CommandLine:
    """The parser of `sparsweep`, to which commands are added."""

    def __init__(self) -> None:
        about = "Sweeps of pruned multilingual encoders."
        self.parser = argparse.ArgumentParser(
            prog="sparsweep", description=about, allow_abbrev=False
        )
        self.parser.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        self._commands = self.parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        self,
        name: str,
        call: Call,
        about: str,
        takes_spec: bool = False,
        takes_results: bool = False,
    ) -> argparse.ArgumentParser:
        """A command: what it calls with the arguments given, and what it does in a sentence."""
        command = self._commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        command.set_defaults(command=call, words=sys.argv[1:], heard=lambda: None)
        if takes_spec:
            command.add_argument(
                "spec", metavar="SPEC", help="a sweep file, or the name of a built-in sweep"
            )
            command.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="PATH=VALUE",
                help="replace a field, for example --set training.lr=1e-4",
            )
        if takes_results:
            command.add_argument(
                "results", metavar="RESULTS", help="a folder or s3:// location with results"
            )
        return command


def _parser() -> argparse.ArgumentParser:
    line = CommandLine()
    _add_plan(line)
    _add_runs(line)
    _add_submission(line)
    _add_jobs(line)
    _add_results(line)
    _add_models(line)
    _add_rest(line)
    return line.parser


def _add_plan(line: CommandLine) -> None:
    plan = line.add(
        "plan",
        lambda args: _plans().plan(args),
        "Show the trials of a sweep, which of them are done, and how long and how much memory the "
        "others take.",
        takes_spec=True,
    )
    plan.add_argument(
        "--on", metavar="CLUSTER", help="also say how long it takes on this cluster; see `submit`"
    )
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.add_argument(
        "--power",
        metavar="CHANGE",
        help="also say how many seeds and sentences it takes to see this change of F1, such as "
        "0.01, from the results that are there",
    )
    plan.add_argument(
        "--weights", action="store_true", help="name the weights that are pruned (needs torch)"
    )


def _add_runs(line: CommandLine) -> None:
    run = line.add("run", _run, "Run the trials of a sweep that are not done yet.", takes_spec=True)
    run.set_defaults(only_score=False)
    run.add_argument(
        "--retry-failed",
        action="store_true",
        help="also run trials again that failed in an earlier run",
    )
    run.add_argument(
        "--rerun-lacking",
        action="store_true",
        help="also run completed trials again that lack scores or predictions which are asked for; "
        "those whose model is kept are scored and not trained",
    )
    run.add_argument(
        "--as-job", action="store_true", help="exit with 0 although trials failed; for batch jobs"
    )
    run.add_argument(
        "--exit-0-if-refused",
        action="store_const",
        dest="code_if_refused",
        const=DONE,
        default=BAD_INPUT,
        help="exit with 0 where what is given cannot run, too; for batch systems that would run it "
        "again",
    )
    run.add_argument(
        "--expect-plan",
        metavar="DIGEST",
        help="refuse to run other trials than those; for batch jobs",
    )

    score = line.add(
        "score",
        _run,
        "Score kept models on what a sweep asks for and its completed trials lack; train nothing.",
        takes_spec=True,
    )
    score.set_defaults(
        only_score=True, retry_failed=False, rerun_lacking=False, as_job=False, expect_plan=None
    )

    line.add(
        "verify",
        lambda args: _runs().verify(args),
        "Check that every planned trial has exactly one valid completed row, and the model that "
        "this names; say which have not.",
        takes_spec=True,
        takes_results=True,
    )


def _add_submission(line: CommandLine) -> None:
    fetch = line.add(
        "fetch",
        lambda args: _fetching().fetch(args),
        "Download what a sweep needs of the Hugging Face hub, for machines without internet; what "
        "is there already stays.",
        takes_spec=True,
    )
    fetch.add_argument(
        "--to", metavar="FOLDER", help="into this folder instead of the hub's own cache"
    )

    retry = "also run trials again that failed in an earlier run"
    rerun = "also run completed trials again that lack scores or predictions which are asked for"
    submit = line.add(
        "submit",
        lambda args: _jobs().submit(args),
        "Send the trials of a sweep that are not done yet to a cluster, or into the background of "
        "this machine.",
        takes_spec=True,
    )
    submit.add_argument(
        "--on", required=True, metavar="CLUSTER", help=f"a profile, or {', '.join(BACKENDS)}"
    )
    submit.add_argument(
        "--dry-run", action="store_true", help="print exactly what would be sent, and send nothing"
    )
    submit.add_argument(
        "--another", action="store_true", help="also when a job of this sweep is live"
    )
    submit.add_argument(
        "--address", metavar="URL", help="of the dashboard of a Ray cluster, http://HOST:8265"
    )
    submit.add_argument("--retry-failed", action="store_true", help=retry)
    submit.add_argument("--rerun-lacking", action="store_true", help=rerun)

    resume = line.add(
        "resume",
        lambda args: _jobs().resume(args),
        "Submit a sweep again as it was submitted last, to go on with what is missing.",
        takes_spec=True,
    )
    resume.add_argument("--retry-failed", action="store_true", help=retry)
    resume.add_argument("--rerun-lacking", action="store_true", help=rerun)


def _add_jobs(line: CommandLine) -> None:
    status = line.add(
        "status",
        lambda args: _jobs().status(args),
        "Count the trials of a sweep that are completed, failed (and why) and new (not run yet), "
        "and tell how its job stands.",
        takes_spec=True,
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument(
        "--watch", action="store_true", help="print it again when it changes, until the job is over"
    )

    logs = line.add(
        "logs",
        lambda args: _jobs().logs(args),
        "Print what the driver of a submitted sweep says; of one trial, its attempts and what the "
        "driver says of it.",
        takes_spec=True,
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    logs.add_argument(
        "--trial",
        metavar="ID",
        help="only what concerns this trial; the beginning of its id is enough",
    )

    cancel = line.add(
        "cancel",
        lambda args: _jobs().cancel(args),
        "Stop the jobs of a sweep: running trials save their checkpoints, what is done is kept.",
        takes_spec=True,
    )
    cancel.add_argument(
        "--now",
        action="store_true",
        help="do not wait for checkpoints; what is not saved is computed again",
    )

    clusters = line.add(
        "clusters",
        lambda args: _jobs().clusters(args),
        "List cluster profiles, and check whether the clusters know what they name.",
    )
    clusters.add_argument("name", nargs="?", metavar="CLUSTER", help="only this one")
    clusters.add_argument(
        "--sweep", metavar="SPEC", help="also those that stand in this sweep file, and these first"
    )


def _add_results(line: CommandLine) -> None:
    _add_analyses(line)
    export = line.add(
        "export",
        lambda args: _trackers().export(args),
        "Bring curves, settings and scores of all trials that have ended into a folder that "
        "TensorBoard or MLflow reads. Done again it adds what is new, also while a sweep runs.",
        takes_results=True,
    )
    export.add_argument("--to", required=True, metavar="TRACKER", help="tensorboard or mlflow")
    export.add_argument("folder", metavar="FOLDER", help="a new one, or one that the tracker reads")

    line.add(
        "compact",
        lambda args: _reading().compact(args),
        "Write each table of the results as one Parquet file.",
        takes_results=True,
    )


def _add_analyses(line: CommandLine) -> None:
    aggregate = line.add(
        "aggregate",
        lambda args: _reading().aggregate(args),
        "Mean, spread and difference to dense of F1, by language and sparsity; what is missing is "
        "named.",
        takes_results=True,
    )
    analyze = line.add(
        "analyze",
        lambda args: _reading().analyze(args),
        "Quality, robustness and disagreement by language and sparsity, with tests: as tables, "
        "Parquet and CSV.",
        takes_results=True,
    )
    report = line.add(
        "report",
        lambda args: _reports().report(args),
        "Figures of what `analyze` finds: in one HTML file that any browser opens without a "
        "network, as files for a paper, or live while a sweep runs.",
        takes_results=True,
    )
    for command in (aggregate, analyze, report):
        command.add_argument(
            "--split", default="test", choices=["validation", "test"], help="default: %(default)s"
        )
        command.add_argument(
            "--matching",
            choices=["strict", "lenient"],
            help="rule by which entities count; default: that by which trials were scored when run",
        )
        command.add_argument(
            "--same-device",
            action="store_true",
            help="no change to dense where other models of device computed the dense trial",
        )
    aggregate.add_argument("--csv", metavar="FILE", help="write the table as CSV, too")
    aggregate.add_argument("--parquet", metavar="FILE", help="write the table as Parquet, too")
    for command in (analyze, report):
        command.add_argument(
            "--margin",
            metavar="F1",
            help="largest change of F1 that does not matter: what counts as equivalent; default: "
            "0.01",
        )
        command.add_argument(
            "--identical-as-one",
            action="store_true",
            help="let test sentences with the same words count as one in intervals, as for text in "
            "general; else they are those of this corpus, which repeats itself",
        )
    analyze.add_argument(
        "--out", metavar="FOLDER", help="where tables are written; default: RESULTS/analysis"
    )
    _add_report_options(report)


def _add_report_options(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "--out", metavar="FILE", help="where it is written; default: RESULTS/report.html"
    )
    report.add_argument(
        "--figures",
        metavar="FOLDER",
        help="write no page but each figure as PDF, SVG and PNG, and its table as LaTeX and CSV",
    )
    report.add_argument(
        "--only",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="with --figures: these alone; a figure's name stands in the page's address",
    )
    report.add_argument(
        "--theme",
        metavar="NAME",
        help="with --figures: paper (black on white, the default), light or dark",
    )
    report.add_argument(
        "--live",
        action="store_true",
        help="write no page but serve it to browsers of this machine, made again when the results "
        "have changed, until Ctrl-C",
    )
    report.add_argument(
        "--port", metavar="N", help="with --live: the port; default: one that is free"
    )
    report.add_argument(
        "--every",
        metavar="SECONDS",
        help="with --live: how often it is looked whether results have changed; default: 30",
    )


def _add_models(line: CommandLine) -> None:
    model = line.add(
        "model",
        lambda args: _models().model(args),
        "Write the kept model of a trial as a Hugging Face folder: config, weights, tokenizer, and "
        "a model card.",
        takes_results=True,
    )
    predict = line.add(
        "predict",
        lambda args: _models().predict(args),
        "Tag a text with the kept model of a trial: entities in brackets after their types.",
        takes_results=True,
    )
    for command in (model, predict):
        command.add_argument(
            "trial", metavar="TRIAL", help="a trial's id; the beginning of it is enough"
        )
        command.add_argument(
            "--base",
            metavar="FOLDER",
            help="the encoder that the model came from, where it is no more where it was",
        )
    model.add_argument("folder", metavar="FOLDER", help="a new folder")
    model.add_argument(
        "--push",
        metavar="REPO",
        help="also upload it to this repository of the hub, made private where there is none, with "
        "your own token",
    )
    predict.add_argument(
        "file",
        metavar="FILE",
        help="a sentence a line; or columns as CoNLL's, such as token<TAB>tag, with an empty line "
        "after each sentence; - is standard input",
    )
    predict.add_argument(
        "--words",
        action="store_true",
        dest="words_only",
        help="a line a word, between tabs: word, true tag where the file has it, predicted tag and "
        "its probability",
    )


def _add_rest(line: CommandLine) -> None:
    line.add(
        "corpus",
        lambda args: _corpus().corpus(args),
        "Show what would be read of the corpus of a sweep, or of a corpus folder: splits, sizes, "
        "entities, what is mended, sub-words, repetitions.",
        takes_spec=True,
    ).add_argument("--json", action="store_true", help="print JSON")

    perturb = line.add(
        "perturb",
        lambda args: _reading().perturb(args),
        "Write a perturbed test set of a sweep to a file, to look at it.",
        takes_spec=True,
    )
    perturb.add_argument(
        "language", metavar="LANGUAGE", help="whose test sentences, for example sw"
    )
    perturb.add_argument(
        "perturbation", choices=PERTURBATIONS, metavar="PERTURBATION", help=", ".join(PERTURBATIONS)
    )
    perturb.add_argument(
        "file", metavar="FILE", help="where to: a name that ends in .tsv or .parquet"
    )
    perturb.add_argument(
        "--draw", type=int, default=0, help="number of the draw, from 0; default: %(default)s"
    )

    schema = line.add(
        "schema",
        lambda args: _reading().schema(args),
        "Print the JSON schema of sweep files or cluster profiles, or with --results the tables "
        "and columns of results.",
    )
    schema.add_argument("--results", action="store_true", help="the tables of results instead")
    schema.add_argument(
        "--cluster", choices=BACKENDS, help="the fields of a profile of this backend instead"
    )

    sweeps = line.add(
        "sweeps",
        lambda args: _reading().sweeps(args),
        "List the built-in sweeps, or print one to copy.",
    )
    sweeps.add_argument("name", nargs="?", help="print this one")

    cache = line.add(
        "cache",
        lambda args: _reading().cache(args),
        "Show what this machine keeps of tokenised data and of hashes of files, or remove it.",
    )
    cache.add_argument(
        "--clear", action="store_true", help="remove it; runs make again what they miss"
    )

    line.add(
        "doctor",
        lambda args: _doctor().doctor(args),
        "Show versions, devices, disk and Ray, and what would be used.",
    )


if __name__ == "__main__":
    main()
