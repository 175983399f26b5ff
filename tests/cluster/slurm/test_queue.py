"""What Slurm's commands say, read from commands that say it. Real ones are met in
tests/integration/slurm."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.backend import JobState
from cluster.errors import ClusterError
from cluster.slurm import shared_files
from cluster.slurm.backend import SlurmBackend
from cluster.slurm.profile import SlurmProfile
from cluster.slurm.queue import STATES, ask, is_live, job_fields, time_left_s
from cluster.slurm.script import SETUP_FAILED
from cluster.slurm.time_limit import seconds
from tests.cluster.slurm.test_script import JOB

FOLDER = Path("/shared/results/jobs/1")

# The states of squeue's manual page: those of jobs that are over, and the others.
ENDED = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
}
ENDED |= {"OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"}
LIVE = {
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESIZING",
}
LIVE |= {"RESV_DEL_HOLD", "EXPEDITING"}  # of slurm.h, of newer versions
LIVE |= {"CONFIGURING", "COMPLETING", "STOPPED", "STAGE_OUT", "SIGNALING", "POWER_UP_NODE"}

RECORD = (
    "JobId={id} JobName={name} UserId={user}(1000) GroupId=users(100) Priority=1 "
    "JobState={state} Reason={reason} Dependency=(null) Requeue=1 Restarts={restarts} "
    "BatchFlag=1 Reboot=0 ExitCode={code} RunTime=00:01:02 TimeLimit=01:00:00 "
    "NodeList={nodes} Comment=two words here StdErr=/a b/c.log Power="
)


def record(**fields: str) -> str:
    given = {
        "id": "12",
        "name": JOB.job_name,
        "user": "root",
        "state": "RUNNING",
        "reason": "None",
        "restarts": "0",
    }
    return RECORD.format(**(given | {"code": "0:0", "nodes": "node[1-2]"} | fields))


def status(says, folder: Path = FOLDER, **fields: str):
    says("scontrol", record(**fields))
    return SlurmBackend(SlurmProfile()).status("12", folder)


def test_every_state_of_slurm_has_one_of_ours():
    assert set(STATES) == ENDED | LIVE
    assert {native for native, state in STATES.items() if state.is_terminal} == ENDED


def test_unknown_state_is_said_and_taken_for_alive(says):
    found = status(says, state="LEVITATING")
    assert (found.state, found.native) == (JobState.UNKNOWN, "LEVITATING")
    assert not found.state.is_terminal


def test_record_is_read_in_spite_of_spaces(says):
    says("scontrol", record())
    (fields,) = job_fields("12")
    assert (fields["Comment"], fields["StdErr"], fields["JobState"]) == (
        "two words here",
        "/a b/c.log",
        "RUNNING",
    )


def test_waiting_job_says_why(says):
    assert status(says, state="PENDING", reason="Resources").detail == "waits: Resources"


def test_running_job_says_where_and_how_long_and_how_often_it_came_back(says):
    assert status(says).detail == "on node[1-2] for 00:01:02 of 01:00:00"
    assert status(says, restarts="2").detail.endswith("after 2 returns to the queue")


def test_stopped_sweep_is_no_failed_job(says, tmp_path):
    assert status(says, state="FAILED", code="75:0").state is JobState.CANCELLED
    holes = status(says, state="FAILED", code="3:0")
    assert (holes.state, holes.detail) == (JobState.COMPLETED, "some trials failed")
    (tmp_path / shared_files.SEEN).touch()
    unset = status(says, tmp_path, state="FAILED", code=f"{SETUP_FAILED}:0")
    assert unset.state is JobState.FAILED
    assert unset.detail == "a line of setup in the profile ended the job"
    failed = status(says, tmp_path, state="FAILED", code="2:0")
    assert (failed.state, failed.detail) == (JobState.FAILED, "exit code 2:0")


def test_failed_job_whose_nodes_did_not_see_its_folder_says_so(says, tmp_path):
    unseen = status(says, tmp_path, state="FAILED", code="1:0")
    assert unseen.detail == (
        f"exit code 1:0; its first node did not see {tmp_path}, which must be on a file system "
        "that all nodes share"
    )
    (tmp_path / "12.log").touch()
    assert status(says, tmp_path, state="FAILED", code="1:0").detail == "exit code 1:0"


def test_job_that_failed_says_how_its_log_ends(says, tmp_path):
    (tmp_path / "12.log").write_text("slurm_script: line 19: module: command not found\n\n")
    assert status(says, tmp_path, state="FAILED", code="127:0").detail == (
        "exit code 127:0; its log ends: slurm_script: line 19: module: command not found"
    )


def test_job_that_slurm_has_forgotten_is_gone_unless_there_are_accounts(says):
    says("scontrol", "slurm_load_jobs error: Invalid job id specified", code=1)
    says("sacct", "Slurm accounting storage is disabled", code=1)
    backend = SlurmBackend(SlurmProfile())
    assert backend.status("12", FOLDER).state is JobState.GONE
    says("sacct", "CANCELLED by 1000|0:0")
    assert backend.status("12", FOLDER).state is JobState.CANCELLED


def test_slurm_that_does_not_answer_is_no_state(says):
    says(
        "scontrol",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        code=1,
    )
    with pytest.raises(ClusterError, match="slurm: scontrol: .*Unable to contact slurm controller"):
        SlurmBackend(SlurmProfile()).status("12", FOLDER)


@pytest.mark.parametrize(("name", "user"), [("other", "root"), (JOB.job_name, "ann")])
def test_job_of_somebody_else_is_left_alone(says, name, user):
    says("scontrol", record(name=name, user=user))
    asked = says("scancel", "")
    with pytest.raises(
        ClusterError,
        match=f"slurm: job 12 is {name} of {user}, not {JOB.job_name} of .*; left alone",
    ):
        SlurmBackend(SlurmProfile()).cancel("12", JOB.job_name, now=True)
    assert not asked.exists()


@pytest.mark.parametrize(
    ("state", "now", "asked"),
    [
        ("RUNNING", False, "--batch --signal=USR1 12"),
        ("RUNNING", True, "12"),
        ("PENDING", False, "12"),
    ],
)
def test_running_job_is_asked_and_others_are_cancelled(says, state, now, asked):
    says("scontrol", record(state=state))
    file = says("scancel", "")
    SlurmBackend(SlurmProfile()).cancel("12", JOB.job_name, now=now)
    assert file.read_text().strip() == asked


def test_variables_of_an_allocation_do_not_reach_slurms_commands(says, monkeypatch, tmp_path):
    """Slurm's commands prefer them to what they are told, and hand them on to the job."""
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_JWT": "token", "PATH": os.environ["PATH"]}
    leaking = ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_CPU_BIND", "SLURM_CPUS_PER_TASK")
    leaking += (
        "SBATCH_PARTITION",
        "SBATCH_TIMELIMIT",
        "SQUEUE_FORMAT",
        "SALLOC_X",
        "SLURMD_NODENAME",
    )
    for name, value in (kept | dict.fromkeys(leaking, "leaks")).items():
        monkeypatch.setenv(name, value)
    for command in ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "sacct"):
        (tmp_path / command).write_text("#!/bin/bash\nexec env\n")
        (tmp_path / command).chmod(0o755)
        seen = dict(line.partition("=")[::2] for line in ask(command).splitlines())
        assert {name: seen.get(name) for name in kept} == kept
        assert not {name for name in seen if seen[name] == "leaks"}


def test_missing_slurm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = SlurmBackend(SlurmProfile()).check()
    assert (
        problem
        == "slurm: sinfo is not on this machine's PATH; submit from a login node, or load its "
        "module"
    )


def test_unknown_partition_is_said_with_those_that_there_are(says):
    says("sinfo", "main\nspot")
    (problem,) = SlurmBackend(SlurmProfile(partition="gpu")).check()
    assert problem == "partition: gpu: no such partition here; there are: main, spot"
    assert SlurmBackend(SlurmProfile(partition="main,spot")).check() == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition "
            "combination specified",
            "refuses the job: Batch job submission failed: Invalid account .*; set account in the "
            "profile",
        ),
        (
            "allocation failure: Invalid qos specification",
            "refuses the job: Invalid qos specification; set qos",
        ),
        (
            "allocation failure: Requested node configuration is not available",
            "node configuration is not available; ask for fewer nodes, GPUs, cores or less memory",
        ),
        (
            "allocation failure: Requested time limit is invalid",
            "time limit is invalid; lower time_limit in the profile",
        ),
        (
            "sbatch: unrecognized option '--exclusiv'",
            "unrecognized option '--exclusiv'; mend extra in the profile",
        ),
        ("sbatch: error: something new", "something new; see the profile"),
    ],
)
def test_refusal_comes_with_a_remedy_and_leaves_nothing(says, tmp_path, said, message):
    says("sinfo", "main")
    says("sbatch", said, code=1)
    with pytest.raises(ClusterError, match=message):
        SlurmBackend(SlurmProfile()).submit(replace(JOB, folder=tmp_path))


@pytest.mark.parametrize(
    "said",
    ["Requested node configuration is not available", "Invalid time specified"],
)
def test_what_slurm_queues_although_it_cannot_start_now_is_sent(says, tmp_path, said):
    """Slurm 22.05 says so of drained nodes, and of a reservation that has not begun."""
    says("sinfo", "main")
    says("sbatch", "")
    refuses = f"[[ $* != *test-only* ]] || {{ echo allocation failure: {said} >&2; exit 1; }}"
    (tmp_path / "sbatch").write_text(f"#!/bin/bash\n{refuses}\necho 12\n")
    assert SlurmBackend(SlurmProfile()).submit(replace(JOB, folder=tmp_path)) == "12"


def test_head_is_taken_back_when_the_workers_are_refused(says, tmp_path, monkeypatch):
    says("sinfo", "main")
    says("sbatch", "")
    only_head = (
        '#!/bin/bash\ncase "$*" in *dependency*) echo no room >&2; exit 1;; *) echo 12;; esac\n'
    )
    (tmp_path / "sbatch").write_text(only_head)
    cancelled = says("scancel", "")
    job = replace(JOB, folder=tmp_path)
    with pytest.raises(ClusterError, match="no room; see the profile"):
        SlurmBackend(SlurmProfile(mode="elastic")).submit(job)
    assert cancelled.read_text().strip() == "12"


# An interrupted `subprocess.run` kills its process, and does not wait until it has ended.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*subprocess .* is still running")
def test_both_jobs_are_taken_back_when_somebody_loses_patience_between_them(
    says, tmp_path, monkeypatch
):
    says("sinfo", "main")
    says("sbatch", "")
    (tmp_path / "sbatch").write_text(
        "#!/bin/bash\n[[ $* == *dependency* ]] && kill -INT $PPID && sleep 2\necho 12\n"
    )
    cancelled = says("scancel", "")
    with pytest.raises(KeyboardInterrupt):
        SlurmBackend(SlurmProfile(mode="elastic")).submit(replace(JOB, folder=tmp_path))
    assert cancelled.read_text().strip() == "12"


def say_head_and_workers(says, head: str) -> None:
    says("scontrol", "")
    tasks = [
        record(id="14", state="RUNNING") + " ArrayJobId=13 ArrayTaskId=0",
        record(id="13", state="PENDING") + " ArrayJobId=13 ArrayTaskId=1,3-5%2",
    ]
    path = Path(os.environ["PATH"].partition(":")[0]) / "scontrol"
    body = f"case $4 in 13) printf '%s\\n' {shlex.join(tasks)};; *) echo {shlex.quote(head)};; esac"
    path.write_text(f"#!/bin/bash\n{body}\n")


def test_workers_that_outlive_their_head_keep_the_job_alive_so_that_it_can_be_cancelled(says):
    say_head_and_workers(says, record(state="FAILED", code="1:0"))
    found = SlurmBackend(SlurmProfile()).status("12+13", FOLDER)
    assert (found.state, found.native) == (JobState.STOPPING, "FAILED")
    asked = says("scancel", "")
    SlurmBackend(SlurmProfile()).cancel("12+13", JOB.job_name, now=False)
    assert asked.read_text().strip() == "12 13"


def test_job_is_live_while_a_task_of_it_is_and_while_slurm_does_not_say(says):
    say_head_and_workers(says, record(state="COMPLETED"))
    assert is_live("13")
    assert not is_live("12")
    says("scontrol", "slurm_load_jobs error: Invalid job id specified", code=1)
    assert not is_live("12")
    says("scontrol", "slurm_load_jobs error: Unable to contact slurm controller", code=1)
    assert is_live("12")


def test_elastic_job_counts_its_workers(says):
    say_head_and_workers(says, record())
    assert (
        SlurmBackend(SlurmProfile())
        .status("12+13", FOLDER)
        .detail.endswith("; workers: 1 running, 4 waiting")
    )


def test_time_left_is_none_without_a_limit(says):
    says("squeue", "UNLIMITED")
    assert time_left_s("12") is None
    says("squeue", "1-02:03:04")
    assert time_left_s("12") == seconds("1-02:03:04")


def test_gpus_of_an_allocation_are_not_handed_on_to_the_job(says, monkeypatch, tmp_path):
    """A job without GPUs would count them as its own; a user's own choice stays."""
    says("sbatch", "")
    (tmp_path / "sbatch").write_text('#!/bin/bash\necho "${CUDA_VISIBLE_DEVICES-none}"\n')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert ask("sbatch").strip() == "3"
    monkeypatch.setenv("SLURM_JOB_ID", "11")
    assert ask("sbatch").strip() == "none"


@pytest.mark.parametrize(("place", "is_found"), [("{folder}", True), ("/elsewhere", False)])
def test_a_job_that_slurm_took_without_an_answer_is_found_and_not_sent_again(
    says, tmp_path, place, is_found
):
    folder = tmp_path / "my job"
    folder.mkdir()
    job = replace(JOB, folder=folder)
    says("sinfo", "main")
    says("squeue", "12")
    says("scontrol", record() + f" WorkDir={place.format(folder=folder)} Power=")
    says("sbatch", "")
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    lost = f"[[ $* == *test-only* ]] || {{ echo {shlex.quote(said)} >&2; exit 1; }}"
    (tmp_path / "sbatch").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/sent\n{lost}\n')
    backend = SlurmBackend(SlurmProfile())
    if is_found:
        assert backend.submit(job) == "12"
    else:
        with pytest.raises(ClusterError, match="says whether the job arrived"):
            backend.submit(job)
    assert (tmp_path / "sent").read_text().splitlines() == ["--test-only", "--parsable"]
