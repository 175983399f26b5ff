"""What `sparsweep doctor` says: whether this machine can run a sweep, with what, and what to do
where it cannot.

It only looks; the hub is asked whether it answers. Nothing is downloaded or written, and nothing
started but one step of one weight on each GPU. Every check is a function that returns findings and
does not fail, so that a half-installed environment gets a full report.
"""

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from cluster.contract import DONE, SOME_FAILED
from cluster.node.machine import available_memory_bytes, usable_cpus, usable_memory_bytes
from cluster.node.mps import CONTROL, PIPES, does_answer
from cluster.profile_fields import ClusterProfile
from orchestrator.cli.shared import open_console
from orchestrator.errors import SweepError
from orchestrator.planning.memory import GIB, trial_memory
from orchestrator.planning.plan import make_plan
from orchestrator.provenance import COMMIT_VARIABLE, told_commit
from orchestrator.provenance import PACKAGES as COMPUTING
from orchestrator.spec.profiles import load_profile, profile_files
from orchestrator.spec.sweep_spec import load_sweep_spec
from workers.data.kept import cache_folder
from workers.hub.faults import explain, name_place
from workers.hub.repository import ANSWERS_WITHIN_S, hub_cache, hub_endpoint
from workers.trial import TrialError, first_line
from workers.visits import visiting

PACKAGES = (
    *(name for name in COMPUTING if name != "sparsweep"),
    "huggingface-hub",
    "datasets",
    "seqeval",
    "pyarrow",
)
"""Those that are looked at: the ones that results name, and the ones that read and write."""

# With pruned embeddings a checkpoint of mBERT takes 2.1 GB, beside the one that it replaces.
NEEDED_DISK_GIB = 5

_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class Finding:
    """Something that was looked at, what was found, and whether a sweep can run with it; else what
    to do."""

    name: str
    value: str
    is_ok: bool = True
    remedy: str = ""


def doctor(args: argparse.Namespace) -> int:
    """Show the findings; the exit code says whether all is well."""
    findings = examine()
    open_console().print(render(findings))
    return DONE if all(finding.is_ok for finding in findings) else SOME_FAILED


def examine() -> list[Finding]:
    """Look at everything that a sweep on this machine depends on. Takes some seconds, since torch
    is imported."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        lambda: [examine_python()],
        lambda: [examine_package(requirement) for requirement in requirements()],
        examine_devices,
        examine_mps,
        lambda: [examine_kernels()],
        examine_machine,
        lambda: [
            examine_disk("disk here", Path.cwd()),
            examine_cache(),
        ],
        lambda: [examine_ray(os.environ.get("RAY_ADDRESS"))],
        lambda: [examine_git()],
        lambda: [examine_hub()],
        examine_profiles,
    )
    return [finding for check in checks for finding in check()]


def render(findings: Iterable[Finding]) -> Table:
    """A table of the findings, each remedy under what it mends."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = Text("ok", "green") if finding.is_ok else Text("NO", "bold red")
        table.add_row(mark, finding.name, Text(finding.value))
        if finding.remedy:
            table.add_row("", "", Text(finding.remedy, "yellow"))
    return table


def examine_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Python is one of those that are tested."""
    text = ".".join(map(str, version))
    if (3, 11) <= version[:2] <= (3, 13):
        return Finding("python", text)
    return Finding("python", text, False, "make the environment with Python 3.11, 3.12 or 3.13")


def requirements() -> list[Requirement]:
    """What is needed of each of `PACKAGES`: the ranges of the installed sparsweep, or any version
    without it."""
    try:
        declared = map(Requirement, metadata.requires("sparsweep") or [])
    except metadata.PackageNotFoundError:
        declared = map(Requirement, PACKAGES)
    needed = {requirement.name: requirement for requirement in declared}
    return [needed.get(name, Requirement(name)) for name in PACKAGES]


def examine_package(requirement: Requirement) -> Finding:
    """A package is installed in a version that is accepted; it is not imported."""
    install = f"run: {Path(sys.executable).name} -m pip install '{_without_marker(requirement)}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, "not installed", False, install)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(requirement.name, version)
    return Finding(
        requirement.name, f"{version}, needed is {requirement.specifier}", False, install
    )


def examine_devices() -> list[Finding]:
    """The GPUs that torch can use. None is fine: trials then run on CPU workers."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        value = f"torch cannot be imported: {error}"
        return [Finding("devices", value, False, "install torch anew, see above")]
    if torch.cuda.is_available():
        return [examine_gpu(index) for index in range(torch.cuda.device_count())]
    if shutil.which("nvidia-smi") is None:
        return [Finding("gpus", "none: trials run on CPU workers")]
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    value = f"none for torch {torch.__version__} ({build}), though this machine has nvidia-smi"
    try:
        torch.cuda.init()
    except Exception as error:  # which says more, as that the driver is too old
        value = f"{value}: {str(error).partition('. ')[0]}"
    remedy = (
        "install a torch built for the driver's CUDA, see pytorch.org; without it trials run on "
        "CPU workers"
    )
    return [Finding("gpus", value, False, remedy)]


def examine_gpu(index: int) -> Finding:
    """A GPU that torch sees computes what trials need: every kernel runs there once, for one
    weight, which also finds a compiler or driver that Triton lacks.

    Args:
        index: among those that are visible.
    """
    import torch

    from workers.devices import (
        describe_failed_step,
        refuse_architecture,
        refuse_overrides,
    )
    from workers.kernels import AUTO
    from workers.kernels.one_step import try_kernels

    name, device = f"gpu {index}", torch.device("cuda", index)
    value = "torch sees it"
    try:
        gpu = torch.cuda.get_device_properties(device)
        value = f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB"
        refuse_overrides(os.environ)
        refuse_architecture(device, AUTO)
        try_kernels(AUTO, device)
    except TrialError as error:
        return _refused(name, value, error)
    except Exception as error:  # of a driver, a compiler, the GPU: whatever it is, it is not fine
        return _refused(name, value, describe_failed_step(error, device))
    return Finding(name, f"{value}, kernels run")


def examine_mps() -> list[Finding]:
    """Whether processes that share a GPU compute on it at the same time; nothing is said where
    there is none. A sweep runs without that, to the same numbers."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        is_there = does_answer(os.environ)
    except OSError:
        return [Finding("mps", f"no {CONTROL}: trials that share a GPU take turns")]
    if is_there:
        place = os.environ.get(PIPES, "NVIDIA's own place")
        value = f"runs, pipes in {place}: trials that share a GPU compute at the same time"
        return [Finding("mps", value)]
    value = "does not run: trials that share a GPU take turns; a profile's mps starts it for a job"
    return [Finding("mps", value)]


def examine_kernels() -> Finding:
    """The kernels that compute the optimizer's step here, see `pruning.kernels`."""
    try:
        import torch

        from workers.kernels import AUTO, make_kernels

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Finding("kernels", make_kernels(AUTO, device).name)
    except (ImportError, OSError, ValueError) as error:
        remedy = "install what is missing, or set pruning.kernels=reference"
        return Finding("kernels", str(error), False, remedy)


def examine_machine() -> list[Finding]:
    """CPU cores that a sweep may use here."""
    cores = usable_cpus()
    all_cores = os.cpu_count() or cores
    of_all = (
        f" of {all_cores}; the rest is not ours (affinity or cgroup)" if cores < all_cores else ""
    )
    return [Finding("cpu cores", f"{cores}{of_all}"), examine_memory()]


def examine_memory() -> Finding:
    """Memory that a sweep may use here, beside what a trial of the paper's sweep takes."""
    one = ["languages=[en]", "sparsities=[0.5]", "seeds=[0]"]
    sweep = load_sweep_spec("paper-mono", one)
    need = trial_memory(make_plan(sweep), [], sweep.resources).of_host
    whole_gib, free_gib = usable_memory_bytes() / GIB, available_memory_bytes() / GIB
    value = f"{whole_gib:.1f} GiB, {free_gib:.1f} GiB of it free"
    if need is None:
        return Finding("memory", value)
    takes = f"a trial of mBERT on a CPU takes {need.gib:.1f} GiB, estimated"
    if whole_gib >= need.gib:
        return Finding("memory", f"{value}; {takes}")
    remedy = f"{takes}; give the job more memory, or use a smaller model"
    return Finding("memory", value, False, remedy)


def examine_disk(name: str, folder: Path) -> Finding:
    """There is room for checkpoints and data where the folder is, or will be."""
    places = (folder, *folder.absolute().parents)
    with visiting(folder):
        existing = next(path for path in places if os.path.exists(path))  # noqa: PTH110, also where one may not look
        free_gib = shutil.disk_usage(existing).free / GIB
        may_write = os.access(existing, os.W_OK)
    value = f"{free_gib:.1f} GiB free at {folder}"
    if not may_write:
        remedy = "choose another folder, or ask for rights to this one"
        return Finding(name, f"{folder} cannot be written", False, remedy)
    if free_gib < NEEDED_DISK_GIB:
        remedy = f"free at least {NEEDED_DISK_GIB} GiB; a checkpoint of mBERT takes up to 2"
        return Finding(name, value, False, remedy)
    return Finding(name, value)


def examine_cache() -> Finding:
    """Tokenised data can be kept."""
    try:
        return examine_disk("disk of the cache", cache_folder())
    except FileNotFoundError as error:
        return Finding("disk of the cache", f"none: {error}")


def examine_ray(address: str | None) -> Finding:
    """Which Ray a sweep would use, and whether it answers.

    Args:
        address: value of RAY_ADDRESS.
    """
    if not address or address == "local":
        return Finding("ray", "a private local Ray would be started")
    if address == "auto":
        value = "RAY_ADDRESS=auto: the cluster that runs on this machine would be used"
        return Finding("ray", value)
    value = f"the cluster at RAY_ADDRESS={address} would be used"
    matched = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if matched is None:
        value = f"RAY_ADDRESS={address} is no address"
        return Finding("ray", value, False, "give host:port, or unset RAY_ADDRESS")
    try:
        socket.create_connection((matched[1].strip("[]"), int(matched[2])), timeout=3).close()
    except (OSError, OverflowError) as error:  # OverflowError: the port is above 65535
        remedy = (
            "start that cluster or correct the address; with RAY_ADDRESS unset a private Ray is "
            "started"
        )
        return Finding("ray", f"{value}, but does not answer: {error}", False, remedy)
    return Finding("ray", value)


def examine_git() -> Finding:
    """With git, or in an image that was told it, results name the commit that made them."""
    git = shutil.which("git")
    told = told_commit()
    consequence = (
        f"results name the commit that {COMMIT_VARIABLE} tells, {told[:12]}"
        if told
        else "results will not name the commit that made them"
    )
    if git is None:
        return Finding("git", f"not found: {consequence}")
    try:
        answer = subprocess.run(
            [git, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("git", f"does not work ({error}): {consequence}")
    return Finding("git", answer.stdout.strip().removeprefix("git version "))


def examine_hub() -> Finding:
    """Where the Hugging Face hub's files are kept, and whether the hub answers: it is asked, unless
    a variable forbids that. A sweep on local files needs no hub."""
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.path.expanduser(os.environ.get("HF_HOME") or user_cache / "huggingface"))  # noqa: PTH111, without a home it stays ~
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    values = {name: os.environ.get(name, "") for name in _OFFLINE_VARIABLES}
    offline = [f"{name}={value}" for name, value in values.items() if _is_set(value)]
    access, is_away = f"offline ({', '.join(offline)})", bool(offline)
    if not offline:
        is_away, access = _ask_hub()
    content = "" if cache.is_dir() else ", which does not exist yet"
    if is_away and not cache.is_dir():
        content = ", which does not exist: only local corpora and models can be used"
    value = f"{access}; cache {cache}{content}"
    if cache.is_dir() and not os.access(cache, os.R_OK | os.X_OK):
        remedy = "set HF_HOME to a folder of your own, or ask its owner"
        return Finding("hugging face hub", f"{access}; cache {cache} cannot be read", False, remedy)
    return Finding("hugging face hub", value)


def examine_profiles() -> list[Finding]:
    """Of the user's profiles, those whose nodes have no internet: whether the folder is there in
    which their jobs look for the hub's files. What a sweep needs of it `submit` looks for."""
    findings = []
    for name in profile_files():
        try:
            profile = load_profile(name)
        except SweepError:  # `sparsweep clusters` says what is wrong with it
            continue
        if profile.offline:
            findings.append(_examine_offline(name, profile))
    return findings


def _examine_offline(name: str, profile: ClusterProfile) -> Finding:
    place = profile.hub_cache or (str(hub_cache()) if profile.shares_files else None)
    value = "nodes have no internet; jobs look for files of the hub in "
    label = f"profile {name}"
    if place is None:
        remedy = "set hub_cache in it to a folder that the nodes see"
        return Finding(label, f"{value}no folder that it names", remedy=remedy)
    if not profile.shares_files:
        return Finding(label, f"{value}{place}, which is not seen from here")
    if Path(place).is_dir():
        return Finding(label, f"{value}{place}")
    fetch = shlex.join(["sparsweep", "fetch", "SPEC", "--to", place])
    return Finding(label, f"{value}{place}, which does not exist yet", remedy=f"{fetch} makes it")


def _ask_hub() -> tuple[bool, str]:
    """Whether the hub is out of reach, and what it says, in words."""
    try:
        from huggingface_hub import HfApi, get_session, get_token
    except ImportError as error:
        return True, f"not asked, since {error.name} is not installed"
    place = name_place(hub_endpoint())
    try:
        answer = get_session().head(hub_endpoint(), timeout=ANSWERS_WITHIN_S)
    except Exception as error:  # of whatever library the hub's client uses
        return True, f"no answer from {place} within {ANSWERS_WITHIN_S:.0f} s ({first_line(error)})"
    if answer.status_code >= 500:
        return True, f"{place} answers {answer.status_code}"
    if not get_token():
        return False, f"online, {place} answers; no token, which private and gated files need"
    try:
        HfApi().whoami()
    except Exception as error:  # also where the answer is none
        is_refused = explain(error, "hugging face hub").is_about_token
        return False, f"online, {place} {'refuses the token' if is_refused else 'answers'}"
    return False, f"online, {place} answers and takes the token"


def _refused(name: str, value: str, error: TrialError) -> Finding:
    """What a worker would say is what it is and what to do, after the last semicolon."""
    what, _, remedy = str(error).rpartition("; ")
    return Finding(name, f"{value}: {what}", False, remedy)


def _is_set(value: str) -> bool:
    return value.upper() in ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads it


def _without_marker(requirement: Requirement) -> str:
    return str(requirement).split(";")[0].strip()
