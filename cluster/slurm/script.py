"""The batch scripts: pure text, from a job and a profile. Each string of a user is quoted here."""

import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Literal

from cluster.backend import JobSpec
from cluster.errors import ClusterError
from cluster.job_files import run_words
from cluster.slurm.profile import SlurmProfile
from cluster.slurm.time_limit import seconds

TEMPLATE = Path(__file__).parent / "templates" / "job.sbatch"
SETUP_FAILED = 78
"""Exit code of a job that a line of setup ended, however it did: it is none of the driver's."""
HEAD_CPUS, HEAD_MEM_GIB = 2, 4
"""Resources of the head job of elastic mode, for Ray's services and the driver."""

Role = Literal["block", "head", "worker"]
STARTS = (
    "Starts a Ray of the job's own (with a token, a private folder, probed ports), and on it "
    "`sparsweep run`."
)
JOINS = "Joins the head's Ray with a token that the head left in the job's folder."
TITLES: dict[Role, str] = {
    "block": "a Ray cluster on all nodes of the job",
    "head": "the head, which runs the driver and no trials",
    "worker": "workers, each a job of its own that joins the head",
}


def worker_name(job_name: str) -> str:
    """Name of the workers' job beside a head of that name."""
    return f"{job_name}-w"


def make_script(job: JobSpec, profile: SlurmProfile, role: Role) -> str:
    """Write one batch script.

    Raises:
        ClusterError: the time limit is too short, or a path cannot be written into a script.
    """
    _check_folder(job.folder)
    limit_s = seconds(_time_limit(profile, role))
    if limit_s <= profile.stop_before_s:
        raise ClusterError(
            f"time_limit: {_time_limit(profile, role)} is not longer than stop_before_s, "
            f"{profile.stop_before_s} s; "
            "trials would be stopped as soon as they start: give more time"
        )
    options = "\n".join(f"#SBATCH {option}" for option in _options(job, profile, role))
    return Template(TEMPLATE.read_text()).substitute(
        title=f"sparsweep, sweep {job.name}: {TITLES[role]}",
        version=version("sparsweep"),
        options=options,
        setup="\n".join([*_setup(profile), *_exports(profile)]) or ":",
        purpose=JOINS if role == "worker" else STARTS,
        start=_start(job, profile, role, limit_s),
    )


def _setup(profile: SlurmProfile) -> list[str]:
    """The profile's lines, between two that keep their exit code apart from the driver's."""
    if not profile.setup:
        return []
    return [
        f"trap 'exit {SETUP_FAILED}' EXIT # from here on it is not the driver's code",
        *profile.setup,
        "trap - EXIT",
    ]


def _options(job: JobSpec, profile: SlurmProfile, role: Role) -> list[str]:
    log = "%A_%a.worker.log" if role == "worker" else "%j.log"
    partition = profile.head_partition or profile.partition if role == "head" else profile.partition
    return [
        f"--job-name={worker_name(job.job_name) if role == 'worker' else job.job_name}",
        *_given(partition=partition, account=profile.account, qos=profile.qos),
        *_given(
            constraint=profile.constraint if role != "head" else None,
            time=_time_limit(profile, role),
        ),
        *_resources(profile, role),
        f"--signal=B:USR2@{profile.stop_before_s}",
        "--requeue",
        "--open-mode=append",
        f"--output={shlex.quote(str(job.folder).replace('%', '%%') + '/' + log)}",
        f"--chdir={shlex.quote(str(job.folder))}",
        *(profile.extra if role != "head" else []),
    ]


def _resources(profile: SlurmProfile, role: Role) -> list[str]:
    if role == "head":
        return [
            "--nodes=1",
            "--ntasks-per-node=1",
            f"--cpus-per-task={HEAD_CPUS}",
            f"--mem={HEAD_MEM_GIB}G",
        ]
    gpus = profile.gpus_of_node()
    gpu_type = f"{profile.gpu_type}:" if profile.gpu_type else ""
    return [
        f"--nodes={profile.nodes}" if role == "block" else "--nodes=1",
        "--ntasks-per-node=1",
        f"--cpus-per-task={profile.cpus_per_gpu * max(1, gpus)}",
        f"--mem={profile.mem_gib_per_gpu * max(1, gpus)}G",
        *([f"--gres=gpu:{gpu_type}{gpus}"] if gpus else []),
        *(["--no-kill"] if role == "block" else [f"--array=0-{profile.workers - 1}"]),
    ]


def _start(job: JobSpec, profile: SlurmProfile, role: Role, limit_s: int) -> str:
    """The command that the script becomes."""
    python = profile.python or sys.executable
    parts = [
        # In front of a container stands the Python that submits: it needs to see Slurm's commands.
        [sys.executable if profile.container else python, "-P", "-m", "cluster.slurm.job", role],
        ["--folder", str(job.folder), "--probe", probe(job)],
        ["--temp-root", profile.temp_root, "--stop-before-s", str(profile.stop_before_s)],
        ["--time-limit-s", str(limit_s), "--python", python],
        ["--container", profile.container] if profile.container else [],
        *(["--container-mount", mount] for mount in _mounts(job, profile)),
        ["--mps"] if profile.mps and role != "head" else [],
        [] if role == "worker" else ["--", *run_words(job), "--as-job"],
    ]
    return " \\\n  ".join(shlex.join(part) for part in parts if part)


def _exports(profile: SlurmProfile) -> list[str]:
    """Lines after the profile's own, which may say otherwise where the hub's cache is."""
    return [
        shlex.join(["export", f"{name}={value}"]) for name, value in profile.environment().items()
    ]


def _mounts(job: JobSpec, profile: SlurmProfile) -> list[str]:
    """Mounts of a container: what driver and workers share, and those of the profile."""
    if profile.container is None:
        return []
    shared = [job.results] if job.results.startswith("/") else []
    shared += [profile.hub_cache] if profile.hub_cache else []
    return [f"{path}:{path}" for path in (*shared, profile.temp_root)] + profile.container_mounts


def probe(job: JobSpec) -> str:
    """What the first node must find in the job's folder."""
    return f"{job.job_name}-{job.folder.name}"


def _time_limit(profile: SlurmProfile, role: Role) -> str:
    return profile.head_time_limit or profile.time_limit if role == "head" else profile.time_limit


def _given(**options: str | None) -> list[str]:
    return [
        f"--{name}={shlex.quote(value)}" for name, value in options.items() if value is not None
    ]


def _check_folder(folder: Path) -> None:
    """Refuse what sbatch cannot read: its options do not have all of a shell's quoting."""
    if match := re.search(r"[\x00-\x1f\x7f'\"\\]", str(folder)):
        raise ClusterError(
            f"results: {str(folder)!r} has the character {match[0]!r}, which a batch script "
            "cannot name safely; give a folder without quotes, backslashes and control characters"
        )
