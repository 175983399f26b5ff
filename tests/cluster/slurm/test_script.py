"""The batch scripts: whole, and what is quoted or refused."""

import dataclasses
import itertools
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.backend import JobSpec
from cluster.errors import ClusterError
from cluster.slurm.backend import NEXT_SCRIPT, SlurmBackend
from cluster.slurm.profile import SlurmProfile
from cluster.slurm.script import SETUP_FAILED, make_script

GOLDEN = Path(__file__).parents[2] / "golden" / "slurm"
JOB = JobSpec(
    name="two-languages",
    sweep_id="0123abcd",
    folder=Path("/shared/results/jobs/two-languages/20260102-030405-000006"),
    results="/shared/results",
    sweep_json="{}",
    plan_digest="89abcdef01234567",
    cpus_per_trial=1,
    gpus_per_trial=None,
)
PLAIN = {"python": "/opt/sparsweep/bin/python"}
FULL = PLAIN | {
    "partition": "gpu",
    "account": "nlp",
    "qos": "long",
    "constraint": "a100|h100",
    "nodes": 4,
    "gpus_per_node": 8,
    "gpu_type": "a100",
    "cpus_per_gpu": 6,
    "mem_gib_per_gpu": 32,
    "time_limit": "1-12:00:00",
    "setup": ["module load cuda/13", "export HF_HOME=/shared/cache"],
    "extra": ["--exclusive", "--mail-type=FAIL"],
}
ELASTIC = PLAIN | {
    "mode": "elastic",
    "partition": "spot",
    "head_partition": "cpu",
    "head_time_limit": "7-0",
    "workers": 16,
}


def script(job: JobSpec = JOB, **fields: object) -> str:
    return make_script(job, SlurmProfile.model_validate(PLAIN | fields), "block")


@pytest.mark.parametrize(
    ("name", "fields"),
    [("plain", PLAIN), ("full", FULL), ("elastic", ELASTIC), ("mps", PLAIN | {"mps": True})],
)
def test_script_is_what_it_was(name, fields):
    rendered = SlurmBackend(SlurmProfile.model_validate(fields)).render(JOB)
    assert rendered == (GOLDEN / f"{name}.sbatch").read_text()


def test_elastic_mode_has_two_scripts_and_its_head_no_gpu():
    head, workers = (
        SlurmBackend(SlurmProfile.model_validate(ELASTIC)).render(JOB).split(NEXT_SCRIPT)
    )
    assert "--gres" not in head
    assert "#SBATCH --array=0-15" in workers.splitlines()
    assert "#SBATCH --gres=gpu:1" in workers.splitlines()


def test_workers_that_come_and_go_share_their_gpus_by_mps_and_the_head_has_none():
    backend = SlurmBackend(SlurmProfile.model_validate(ELASTIC | {"mps": True}))
    head, workers = backend.render(JOB).split(NEXT_SCRIPT)
    assert ("--mps" in head.split(), "--mps" in workers.split()) == (False, True)


def test_nodes_without_gpus_are_not_asked_for_any():
    assert "--gres" not in script(gpus_per_node=0)


@pytest.mark.parametrize(
    "folder", ["/shared/my results", "/shared/50 %", "/shared/" + "x" * 200, "/shared/$HOME;ls"]
)
def test_odd_folders_reach_the_command_as_they_are(folder):
    text = script(dataclasses.replace(JOB, folder=Path(folder)))
    words = shlex.split(text.partition("exec ")[2])
    assert words[words.index("--folder") + 1] == folder
    (output,) = [line for line in text.splitlines() if "--output" in line]
    assert shlex.split(output)[1] == f"--output={folder.replace('%', '%%')}/%j.log"


@pytest.mark.parametrize("character", ["'", '"', "\\", "\n", "\x07"])
def test_folder_that_a_script_cannot_name_is_refused(character):
    with pytest.raises(
        ClusterError, match="results: .*a folder without quotes, backslashes and control characters"
    ):
        script(dataclasses.replace(JOB, folder=Path(f"/shared/a{character}b")))


def test_time_limit_that_leaves_no_time_is_refused():
    with pytest.raises(
        ClusterError,
        match="time_limit: 3 is not longer than stop_before_s, 180 s; .*give more time",
    ):
        script(time_limit="3")


def test_trials_that_lack_scores_are_run_again_when_asked():
    assert "--rerun-lacking" in script(dataclasses.replace(JOB, rerun_lacking=True))
    assert "--rerun-lacking" not in script()


def test_trials_that_failed_are_tried_again_when_asked():
    assert "--retry-failed" in script(dataclasses.replace(JOB, retry_failed=True))
    assert "--retry-failed" not in script()


def test_container_is_for_ray_and_driver_and_the_submitting_python_starts_them():
    words = shlex.split(
        script(container="/images/sparsweep.sqsh", container_mounts=["/data:/data"]).partition(
            "exec "
        )[2]
    )
    assert words[0] == sys.executable
    assert words[words.index("--python") + 1] == PLAIN["python"]
    assert words[words.index("--container") + 1] == "/images/sparsweep.sqsh"
    mounts = [word for before, word in itertools.pairwise(words) if before == "--container-mount"]
    assert mounts == ["/shared/results:/shared/results", "/tmp:/tmp", "/data:/data"]


@pytest.mark.parametrize("line", ["false", "exit 3", "exit 0", "unset -f x; x"])
def test_a_line_of_setup_that_ends_the_job_has_an_exit_code_of_its_own(line):
    done = subprocess.run(["bash"], input=script(setup=[line]), text=True, capture_output=True)
    assert done.returncode == SETUP_FAILED


def test_lines_of_setup_leave_the_drivers_exit_code_alone(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    text = script(setup=["export A=1"], python=str(python))
    assert subprocess.run(["bash"], input=text, text=True).returncode == 3


def test_no_secret_is_in_the_script(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t0k3n")
    text = script()
    assert "s3cr3t" not in text
    assert "t0k3n" not in text


def test_the_hubs_cache_of_the_profile_is_what_its_own_lines_do_not_change():
    text = script(offline=True, hub_cache="/shared/my hub", setup=["export HF_HOME=/elsewhere"])
    setup, _, started = text.partition("set -e\n")[2].partition("exec ")
    assert setup.splitlines()[1:5] == [
        "export HF_HOME=/elsewhere",
        "trap - EXIT",
        "export 'HF_HUB_CACHE=/shared/my hub'",
        "export HF_HUB_OFFLINE=1",
    ]
    contained = script(hub_cache="/shared/hub", container="image")
    words = shlex.split(contained.partition("exec ")[2])
    assert "/shared/hub:/shared/hub" in words
    assert started
