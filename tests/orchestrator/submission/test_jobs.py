"""Jobs of a sweep: sent once, found again, asked, and what is refused. The batch system is a toy,
whose folder and one line are all that a new backend takes."""

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.backend import JobState
from cluster.errors import ClusterError
from cluster.kubernetes.profile import KubernetesProfile
from orchestrator.errors import SweepError
from orchestrator.planning.plan import make_plan
from orchestrator.spec.profiles import make_profile
from orchestrator.spec.sweep_spec import load_sweep_spec
from orchestrator.submission.jobs import Jobs, Submission
from orchestrator.submission.records import END, RECORD, JobRecord
from tests.users import needs_users
from workers.storage import Location


def jobs_of(results: object, *overrides: str) -> Jobs:
    sweep = load_sweep_spec("smoke", [f"results={results}", "name=tiny", *overrides])
    return Jobs(sweep, make_plan(sweep), {}, Location.parse(str(results)))


def test_what_lacks_scores_is_left_when_it_shall_be_run_again():
    sweep = load_sweep_spec("smoke", ["results=unused", "languages=[ka]", "sparsities=[0]"])
    planned = make_plan(sweep)
    done = {trial.trial_id: "completed" for trial in planned}
    jobs = Jobs(sweep, planned, done, Location.parse("unused"), lacking=[planned[1].trial_id])
    assert jobs.left() == []
    assert jobs.left(rerun_lacking=True) == [planned[1]]


def toy(queue: Path, **fields: Any):
    return make_profile("toy", {"queue": str(queue)} | fields)


def submit(jobs: Jobs, queue: Path, **options: Any) -> tuple[Submission, bool]:
    return jobs.submit("mine", toy(queue), **options)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user who may not write where a mode forbids it; root may."""
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_backend_of_one_folder_and_one_line_takes_a_sweep(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    submission, is_new = submit(jobs, toy_queue)
    job_id = f"sw-tiny-{jobs.sweep_id}.1"
    assert (is_new, submission.status.job_id) == (True, job_id)
    assert submission.status.state is JobState.PENDING
    assert (toy_queue / job_id).read_text() == "pending"
    assert submission.record.backend().queue == toy_queue


def test_record_and_sweep_lie_with_results_that_the_job_shares(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    assert submission.folder.parent == tmp_path / "results" / "jobs" / "tiny"
    assert submission.folder.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in submission.folder.iterdir()} == {RECORD, "sweep.json"}
    record = JobRecord(**json.loads((submission.folder / RECORD).read_text()))
    assert record == submission.record
    assert (record.profile_name, record.num_left) == ("mine", 24)
    assert record.profile == {"backend": "toy", "queue": str(toy_queue)}
    assert jobs.records() == [(submission.folder, record)]


def test_results_that_the_job_does_not_share_get_no_folder_here(toy_queue, tmp_path):
    own = tmp_path / "state" / "sparsweep" / "jobs"
    pods = KubernetesProfile(image="i", volumes=[{"claim": "c", "mount": "/data"}])
    for results, profile in (("s3://bucket/results", toy(toy_queue)), ("/data/results", pods)):
        jobs = jobs_of(results)
        assert jobs.draft(profile).folder.parent == own / f"tiny-{jobs.sweep_id}"


def test_what_a_trial_gets_is_fixed_where_machines_join_as_they_come(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results", "resources.cpus_per_trial=2")
    frozen = json.loads(jobs.draft(toy(toy_queue, machines=3)).sweep_json)
    assert frozen["resources"] == {
        "cpus_per_trial": 2,
        "gpus_per_trial": 0.0,
        "max_concurrent_trials": 6,
    }
    assert frozen["results"] == str(tmp_path / "results")

    here = json.loads(jobs.draft(make_profile("local", {})).sweep_json)
    assert here["resources"] == {"cpus_per_trial": 2}


def test_trial_that_fits_on_no_machine_is_refused(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results", "resources.cpus_per_trial=5")
    with pytest.raises(
        SweepError,
        match="a trial asks for 5 CPUs and 0 GPUs, a machine of the profile has 4 and 0; lower",
    ):
        submit(jobs, toy_queue)


def test_trial_that_does_not_fit_into_memory_is_refused_before_anything_is_sent(tmp_path):
    jobs = jobs_of(tmp_path / "results", "resources.gpus_per_trial=0.02")
    profile = make_profile("slurm", {"gpu_memory_gib": 16})
    with pytest.raises(SweepError, match=r"0.02 of a GPU with 16 GiB is 0.3 GiB, .* takes 0.5 GiB"):
        jobs.submit("mine", profile)
    with pytest.raises(SweepError, match="give it 0.04 or more"):  # a dry run as well
        jobs.draft(profile)
    assert not (tmp_path / "results").exists()
    # How large GPUs are is only assumed here.
    jobs.draft(make_profile("slurm", {"gpu_type": "a100"}))


@pytest.mark.parametrize(
    ("given", "said"), [([], "not given, so a whole one"), (["=1"], "1"), (["=0"], "0")]
)
def test_mps_is_refused_where_trials_share_no_gpu(tmp_path, given, said):
    words = [f"resources.gpus_per_trial{value}" for value in given]
    jobs = jobs_of(tmp_path / "results", *words)
    for backend in ("local", "slurm"):
        profile = make_profile(backend, {"mps": True})
        with pytest.raises(SweepError, match=rf"^mps: .*gpus_per_trial: {said}\) and gain nothin"):
            jobs.submit("mine", profile)
    assert not (tmp_path / "results").exists()


def test_mps_changes_no_trial(tmp_path):
    jobs = jobs_of(tmp_path / "results", "resources.gpus_per_trial=0.25")
    drafts = [jobs.draft(make_profile("slurm", {"mps": mps})) for mps in (False, True)]
    assert drafts[0].plan_digest == drafts[1].plan_digest
    assert drafts[0].sweep_json == drafts[1].sweep_json


def test_a_live_job_of_the_sweep_is_not_sent_again(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    first, _ = submit(jobs, toy_queue)
    again, is_new = submit(jobs, toy_queue)
    assert (again.record, is_new) == (first.record, False)
    another, is_new = submit(jobs, toy_queue, another=True)
    assert (another.status.job_id != first.status.job_id, is_new) == (True, True)
    assert [live.status.job_id for live in jobs.live()] == [
        another.status.job_id,
        first.status.job_id,
    ]


def test_live_job_of_another_version_or_elsewhere_is_named(toy_queue, tmp_path):
    job_id = submit(jobs_of(tmp_path / "results"), toy_queue)[0].status.job_id
    longer = jobs_of(tmp_path / "results", "seeds=[0, 1, 2]")
    with pytest.raises(
        SweepError,
        match=f"{job_id} of another version of this sweep on mine is pending; `sparsweep cancel`",
    ):
        submit(longer, toy_queue)
    with pytest.raises(SweepError, match=f"tiny: job {job_id} on mine is pending; .* --another"):
        longer.submit("other", toy(toy_queue))


def test_live_job_without_a_record_is_named(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    (toy_queue / f"sw-tiny-{jobs.sweep_id}.7").write_text("running")
    with pytest.raises(SweepError, match=r"\.7 of this sweep is live, though nothing is recorded"):
        submit(jobs, toy_queue)


def test_what_the_cluster_does_not_take_leaves_nothing(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    with pytest.raises(ClusterError, match="queue: .*elsewhere is not there; make it"):
        submit(jobs, tmp_path / "elsewhere")
    assert jobs.latest() is None
    assert [file.name for file in (tmp_path / "results/jobs/tiny").iterdir()] == [".lock"]


def test_submission_that_died_while_it_was_sent_is_found_by_its_name(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    unsent = replace(submission.record, job_id=None)
    (submission.folder / RECORD).write_text(json.dumps(vars(unsent)))
    assert jobs.latest().status.job_id == submission.status.job_id
    (toy_queue / submission.status.job_id).write_text("completed")
    latest = jobs.latest()
    assert (latest.status.state, latest.status.native) == (JobState.GONE, "was never sent")


def test_end_of_a_job_is_remembered_when_the_system_has_forgotten_it(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    (toy_queue / submission.status.job_id).write_text("failed")
    assert jobs.latest().status.state is JobState.FAILED
    (toy_queue / submission.status.job_id).unlink()
    assert jobs.latest().status.state is JobState.FAILED
    assert jobs.live() == []
    (submission.folder / END).write_text("{}")  # cut off, or of another version: asked again
    (toy_queue / submission.status.job_id).write_text("running")
    assert jobs.latest().status.state is JobState.RUNNING


def test_cluster_that_does_not_answer_has_an_unknown_state(toy_queue, tmp_path, monkeypatch):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    elsewhere = replace(submission.record, profile={"backend": "slurm"}, job_id="12")
    (submission.folder / RECORD).write_text(json.dumps(vars(elsewhere)))
    monkeypatch.setenv("PATH", str(tmp_path))
    status = jobs.latest().status
    assert (status.state, status.native) == (JobState.UNKNOWN, "no answer")
    assert "scontrol is not on this machine's PATH" in status.detail


def left_out(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> str:
    """The one line on what `jobs` leaves out, after looking twice."""
    caplog.clear()
    assert jobs.records() == jobs.records() == []
    (line,) = caplog.messages
    assert "\n" not in line
    return line


def test_record_of_an_unknown_profile_is_left_out(toy_queue, tmp_path, caplog):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    older = replace(submission.record, profile={"backend": "pbs"})
    (submission.folder / RECORD).write_text(json.dumps(vars(older)))
    line = left_out(jobs, caplog)
    assert "mine, as it was when" in line
    assert "'pbs' is not known" in line
    assert "; submit the sweep anew" in line
    (toy_queue / submission.status.job_id).unlink()
    assert submit(jobs, toy_queue)[1]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[[[", '{"job_id": "1"}', "[" * 10_000, "\0", '{"job_id": 1}'],
    ids=lambda text: text[:12],
)
def test_file_that_is_no_record_is_named_and_left_out(text, toy_queue, tmp_path, caplog):
    jobs = jobs_of(tmp_path / "results")
    broken, _ = submit(jobs, toy_queue)
    (broken.folder / RECORD).write_text(text)
    line = left_out(jobs, caplog)
    assert f"{broken.folder / RECORD}: not a record of a job (" in line
    assert f"remove {broken.folder}" in line
    with pytest.raises(SweepError, match="is live, though nothing is recorded"):
        submit(jobs, toy_queue)
    (toy_queue / broken.status.job_id).write_text("completed")
    submission, is_new = submit(jobs, toy_queue)
    assert (is_new, jobs.latest()) == (True, submission)


@pytest.mark.parametrize("fields", [{"submitted_at": 5}, {"job_id": 5}, {"extra": 1}], ids=str)
def test_record_of_other_types_is_left_out(fields, toy_queue, tmp_path, caplog):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    (submission.folder / RECORD).write_text(json.dumps(vars(submission.record) | fields))
    assert f"not a record of a job ({next(iter(fields))}: " in left_out(jobs, caplog)


@pytest.mark.parametrize("name", [".", RECORD])
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_record_that_others_may_write_is_left_out(name, mode, toy_queue, tmp_path, caplog):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    (submission.folder / name).chmod(mode)
    assert "others may write to it, so it is not used; if" in left_out(jobs, caplog)
    (submission.folder / name).chmod(0o700)
    assert len(jobs.records()) == 1


def test_link_and_pipe_are_no_records(toy_queue, tmp_path, caplog):
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    elsewhere = submission.folder.rename(tmp_path / "elsewhere")
    submission.folder.symlink_to(elsewhere)
    assert jobs.records() == []
    submission.folder.unlink()
    submission.folder.mkdir(mode=0o700)
    (submission.folder / RECORD).symlink_to(elsewhere / RECORD)
    assert f"{submission.folder / RECORD}: cannot be read (" in left_out(jobs, caplog)
    (submission.folder / RECORD).unlink()
    os.mkfifo(submission.folder / RECORD, mode=0o600)
    assert f"{submission.folder / RECORD}: not a file" in left_out(jobs, caplog)


@needs_users
@pytest.mark.parametrize("foreign", ["folder", "record", "both"])
def test_record_of_another_user_is_not_acted_upon(
    foreign, toy_queue, tmp_path, caplog, monkeypatch
):
    """It names an address that would get the token, and commands that would be sent."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    jobs = jobs_of(tmp_path / "results")
    submission, _ = submit(jobs, toy_queue)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        bait = replace(submission.record, profile={"backend": "ray", "address": address})
        (submission.folder / RECORD).write_text(json.dumps(vars(bait)))
        for name, path in {
            "folder": submission.folder,
            "record": submission.folder / RECORD,
        }.items():
            if foreign in (name, "both"):
                os.chown(path, 65534, 65534)
        assert "belongs to another user, so it is not used" in left_out(jobs, caplog)
        assert jobs.latest() is None
        assert jobs.live() == []
        with pytest.raises(TimeoutError):  # nobody came
            listener.accept()


@needs_users
def test_folders_of_colleagues_stop_nobody(toy_queue, caplog, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="sparsweep-test-") as shared:  # all may go in
        Path(shared).chmod(0o777)
        monkeypatch.setenv("XDG_STATE_HOME", f"{shared}/state")
        jobs = jobs_of(f"{shared}/results")
        theirs, _ = submit(jobs, toy_queue)
        for path in (theirs.folder / RECORD, theirs.folder):
            os.chown(path, 65534, 65534)
        (toy_queue / theirs.status.job_id).unlink()
        ours, is_new = submit(jobs, toy_queue)
        assert (is_new, jobs.latest()) == (True, ours)
        assert len(caplog.messages) == 1
        os.seteuid(65533)
        try:
            assert "cannot be read (Permission denied)" in left_out(jobs_of(jobs.results), caplog)
        finally:
            os.seteuid(0)


def test_results_where_one_may_not_write_are_refused(toy_queue, tmp_path):
    jobs = jobs_of(tmp_path / "closed" / "results")
    (tmp_path / "closed").mkdir(mode=0o500)
    with nobody(), pytest.raises(ClusterError, match="Permission denied; give results where you"):
        submit(jobs, toy_queue)


def test_a_home_where_one_may_not_write_is_told_apart_from_results(
    toy_queue, tmp_path, monkeypatch
):
    jobs = jobs_of("s3://bucket/results")
    (tmp_path / "home").mkdir(mode=0o500)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    with nobody(), pytest.raises(ClusterError, match="state.*: Permission denied; set XDG_"):
        submit(jobs, toy_queue)


def test_submissions_at_once_send_one_job(toy_queue, tmp_path):
    all_jobs = [jobs_of(tmp_path / "results") for _ in range(4)]
    news: list[bool] = []
    threads = [
        threading.Thread(target=lambda jobs=jobs: news.append(submit(jobs, toy_queue)[1]))
        for jobs in all_jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(news) == [False, False, False, True]
    assert len(list(toy_queue.iterdir())) == 1


def test_jobs_of_another_sweep_in_the_same_results_are_not_ours(toy_queue, tmp_path):
    submit(jobs_of(tmp_path / "results"), toy_queue)
    other = jobs_of(tmp_path / "results", "name=other")
    assert other.latest() is None
    assert submit(other, toy_queue)[1]


def test_nothing_of_other_backends_is_loaded_for_a_profile():
    script = (
        "import sys; from orchestrator.spec.profiles import load_profile; load_profile('slurm')\n"
        "names = ('local', 'kubernetes', 'rayjobs')\n"
        "print([name for name in names if f'cluster.{name}' in sys.modules])"
    )
    words = [sys.executable, "-c", script]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Only so many more files can be written."""
    left, sync = [None] * after, os.fsync

    def write(number: int) -> None:
        if not left:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        left.pop()
        sync(number)

    monkeypatch.setattr(os, "fsync", write)


def test_where_the_home_is_full_nothing_is_sent(toy_queue, tmp_path, monkeypatch):
    jobs = jobs_of(tmp_path / "results")
    fill_disk(monkeypatch, after=0)
    with pytest.raises(OSError, match=r"Disk quota exceeded: '.*/job.json'"):
        submit(jobs, toy_queue)
    assert list(toy_queue.iterdir()) == []
    assert [
        path for path in (tmp_path / "results" / "jobs" / "tiny").iterdir() if path.is_dir()
    ] == []


def test_a_job_whose_record_a_full_home_does_not_take_is_found_and_not_sent_again(
    toy_queue, tmp_path, monkeypatch, caplog
):
    jobs = jobs_of(tmp_path / "results")
    fill_disk(monkeypatch, after=2)  # the first record, and the sweep
    submission, is_new = submit(jobs, toy_queue)
    job_id = f"sw-tiny-{jobs.sweep_id}.1"
    assert (is_new, submission.status.job_id) == (True, job_id)
    (line,) = caplog.messages
    assert line.startswith(f"job {job_id} was sent, and its record cannot be completed (")
    assert "/job.json: Disk quota exceeded); make room" in line

    again, is_new = submit(jobs, toy_queue)
    assert (is_new, again.status.job_id) == (False, job_id)
    assert [file.name for file in toy_queue.iterdir()] == [job_id]
