"""Sweeps on a real Slurm, interrupted in many ways, come to the numbers of a local run."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.slurm.backend import SlurmBackend
from cluster.slurm.driver import SHORTEST_RUN_S
from cluster.slurm.profile import SlurmProfile
from cluster.slurm.queue import accounted_state
from orchestrator.results.store import ResultStore
from tests import mps_control
from tests.real_sweeps import (
    Command,
    assert_same_numbers,
    changed_at,
    checkpoints,
    run_once,
    sparsweep,
    write_sweep,
)

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

PROFILE = {
    "partition": "main",
    "nodes": 2,
    "gpus_per_node": 1,
    "cpus_per_gpu": 1,
    "mem_gib_per_gpu": 3,
    "time_limit": "30",
    "stop_before_s": 30,
}
"""Two nodes, on each of which one trial runs at a time."""

SHAPE = {
    "training": {"num_steps": 500, "lr": 3e-3},
    # The cluster's GPUs are null devices: jobs hold them, trials compute on CPUs.
    "resources": {"gpus_per_trial": 0, "checkpoint_every_s": 0.5},
}
"""Trials of about six seconds. They must take longer than a worker's start: Tune gives the next
trial to whichever worker is there first, and takes back what it asked of one that still starts."""
LANGUAGES = ["ka", "bn"]

LOCAL_SEEDS = [0, 1]
STEP_WITHIN_S = 120
"""For whatever happens once, such as a job's start until its first checkpoint."""
END_WITHIN_S = 300
"""For a whole sweep."""
USABLE_S = 80
"""What the start of a job and its end leave of a limit of two minutes, at most."""


class SlurmSweep:
    """A sweep on the cluster: four trials of Georgian and Bengali for each seed.

    Args:
        slurm: the cluster.
        folder: for the sweep file and the results; all nodes see it.
        profile: what differs from `PROFILE`; None leaves a field out.
        user: who submits; None: root, from outside.
        fields: what differs from `SHAPE`.
    """

    def __init__(
        self,
        slurm,
        folder: Path,
        profile: dict | None = None,
        user: str | None = None,
        **fields: object,
    ):
        self.slurm, self.user = slurm, user
        self.results = folder / "results"
        seeds, languages = set(fields.get("seeds", [0])), fields.get("languages", LANGUAGES)
        self.num_compared = 2 * len(languages) * len(seeds & set(LOCAL_SEEDS))
        given = {
            name: value for name, value in (PROFILE | (profile or {})).items() if value is not None
        }
        self.spec = write_sweep(
            folder / "tiny.yaml", self.results, clusters={"slurm": given}, **SHAPE | fields
        )

    def command(self, *words: str) -> tuple[int, str]:
        """A command of sparsweep: exit code and all output."""
        if self.user:
            return self.slurm.run_as(self.user, sys.executable, "-m", "orchestrator.cli", *words)
        return sparsweep(*words)

    def submit(self, *options: str) -> str:
        """Hand the sweep to Slurm; the job's id."""
        code, output = self.command("submit", self.spec, "--on", "slurm", *options)
        assert code == 0, output
        return self.job()["job_id"]

    def status(self) -> dict:
        """What `sparsweep status` knows."""
        code, output = self.command("status", self.spec, "--json")
        assert code == 0, output
        return json.loads(output)

    def job(self) -> dict:
        """What it knows of the job."""
        return self.status()["job"]

    def log(self) -> str:
        """The driver's lines."""
        return self.command("logs", self.spec)[1]

    def is_training(self, since: float = 0.0) -> bool:
        """Whether a trial has saved a checkpoint since then."""
        return any(changed_at(file) > since for file in checkpoints(self.results))

    def num_completed(self) -> int:
        """How many trials are done."""
        return len(list(self.results.glob("trials/*")))

    def wait_until(self, condition: Callable[[], object], timeout_s: float = STEP_WITHIN_S) -> None:
        """Wait for something to happen while the job lives; a failure shows the job's log."""

        def happened() -> bool:
            is_live = self.slurm.live_jobs()
            if condition():
                return True
            assert is_live, f"the job ended first: {self.log()}"
            return False

        self.slurm.wait_until(happened, timeout_s, self.log)

    def wait_until_over(self) -> None:
        """Wait until the queue is empty."""
        self.slurm.wait_until(lambda: not self.slurm.live_jobs(), END_WITHIN_S, self.log)

    def assert_complete(self, local: Path) -> None:
        """All is done, valid, and to the last bit what the local run has."""
        status = self.status()
        assert status["job"]["state"] == "completed", self.log()
        assert (status["failed"], status["new"]) == (0, 0), self.log()
        code, output = sparsweep("verify", self.spec, str(self.results))
        assert code == 0, output
        assert_same_numbers(self.results, local, num_trials=self.num_compared)
        assert checkpoints(self.results) == []


def sbatch(folder: Path, *words: str) -> str:
    """Submit a job that is no sweep; its id."""
    command = ["sbatch", "--parsable", f"--output={folder}/other-%j.out", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def local_run(for_all: Path) -> Path:
    """Results of the trials of these sweeps, run in one go on this machine, for all processes."""
    return run_once(for_all / "local", seeds=LOCAL_SEEDS, **SHAPE)


def test_sweep_is_submitted_followed_and_finished_on_two_nodes(slurm, folder, local_run):
    sweep = SlurmSweep(slurm, folder)
    code, script = sweep.command("submit", sweep.spec, "--on", "slurm", "--dry-run")
    assert code == 0, script
    assert script.startswith("#!/bin/bash\n")
    assert "#SBATCH --nodes=2\n" in script
    assert slurm.live_jobs() == []

    job_id = sweep.submit()
    assert sweep.submit() == job_id, "it has a job already"
    assert slurm.live_jobs() == [job_id]
    following = Command("logs", sweep.spec, "-f")
    sweep.wait_until(sweep.is_training)
    status = sweep.status()
    assert (status["job"]["state"], status["job"]["native"]) == ("running", "RUNNING")
    assert status["completed"] + status["new"] == 4

    code, output = following.finish()
    assert code == 0, output
    assert output.count("done     ") == 4, "it ends when the job does"
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    hosts = ResultStore(str(sweep.results)).read("trials", ["provenance_host"]).to_pylist()
    assert {row["provenance_host"] for row in hosts} == {"node1", "node2"}


def test_cancelled_sweep_keeps_its_checkpoints_and_is_resumed(slurm, folder, local_run):
    sweep = SlurmSweep(slurm, folder)
    sweep.submit()
    sweep.wait_until(sweep.is_training)
    code, output = sweep.command("cancel", sweep.spec)
    assert code == 0, output
    sweep.wait_until_over()
    assert sweep.job()["state"] == "cancelled"
    assert checkpoints(sweep.results) != []

    code, output = sweep.command("resume", sweep.spec)
    assert code == 0, output
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert num_resumes(sweep) > 0, "trials went on from their checkpoints"


def test_nodes_share_their_gpus_by_mps_as_long_as_the_job_runs(slurm, folder, monkeypatch):
    """By a stand-in for NVIDIA's program, whose log all nodes share. Trials find no CUDA here."""
    log = mps_control.install(folder, monkeypatch)
    mps_control.install_nvidia_smi(folder, "GPU-aa", "GPU-bb")
    log.touch(mode=0o666)
    profile = {"mps": True, "setup": [f"export PATH={folder}:$PATH"]}
    resources = {"gpus_per_trial": 0.5, "max_retries": 9}
    sweep = SlurmSweep(slurm, folder, profile, resources=resources)
    job_id = sweep.submit()
    sweep.wait_until(lambda: len(mps_control.told(log)) == 2)
    for line in mps_control.told(log):
        found = re.fullmatch(r"-f in (/tmp/ray-\S+/mps)/pipe, logs in (\S+)/log, sees (.*)", line)
        assert found, line
        assert (found[2], found[3]) == (found[1], "GPU-aa")
    sweep.command("cancel", sweep.spec)
    slurm.wait_until(lambda: not slurm.live_jobs(), STEP_WITHIN_S, sweep.log)
    told = mps_control.told(log)
    assert sum(line.startswith("quit in ") for line in told) == 2, told
    assert told.count("ended") == 2, told
    logs = "".join(file.read_text() for file in sweep.results.glob(f"jobs/tiny/*/{job_id}*.log"))
    assert "take turns" not in logs


def test_sweep_that_is_cancelled_at_once_can_be_resumed(slurm, folder):
    sweep = SlurmSweep(slurm, folder)
    job_id = sweep.submit()
    code, output = sweep.command("cancel", sweep.spec, "--now")
    assert code == 0, output
    slurm.wait_until(lambda: not slurm.live_jobs(), timeout_s=20)
    assert sweep.job()["state"] == "cancelled"
    assert sweep.submit("--another") != job_id


def test_requeued_sweep_goes_on(slurm, folder, local_run):
    sweep = SlurmSweep(slurm, folder)
    job_id = sweep.submit()
    sweep.wait_until(sweep.is_training)
    slurm.scontrol("requeue", job_id)
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert slurm.job_fields(job_id)["Restarts"] == "1"
    assert num_resumes(sweep) > 0


def test_sweep_longer_than_its_time_limit_returns_to_the_queue_until_it_is_done(
    slurm, folder, local_run
):
    # A worker's first trial takes longer than the rest, which are most of them here.
    durations = ResultStore(str(local_run)).read("trials", ["duration_s"])["duration_s"].to_pylist()
    num_seeds = math.ceil(USABLE_S * 1.5 / (4 * min(durations)))
    sweep = SlurmSweep(
        slurm,
        folder,
        {"nodes": 1, "time_limit": "2"},
        seeds=list(range(max(len(LOCAL_SEEDS), num_seeds))),
    )
    job_id = sweep.submit()
    sweep.wait_until(lambda: int(slurm.job_fields(job_id)["Restarts"]) > 0, timeout_s=150)
    assert sweep.num_completed() > 0, "the time was used"
    sweep.wait_until_over()
    sweep.assert_complete(local_run)


def test_sweep_preempted_from_spot_comes_back(slurm, folder, local_run):
    sweep = SlurmSweep(slurm, folder, {"partition": "spot"})
    job_id = sweep.submit()
    sweep.wait_until(sweep.is_training)
    sbatch(folder, "--partition=main", "--nodes=2", "--gres=gpu:2", "--wrap=sleep 1")
    sweep.wait_until(lambda: int(slurm.job_fields(job_id)["Restarts"]) > 0)
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert num_resumes(sweep) > 0


def test_sweep_survives_the_crash_of_a_node_without_its_driver(slurm, folder, local_run):
    sweep = SlurmSweep(slurm, folder)
    job_id = sweep.submit()
    sweep.wait_until(lambda: len(checkpoints(sweep.results)) == 2)
    head = slurm.job_fields(job_id)["BatchHost"]
    slurm.crash(other_node(head))
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert slurm.job_fields(job_id)["Restarts"] == "0", "it went on without the node"


def test_sweep_starts_again_after_the_crash_of_its_drivers_node(slurm, folder, local_run):
    # Slurm keeps the job for the node that is left, which finds out when Ray gives up its head:
    # after a minute, or what it is told.
    sweep = SlurmSweep(slurm, folder, {"setup": [f"export {GIVES_UP_AFTER_S}=20"]})
    job_id = sweep.submit()
    sweep.wait_until(sweep.is_training)
    head = slurm.job_fields(job_id)["BatchHost"]
    slurm.crash(head)
    sweep.wait_until(lambda: slurm.job_state(job_id) == "PENDING", timeout_s=180)
    slurm.start(head)
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert slurm.job_fields(job_id)["Restarts"] == "1"
    assert num_resumes(sweep) > 0


def test_sweeps_of_two_users_run_side_by_side_on_one_node(slurm, folder, local_run):
    sweeps = []
    for user, language in (("ann", "ka"), ("ben", "bn")):
        place = folder / user
        place.mkdir()
        place.chmod(0o777)
        profile = {"nodes": 1, "extra": ["--nodelist=node1"]}
        sweeps.append(SlurmSweep(slurm, place, profile, user, languages=[language]))
    job_ids = [sweep.submit() for sweep in sweeps]
    for sweep in sweeps:
        sweep.wait_until(sweep.is_training)
    assert [slurm.job_state(job_id) for job_id in job_ids] == ["RUNNING", "RUNNING"], (
        "both at a time"
    )
    assert {slurm.job_fields(job_id)["NodeList"] for job_id in job_ids} == {"node1"}

    anns, bens = sweeps
    code, output = slurm.run_as(
        "ben", sys.executable, "-m", "orchestrator.cli", "cancel", anns.spec
    )
    assert code == 2, output
    assert slurm.job_state(job_ids[0]) == "RUNNING", "it is somebody else's"
    for sweep in (anns, bens):
        sweep.wait_until_over()
        sweep.assert_complete(local_run)


def test_elastic_sweep_grows_into_free_gpus_and_shrinks_when_it_loses_them(
    slurm, folder, local_run
):
    hogs = [
        sbatch(folder, f"-w{node}", f"--gres=gpu:{number}", "--wrap=sleep 600")
        for node, number in HOGS.items()
    ]
    profile = {
        "mode": "elastic",
        "nodes": None,
        "workers": 2,
        "partition": "spot",
        "head_partition": "main",
    }
    # Enough that trials are left when a node is lost; the local run has the first ones.
    seeds = [*LOCAL_SEEDS, 2, 3, 4]
    sweep = SlurmSweep(slurm, folder, profile, seeds=seeds)
    head, _, workers = sweep.submit().partition("+")
    sweep.wait_until(sweep.is_training)
    assert running(slurm, workers) == 1, "there was one GPU left"

    subprocess.run(["scancel", *hogs], check=True)
    sweep.wait_until(lambda: running(slurm, workers) == 2)
    sweep.wait_until(
        lambda: len({name for name in checkpoints(sweep.results) if changed_at(name)}) == 2
    )

    lost = time.time()
    node = slurm.job_fields(f"{workers}_0")["NodeList"]
    hog = sbatch(folder, f"-w{node}", "--partition=main", "--gres=gpu:2", "--wrap=sleep 10")
    sweep.wait_until(lambda: slurm.job_state(hog) == "RUNNING")
    assert slurm.job_state(head) == "RUNNING"
    sweep.wait_until(lambda: sweep.is_training(since=lost))

    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert slurm.job_fields(head)["Restarts"] == "0"


@pytest.mark.parametrize("lost", ["driver", "gcs_server"])
def test_elastic_sweep_whose_head_loses_a_process_starts_again(slurm, folder, local_run, lost):
    profile = {
        "mode": "elastic",
        "nodes": None,
        "workers": 2,
        "setup": [f"export {GIVES_UP_AFTER_S}=20"],
    }
    # So many trials that some are left after the time that a job must run to come back.
    sweep = SlurmSweep(slurm, folder, profile, seeds=list(range(12)))
    head, _, workers = sweep.submit().partition("+")
    sweep.wait_until(sweep.is_training)
    time.sleep(SHORTEST_RUN_S)
    assert 0 < sweep.num_completed() < 48
    process_of_head(folder, lost).kill()
    sweep.wait_until(lambda: int(slurm.job_fields(head)["Restarts"]) == 1)
    again = time.time()
    assert "back to the queue" in sweep.log()
    sweep.wait_until(lambda: sweep.is_training(since=again), timeout_s=END_WITHIN_S)
    sweep.wait_until_over()
    sweep.assert_complete(local_run)
    assert slurm.job_fields(head)["Restarts"] == "1"
    assert running(slurm, workers) == 0, "no worker stays when the sweep is over"


def process_of_head(folder: Path, name: str) -> psutil.Process:
    """The driver, or a service of Ray's, of the one elastic head whose files are in a folder."""
    (batch,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "cluster.slurm.job head" in " ".join(process.info["cmdline"] or [])
        and str(folder) in " ".join(process.info["cmdline"])
    ]
    if name == "driver":
        (found,) = [child for child in batch.children() if "orchestrator.cli" in child.cmdline()]
    else:
        (found,) = [child for child in batch.children(recursive=True) if child.name() == name]
    return found


GIVES_UP_AFTER_S = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Environment variable of Ray's."""

HOGS = {"node1": 2, "node2": 1}
"""GPUs of each node that others hold at first."""


def test_results_that_the_nodes_cannot_see_are_refused(slurm, folder, tmp_path):
    sweep = SlurmSweep(slurm, tmp_path)
    sweep.submit()
    sweep.wait_until_over()
    assert sweep.job()["state"] == "failed"
    assert not sweep.results.joinpath("trials").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition": "gpu"}, "partition: gpu: no such partition here; there are: main, spot"),
        ({"nodes": 3}, "ask for fewer nodes"),
        ({"gpus_per_node": 3}, "ask for fewer nodes, GPUs, cores or less memory"),
        ({"time_limit": "2-00:00:00"}, "lower time_limit"),
    ],
)
def test_what_slurm_cannot_give_is_refused_before_anything_is_queued(
    slurm, folder, changes, message
):
    sweep = SlurmSweep(slurm, folder, changes)
    code, output = sweep.command("submit", sweep.spec, "--on", "slurm")
    assert code == 2, output
    assert message in output
    assert "Traceback" not in output
    assert slurm.live_jobs() == []


def test_limit_of_a_qos_is_refused_or_explained_and_the_accounts_know_the_end(slurm, folder):
    for qos, flags in (("tight", ["flags=DenyOnLimit"]), ("late", [])):
        sacctmgr("add", "qos", qos, "MaxWall=10", *flags)
        sacctmgr("modify", "user", "ann", "set", f"qos+={qos}")
    tight = SlurmSweep(slurm, folder, {"qos": "tight"}, "ann")
    code, output = tight.command("submit", tight.spec, "--on", "slurm")
    assert code == 2, output
    assert "QOSMaxWallDurationPerJobLimit" in output
    assert "lower time_limit in the profile" in output
    assert slurm.live_jobs() == []

    late = SlurmSweep(slurm, folder, {"qos": "late"}, "ann")
    job_id = late.submit()
    detail = SlurmBackend(SlurmProfile()).status(job_id, folder).detail
    assert detail.startswith("waits: QOSMaxWallDurationPerJobLimit: it never starts so: lower time")
    code, output = late.command("cancel", late.spec)
    assert code == 0, output
    slurm.wait_until(lambda: accounted_state(job_id) == ("CANCELLED", "0:0"))


def test_submit_from_inside_an_allocation_hands_on_nothing_of_it(slurm, folder):
    setup = [f"env >{folder}/env", "exit 9"]
    sweep = SlurmSweep(slurm, folder, {"setup": setup}, "ann")
    allocated = ["salloc", "-N1", "-c2", "--gres=gpu:2", "--mem=2000", "srun", "-n1"]
    command = [sys.executable, "-m", "orchestrator.cli", "submit", sweep.spec, "--on", "slurm"]
    code, output = slurm.run_as(
        "ann", "env", "SBATCH_PARTITION=spot", "SBATCH_TIMELIMIT=3", *allocated, *command
    )
    assert code == 0, output
    sweep.wait_until_over()
    lines = (folder / "env").read_text().splitlines()
    found = dict(line.partition("=")[::2] for line in lines)
    assert (found["SLURM_JOB_PARTITION"], found["SLURM_JOB_NUM_NODES"]) == ("main", "2")
    assert (found["SLURM_CPUS_ON_NODE"], found["SLURM_MEM_PER_NODE"]) == ("1", "3072")
    assert found["CUDA_VISIBLE_DEVICES"] == "0"
    assert not [name for name in found if name.startswith("SBATCH_")]


def test_nodes_that_are_drained_are_waited_for_and_a_setup_that_fails_is_told(slurm, folder):
    sweep = SlurmSweep(slurm, folder, {"setup": ["unset -f module", "module load nothere"]})
    slurm.scontrol("update", "NodeName=node1", "State=drain", "Reason=test")
    try:
        job_id = sweep.submit()
        assert slurm.job_state(job_id) == "PENDING"
    finally:
        slurm.scontrol("update", "NodeName=node1", "State=resume")
    sweep.wait_until_over()
    job = sweep.job()
    assert job["state"] == "failed"
    assert re.search(
        r"a line of setup .* ended the job; its log ends: .*module: command not found",
        job["detail"],
    )


def sacctmgr(*words: str) -> None:
    subprocess.run(["sacctmgr", "-i", "-Q", *words], check=True, timeout=60)


def num_resumes(sweep: SlurmSweep) -> int:
    """How often trials went on from checkpoints, all together."""
    rows = ResultStore(str(sweep.results)).read("trials", ["num_resumes"]).to_pylist()
    return sum(row["num_resumes"] for row in rows)


def other_node(node: str) -> str:
    return {"node1": "node2", "node2": "node1"}[node]


def running(slurm, job_id: str) -> int:
    """How many tasks of an array run."""
    return len(slurm.live_jobs(f"--jobs={job_id}", "--states=RUNNING"))
