"""What `sparsweep doctor` finds on a machine, and the remedies that it names."""

import io
import os
import re
import socket
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from rich.console import Console

from cluster.node.machine import usable_cpus
from cluster.node.mps import CONTROL, PIPES
from orchestrator.cli.doctor import (
    Finding,
    examine,
    examine_devices,
    examine_disk,
    examine_git,
    examine_hub,
    examine_kernels,
    examine_machine,
    examine_memory,
    examine_mps,
    examine_package,
    examine_profiles,
    examine_python,
    examine_ray,
    render,
)
from tests.hub_server import Fault, hub
from tests.mps_control import install, install_nvidia_smi
from tests.workers.cuda_stand_in import H100, T4, V100, CudaStandIn, fake_tensors
from workers.kernels.reference import ReferenceKernels

__all__ = ["hub"]

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture
def answering_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_every_remedy_belongs_to_something_that_is_not_ok():
    findings = examine()
    assert all(bool(finding.remedy) != finding.is_ok for finding in findings)
    assert all(finding.value for finding in findings)


def test_everything_that_a_sweep_depends_on_is_looked_at():
    found = {finding.name: finding for finding in examine()}
    assert {
        "python",
        "ray",
        "torch",
        "transformers",
        "huggingface-hub",
        "datasets",
        "seqeval",
        "pyarrow",
    } <= set(found)
    assert {
        "cpu cores",
        "memory",
        "disk here",
        "disk of the cache",
        "git",
        "hugging face hub",
    } <= set(found)
    assert found["transformers"].value.startswith(version("transformers"))


@pytest.mark.parametrize("accepted", [(3, 11, 0), (3, 13, 9)])
def test_a_tested_python_is_ok(accepted):
    assert examine_python(accepted).is_ok


@pytest.mark.parametrize("refused", [(3, 10, 14), (3, 14, 0)])
def test_another_python_is_refused_with_those_that_are_tested(refused):
    finding = examine_python(refused)
    assert not finding.is_ok
    assert finding.value == ".".join(map(str, refused))
    assert "3.11, 3.12 or 3.13" in finding.remedy


def test_an_installed_package_is_named_with_its_version():
    assert examine_package(Requirement("pyarrow")) == Finding("pyarrow", version("pyarrow"))


def test_a_missing_package_comes_with_the_command_that_installs_it():
    finding = examine_package(Requirement("nonesuch[extra]>=1.2; python_version >= '3.11'"))
    assert (finding.is_ok, finding.value) == (False, "not installed")
    assert finding.remedy.endswith("-m pip install 'nonesuch[extra]>=1.2'")


def test_a_package_out_of_range_is_refused_with_what_is_needed():
    finding = examine_package(Requirement("pyarrow<2"))
    assert not finding.is_ok
    assert finding.value == f"{version('pyarrow')}, needed is <2"
    assert finding.remedy.endswith("-m pip install 'pyarrow<2'")


@without_gpu
def test_a_machine_without_gpus_runs_trials_on_cpu_workers(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert examine_devices() == [Finding("gpus", "none: trials run on CPU workers")]


@without_gpu
def test_a_gpu_that_torch_cannot_use_is_not_passed_over(monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = examine_devices()
    assert not finding.is_ok
    assert torch.__version__ in finding.value
    assert "though this machine has nvidia-smi: " in finding.value, "torch's own reason"
    assert "pytorch.org" in finding.remedy


@pytest.mark.parametrize(
    ("gpu", "environ", "value", "remedy"),
    [
        (H100, {}, "80GB HBM3, 80 GiB: cuda:0 cannot compute: Failed to find C compil", "gcc"),
        (T4, {}, "Tesla T4, 80 GiB: pruning.kernels: .* needs 8.0", "pruning.kernels=reference"),
        (V100, {}, "V100-SXM2-32GB, .* torch .* has code for sm_75", "torch built for this GPU"),
        (H100, {"NVIDIA_TF32_OVERRIDE": "1"}, "NVIDIA_TF32_OVERRIDE=1: .* TF32", "unset it"),
    ],
)
def test_a_gpu_that_cannot_compute_says_what_is_missing(
    monkeypatch, tmp_path, gpu, environ, value, remedy
):
    build = pytest.importorskip("triton.runtime.build")

    class Compiling(ReferenceKernels):
        """What Triton does at its first launch."""

        def step(self, tensors, options):
            build._build("driver", "driver.c", str(tmp_path), [], [], [], [])

    CudaStandIn(**gpu).install(monkeypatch)
    monkeypatch.setattr("workers.kernels.triton_gpu.TritonKernels", lambda device: Compiling())
    monkeypatch.delenv("CC", raising=False)
    for name, setting in ({"PATH": str(tmp_path)} | environ).items():
        monkeypatch.setenv(name, setting)
    with fake_tensors():
        (finding,) = examine_devices()
    assert not finding.is_ok
    assert re.search(value, finding.value)
    assert remedy in finding.remedy


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_gpus_are_named_with_their_memory():
    findings = examine_devices()
    assert len(findings) == torch.cuda.device_count()
    assert all(
        torch.cuda.get_device_name(index) in finding.value for index, finding in enumerate(findings)
    )


def test_it_is_said_whether_gpus_are_shared_by_mps(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert examine_mps() == []
    install_nvidia_smi(tmp_path, "GPU-aa")
    (without,) = examine_mps()
    assert without == Finding("mps", f"no {CONTROL}: trials that share a GPU take turns")
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv(PIPES, str(tmp_path))
    install(tmp_path, monkeypatch)
    (idle,) = examine_mps()
    assert idle.is_ok
    assert idle.value.startswith("does not run: trials that share a GPU take turns; a profile's")
    (tmp_path / "runs").touch()
    (runs,) = examine_mps()
    assert runs.value == (
        f"runs, pipes in {tmp_path}: trials that share a GPU compute at the same time"
    )


@pytest.mark.parametrize(("gib", "is_ok"), [(64, True), (4, False)])
def test_memory_is_compared_with_what_a_trial_of_mbert_takes(monkeypatch, gib, is_ok):
    for name in ("usable_memory_bytes", "available_memory_bytes"):
        monkeypatch.setattr(f"orchestrator.cli.doctor.{name}", lambda: gib * 2**30)
    found = examine_memory()
    assert found.is_ok == is_ok
    said = found.value if is_ok else found.remedy
    assert "a trial of mBERT on a CPU takes 5." in said


def test_kernels_of_the_device_are_named():
    assert examine_kernels() == Finding(
        "kernels", "triton" if torch.cuda.is_available() else "numba"
    )


def test_kernels_that_cannot_be_imported_are_told_with_the_way_out(monkeypatch):
    for module in ("workers.kernels.numba_cpu", "workers.kernels.triton_gpu"):
        monkeypatch.setitem(sys.modules, module, None)  # as where their compiler is not installed
    finding = examine_kernels()
    assert not finding.is_ok
    assert "pruning.kernels=reference" in finding.remedy


def test_only_usable_cores_are_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        cores = examine_machine()[0]
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores.value.split()[0] == "1"
    assert (os.cpu_count() == 1) or f"of {os.cpu_count()}" in cores.value
    assert examine_machine()[0].value.split()[0] == str(usable_cpus())


def test_a_folder_that_is_yet_to_be_made_counts_with_the_disk_it_will_be_on(tmp_path):
    finding = examine_disk("disk", tmp_path / "not" / "yet")
    assert f"free at {tmp_path}/not/yet" in finding.value
    assert not (tmp_path / "not").exists()


@pytest.mark.skipif(not Path("/proc/sys").is_dir(), reason="needs a disk that is always full")
def test_a_full_disk_is_refused_with_what_is_needed():
    finding = examine_disk("disk here", Path("/proc/sys"))
    assert not finding.is_ok
    assert finding.remedy


@pytest.mark.parametrize("address", [None, "", "local"])
def test_without_an_address_a_private_ray_is_used(address):
    assert examine_ray(address) == Finding("ray", "a private local Ray would be started")


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_a_cluster_that_answers_would_be_used(answering_port, prefix):
    finding = examine_ray(f"{prefix}127.0.0.1:{answering_port}")
    assert finding.is_ok
    assert f"127.0.0.1:{answering_port} would be used" in finding.value


def test_a_cluster_that_does_not_answer_is_refused_with_a_way_out():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    finding = examine_ray(f"127.0.0.1:{port}")
    assert not finding.is_ok
    assert f"RAY_ADDRESS=127.0.0.1:{port} would be used, but does not answer" in finding.value
    assert "with RAY_ADDRESS unset" in finding.remedy


@pytest.mark.parametrize("address", ["head-node", "10.0.0.1:", ":6379", "127.0.0.1:99999"])
def test_an_address_that_cannot_be_one_is_refused(address):
    finding = examine_ray(address)
    assert not finding.is_ok
    assert f"RAY_ADDRESS={address}" in finding.value


def test_a_sweep_runs_without_git_but_is_told_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SPARSWEEP_COMMIT", raising=False)
    assert examine_git() == Finding(
        "git", "not found: results will not name the commit that made them"
    )
    monkeypatch.setenv("SPARSWEEP_COMMIT", "0123456789abcdef")  # as an image has it
    assert examine_git() == Finding(
        "git", "not found: results name the commit that SPARSWEEP_COMMIT tells, 0123456789ab"
    )


def test_offline_mode_is_named_with_the_variable_that_sets_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    assert "offline (HF_HUB_OFFLINE=true)" in examine_hub().value
    assert f"cache {tmp_path}/hub, which does not exist: only local corpora" in examine_hub().value
    (tmp_path / "hub").mkdir()
    assert examine_hub().value.endswith(f"cache {tmp_path}/hub")


def test_whether_the_hub_is_online_is_asked(hub, monkeypatch):
    for name in ("HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert examine_hub().value.startswith(f"online, {hub.address} answers; no token, which ")
    hub.known_tokens.add("mine")
    for token, said in (("mine", "answers and takes the token"), ("old", "refuses the token")):
        monkeypatch.setenv("HF_TOKEN", token)
        assert examine_hub().value.startswith(f"online, {hub.address} {said}; cache ")
    hub.faults.append(Fault("/", 503))
    assert examine_hub().value.startswith(f"{hub.address} answers 503; cache ")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    gone = examine_hub()
    assert gone.value.startswith("no answer from http://127.0.0.1:9 within 3 s (")
    assert gone.is_ok, "a sweep on local files needs no hub"


def test_a_silent_hub_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("orchestrator.cli.doctor.ANSWERS_WITHIN_S", 0.2)
    hub.faults.append(Fault("/", delay_s=0.6))
    assert examine_hub().value.startswith("no answer from")


def test_the_table_marks_what_is_wrong_and_says_what_to_do():
    text = io.StringIO()
    console = Console(file=text, width=60, color_system=None)
    console.print(
        render(
            [
                Finding("torch", "2.13.0"),
                Finding("ray", "[b]old[/b]", False, "run: pip install 'ray[tune]>=2'"),
            ]
        )
    )
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines == [
        "ok  torch  2.13.0",
        "NO  ray    [b]old[/b]",
        "           run: pip install 'ray[tune]>=2'",
    ]


def test_profiles_of_nodes_without_internet_say_where_jobs_look(monkeypatch, tmp_path):
    folder = tmp_path / "sparsweep" / "clusters"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    place = tmp_path / "my hub"
    for name, fields in {
        "a": f"{{backend: slurm, offline: true, hub_cache: '{place}'}}",
        "b": "{backend: ray, offline: true}",
        "c": "{backend: ray, offline: true, hub_cache: /there}",
        "d": "{backend: slurm}",
        "e": "{backend: nonsense}",
    }.items():
        (folder / f"{name}.yaml").write_text(fields)
    look = "nodes have no internet; jobs look for files of the hub in"
    missing, unnamed, unseen = examine_profiles()
    assert missing == Finding(
        "profile a",
        f"{look} {place}, which does not exist yet",
        remedy=f"sparsweep fetch SPEC --to '{place}' makes it",
    )
    assert unnamed.remedy == "set hub_cache in it to a folder that the nodes see"
    assert unseen.value == f"{look} /there, which is not seen from here"
    place.mkdir()
    assert examine_profiles()[0] == Finding("profile a", f"{look} {place}")
