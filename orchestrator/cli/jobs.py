"""The commands that send a sweep to a cluster and follow it there."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from cluster import open_backend
from cluster.backend import JobState, is_on_log
from cluster.contract import DONE, SOME_FAILED
from cluster.errors import ClusterError
from cluster.profile_fields import ClusterProfile
from orchestrator.cli.shared import (
    FAILURES_READ,
    are_elsewhere,
    command_of,
    count,
    counts_line,
    fetch_command,
    find_closed,
    find_failures,
    load_sweep,
    open_console,
    open_store,
    print_failures,
    report_line,
)
from orchestrator.errors import SpecError, SweepError
from orchestrator.planning.hub import look_where_jobs_do, pin, say_what_lacks
from orchestrator.planning.nothing_predicted import SCORES_READ, TRIALS_READ, describe_silent
from orchestrator.planning.plan import PlannedTrial, make_plan
from orchestrator.planning.standing import READ, Standing, find_standing, known_fingerprints
from orchestrator.results.store import ResultStore
from orchestrator.spec.profiles import known_names, load_profile, profile_files, profile_folder
from orchestrator.spec.sweep_spec import SweepSpec, load_sweep_spec
from orchestrator.submission.jobs import Jobs
from orchestrator.submission.records import Submission
from workers.storage import may_pass

LOOKS_EVERY_S = 5.0
HEARS_EVERY_S, LONGEST_END_S = 1.0, 600.0
"""How often the log of a job that stops is read, and for how long at most."""


def submit(args: argparse.Namespace) -> int:
    """Send what is missing of a sweep to a cluster, or into the background of this machine."""
    sweep = load_sweep(args)
    profile = load_profile(args.on, sweep.clusters, address=args.address)
    jobs, *_ = _open_jobs(sweep, profile, reads_results=not args.dry_run)
    if args.dry_run:
        job = jobs.draft(profile, args.retry_failed, args.rerun_lacking)
        print(open_backend(profile).render(job), end="")
        return DONE
    return _send(jobs, args.on, profile, args, another=args.another)


def resume(args: argparse.Namespace) -> int:
    """Submit a sweep again as it was submitted last, to go on with what is missing."""
    sweep = load_sweep(args)
    jobs, *_ = _open_jobs(sweep)
    _, record = next(iter(jobs.records()), (None, None))
    if record is None:
        raise SweepError(
            f"{sweep.name}: was not submitted yet; use "
            f"`{command_of(args, 'submit', '--on', 'CLUSTER')}`"
        )
    if jobs.has_changed_since(record):
        raise SweepError(
            f"{args.spec}: has changed since it was submitted at {record.submitted_at}; send the "
            f"new version with `{command_of(args, 'submit', '--on', record.profile_name)}`, or "
            "undo the change"
        )
    return _send(jobs, record.profile_name, record.cluster(), args)


def status(args: argparse.Namespace) -> int:
    """Count what of a sweep is completed, failed (and why) and new, and tell how its job stands."""
    sweep = load_sweep(args)
    jobs, store, stored = _open_jobs(sweep, goes_on=True)
    shown = None
    while True:
        latest = jobs.latest()
        is_over = latest is None or latest.status.state.is_terminal
        if shown is not None or (args.watch and is_over):
            # After the job's state, so that what a job did last is counted once it is over.
            stored = Stored.read(sweep, jobs.planned or (), store, stored)
            jobs.update(stored.standing.statuses)
        now = (
            _describe_json(sweep, jobs, store, stored, latest)
            if args.json
            else _describe(sweep, jobs, store, stored, latest)
        )
        if now != shown:
            print(now, flush=True)
        shown = now
        if not args.watch or is_over:
            return DONE
        time.sleep(LOOKS_EVERY_S)


def logs(args: argparse.Namespace) -> int:
    """Print what the driver of a submitted sweep says; of one trial, its attempts and what the
    driver says of it."""
    sweep = load_sweep(args)
    is_planned = args.trial is not None
    jobs, store = _open_jobs(sweep, goes_on=True)[:2] if is_planned else _open_records(sweep)
    submission = _latest(args, jobs)
    backend = submission.record.backend()
    lines = backend.logs(submission.status.job_id, submission.folder, args.follow)
    if args.trial is not None:
        lines = _lines_of_trial(args.trial, jobs, store, lines)
    for line in lines:
        print(line, flush=args.follow)
    return DONE


def cancel(args: argparse.Namespace) -> int:
    """Stop the jobs of a sweep: running trials save their checkpoints, what is done is kept."""
    sweep = load_sweep(args)
    live = _open_records(sweep)[0].live()
    if not live:
        raise SweepError(
            f"{sweep.name}: no job of it is live; `{command_of(args, 'status')}` shows the last one"
        )
    drivers, faults = [], []
    for submission in live:
        record, now = submission.record, submission.status
        driver = None if record.cluster().keeps_log else _LeavingDriver(submission)
        try:
            record.backend().cancel(now.job_id, record.job_name, args.now)
        except ClusterError as error:  # which keeps none of the other jobs
            faults.append(str(error))
            continue
        how = "as soon as the trials that run are saved"
        if args.now or now.state is JobState.PENDING:
            how = "at once; what is not saved is computed again"
        print(f"{record.profile_name} job {now.job_id}: stops {how}", flush=True)
        if driver is not None and not args.now and now.state is JobState.RUNNING:
            drivers.append(driver)
    if drivers:
        _hear_out(drivers, command_of(args, "status"))
    if faults:
        raise ClusterError("\n".join(faults))
    return DONE


def clusters(args: argparse.Namespace) -> int:
    """List cluster profiles, and check whether the clusters know what they name."""
    own = load_sweep_spec(args.sweep).clusters if args.sweep else {}
    names = [args.name] if args.name else list(dict.fromkeys([*own, *profile_files()]))
    if not names:
        print(f"no profiles in {profile_folder()}; `--on` also takes: {', '.join(known_names())}")
    is_fine = True
    for name in names:
        try:
            profile = load_profile(name, own)
            problems = open_backend(profile).check()
            fields = ", ".join(f"{key}: {value}" for key, value in profile.describe().items())
        except (SpecError, ClusterError) as error:
            problems, fields = str(error).splitlines(), "not usable"
        print(f"{name}: {fields}: {'ok' if not problems else ''}".rstrip(": "))
        for problem in problems:
            print(f"  {problem}")
        is_fine &= not problems
    return DONE if is_fine else SOME_FAILED


# Parts of the commands


class Stored(NamedTuple):
    """What the results say of a sweep at one moment: how it stands, which trials failed, which
    places get no more, and which trials predict nothing."""

    standing: Standing
    failures: list[dict[str, Any]]
    closed: list[str]
    silent: list[str]

    @classmethod
    def read(
        cls,
        sweep: SweepSpec,
        planned: Sequence[PlannedTrial],
        store: ResultStore,
        before: "Stored | None" = None,
    ) -> "Stored":
        """Read the rows of all trials, once, and of all scores, unless the sweep stands as it did
        before."""
        columns = list(dict.fromkeys((*READ, *FAILURES_READ, *TRIALS_READ)))
        trials = store.read("trials", columns)
        rows = trials.to_pylist()
        failures, closed = find_failures(planned, rows), find_closed(sweep.name, store)
        standing = find_standing(planned, store, rows, sweep.keeps_models)
        if before is not None and standing == before.standing:
            return cls(standing, failures, closed, before.silent)
        scores, ids = store.read("scores", list(SCORES_READ)), {one.trial_id for one in planned}
        silent = describe_silent(trials, scores, sweep.evaluation.shown_split, ids)
        return cls(standing, failures, closed, silent)


def _open_records(sweep: SweepSpec) -> tuple[Jobs, ResultStore]:
    """The jobs of a sweep, unplanned, and its results, unread: a job is found while the hub, the
    data or the results cannot be read."""
    store = open_store(sweep.results, must_exist=False)
    return Jobs(sweep, None, {}, store.location), store


def _open_jobs(
    sweep: SweepSpec,
    profile: ClusterProfile | None = None,
    reads_results: bool = True,
    *,
    goes_on: bool = False,
) -> tuple[Jobs, ResultStore, Stored]:
    """The jobs of a sweep, its results, and what these say; without a plan where the data is not
    here, and may be on the cluster that the sweep goes to or went to.

    Args:
        sweep: as it was written.
        profile: of the cluster that it goes to; None: that where it went last, if it did.
        reads_results: whether results are looked at.
        goes_on: see `pin`.
    """
    jobs, store = _open_records(sweep)
    goes_to = next(_went_to(jobs), None) if profile is None else profile
    if goes_to is not None:
        look_where_jobs_do(goes_to)
    nothing = Stored(Standing({}), [], [], [])
    try:
        sweep = pin(sweep, store if reads_results else None, goes_on=goes_on).sweep
        planned = make_plan(sweep, known_fingerprints(sweep, store) if reads_results else ())
        stored = Stored.read(sweep, planned, store) if reads_results else nothing
        standing = stored.standing
        lacking = [trial.trial_id for trial in standing.to_run_again(planned)]
        return Jobs(sweep, planned, standing.statuses, store.location, lacking), store, stored
    except OSError as error:  # of an object store, in several lines
        if may_pass(error):
            raise
        reason = " ".join(str(error).split())
        raise SweepError(
            f"results: {store.location} cannot be read ({reason}); check the address, the "
            "network, and the credentials in the environment"
        ) from error
    except SpecError:
        is_there = goes_to is not None and goes_to.data_is_there
        if not is_there and not any(cluster.data_is_there for cluster in _went_to(jobs)):
            raise
        return jobs, store, nothing


def _went_to(jobs: Jobs) -> Iterator[ClusterProfile]:
    """The clusters that a sweep was submitted to, the latest first."""
    return (record.cluster() for _, record in jobs.records())


def _send(
    jobs: Jobs,
    name: str,
    profile: ClusterProfile,
    args: argparse.Namespace,
    *,
    another: bool = False,
) -> int:
    """Send a sweep to the cluster of this name and profile; `args` say what is run again."""
    again = {"retry_failed": args.retry_failed, "rerun_lacking": args.rerun_lacking}
    sweep, left = jobs.sweep, jobs.left(**again)
    is_counted = not are_elsewhere(profile, open_store(sweep.results, must_exist=False))
    if left == []:
        print(f"{sweep.name}: nothing is left to run; results in {jobs.results}")
        return DONE
    if profile.shares_files or not jobs.results.is_local:
        jobs.results.check_writable()
    for line in say_what_lacks(left or (), name, profile, fetch_command(args, profile)):
        print(line)

    submission, is_new = jobs.submit(name, profile, another=another, **again)
    number = "its" if left is None else str(len(left)) if is_counted else "what is left of its"
    if is_new:
        print(
            f"{sweep.name}: {name} job {submission.status.job_id} runs {number} trials; results "
            f"in {jobs.results}"
        )
    else:
        state = submission.status.state
        more = (
            "--another sends one beside it"
            if profile.takes_another
            else "there is one at a time; wait for its end or cancel it"
        )
        print(f"{sweep.name}: {name} job {submission.status.job_id} is {state} already; {more}")
    return DONE


class _LeavingDriver:
    """A driver whose log goes with its job, heard before the job is cancelled and while it stops.

    Args:
        submission: of the job.
    """

    def __init__(self, submission: Submission):
        self.job_id, self._folder = submission.status.job_id, submission.folder
        self._backend = submission.record.backend()
        self.fault = ""
        self._num_known = len(self._lines())  # reading a log keeps it

    def hear(self) -> tuple[list[str], bool]:
        """What it has said since, and whether its job is over."""
        try:
            is_over = self._backend.status(self.job_id, self._folder).state.is_terminal
        except ClusterError as error:
            self.fault = str(error)
            return [], False
        lines = self._lines()
        new = lines[self._num_known :]
        self._num_known = max(self._num_known, len(lines))
        return new, is_over

    def _lines(self) -> list[str]:
        """The driver's lines so far; none where they cannot be read, and `fault` says why."""
        try:
            lines = list(self._backend.logs(self.job_id, self._folder, False))
        except ClusterError as error:  # such as a node that does not answer, or no right to read
            self.fault = str(error)
            return []
        self.fault = ""
        return [line for line in lines if not is_on_log(line, self.job_id)]


def _hear_out(drivers: Sequence[_LeavingDriver], status: str) -> None:
    """Print what drivers say while they stop, where their logs go with their jobs.

    Args:
        drivers: of the jobs.
        status: the command that says how they stand.
    """
    until = time.monotonic() + LONGEST_END_S
    print(
        "Its log until the end, since it goes with the job; ^C leaves the job to itself:"
        if len(drivers) == 1
        else "Their logs until the end, since they go with the jobs; ^C leaves the jobs to "
        "themselves:"
    )
    stopping = list(drivers)
    while stopping:
        for driver in list(stopping):
            lines, is_over = driver.hear()
            whose = f"{driver.job_id}: " if len(drivers) > 1 else ""
            for line in lines:
                print(f"{whose}{line}", flush=True)
            if is_over:
                stopping.remove(driver)
                if driver.fault:
                    print(f"{whose}its log cannot be read: {driver.fault}", flush=True)
        if stopping and time.monotonic() > until:
            for driver in stopping:
                why = f" ({driver.fault})" if driver.fault else ""
                print(
                    f"{driver.job_id} has not stopped after {LONGEST_END_S:.0f} s{why}; see "
                    f"`{status}`"
                )
            return
        if stopping:
            time.sleep(HEARS_EVERY_S)


def _latest(args: argparse.Namespace, jobs: Jobs) -> Submission:
    submission = jobs.latest()
    if submission is None:
        send = command_of(args, "submit", "--on", "CLUSTER")
        raise SweepError(f"{jobs.sweep.name}: was not submitted; `{send}` does that")
    return submission


def _counts(jobs: Jobs, store: ResultStore, latest: Submission | None) -> dict[str, int] | None:
    """None where the results, or the data that the plan needs, are on the cluster alone."""
    is_there = latest is not None and are_elsewhere(latest.record.cluster(), store)
    if jobs.planned is None or is_there:
        return None
    return count(jobs.planned, jobs.statuses)


def _describe(
    sweep: SweepSpec, jobs: Jobs, store: ResultStore, stored: Stored, latest: Submission | None
) -> str:
    """For people: the sweep's counts, the job, the failures."""
    console = open_console()
    counts = _counts(jobs, store, latest)
    with console.capture() as capture:
        if counts is None:
            where = f"results in {jobs.results}, which is on the cluster, like the data"
            progress = latest.status.progress if latest is not None else None
            said = "not counted here" if progress is None else f"{progress}, as the driver says"
            console.print(f"{sweep.name}: {said}; {where}", soft_wrap=True)
        else:
            console.print(counts_line(sweep, store, counts), soft_wrap=True)
            for line in (*stored.standing.lines(), *stored.closed, *stored.silent):
                console.print(line, soft_wrap=True)
        if latest is not None:
            console.print(_job_line(latest), soft_wrap=True)
            if jobs.has_changed_since(latest.record):
                console.print(
                    "The sweep has changed since; the job has it as it was.", soft_wrap=True
                )
        if counts:
            print_failures(stored.failures, console)
            if counts["completed"]:
                console.print(report_line(store), soft_wrap=True)
    return capture.get().rstrip("\n")


def _job_line(submission: Submission) -> str:
    record, now = submission.record, submission.status
    detail = f", {now.detail}" if now.detail else ""
    native = f" ({now.native})" if now.native.lower() != now.state else ""
    return f"{record.profile_name} job {now.job_id}: {now.state}{native}{detail}"


def _describe_json(
    sweep: SweepSpec, jobs: Jobs, store: ResultStore, stored: Stored, latest: Submission | None
) -> str:
    counts: dict[str, int | None] = {"completed": None, "failed": None, "new": None}
    counts |= _counts(jobs, store, latest) or {}
    job = None
    if latest is not None:
        record, now = latest.record, latest.status
        job = {
            "job_id": now.job_id,
            "backend": record.profile["backend"],
            "profile": record.profile_name,
            "state": now.state,
            "is_over": now.state.is_terminal,
            "native": now.native,
            "detail": now.detail,
            "progress": None if now.progress is None else asdict(now.progress),
            "submitted_at": record.submitted_at,
            "folder": str(latest.folder),
            "has_changed": jobs.has_changed_since(record),
        }

    values = {
        "sweep": sweep.name,
        "results": str(store.location),
        **counts,
        "failures": stored.failures if counts["failed"] else [],
        "closed": stored.closed,
        "nothing_predicted": stored.silent,
        "job": job,
    }
    return json.dumps(values)


def _lines_of_trial(
    trial: str, jobs: Jobs, store: ResultStore, lines: Iterator[str]
) -> Iterator[str]:
    """What the results hold of a trial's attempts, then the driver's lines about it."""
    matching = [planned for planned in jobs.planned or [] if planned.trial_id.startswith(trial)]
    if len(matching) != 1:
        known = "no trial" if not matching else f"{len(matching)} trials"
        raise SweepError(
            f"--trial {trial}: {known} of {jobs.sweep.name}; give more of an id that `plan "
            "--json` lists"
        )
    name, trial_id = matching[0].spec.describe(), matching[0].trial_id

    columns = ["trial_id", "status", "started_at", "ended_at", "host"]
    columns += ["error_kind", "error_message", "error_traceback"]
    rows = store.read("attempts", columns).to_pylist()
    attempts = [row for row in rows if row["trial_id"] == trial_id]
    yield f"{trial_id}: {name}"
    for row in sorted(attempts, key=lambda row: row["started_at"]):
        fault = f": {row['error_kind']}: {row['error_message']}" if row["error_kind"] else ""
        yield f"{row['started_at']:%Y-%m-%d %H:%M:%S} on {row['host']}: {row['status']}{fault}"
        yield from (row["error_traceback"] or "").splitlines()

    yield from (line for line in lines if name in line)
