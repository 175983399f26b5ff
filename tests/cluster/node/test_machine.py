"""What a process may use of its machine: cores, memory and GPUs, also inside containers."""

import os
from pathlib import Path

import pytest

from cluster.node.machine import (
    available_memory_bytes,
    smallest_gpu_bytes,
    usable_cpus,
    usable_memory_bytes,
    visible_gpus,
)

GIB = 2**30


def machine(root: Path, cgroups: str, files: dict[str, str], memory_gib: int = 64) -> Path:
    """A folder that looks like the root of a machine with the given limits."""
    meminfo = f"MemTotal:       {memory_gib * 1024 * 1024} kB\nMemFree:  1 kB\n"
    for name, text in {"proc/self/cgroup": cgroups, "proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("value", "names"),
    [
        *((value, []) for value in ("", " ", "-1", "NoDevFiles", "none", "void")),
        ("0,3", ["0", "3"]),
        ("0, 3,", ["0", "3"]),
        ("GPU-8932f937,MIG-GPU-4/1/0", ["GPU-8932f937", "MIG-GPU-4/1/0"]),
        ("2,-1,3", ["2"]),  # CUDA reads no further
    ],
)
def test_names_of_no_gpu_are_none(value, names):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == names


def test_all_gpus_are_visible_where_nothing_is_said():
    assert visible_gpus({}) is None


@pytest.fixture
def num_allowed() -> int:
    return len(os.sched_getaffinity(0))


def test_without_cgroups_all_allowed_cores_and_all_memory_count(tmp_path, num_allowed):
    root = machine(tmp_path, "", {})
    assert usable_cpus(root) == num_allowed
    assert usable_memory_bytes(root) == 64 * GIB


def test_a_core_is_not_used_where_affinity_forbids_it(tmp_path):
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cpus(machine(tmp_path, "", {})) == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_v2_limits_of_the_own_cgroup_hold(tmp_path):
    files = {
        "sys/fs/cgroup/job/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/job/memory.max": f"{3 * GIB}\n",
    }
    root = machine(tmp_path, "0::/job\n", files)
    assert usable_cpus(root) == 1
    assert usable_memory_bytes(root) == 3 * GIB


def test_v2_limits_of_a_cgroup_above_hold_too(tmp_path):
    files = {
        "sys/fs/cgroup/memory.max": f"{9 * GIB}\n",
        "sys/fs/cgroup/slice/memory.max": f"{5 * GIB}\n",
        "sys/fs/cgroup/slice/job/memory.max": f"{7 * GIB}\n",
        "sys/fs/cgroup/slice/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/slice/job/cpu.max": "max 100000\n",
    }
    root = machine(tmp_path, "0::/slice/job\n", files)
    assert usable_cpus(root) == 1
    assert usable_memory_bytes(root) == 5 * GIB


def test_a_sibling_cgroup_is_no_concern_of_ours(tmp_path):
    root = machine(tmp_path, "0::/job\n", {"sys/fs/cgroup/other/memory.max": f"{GIB}\n"})
    assert usable_memory_bytes(root) == 64 * GIB


def test_v2_without_a_limit_leaves_the_whole_machine(tmp_path, num_allowed):
    files = {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"}
    root = machine(tmp_path, "0::/\n", files)
    assert usable_cpus(root) == num_allowed
    assert usable_memory_bytes(root) == 64 * GIB


def test_v1_limits_are_read_from_each_controllers_own_tree(tmp_path):
    files = {
        "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/slurm/job_7/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes": f"{2 * GIB}\n",
    }
    root = machine(tmp_path, "9:memory:/slurm/job_7\n4:cpu,cpuacct:/slurm/job_7\n0::/\n", files)
    assert usable_cpus(root) == 1, "one and a half cores are one whole core"
    assert usable_memory_bytes(root) == 2 * GIB


def test_v1_without_a_limit_leaves_the_whole_machine(tmp_path, num_allowed):
    files = {
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    root = machine(tmp_path, "9:memory:/\n4:cpu,cpuacct:/\n", files)
    assert usable_cpus(root) == num_allowed
    assert usable_memory_bytes(root) == 64 * GIB


def test_a_container_that_sees_its_hosts_path_still_finds_its_limit(tmp_path):
    files = {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n"}
    root = machine(tmp_path, "9:memory:/docker/0123abcd\n", files)
    assert usable_memory_bytes(root) == GIB


def test_a_fraction_of_a_core_still_counts_as_one(tmp_path):
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "20000 100000\n"})
    assert usable_cpus(root) == 1


def test_a_limit_beyond_the_machine_gives_nothing_more(tmp_path, num_allowed):
    files = {
        "sys/fs/cgroup/cpu.max": "409600000 100000\n",
        "sys/fs/cgroup/memory.max": f"{1024 * GIB}\n",
    }
    root = machine(tmp_path, "0::/\n", files)
    assert usable_cpus(root) == num_allowed
    assert usable_memory_bytes(root) == 64 * GIB


def test_this_machine_has_cores_and_memory(num_allowed):
    assert 1 <= usable_cpus() <= num_allowed
    assert (
        GIB // 4 < usable_memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    )


def test_memory_that_others_use_is_not_available(tmp_path):
    root = machine(tmp_path, "", {})
    assert available_memory_bytes(root) == 64 * GIB  # an old kernel does not say
    (root / "proc/meminfo").write_text("MemTotal:  67108864 kB\nMemAvailable:  5242880 kB\n")
    assert available_memory_bytes(root) == 5 * GIB


def test_a_cgroup_leaves_what_it_has_not_used_but_for_files_that_can_be_dropped(tmp_path):
    v2 = {
        "sys/fs/cgroup/job/memory.max": f"{8 * GIB}\n",
        "sys/fs/cgroup/job/memory.current": f"{6 * GIB}\n",
        "sys/fs/cgroup/job/memory.stat": f"anon {GIB}\nfile 1\ninactive_file {GIB}\n",
    }
    assert available_memory_bytes(machine(tmp_path / "2", "0::/job\n", v2)) == 3 * GIB
    v1 = {
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{8 * GIB}\n",
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{9 * GIB}\n",
    }
    assert available_memory_bytes(machine(tmp_path / "1", "9:memory:/job\n", v1)) == 0


def test_some_memory_is_available_here():
    assert 0 < available_memory_bytes() <= usable_memory_bytes()


@pytest.mark.parametrize(
    ("said", "smallest"), [("81559\n40960\n", 40960 * 2**20), ("No devices", None), ("", None)]
)
def test_the_driver_says_how_large_gpus_are(tmp_path, monkeypatch, said, smallest):
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert smallest_gpu_bytes() == smallest
