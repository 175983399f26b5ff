"""Jobs on this machine: real processes, which a shell stands in for where no sweep is needed."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.backend import JobSpec, JobState
from cluster.errors import ClusterError
from cluster.job_files import read_lines, run_words, write_sweep_file
from cluster.local import job as local_job
from cluster.local.backend import LocalBackend
from cluster.local.profile import LocalProfile
from tests import factories, mps_control

WAIT_S = 240
SUBMIT = """
import sys
from pathlib import Path
from cluster.backend import JobSpec
from cluster.local.backend import LocalBackend
from cluster.local.profile import LocalProfile
job = JobSpec(
    name="tiny", sweep_id="0123abcd", folder=Path(sys.argv[2]), results="results",
    sweep_json="{}", plan_digest=None, cpus_per_trial=1, gpus_per_trial=None,
)
backend = LocalBackend(LocalProfile(), program=("/bin/sh", "-c", sys.argv[1]))
sys.stdin.readline()
print(backend.submit(job), flush=True)
sys.stdin.read()
"""
SLEEP = 'trap "exit 75" USR2; echo begun; while true; do sleep 0.05; done'


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "sparsweep" / "local"


@pytest.fixture
def running() -> Iterator[list[str]]:
    """Ids of jobs that are killed after the test, should they still run."""
    ids: list[str] = []
    yield ids
    for job_id in ids:
        if local_job.job_id_of(pid_of(job_id)) == job_id:
            os.kill(pid_of(job_id), local_job.KILL)
            wait_until(lambda: local_job.job_id_of(pid_of(job_id)) != job_id)  # noqa: B023


def make_job(folder: Path, **changes: Any) -> JobSpec:
    folder.mkdir(mode=0o700, exist_ok=True)
    return factories.make_job(folder, **changes)


def shell(script: str) -> LocalBackend:
    """A backend whose jobs run a shell script, with the words for sparsweep as $1 and so on."""
    return LocalBackend(LocalProfile(), program=("/bin/sh", "-c", script, "sh"))


def submitting(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A process that submits a sleeping job when it reads a line, and waits for its input's end."""
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", SUBMIT, SLEEP, str(folder)]
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)


def pid_of(job_id: str) -> int:
    return int(job_id.rsplit("-", 2)[1])


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def wait_for_end(backend: LocalBackend, job_id: str, folder: Path) -> JobState:
    wait_until(lambda: backend.status(job_id, folder).state.is_terminal)
    return backend.status(job_id, folder).state


def in_session(pid: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == pid and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_job_runs_the_sweep_in_a_session_of_its_own(tmp_path, running, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    backend, job = (
        shell('echo "$@"; echo "address: $RAY_ADDRESS"; cat; ps -o sid= -p $$'),
        make_job(tmp_path / "job"),
    )
    job_id = backend.submit(job)
    running.append(job_id)
    lines = list(backend.logs(job_id, job.folder, follow=True))
    assert lines[:2] == [f"run {job.folder}/sweep.json", "address: "]
    assert int(lines[2]) == pid_of(job_id) != os.getsid(0)
    status = backend.status(job_id, job.folder)
    assert (status.state, status.native, status.detail) == (JobState.COMPLETED, "exit code 0", "")
    assert (job.folder / "sweep.json").read_text() == job.sweep_json


def with_mps(script: str) -> LocalBackend:
    return LocalBackend(LocalProfile(mps=True), program=("/bin/sh", "-c", script, "sh"))


@pytest.mark.slow
def test_processes_of_a_job_share_gpus_by_a_server_of_its_own(tmp_path, running, monkeypatch):
    log = mps_control.install(tmp_path, monkeypatch)
    mps_control.install_nvidia_smi(tmp_path, "GPU-aa", "GPU-bb")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    backend, job = with_mps("env | grep CUDA; echo $TMPDIR"), make_job(tmp_path / "job")
    assert "# NVIDIA's MPS is started before it, and ended." in backend.render(job)
    assert "MPS" not in shell("").render(job)
    job_id = backend.submit(job)
    running.append(job_id)
    *variables, folder = backend.logs(job_id, job.folder, follow=True)
    assert sorted(variables) == [
        f"CUDA_MPS_LOG_DIRECTORY={folder}/mps/log",
        f"CUDA_MPS_PIPE_DIRECTORY={folder}/mps/pipe",
        "CUDA_VISIBLE_DEVICES=GPU-bb",
    ]
    assert mps_control.told(log) == [
        f"-f in {folder}/mps/pipe, logs in {folder}/mps/log, sees GPU-bb",
        f"quit in {folder}/mps/pipe",
        "ended",
    ]
    assert not Path(folder).exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [local_job.STOP, local_job.KILL, signal.SIGKILL])
def test_the_server_ends_with_a_job_however_that_ends(tmp_path, running, monkeypatch, number):
    log = mps_control.install(tmp_path, monkeypatch)
    backend, job = with_mps(SLEEP), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    wait_until(lambda: "begun" in local_job.log_file(job.folder, job_id).read_text())
    below = psutil.Process(pid_of(job_id)).children()
    os.kill(pid_of(job_id), number)
    mps_control.wait_until_ended(log, WAIT_S)
    if number == signal.SIGKILL:  # nobody is left who would end the command
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(Path(mps_control.told(log)[0].split()[2]).parents[1])
    wait_for_end(backend, job_id, job.folder)


@pytest.mark.slow
def test_a_job_without_mps_goes_on_and_says_so(tmp_path, running, monkeypatch):
    mps_control.install(tmp_path, monkeypatch, start="echo no GPU of ours >&2; exit 1")
    backend, job = with_mps("echo runs"), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    why, runs = backend.logs(job_id, job.folder, follow=True)
    assert why.startswith("mps: nvidia-cuda-mps-control did not start (no GPU of ours); see ")
    assert why.endswith(
        "until then trials that share a GPU take turns there, with the same numbers"
    )
    assert runs == "runs"


def test_files_are_the_owners_alone(tmp_path, running, state):
    backend, job = shell(SLEEP), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    backend.cancel(job_id, job.job_name, now=False)
    wait_for_end(backend, job_id, job.folder)
    files = [*job.folder.iterdir(), *state.glob("*.json")]
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.slow
def test_job_survives_the_end_of_its_terminal(tmp_path, running):
    job = make_job(tmp_path / "job")
    terminal = submitting(job.folder, start_new_session=True)
    with terminal:
        terminal.stdin.write("\n")
        terminal.stdin.flush()
        job_id = terminal.stdout.readline().strip()
        running.append(job_id)
        os.killpg(terminal.pid, signal.SIGHUP)
    os.kill(pid_of(job_id), signal.SIGHUP)
    time.sleep(0.3)
    assert shell("").status(job_id, job.folder).state is JobState.RUNNING


@pytest.mark.parametrize(
    ("script", "state", "detail"),
    [
        ("exit 1", JobState.FAILED, "exit code 1, and no output"),
        ("exit 3", JobState.COMPLETED, "some trials failed"),
        ("exit 75", JobState.CANCELLED, "stopped with trials left"),
        ("exit 130", JobState.CANCELLED, "stopped with trials left"),
        ("kill -USR2 $$", JobState.CANCELLED, "stopped before trials began"),
        ("kill -KILL $$", JobState.FAILED, "killed by SIGKILL, as happens where memory runs out"),
        ("echo why; echo; exit 2", JobState.FAILED, "why"),
        ("exit 70", JobState.FAILED, "exit code 70, and no output"),
    ],
)
def test_exit_code_says_how_it_ended(tmp_path, running, script, state, detail):
    backend, job = shell(script), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    assert wait_for_end(backend, job_id, job.folder) is state
    assert backend.status(job_id, job.folder).detail == detail


@pytest.mark.parametrize("content", [b"", b"?1\n", b"\xff\xfe0"])
def test_damaged_exit_code_is_told(tmp_path, running, content):
    backend, job = shell("exit 0"), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    wait_for_end(backend, job_id, job.folder)
    file = local_job.exit_file(job.folder, job_id)
    file.write_bytes(content)
    status = backend.status(job_id, job.folder)
    assert (status.state, status.native) == (JobState.FAILED, "dead")
    assert f"{file} is damaged" in status.detail


@pytest.mark.slow
def test_one_job_of_a_sweep_at_a_time(tmp_path, running):
    backend, job = shell(SLEEP), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    assert backend.live_jobs(job.job_name) == [job_id]
    assert backend.live_jobs("sw-other-0123abcd") == []
    with pytest.raises(
        ClusterError,
        match=f"sw-tiny-0123abcd: runs already as {job_id}; wait for its end, or cancel",
    ):
        backend.submit(make_job(tmp_path / "again"))
    other = backend.submit(make_job(tmp_path / "other", sweep_id="4567cdef"))
    running.append(other)
    assert backend.live_jobs(job.job_name) == [job_id]


@pytest.mark.slow
def test_submissions_at_once_start_one_job(tmp_path, running):
    at_once = [submitting(make_job(tmp_path / f"job{number}").folder) for number in range(4)]
    for process in at_once:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=WAIT_S) for process in at_once]
    started = [stdout.strip() for stdout, _ in outputs if stdout]
    running += started
    assert len(started) == 1, outputs
    assert sum("runs already as" in stderr for _, stderr in outputs) == 3


@pytest.mark.slow
def test_submission_that_dies_keeps_nobody_from_submitting(tmp_path, running, state):
    state.mkdir(parents=True)
    lock = state / ".sw-tiny-0123abcd.lock"
    words = f"import filelock\nwith filelock.FileLock({str(lock)!r}): print(1); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-uc", words], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout.readline()
        job = make_job(tmp_path / "job")
        second = submitting(job.folder)
        second.stdin.write("\n")
        second.stdin.flush()
        time.sleep(1)
        assert not any(job.folder.iterdir())
        holder.kill()
    running.append(second.communicate(timeout=WAIT_S)[0].strip())
    assert shell("").status(running[0], job.folder).state is JobState.RUNNING


@pytest.mark.slow
def test_cancel_stops_cleanly(tmp_path, running):
    backend = shell(
        'trap "echo saved; sleep 0.5; exit 75" USR2; echo begun; while true; do sleep 0.05; done'
    )
    job = make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    wait_until(lambda: "begun" in backend.logs(job_id, job.folder, follow=False))
    backend.cancel(job_id, job.job_name, now=False)
    assert backend.status(job_id, job.folder).state is JobState.STOPPING
    assert list(backend.logs(job_id, job.folder, follow=True)) == ["begun", "saved"]
    assert backend.status(job_id, job.folder).state is JobState.CANCELLED
    assert backend.live_jobs(job.job_name) == []
    backend.cancel(job_id, job.job_name, now=True)  # nothing is left to stop


def test_cancel_now_leaves_no_process_behind(tmp_path, running):
    # A process in a group of its own, as Ray's workers are, that outlives its parent.
    backend = shell(
        "trap '' USR2 TERM; setsid -w true; set -m; (sleep 600 & sleep 600) & echo begun; wait"
    )
    job = make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    wait_until(lambda: len(in_session(pid_of(job_id))) >= 4)
    backend.cancel(job_id, job.job_name, now=True)
    assert wait_for_end(backend, job_id, job.folder) is JobState.CANCELLED
    assert (
        backend.status(job_id, job.folder).detail
        == "killed; trials go on from their last checkpoints"
    )
    wait_until(lambda: in_session(pid_of(job_id)) == [])


def test_killed_job_is_seen_as_such(tmp_path, running):
    backend, job = shell("echo begun; exec sleep 600"), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    wait_until(lambda: list(backend.logs(job_id, job.folder, follow=False)) == ["begun"])
    left = in_session(pid_of(job_id))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: backend.status(job_id, job.folder).state.is_terminal)
    status = backend.status(job_id, job.folder)
    assert (status.state, status.native) == (JobState.FAILED, "dead")
    assert "it was killed, or the machine was started anew; submit again" in status.detail
    assert list(backend.logs(job_id, job.folder, follow=True)) == ["begun"]


def test_cancel_refuses_what_is_not_the_sweeps_job(tmp_path, running):
    backend, job = shell(SLEEP), make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    with pytest.raises(
        ClusterError, match=f"{job_id}: is no job of sw-other-0123abcd that was submitted here"
    ):
        backend.cancel(job_id, "sw-other-0123abcd", now=True)
    # This process has never been a job, and a pid with another start is another process.
    for wrong in (local_job.job_id_of(os.getpid()), f"{local_job.this_host()}-{pid_of(job_id)}-1"):
        with pytest.raises(ClusterError, match=f"{wrong}: is no job of sw-tiny-0123abcd"):
            backend.cancel(wrong, job.job_name, now=True)
    assert backend.status(job_id, job.folder).state is JobState.RUNNING


def test_job_of_another_machine(tmp_path):
    backend = shell("")
    status = backend.status("node-7.example.org-123-456", tmp_path)
    assert (status.state, status.detail) == (
        JobState.UNKNOWN,
        "runs on node-7.example.org; ask there",
    )
    with pytest.raises(ClusterError, match="node-7-123-456: runs on node-7; cancel it there"):
        backend.cancel("node-7-123-456", "sw-tiny-0123abcd", now=False)
    # Where both see the files, its end is known here, too.
    (tmp_path / "node-7-123-456.exit").write_text("75\n")
    assert backend.status("node-7-123-456", tmp_path).state is JobState.CANCELLED


def test_forgotten_and_malformed_ids(tmp_path):
    backend = shell("")
    gone = f"{local_job.this_host()}-1-1"
    assert backend.status(gone, tmp_path).state is JobState.GONE
    with pytest.raises(
        ClusterError, match="job id: '../x' is none of this machine; they look like .*-PID-START"
    ):
        backend.status("../x", tmp_path)
    with pytest.raises(
        ClusterError, match=f"{gone}.log: does not exist; is {tmp_path} the folder of {gone}"
    ):
        list(backend.logs(gone, tmp_path, follow=False))


def test_program_that_cannot_be_started_leaves_no_job(tmp_path, state):
    backend = LocalBackend(LocalProfile(), program=("/nowhere/python",))
    with pytest.raises(
        ClusterError, match="could not be started: .*No such file or directory: '/nowhere/python'"
    ):
        backend.submit(make_job(tmp_path / "job"))
    assert list(state.glob("*.json")) == []


def test_state_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    (line,) = shell("").check()
    assert "Not a directory; set XDG_STATE_HOME to a folder that you may write to" in line


@pytest.mark.slow
def test_records_of_removed_folders_are_dropped(tmp_path, running, state):
    backend, job = shell("exit 0"), make_job(tmp_path / "job")
    first = backend.submit(job)
    wait_until(lambda: local_job.job_id_of(pid_of(first)) is None)
    job.folder.rename(tmp_path / "elsewhere")
    second = backend.submit(make_job(tmp_path / "job2"))
    wait_for_end(backend, second, tmp_path / "job2")
    assert [file.stem for file in state.glob("*.json")] == [second]


def test_rendered_command_is_quoted_and_complete():
    job = make_job_without_folder(Path("/jobs/it's here"), plan_digest="d1")
    shown = LocalBackend(LocalProfile(), program=("/opt/python", "-m", "orchestrator.cli")).render(
        job
    )
    assert shown == (
        "# On this machine, in the background, in a session of its own.\n"
        "# Output: /jobs/it's here/<job id>.log, exit code: /jobs/it's here/<job id>.exit\n"
        "env -u RAY_ADDRESS /opt/python -m orchestrator.cli run '/jobs/it'\"'\"'s "
        "here/sweep.json' --expect-plan d1\n\n"
        "# /jobs/it's here/sweep.json\n"
        '{"name": "tiny"}\n'
    )


def make_job_without_folder(folder: Path, **changes: Any) -> JobSpec:
    from dataclasses import replace

    return replace(make_job(Path("/tmp")), folder=folder, **changes)


def test_words_of_the_command_name_the_plan(tmp_path):
    job = make_job(tmp_path / "job", plan_digest="d1")
    assert run_words(job) == ["run", str(write_sweep_file(job)), "--expect-plan", "d1"]


def test_lines_are_whole_while_a_log_grows(tmp_path):
    log = tmp_path / "log"
    steps = iter([b"one\ntw", b"o\nthr\xc3", b"\xa9e\n", b"four"])

    def is_over() -> bool:
        part = next(steps, None)
        if part is not None:
            with log.open("ab") as file:
                file.write(part)
        return part is None

    assert list(read_lines(log, is_over, poll_s=0)) == ["one", "two", "thrée", "four"]
    assert list(read_lines(tmp_path / "none", None)) == []


@pytest.mark.slow
def test_a_job_gets_what_the_profile_says_of_the_hub(tmp_path, running):
    profile = LocalProfile(offline=True, hub_cache=f"{tmp_path}/my hub")
    script = 'echo "$HF_HUB_OFFLINE $HF_HUB_CACHE"'
    backend = LocalBackend(profile, program=("/bin/sh", "-c", script, "sh"))
    job = make_job(tmp_path / "job")
    job_id = backend.submit(job)
    running.append(job_id)
    assert list(backend.logs(job_id, job.folder, follow=True)) == [f"1 {tmp_path}/my hub"]
    assert f"'HF_HUB_CACHE={tmp_path}/my hub' HF_HUB_OFFLINE=1 /bin/sh" in backend.render(job)
